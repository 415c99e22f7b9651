"""Options of a prediction: a field here is an option of ``geo-mm predict``, too.

What is predicted (files, window, AOI) is :class:`geo_mm.inference.area.SceneToPredict`;
which options a kind of task takes is in its ``own_options``.
"""

import math
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from geo_mm.errors import ConfigError
from geo_mm.options import option

# `geo-mm predict --help` waits for what is imported here: no torch.

Format = Literal['gpkg', 'geojson', 'parquet', 'fgb']
"""Those of :data:`geo_mm.formats.layers.LAYER_FORMATS`, which would take long to import."""

NETWORKS = ('.onnx', '.dlpk', '.emd')
"""Suffixes of files whose network onnxruntime computes, without torch."""

WRITING = ('polygons', 'min_area', 'simplify', 'regularise', 'formats', 'quicklook', 'stac')
"""Options that concern only how results are written, and not what is computed."""

_WHAT = 'input'
_KEPT = 'result'
_WRITTEN = 'files'
_HOW = 'computation'


@dataclass(frozen=True)
class PredictOptions:
    """How scenes are predicted, and what is kept.

    What each field means stands in its help text, which ``geo-mm predict --help`` prints.

    Raises:
        ConfigError: If a value makes no sense.
        OutputError: If a format needs what is not installed.
    """

    tile: int | None = option(
        None,
        "side of a tile in pixels, no more than the scene has (default: twice the chips' size, "
        'at least 512)',
        group=_HOW,
    )
    overlap: float | None = option(
        None,
        'what neighbouring tiles share: pixels, or a share of the tile below 1 (default: 0.25, '
        'or less where the receptive field of the model is small)',
        group=_HOW,
    )
    blend: Literal['window', 'crop'] = option(
        'window',
        'fade overlapping tiles into each other, or take each pixel from the tile whose centre '
        'is nearest (segmentation)',
        group=_HOW,
    )
    batch_size: int = option(
        2, 'tiles per forward pass; halved when the device runs out of memory', group=_HOW
    )
    readers: int | None = option(
        None, 'threads that read tiles ahead (default: half of the cores, 2 to 8)', group=_HOW
    )
    tta: Literal['none', 'flip', 'd4'] = option(
        'none', 'test-time augmentation: 4 views, or 8 views, mirrored and turned', group=_HOW
    )
    merge: Literal['mean', 'max'] = option(
        'mean', 'of the probabilities or confidences of views and models', group=_HOW
    )
    amp: bool = option(False, '16-bit floats where that is safe', group=_HOW)
    compiled: bool = option(
        False, 'compile the backbone with torch.compile', group=_HOW, flag='--compile'
    )
    provider: str | None = option(
        None,
        'execution provider for ONNX files, such as CUDAExecutionProvider (default: a GPU that '
        'onnxruntime offers, else the CPU)',
        group=_HOW,
    )
    score: float = option(0.3, 'minimum confidence of an object, 0 to 1', group=_KEPT)
    suppress: Literal['nms', 'soft-nms', 'nmm', 'none'] = option(
        'nms', 'suppression of overlapping objects of a class, after tiles are joined', group=_KEPT
    )
    iou: float = option(
        0.5, 'intersection over union from which objects are suppressed', group=_KEPT
    )
    nodata: float | None = option(
        None, 'value of pixels without data, for scenes that do not declare it', group=_WHAT
    )
    confidence: bool = option(
        False, 'write the probability of the predicted class, 8-bit', group=_KEPT
    )
    probabilities: Literal['uint8', 'float32'] | None = option(
        None, 'write those of all classes (default: uint8)', group=_KEPT, const='uint8'
    )
    grid: Literal['scene', 'model'] = option(
        'scene', "pixels of class rasters: the scene's, or those of the model's GSD", group=_KEPT
    )
    polygons: bool = option(
        False, 'write the outlines of the classes, too, but for the background', group=_WRITTEN
    )
    min_area: float = option(
        0.0,
        'smallest polygon; in pixels if the scene is not georeferenced',
        group=_WRITTEN,
        metavar='M2',
    )
    simplify: float | None = option(
        None,
        'remove pixel steps of polygons (default: 1.5); needs memory for all of them',
        group=_WRITTEN,
        const=1.5,
        metavar='PIXELS',
    )
    regularise: Sequence[str] = option(
        (),
        'straight walls at right angles for polygons of these classes, such as buildings',
        group=_WRITTEN,
        metavar='CLASS',
    )
    formats: Sequence[Format] = option(
        ('gpkg',), 'of polygons and objects, one or several', group=_WRITTEN, flag='--format'
    )
    quicklook: bool = option(
        True, 'write a quick look of the scene with the result, NAME_quicklook.png', group=_WRITTEN
    )
    stac: bool = option(False, 'describe the files as a STAC item, NAME.stac.json', group=_WRITTEN)
    staging: str | None = option(
        None,
        'of results in an object store: the local folder in which their files are made (default: '
        'one in the folder for temporary files)',
        group=_WRITTEN,
        metavar='FOLDER',
    )
    force: bool = option(False, 'accept scenes of an unsuitable GSD or data type', group=_WHAT)

    def __post_init__(self) -> None:
        for name in 'regularise', 'formats':
            value = getattr(self, name)
            value = (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
            object.__setattr__(self, name, value)  # the way of frozen dataclasses
        for name, hint in typing.get_type_hints(type(self)).items():
            allowed, value = _choices(hint), getattr(self, name)
            if allowed and value not in allowed:
                raise ConfigError(f'{name} {value!r}', f'one of {", ".join(map(str, allowed))}')
        self._check_numbers()
        self._check_formats()

    def _check_numbers(self) -> None:
        for name, value, least in (
            ('tiles of {} pixels', self.tile, 1),
            ('batches of {} tiles', self.batch_size, 1),
            ('{} threads that read', self.readers, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(name.format(value), 'at least one')
        if not 0 <= self.score <= 1:
            raise ConfigError(f'a minimum confidence of {self.score}', 'a number from 0 to 1')
        if not 0 < self.iou <= 1:
            raise ConfigError(f'an IoU of {self.iou}', 'a number above 0, up to 1')
        if not 0 <= self.min_area < math.inf:
            raise ConfigError(f'min_area {self.min_area}', 'm2, a number from 0 on')
        if self.simplify is not None and not 0 < self.simplify < math.inf:
            raise ConfigError(
                f'simplifying with a tolerance of {self.simplify}', 'pixels, a number above 0'
            )

    def _check_formats(self) -> None:
        unknown = [name for name in self.formats if name not in typing.get_args(Format)]
        if unknown or not self.formats:
            raise ConfigError(
                f'the format {unknown[0]!r}' if unknown else 'no format for layers',
                f'one or several of {", ".join(typing.get_args(Format))}',
            )
        if 'parquet' in self.formats:
            from geo_mm.formats.layers import require_pyarrow

            require_pyarrow('parquet')

    def changed(self, names: Sequence[str]) -> list[str]:
        """Those of these options that are not at their default."""
        defaults = {item.name: item.default for item in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

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


def tile_side(wanted: int | None, chip_size: tuple[int, int]) -> int:
    """Side of a tile in pixels: as wanted; None: twice the chips' size, at least 512."""
    return max(512, 2 * max(chip_size)) if wanted is None else wanted


def _choices(hint: Any) -> tuple:
    """The values of a field that has only some; none if it takes any."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = typing.get_args(hint)
        found = [value for part in parts for value in _choices(part)]
        return (*found, None) if found and types.NoneType in parts else tuple(found)
    return ()
