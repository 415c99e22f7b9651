"""Anchors that fit the objects: k-means with the distance 1 - IoU.

The distance is that of Redmon and Farhadi 2017 (YOLO9000, arXiv:1612.08242,
section 2), with two differences. An anchor is compared where the model puts
it, at the cell of its level that is nearest to the object, not around the
object's own centre: small anchors on a coarse grid look good only in the
latter. And the sizes of several anchors may hang on one parameter, as those of
a feature pyramid do, where only a common scale is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ITERATIONS = 30
_PATIENCE = 3
_STEPS = np.log([1.3, 1.1, 1.03])
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
                box lies in.

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


@dataclass(frozen=True)
class AnchorFamily:
    """All anchors that a generator can make: log sizes are linear in parameters.

    Attributes:
        centres: ``(A, 2)``, see :class:`AnchorGrid`.
        strides: ``(A, 2)``, see :class:`AnchorGrid`.
        offset: ``(A, 2)`` logarithms of width and height where all parameters are 0.
        design: ``(A, 2, P)`` their change with each parameter.
    """

    centres: np.ndarray
    strides: np.ndarray
    offset: np.ndarray
    design: np.ndarray

    def grid(self, parameters: np.ndarray) -> AnchorGrid:
        """The anchors for ``(P,)`` parameters."""
        return AnchorGrid(np.exp(self._logs(parameters)), self.centres, self.strides)

    def _logs(self, parameters: np.ndarray) -> np.ndarray:
        return self.offset + self.design @ parameters

    def moved(
        self, parameters: np.ndarray, sizes: np.ndarray, owner: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """The parameters at which anchors lie nearest to what they own.

        The update step of k-means: least squares between the logarithms of
        sizes, hence geometric means where an anchor has parameters of its own.
        Parameters of anchors that own nothing stay.

        Args:
            parameters: ``(P,)`` those of now.
            sizes: ``(N, 2)`` width and height of each object.
            owner: ``(N,)`` its anchor.
            weights: ``(N,)`` how much it counts.
        """
        owned = np.bincount(owner, weights, minlength=len(self.offset))
        total = np.zeros_like(self.offset)
        np.add.at(total, owner, weights[:, None] * np.log(sizes))
        used = owned > 0
        root = np.sqrt(owned[used])[:, None]
        wanted = total[used] / root**2 - self._logs(parameters)[used]
        design = (self.design[used] * root[..., None]).reshape(-1, len(parameters))
        return parameters + np.linalg.lstsq(design, (wanted * root).ravel(), rcond=None)[0]


def fit_anchors(
    family: AnchorFamily,
    starts: Sequence[np.ndarray],
    boxes: np.ndarray,
    extents: np.ndarray,
    weights: np.ndarray,
    good: float,
) -> np.ndarray:
    """The parameters that serve objects best.

    What counts is the share of objects whose best IoU is good, and a third as
    much the mean of the best IoUs. k-means from each start, then a search around the
    best that was found: least squares take no account of the grid, where the
    smallest objects are best served by anchors larger than they are. Never
    worse than a start.

    Args:
        family: The anchors to choose from.
        starts: Parameters ``(P,)`` to begin with. Those that make only anchors
            that serve no object stay as in the first.
        boxes: ``(N, 4)`` xyxy in pixels, of positive area.
        extents: ``(N, 2)``, see :meth:`AnchorGrid.iou`.
        weights: ``(N,)`` how much each object counts.
        good: The IoU from which an anchor is good for an object.

    Returns:
        ``(P,)``.
    """
    goal = _Goal(family, boxes, extents, weights, good)
    found = [_by_means(goal, start) for start in starts]
    parameters = _by_trying(goal, max(found, key=lambda pair: pair[0]))
    serving = np.unique(goal.iou(parameters).argmax(axis=1))
    return np.where(family.design[serving].any(axis=(0, 1)), parameters, starts[0])


@dataclass(frozen=True)
class _Goal:
    family: AnchorFamily
    boxes: np.ndarray
    extents: np.ndarray
    weights: np.ndarray
    good: float

    def iou(self, parameters: np.ndarray) -> np.ndarray:
        return self.family.grid(parameters).iou(self.boxes, self.extents)

    def score(self, iou: np.ndarray) -> float:
        best = iou.max(axis=1)
        return float(np.average(best + _SHARE * (best >= self.good), weights=self.weights))


def _by_means(goal: _Goal, start: np.ndarray) -> tuple[float, np.ndarray]:
    """The best score that k-means comes by, and its parameters."""
    sizes = goal.boxes[:, 2:] - goal.boxes[:, :2]
    parameters, best, since = start, (-1.0, start), 0
    for _ in range(_ITERATIONS):
        iou = goal.iou(parameters)
        score = goal.score(iou)
        since = 0 if score > best[0] else since + 1
        if since > _PATIENCE:  # least squares may leave the best point again
            break
        best = max(best, (score, parameters), key=lambda pair: pair[0])
        parameters = goal.family.moved(parameters, sizes, iou.argmax(axis=1), goal.weights)
    return best


def _by_trying(goal: _Goal, best: tuple[float, np.ndarray]) -> np.ndarray:
    """Moves one parameter after the other as long as that helps."""
    for step in _STEPS:
        moves = np.concatenate([np.eye(len(best[1])), -np.eye(len(best[1]))]) * step
        improved = True
        while improved:
            improved = False
            for move in moves:
                score = goal.score(goal.iou(best[1] + move))
                if score > best[0] + _GAIN:
                    best, improved = (score, best[1] + move), True
    return best[1]
