"""From a scene to results on the map."""

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

import geo_mm
from geo_mm.errors import ConfigError, OutputError
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.objects import predict_objects
from geo_mm.inference.pixels import predict_pixels
from geo_mm.raster import Scene, tile_plan
from geo_mm.vector import write_layer
from geo_mm.visualization import draw_objects_quicklook, draw_pixels_quicklook

Progress = Callable[[int, int], None]
"""Called with the number of tiles done since the last call and the total."""


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
    ) -> None:
        self.model = TrainedModel(config, checkpoint, device)
        self.checkpoint = Path(checkpoint)
        self.tile = tile or max(512, 2 * max(self.model.spec.chip_size))
        self.overlap = self.tile // 4 if overlap is None else overlap
        if not 0 <= self.overlap < self.tile:
            raise ConfigError(
                f'tiles of {self.tile} pixels with an overlap of {self.overlap}',
                'an overlap smaller than the tile',
            )
        self.batch_size = batch_size
        self.score = score

    def predict(
        self,
        source: str | os.PathLike | Sequence[str | os.PathLike],
        folder: str | os.PathLike,
        *,
        progress: Progress | None = None,
    ) -> Result:
        """Predicts one scene and writes the results to ``folder``.

        Pixel models write ``<scene>.tif``; object models ``<scene>.gpkg`` and
        ``<scene>.geojson``. Both write ``<scene>.png`` to look at and
        ``<scene>.json`` with what was done. Files appear when complete.

        Args:
            source: File, or co-registered files, of the scene.
            folder: Where to write; made if missing.
            progress: Called as tiles are done.

        Raises:
            SceneError: If the scene cannot be read.
            SpecError: If it cannot be made into what the model must be fed.
            OutputError: If the results cannot be written.
        """
        spec = self.model.spec
        scene = spec.fit(Scene.open(source, bands=None, nodata=spec.nodata))
        folder = Path(folder)
        self._check_folder(folder, scene)
        plan = tile_plan(scene.width, scene.height, self.tile, self.overlap)
        step = (lambda done: progress(done, len(plan))) if progress else None
        provenance = self._provenance(scene)
        if spec.task == 'pixels':
            main = folder / f'{scene.name}.tif'
            tags = {'GEO_MM_PROVENANCE': json.dumps(provenance)}
            counts = predict_pixels(
                self.model,
                scene,
                plan,
                main,
                batch_size=self.batch_size,
                tags=tags,
                progress=step,
            )
            files = [main]
            quicklook = draw_pixels_quicklook(scene, main, spec)
        else:
            objects = predict_objects(
                self.model,
                scene,
                plan,
                batch_size=self.batch_size,
                score=self.score,
                progress=step,
            )
            found = objects['class'].value_counts()
            counts = {name: int(found.get(name, 0)) for name in spec.classes}
            suffixes = ('.gpkg', '.geojson') if scene.crs else ('.gpkg',)
            files = [
                write_layer(objects, folder / f'{scene.name}{suffix}', layer='objects')
                for suffix in suffixes
            ]
            quicklook = draw_objects_quicklook(scene, objects, spec)
        image, summary = (folder / f'{scene.name}{suffix}' for suffix in ('.png', '.json'))
        quicklook.save(image)
        summary.write_text(json.dumps({**provenance, 'counts': counts}, indent=2) + '\n')
        return Result((*files, image, summary), counts)

    @staticmethod
    def _check_folder(folder: Path, scene: Scene) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f'{folder}: {error.strerror}', 'a folder that can be made') from error
        if any(Path(source).parent.resolve() == folder.resolve() for source in scene.sources):
            raise OutputError(
                f'{folder} is the folder of the scene itself, whose file would be replaced',
                'another folder',
                'choose one with -o',
            )

    def _provenance(self, scene: Scene) -> dict:
        return {
            'geo_mm': geo_mm.__version__,
            'time': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            'config': self.model.config.filename,
            'checkpoint': str(self.checkpoint.absolute()),
            'checkpoint_sha256': _sha256(self.checkpoint),
            'scene': list(scene.sources),
            'tile': self.tile,
            'overlap': self.overlap,
            'score': self.score if self.model.spec.task == 'objects' else None,
            'input_spec': self.model.spec.to_dict(),
        }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
