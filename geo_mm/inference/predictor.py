"""From a scene to results on the map."""

import contextlib
import datetime
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import get_local_path
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

import geo_mm
from geo_mm.errors import ConfigError, OutputError, SceneError
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.objects import predict_objects
from geo_mm.inference.pixels import predict_pixels
from geo_mm.raster import Scene, tile_plan
from geo_mm.vector import write_layer
from geo_mm.visualization import draw_objects_quicklook, draw_pixels_quicklook

Progress = Callable[[int, int], None]
"""Called with the number of tiles done since the last call and the total."""

_SUFFIXES = ('.tif', '.tif.aux.xml', '.gpkg', '.geojson', '.png', '.json')


@dataclass(frozen=True)
class Result:
    """What a prediction wrote.

    Attributes:
        files: Paths, the main one first.
        counts: Objects or pixels of each class.
    """

    files: tuple[Path, ...]
    counts: dict[str, int]


class Predictor:
    """Applies a trained model to scenes of any size.

    Args:
        config: Config that the model was trained with.
        checkpoint: ``.pth`` file that tools/train.py wrote.
        device: Torch device; None takes the first GPU, else the CPU.
        tile: Side of a tile in pixels of the model's GSD; None takes twice
            the chips' size, at least 512.
        overlap: Pixels that neighbouring tiles share; None takes a quarter.
        batch_size: Tiles per forward pass.
        score: Least confidence 0..1 of an object.
        nodata: Value of pixels without data, for scenes that do not declare
            it; None takes the rule that the model was trained with.

    Raises:
        ConfigError: If the checkpoint does not fit the config, or a number
            makes no sense.
        SpecError: If the checkpoint does not say what its model must be fed.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | os.PathLike,
        *,
        device: str | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        batch_size: int = 2,
        score: float = 0.3,
        nodata: float | None = None,
    ) -> None:
        self.model = TrainedModel(config, checkpoint, device)
        self.checkpoint = os.fspath(checkpoint)
        self.tile = max(512, 2 * max(self.model.spec.chip_size)) if tile is None else tile
        self.overlap = self.tile // 4 if overlap is None else overlap
        self.batch_size = batch_size
        self.score = score
        self.nodata = self.model.spec.nodata if nodata is None else nodata
        if not 0 <= self.overlap < self.tile:
            raise ConfigError(
                f'tiles of {self.tile} pixels with an overlap of {self.overlap}',
                'an overlap smaller than the tile',
            )
        if batch_size < 1:
            raise ConfigError(f'batches of {batch_size} tiles', 'at least one tile')
        if not 0 <= score <= 1:
            raise ConfigError(f'a least score of {score}', 'a number from 0 to 1')
        self._sha256 = _sha256(self.checkpoint)

    def predict(
        self,
        source: str | os.PathLike | Sequence[str | os.PathLike],
        folder: str | os.PathLike,
        *,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Predicts one scene and writes the results to ``folder``.

        Pixel models write ``<name>.tif``; object models ``<name>.gpkg`` and,
        where the scene has a place on Earth, ``<name>.geojson``. Both write
        ``<name>.png`` to look at and ``<name>.json`` with what was done. The
        files appear together when all are complete, and replace those of an
        earlier prediction of the same scene.

        Args:
            source: File, or co-registered files, of the scene.
            folder: Where to write; made if missing.
            name: Name of the results; that of the scene by default.
            progress: Called as tiles are done.

        Raises:
            SceneError: If the scene cannot be read.
            SpecError: If it cannot be made into what the model must be fed.
            OutputError: If the results cannot be written, or would replace
                files that are not an earlier prediction of the scene.
        """
        scene = self._open(source)
        name, folder = name or scene.name, Path(folder)
        _check_replaced(folder, name, scene)
        with _written_together(folder, name) as workplace, warnings.catch_warnings():
            # A picture that lies nowhere on Earth is legitimate.
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            write = self._write_pixels if self.model.spec.task == 'pixels' else self._write_objects
            files, counts = write(scene, workplace, name, progress)
        return Result(tuple(folder / file for file in files), counts)

    def _open(self, source: str | os.PathLike | Sequence[str | os.PathLike]) -> Scene:
        """The scene as the model must see it."""
        spec = self.model.spec
        try:
            # By name, because an alpha band is left out unless asked for, and
            # in some files that is the near infrared.
            scene = Scene.open(source, bands=spec.bands, nodata=self.nodata)
        except SceneError:
            scene = Scene.open(source, nodata=self.nodata)
        return spec.fit(scene)

    def _write_pixels(
        self, scene: Scene, folder: Path, name: str, progress: Progress | None
    ) -> tuple[list[str], dict[str, int]]:
        plan = tile_plan(scene.width, scene.height, self.tile, self.overlap)
        provenance = self._provenance(scene)
        counts = predict_pixels(
            self.model,
            scene,
            plan,
            folder / f'{name}.tif',
            batch_size=self.batch_size,
            tags={'GEO_MM_PROVENANCE': json.dumps(provenance)},
            progress=(lambda done: progress(done, len(plan))) if progress else None,
        )
        quicklook = draw_pixels_quicklook(scene, folder / f'{name}.tif', self.model.spec)
        summary = _write_summary(folder, name, quicklook, provenance, counts)
        return [f'{name}.tif', *summary], counts

    def _write_objects(
        self, scene: Scene, folder: Path, name: str, progress: Progress | None
    ) -> tuple[list[str], dict[str, int]]:
        plan = tile_plan(scene.width, scene.height, self.tile, self.overlap)
        objects = predict_objects(
            self.model,
            scene,
            plan,
            batch_size=self.batch_size,
            score=self.score,
            progress=(lambda done: progress(done, len(plan))) if progress else None,
        )
        found = objects['class'].value_counts()
        counts = {key: int(found.get(key, 0)) for key in self.model.spec.classes}
        files = [f'{name}.gpkg', f'{name}.geojson'] if scene.gsd else [f'{name}.gpkg']
        for file in files:
            write_layer(objects, folder / file, layer='objects')
        quicklook = draw_objects_quicklook(scene, objects, self.model.spec)
        summary = _write_summary(folder, name, quicklook, self._provenance(scene), counts)
        return [*files, *summary], counts

    def _provenance(self, scene: Scene) -> dict:
        return {
            'geo_mm': geo_mm.__version__,
            'time': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'config': self.model.config.filename,
            'checkpoint': os.path.abspath(self.checkpoint),
            'checkpoint_sha256': self._sha256,
            'scene': list(scene.sources),
            'tile': self.tile,
            'overlap': self.overlap,
            'nodata': self.nodata,
            'score': self.score if self.model.spec.task == 'objects' else None,
            'input_spec': self.model.spec.to_dict(),
        }


