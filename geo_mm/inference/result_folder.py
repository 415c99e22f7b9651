"""The folder of a result: its files appear together, and replace nothing of the user's."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from geo_mm.errors import OutputError
from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.paths import reported
from geo_mm.raster import Scene
from geo_mm.visualization.quicklook import SUFFIXES

_SUFFIXES = (
    '.tif',
    '.tif.aux.xml',
    '.tif.vat.dbf',
    '.tif.vat.cpg',
    '_confidence.tif',
    '_probabilities.tif',
    *LAYER_FORMATS,
    '.gpkg.aux.xml',  # GDAL leaves it when the GeoPackage is read
    '.qml',
    '_confidence.qml',
    '_probabilities.qml',
    *SUFFIXES,
    '.qgz',
    '.qlr',
    '.json',
    '.stac.json',
)


def result_files(folder: Path, name: str) -> list[Path]:
    """All files that results of a name may have."""
    return [folder / f'{name}{suffix}' for suffix in _SUFFIXES]


def check_replaced(folder: Path, name: str, scene: Scene) -> None:
    """Makes sure that writing results costs the user no file.

    Raises:
        OutputError: If it would.
    """
    if any(Path(source).parent.resolve() == folder.resolve() for source in scene.sources):
        raise OutputError(
            f'{folder} is the folder of the scene itself, whose file would be replaced',
            'another folder',
            'choose one with -o',
        )
    there = [path for path in result_files(folder, name) if path.exists()]
    if there and not set(scene.sources) <= _predicted_before(folder / f'{name}.json'):
        raise OutputError(
            f'{there[0]} exists, and is no earlier prediction of {scene.sources[0]}',
            'a folder without files of that name',
            'choose another folder with -o, or move the file away',
        )


def _predicted_before(record: Path) -> set[str]:
    """The files of the scene that a record says its results are of."""
    try:
        return set(json.loads(record.read_text())['scene'])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextlib.contextmanager
def written_together(folder: Path, workplace: Path, name: str) -> Iterator[Path]:
    """An empty folder whose files move to ``folder`` if all goes well.

    Args:
        folder: Where the files belong.
        workplace: Folder to make, on the same disk; what is in it is lost.
        name: Of the results; older ones of that name that are not made again
            are removed.
    """
    with reported(folder):
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(parents=True)
        yield workplace
        # The summary first: it says that the others may be replaced. The STAC
        # item last: it says that the others are there.
        order = {f'{name}.json': -1, f'{name}.stac.json': 1}
        made = sorted(workplace.iterdir(), key=lambda path: order.get(path.name, 0))
        for file in made:
            os.replace(file, folder / file.name)
        for path in {*result_files(folder, name)} - {folder / file.name for file in made}:
            path.unlink(missing_ok=True)
