"""What can be fitted in the anchor generators of MMDetection, as configs.

=======================  ======================================================
``AnchorGenerator``      ``scales``, or ``octave_base_scale``; and ``ratios``
``SSDAnchorGenerator``   ``min_sizes`` and ``max_sizes`` of each level, ``ratios``
``YOLOAnchorGenerator``  ``base_sizes``: width and height of each anchor
=======================  ======================================================

The number of anchors stays, so weights of the head still fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import DefaultScope

from geo_mm.errors import ConfigError
from geo_mm.models.anchor_fitting import AnchorFamily, AnchorGrid, fit_anchors

_FACTORS = (1.0, *(2.0 ** np.array([-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2])))
"""Of the config's sizes, to start from."""


@dataclass(frozen=True)
class AnchorSearch:
    """An anchor generator as parameters that can be fitted.

    Attributes:
        family: The anchors that it can make.
        parameters: ``(P,)`` its own.
        scale: ``(P,)`` what added to them makes all anchors e times as large.
        settings: From parameters to the settings of the generator's config.
    """

    family: AnchorFamily
    parameters: np.ndarray
    scale: np.ndarray
    settings: Callable[[np.ndarray], dict]

    def fit(self, boxes: np.ndarray, extents: np.ndarray, weights: np.ndarray, good: float) -> dict:
        """Settings that fit objects best, see :func:`geo_mm.models.fit_anchors`."""
        starts = [self.parameters + np.log(factor) * self.scale for factor in _FACTORS]
        return self.settings(fit_anchors(self.family, starts, boxes, extents, weights, good))


def anchor_grid(generator: Mapping) -> AnchorGrid:
    """The anchors of a generator's config."""
    built = _built(generator)
    corners = [level.numpy().astype(float) for level in built.base_anchors]
    strides = [
        np.tile(np.asarray(stride, float), (len(level), 1))
        for level, stride in zip(corners, built.strides, strict=True)
    ]
    boxes = np.concatenate(corners)
    return AnchorGrid(
        boxes[:, 2:] - boxes[:, :2],
        (boxes[:, :2] + boxes[:, 2:]) / 2,
        np.concatenate(strides),
    )


def anchor_search(generator: Mapping) -> AnchorSearch:
    """What can be fitted in a generator.

    Args:
        generator: Its config.

    Raises:
        ConfigError: If it is of another type than those above.
    """
    kind = str(generator.get('type')).rpartition('.')[2]
    if kind not in _SEARCHES:
        raise ConfigError(
            f'anchors of a {generator.get("type")}',
            f'one of {", ".join(_SEARCHES)}',
        )
    return _SEARCHES[kind](generator, _built(generator), anchor_grid(generator))


def _built(generator: Mapping):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return ROOT_TASK_UTILS.build(dict(generator))


def _pyramid(generator: Mapping, built, grid: AnchorGrid) -> AnchorSearch:
    """A scale for all levels, or several, and the ratios."""
    octaves = generator.get('octave_base_scale') is not None
    scales, ratios = built.scales.numpy().astype(float), built.ratios.numpy().astype(float)
    free = [generator['octave_base_scale']] if octaves else list(scales)
    if built.scale_major:
        ratio_of, scale_of = np.indices((len(ratios), len(scales))).reshape(2, -1)
    else:
        scale_of, ratio_of = np.indices((len(scales), len(ratios))).reshape(2, -1)
    design = np.zeros((len(scale_of), 2, len(free) + len(ratios)))
    rows = np.arange(len(scale_of))
    design[rows, :, 0 if octaves else scale_of] = 1
    design[rows, 0, len(free) + ratio_of] = -0.5  # ratio = height / width
    design[rows, 1, len(free) + ratio_of] = 0.5
    parameters = np.log([*free, *ratios])

    def settings(values: np.ndarray) -> dict:
        sizes, shapes = np.split(np.exp(values), [len(free)])
        key = 'octave_base_scale' if octaves else 'scales'
        return {
            key: _rounded(sizes[0]) if octaves else sorted(_rounded(s) for s in sizes),
            'ratios': sorted(_rounded(r) for r in shapes),
        }

    scale = np.repeat([1.0, 0.0], [len(free), len(ratios)])
    return _search(grid, np.tile(design, (len(built.strides), 1, 1)), parameters, scale, settings)


def _ssd(generator: Mapping, built, grid: AnchorGrid) -> AnchorSearch:
    """Two sides for each level, and its ratios."""
    levels = len(built.strides)
    own = [list(level) for level in generator['ratios']]
    ratios = [ratio for level in own for ratio in level]
    low = np.array(built.base_sizes, float)
    between = low * [float(scales[1]) for scales in built.scales]  # sqrt(min * max)
    parameters = np.log([*low, *between, *ratios])
    rows, place = [], 2 * levels
    for level in range(levels):
        square, larger = np.zeros((2, 2, len(parameters)))
        square[:, level] = larger[:, levels + level] = 1
        rows += [square, larger]
        for _ in own[level]:
            for sign in (-0.5, 0.5):  # 1 / ratio, then ratio
                row = square.copy()
                row[:, place] = -sign, sign
                rows.append(row)
            place += 1

    def settings(values: np.ndarray) -> dict:
        low, between, shapes = np.split(np.exp(values), [levels, 2 * levels])
        shapes = iter(_rounded(max(ratio, 1 / ratio)) for ratio in shapes)
        return {
            'min_sizes': [_rounded(side) for side in low],
            'max_sizes': [_rounded(side) for side in between**2 / low],
            'ratios': [sorted(next(shapes) for _ in level) for level in own],
        }

    scale = np.repeat([1.0, 0.0], [2 * levels, len(ratios)])
    return _search(grid, np.array(rows), parameters, scale, settings)


def _yolo(generator: Mapping, built, grid: AnchorGrid) -> AnchorSearch:
    """Width and height of each anchor."""
    parameters = np.log(grid.sizes).ravel()
    design = np.eye(len(parameters)).reshape(*grid.sizes.shape, -1)
    counts = [len(level) for level in built.base_sizes]

    def settings(values: np.ndarray) -> dict:
        sizes = np.exp(values).reshape(-1, 2)
        levels = np.split(sizes, np.cumsum(counts)[:-1])
        return {
            'base_sizes': [
                [(_rounded(w), _rounded(h)) for w, h in sorted(level.tolist(), key=np.prod)]
                for level in levels
            ]
        }

    return _search(grid, design, parameters, np.ones(len(parameters)), settings)


_SEARCHES = {
    'AnchorGenerator': _pyramid,
    'SSDAnchorGenerator': _ssd,
    'YOLOAnchorGenerator': _yolo,
}


def _search(grid, design, parameters, scale, settings) -> AnchorSearch:
    offset = np.log(grid.sizes) - design @ parameters
    family = AnchorFamily(grid.centres, grid.strides, offset, design)
    return AnchorSearch(family, parameters, scale, settings)


def _rounded(value: float) -> float:
    """To three significant digits."""
    return float(f'{value:.3g}')