def _check_replaced(folder: Path, name: str, scene: Scene) -> None:
    """Raises OutputError if writing would cost the user a file."""
    if any(Path(source).parent.resolve() == folder.resolve() for source in scene.sources):
        raise OutputError(
            f'{folder} is the folder of the scene itself, whose file would be replaced',
            'another folder',
            'choose one with -o',
        )
    there = [p for suffix in _SUFFIXES if (p := folder / f'{name}{suffix}').exists()]
    if there and _predicted_before(folder / f'{name}.json') != list(scene.sources):
        raise OutputError(
            f'{there[0]} exists, and is no earlier prediction of {scene.sources[0]}',
            'a folder without files of that name',
            'choose another folder with -o, or move the file away',
        )


def _predicted_before(summary: Path) -> list[str] | None:
    """The scene that a summary says its results are of."""
    try:
        return json.loads(summary.read_text())['scene']
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _written_together(folder: Path, name: str) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder`` if all goes well, else vanish."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=folder) as workplace:
            yield Path(workplace)
            # The summary first: it says that the others may be replaced.
            for file in sorted(Path(workplace).iterdir(), key=lambda p: p.suffix != '.json'):
                os.replace(file, folder / file.name)
    except OSError as error:
        raise OutputError(
            f'{folder}: cannot write there: {error.strerror or error}',
            'a folder you may write to, with enough free space',
            'choose another with -o',
        ) from error


def _write_summary(
    folder: Path, name: str, quicklook: Image.Image, provenance: dict, counts: dict[str, int]
) -> list[str]:
    quicklook.save(folder / f'{name}.png')
    text = json.dumps({**provenance, 'counts': counts}, indent=2)
    (folder / f'{name}.json').write_text(text + '\n')
    return [f'{name}.png', f'{name}.json']


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with get_local_path(path) as local, Path(local).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
