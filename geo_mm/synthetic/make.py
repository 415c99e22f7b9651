"""Write a whole run of synthetic scenes with their catalog."""

import csv
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

from geo_mm.paths import make_folder, write_text
from geo_mm.synthetic.scene import SyntheticScene, windows, write_scene

logger = logging.getLogger(__name__)


def splits(count: int) -> list[str]:
    """The split of each of ``count`` scenes: the last ones are for test and validation."""
    held_out = max(count // 6, 1)
    test = held_out if count >= 3 else 0
    val = held_out if count >= 2 else 0
    return ['train'] * (count - val - test) + ['val'] * val + ['test'] * test


def make_town(
    folder: str | os.PathLike,
    *,
    scenes: int = 4,
    size: int | tuple[int, int] = 1024,
    gsd: float = 0.5,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Write synthetic aerial scenes of a town with vector labels.

    ``images/town_<i>.tif`` hold Red, Green, Blue and NIR as uint16 reflectance
    times 10000 with nodata 0; even scenes lie in EPSG:32617, odd ones in
    EPSG:32618, and scenes 0, 3, 6, ... have a corner without data.
    ``labels/town_<i>.gpkg`` hold the layer ``labels`` in EPSG:4326 with the
    attribute ``class`` (building, road, tree, water) and, for buildings,
    ``roof`` (tile, metal, concrete) and ``height_m``.

    The same arguments give the same pixels and geometries, and scene ``i``
    does not depend on the number of scenes.

    Args:
        folder: Where to write; created if missing.
        scenes: How many.
        size: Pixels of a side, or (columns, rows).
        gsd: Pixel size in metres, 0.05 to 2; the look is made for 0.2 to 1.
        seed: Not negative.
        progress: Called with (windows done, windows in all, what is being done).

    Returns:
        The catalog, ``folder/catalog.csv``, with the columns ``image``,
        ``labels`` (both relative to the catalog) and ``split``.

    Raises:
        ValueError: For a count, size, GSD or seed that makes no sense.
        OutputError: If something cannot be written.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if scenes < 1 or width < 1 or height < 1 or not 0.05 <= gsd <= 2 or seed < 0:
        raise ValueError(
            'need scenes >= 1, size >= 1, 0.05 <= gsd <= 2 and seed >= 0, '
            f'got scenes={scenes}, size={size}, gsd={gsd}, seed={seed}'
        )
    folder = Path(folder)
    for name in ('images', 'labels'):
        make_folder(folder / name)
    total, done = scenes * len(windows(width, height)), 0
    rows = []
    for index, split in enumerate(splits(scenes)):
        image, labels = f'images/town_{index}.tif', f'labels/town_{index}.gpkg'

        def tick(image: str = image) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total, image)

        if progress is not None:
            progress(done, total, f'planning {image}')
        scene = SyntheticScene.draw(index, (width, height), gsd, seed)
        write_scene(scene, folder / image, folder / labels, tick)
        logger.info('wrote %s and %s', folder / image, folder / labels)
        rows.append({'image': image, 'labels': labels, 'split': split})
    return _write_catalog(folder / 'catalog.csv', rows)


def _write_catalog(path: Path, rows: list[dict[str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, ('image', 'labels', 'split'), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())
