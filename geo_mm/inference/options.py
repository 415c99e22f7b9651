"""What a prediction can be told."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from geo_mm.detections import METHODS
from geo_mm.errors import ConfigError
from geo_mm.formats.layers import require_pyarrow
from geo_mm.inference.blending import BLENDS
from geo_mm.inference.pixels import PixelOutputs
from geo_mm.inference.polygons import PolygonOutputs
from geo_mm.inference.voting import MERGES, VIEWS
from geo_mm.inputspec import InputSpec

GRIDS = ('scene', 'model')
FORMATS = ('gpkg', 'geojson', 'parquet', 'fgb')

WRITING = ('polygons', 'min_area', 'simplify', 'regularise', 'formats', 'stac')
"""Options that concern only how results are written, and not what is computed."""

_OF_PIXELS = ('confidence', 'probabilities', 'polygons', 'min_area', 'simplify', 'regularise')
_OF_PIXELS += ('blend', 'grid')
_OF_OBJECTS = ('score', 'suppress', 'iou')
_OF_POLYGONS = ('min_area', 'simplify', 'regularise', 'formats')


@dataclass(frozen=True)
class PredictOptions:
    """How scenes are predicted, and what is kept.

    Attributes:
        tile: Side of a tile in pixels of the model's GSD; None takes twice the
            chips' size, at least 512.
        overlap: What neighbouring tiles share: pixels, or a share of the tile
            below 1, such as 0.25; None takes a quarter, or less for models for
            pixels that look less far (twice
            :func:`geo_mm.models.receptive_field.receptive_radius`).
        blend: How overlapping tiles are put together, for pixels:
            ``'window'`` fades them into each other, ``'crop'`` takes each
            pixel from the tile whose middle is nearest.
        batch_size: Tiles per forward pass. It is halved while the device has
            not the memory.
        tta: Test-time augmentation: ``'none'``, ``'flip'`` (4 views) or
            ``'d4'`` (8 views, mirrored and turned).
        merge: How views and models are put together: ``'mean'`` or ``'max'``
            of the probabilities, or of the scores of objects.
        amp: Compute in 16-bit floats where that is safe.
        compiled: Compile the model's backbone with ``torch.compile``.
        score: Least confidence 0..1 of an object.
        suppress: What is done with objects of a class that overlap, after what
            several tiles show of one object is joined: ``'nms'``,
            ``'soft-nms'``, ``'nmm'`` or ``'none'``, as
            :func:`geo_mm.inference.objects.merge_rows` has it.
        iou: Intersection over union from which that is done.
        nodata: Value of pixels without data, for scenes that do not declare
            it; None takes the rule that the model was trained with.
        confidence: Keep the probability of the class that is written.
        probabilities: Keep those of all classes: ``'uint8'``, ``'float32'``, or None.
        grid: Pixels of class rasters: those of the ``'scene'``, or those of
            the ``'model'``, which has its own GSD.
        polygons: Write the outlines of the classes, too, those of the
            background left out.
        min_area: Smallest polygon, in m2; in pixels where the scene has no
            place on Earth.
        simplify: Tolerance with which polygons are simplified, in pixels of
            the class raster; None leaves them along pixel edges.
        regularise: Names of the classes whose polygons get straight walls at
            right angles.
        formats: Of layers, polygons or objects: one or several of ``'gpkg'``,
            ``'geojson'``, ``'parquet'`` and ``'fgb'``.
        stac: Describe the files as a STAC item.
        force: Take scenes whose GSD or data type is not what the model was
            trained with.

    Raises:
        ConfigError: If a value makes no sense.
        OutputError: If a format needs what is not installed.
    """

    tile: int | None = None
    overlap: float | None = None
    blend: str = 'window'
    batch_size: int = 2
    tta: str = 'none'
    merge: str = 'mean'
    amp: bool = False
    compiled: bool = False
    score: float = 0.3
    suppress: str = 'nms'
    iou: float = 0.5
    nodata: float | None = None
    confidence: bool = False
    probabilities: str | None = None
    grid: str = 'scene'
    polygons: bool = False
    min_area: float = 0.0
    simplify: float | None = None
    regularise: Sequence[str] = ()
    formats: Sequence[str] = ('gpkg',)
    stac: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        for name in 'regularise', 'formats':
            value = getattr(self, name)
            value = (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
            object.__setattr__(self, name, value)  # the way of frozen dataclasses
        choices = {
            'blend': BLENDS,
            'tta': VIEWS,
            'merge': MERGES,
            'probabilities': (None, 'uint8', 'float32'),
            'grid': GRIDS,
            'suppress': METHODS,
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise ConfigError(f'{name} {value!r}', f'one of {", ".join(map(str, allowed))}')
        if self.tile is not None and self.tile < 1:
            raise ConfigError(f'tiles of {self.tile} pixels', 'at least one')
        if self.batch_size < 1:
            raise ConfigError(f'batches of {self.batch_size} tiles', 'at least one tile')
        if not 0 <= self.score <= 1:
            raise ConfigError(f'a least score of {self.score}', 'a number from 0 to 1')
        if not 0 < self.iou <= 1:
            raise ConfigError(f'an IoU of {self.iou}', 'a number above 0, up to 1')
        if not 0 <= self.min_area < math.inf:
            raise ConfigError(f'min_area {self.min_area}', 'm2, a number from 0 on')
        if self.simplify is not None and not 0 < self.simplify < math.inf:
            raise ConfigError(
                f'simplifying with a tolerance of {self.simplify}', 'pixels, a number above 0'
            )
        self._check_formats()

    @property
    def outputs(self) -> PixelOutputs:
        return PixelOutputs(self.confidence, self.probabilities)

    @property
    def polygon_outputs(self) -> PolygonOutputs:
        return PolygonOutputs(self.min_area, self.simplify, self.regularise)

    def check_model(self, spec: InputSpec, name: str) -> None:
        """Makes sure that a model can give what is asked for.

        Args:
            spec: What the model finds.
            name: Of the model, for messages.

        Raises:
            ConfigError: If it cannot.
        """
        if spec.task == 'objects' and (wanted := self._changed(_OF_PIXELS)):
            raise ConfigError(
                f'{name} finds objects, and {", ".join(wanted)} is for classes of pixels',
                'nothing that only classes of pixels have',
                'leave it out',
            )
        if spec.task == 'pixels' and (wanted := self._changed(_OF_OBJECTS)):
            raise ConfigError(
                f'{name} finds classes of pixels, and {", ".join(wanted)} is for objects',
                'nothing that only objects have',
                'leave it out',
            )
        if spec.task == 'pixels' and not self.polygons and (wanted := self._changed(_OF_POLYGONS)):
            raise ConfigError(
                f'{name} finds classes of pixels, and {", ".join(wanted)} is for polygons',
                'polygons, which are not asked for',
                'add --polygons (from Python: polygons=True), or leave it out',
            )
        shown = spec.classes.foreground_names
        if unknown := [name for name in self.regularise if name not in shown]:
            raise ConfigError(f'regularise {", ".join(unknown)}', f'one of {", ".join(shown)}')

    def _changed(self, names: Sequence[str]) -> list[str]:
        """Those that are not at their default."""
        defaults = {item.name: item.default for item in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    def _check_formats(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ConfigError(
                f'the format {unknown[0]!r}' if unknown else 'no format for layers',
                f'one or several of {", ".join(FORMATS)}',
            )
        if 'parquet' in self.formats:
            require_pyarrow('parquet')

    def shared(self, tile: int, radius: Callable[[], int] | None = None) -> int:
        """What neighbouring tiles share, in pixels.

        Args:
            tile: Side of the tiles.
            radius: Gives how far around a pixel the model looks, in pixels,
                if that is known to matter; asked only if nothing was chosen.

        Raises:
            ConfigError: If the overlap is not smaller than the tile.
        """
        if self.overlap is None:
            most = tile // 4
            # In steps, lest the result hang on the last digits of a measurement.
            return most if radius is None else min(most, -(-2 * radius() // 16) * 16)
        overlap = round(self.overlap * tile) if 0 < self.overlap < 1 else int(self.overlap)
        if not 0 <= overlap < tile or self.overlap < 0:
            raise ConfigError(
                f'tiles of {tile} pixels with an overlap of {self.overlap}',
                'an overlap smaller than the tile',
            )
        return overlap
