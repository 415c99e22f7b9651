"""Anchors that fit the objects: what to write into the config of an anchor generator.

=======================  ======================================================
``AnchorGenerator``      ``scales``, or ``octave_base_scale``; and ``ratios``
``SSDAnchorGenerator``   ``min_sizes`` and ``max_sizes`` of each level, ``ratios``
``YOLOAnchorGenerator``  ``base_sizes``: width and height of each anchor
=======================  ======================================================

The number of anchors stays, so weights of the head still fit. An anchor is
compared where the model puts it, at the cell of its level that is nearest to
the object, and not around the object's own centre, as the k-means of YOLO9000
(arXiv:1612.08242, section 2) does: small anchors on a coarse grid look good
only in the latter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import DefaultScope

from geo_mm.errors import ConfigError

_FACTORS = (1.0, *(2.0 ** np.array([-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2])))
"""Of the config's sizes, to start from."""

_STEPS = (1.3, 1.1, 1.03)
_GAIN = 1e-4
_SHARE = 3.0
"""What the share of objects with a good anchor counts against the mean IoU: without
one an object is hardly learnt, with a better one it is learnt a little sooner."""


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors of all levels of a model, one row per kind of anchor.

    Attributes:
        sizes: ``(A, 2)`` width and height in pixels.
        centres: ``(A, 2)`` x and y of its middle at its level's first cell.
        strides: ``(A, 2)`` steps between the cells of its level, along x and y.
    """

    sizes: np.ndarray
    centres: np.ndarray
    strides: np.ndarray

    def iou(self, boxes: np.ndarray, extents: np.ndarray) -> np.ndarray:
        """Best IoU of each box with the anchors of each kind.

        The overlap with an anchor shrinks with the distance along x and along
        y, so the best one of a kind stands at the nearest cell.

        Args:
            boxes: ``(N, 4)`` xyxy in pixels, of positive area.
            extents: ``(N, 2)`` width and height of the padded chip that each
                box is in.

        Returns:
            ``(N, A)`` values 0..1.
        """
        middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        last = np.ceil(extents[:, None] / self.strides) - 1
        cells = np.clip(np.rint((middles - self.centres) / self.strides), 0, last)
        anchors = cells * self.strides + self.centres
        low = np.maximum(boxes[:, None, :2], anchors - self.sizes / 2)
        high = np.minimum(boxes[:, None, 2:], anchors + self.sizes / 2)
        common = np.clip(high - low, 0, None).prod(axis=2)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return common / (areas[:, None] + self.sizes.prod(axis=1) - common)


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


def fit_anchors(
    generator: Mapping, boxes: np.ndarray, extents: np.ndarray, weights: np.ndarray, good: float
) -> dict:
    """Settings of a generator that serve objects best.

    What counts is the share of objects whose best IoU is good, and a third as
    much the mean of the best IoUs. The best multiple of the config's sizes is
    changed, one number after the other, as long as that helps. Numbers that
    serve no object stay.

    Args:
        generator: Its config, of one of the types above.
        boxes: ``(N, 4)`` xyxy in pixels, of positive area.
        extents: ``(N, 2)``, see :meth:`AnchorGrid.iou`.
        weights: ``(N,)`` how much each object counts.
        good: The IoU from which an anchor is good for an object.

    Returns:
        What to change in the config.

    Raises:
        ConfigError: If the generator is of another type.
    """
    settings = _settings(generator)
    own = np.array(list(_numbers(settings)))
    is_size = np.array([key != 'ratios' for key in settings for _ in _numbers(settings[key])])

    def score(numbers: np.ndarray) -> float:
        iou = anchor_grid({**generator, **_filled(settings, iter(numbers))}).iou(boxes, extents)
        best = iou.max(axis=1)
        return float(np.average(best + _SHARE * (best >= good), weights=weights))

    best = max((own * np.where(is_size, factor, 1.0) for factor in _FACTORS), key=score)
    reached = score(best)
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for place in range(len(own)):
                for factor in (step, 1 / step):
                    tried = best.copy()
                    tried[place] *= factor
                    if (now := score(tried)) > reached + _GAIN:
                        best, reached, improved = tried, now, True
    for place in range(len(own)):
        tried = best.copy()
        tried[place] = own[place]
        if score(tried) >= reached:
            best = tried
    return _filled(settings, (float(f'{number:.3g}') for number in best))


def _built(generator: Mapping):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return ROOT_TASK_UTILS.build(dict(generator))


def _settings(generator: Mapping) -> dict:
    """What can be changed in a config, as it is now."""
    kind, built = str(generator.get('type')).rpartition('.')[2], _built(generator)
    if kind == 'YOLOAnchorGenerator':
        return {'base_sizes': generator['base_sizes']}
    if kind == 'SSDAnchorGenerator':
        low = [float(side) for side in built.base_sizes]
        between = [float(scales[1]) for scales in built.scales]  # sqrt(max / min)
        high = [side * share**2 for side, share in zip(low, between, strict=True)]
        return {'min_sizes': low, 'max_sizes': high, 'ratios': generator['ratios']}
    if kind == 'AnchorGenerator':
        key = 'scales' if generator.get('octave_base_scale') is None else 'octave_base_scale'
        return {key: generator[key], 'ratios': generator['ratios']}
    raise ConfigError(
        f'anchors of a {generator.get("type")}',
        'AnchorGenerator, SSDAnchorGenerator or YOLOAnchorGenerator',
    )


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in nested dicts, lists and tuples."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    else:
        yield float(value)


def _filled(value: Any, numbers: Iterator[float]) -> Any:
    """The same nesting with other numbers."""
    if isinstance(value, Mapping):
        return {key: _filled(item, numbers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, numbers) for item in value)
    return float(next(numbers))
