"""Which predicted object is which true one."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import STRtree

_CHUNK = 4096  # predictions whose neighbours are looked up at once
_BOX_TOLERANCE = 1e-12  # share of its bounding box that a box may lack, for rounding


@dataclass(frozen=True, eq=False)
class ObjectSet:
    """The objects of one scene, predicted or true.

    Attributes:
        geometries: (N,) valid Polygons or MultiPolygons in one planar CRS.
        labels: (N,) int64 class indices.
        areas: (N,) float64 ground area in m2, which decides about size classes.
        scores: (N,) float64 confidence, or None if there is none.
        crowd: (N,) bool, True for areas that are neither object nor background:
            what is predicted in them is not counted. Truth only.
        inside: (N,) bool, False for objects outside the area of interest.
        fids: (N,) int64 feature ids in the source.
    """

    geometries: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    scores: np.ndarray | None
    crowd: np.ndarray
    inside: np.ndarray
    fids: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def ranked(self) -> 'ObjectSet':
        """The objects by falling score, then by falling area, then by coordinates.

        It does not depend on the order of the input (COCO keeps that of the
        file where scores are equal).
        """
        bounds = shapely.bounds(self.geometries).reshape(-1, 4)
        keys = [*bounds.T[::-1], -self.areas]
        if self.scores is not None:
            keys.append(-self.scores)
        order = np.lexsort(keys)
        columns = {name: None if v is None else v[order] for name, v in vars(self).items()}
        return ObjectSet(**columns)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Predictions and truths of the same class that overlap.

    Attributes:
        pred: (P,) index of the prediction.
        truth: (P,) index of the truth.
        iou: (P,) intersection over union; over the area of the prediction
            where the truth is a crowd.
    """

    pred: np.ndarray
    truth: np.ndarray
    iou: np.ndarray


def overlapping_pairs(pred: ObjectSet, truth: ObjectSet, least: float) -> Pairs:
    """Find all pairs of one class that overlap by at least ``least``.

    A spatial index gives the candidates; the overlap of two boxes is computed
    from their corners, and that of other outlines only where their bounding
    boxes and areas leave it possible that ``least`` is reached.

    Args:
        pred: Predicted objects.
        truth: True objects, in the same CRS.
        least: Intersection over union, above 0.
    """
    tree = STRtree(truth.geometries)
    pred_shapes, truth_shapes = _Shapes(pred.geometries), _Shapes(truth.geometries)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for start in range(0, len(pred), _CHUNK):
        p, t = tree.query(pred.geometries[start : start + _CHUNK])
        p = p + start
        same = pred.labels[p] == truth.labels[t]
        found.append(_overlaps(pred_shapes, truth_shapes, p[same], t[same], truth.crowd, least))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


class _Shapes:
    """Geometries with what is computed once for each."""

    def __init__(self, geometries: np.ndarray) -> None:
        self.geometries = geometries
        self.bounds = shapely.bounds(geometries).reshape(-1, 4)
        self.areas = shapely.area(geometries)
        box_areas = np.prod(self.bounds[:, 2:] - self.bounds[:, :2], axis=1)
        self.is_box = self.areas >= box_areas * (1 - _BOX_TOLERANCE)


def _overlaps(pred: _Shapes, truth: _Shapes, p, t, crowd, least: float):
    """Those of the candidate pairs that reach ``least``, with their overlap."""
    sides = np.minimum(pred.bounds[p, 2:], truth.bounds[t, 2:])
    sides -= np.maximum(pred.bounds[p, :2], truth.bounds[t, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    # No outline shares more than its bounding box does, or than its own area.
    common = np.minimum(common, np.minimum(pred.areas[p], truth.areas[t]))
    boxes = pred.is_box[p] & truth.is_box[t]
    possible = _ratio(pred, truth, p, t, common, crowd) >= least * (1 - 1e-9)
    p, t, common, boxes = p[possible], t[possible], common[possible], boxes[possible]
    drawn = ~boxes
    shared = shapely.intersection(pred.geometries[p[drawn]], truth.geometries[t[drawn]])
    common[drawn] = shapely.area(shared)
    iou = _ratio(pred, truth, p, t, common, crowd)
    reached = iou >= least
    return p[reached], t[reached], iou[reached]


def _ratio(pred: _Shapes, truth: _Shapes, p, t, common, crowd) -> np.ndarray:
    union = np.where(crowd[t], pred.areas[p], pred.areas[p] + truth.areas[t] - common)
    return np.divide(common, union, out=np.zeros(len(common)), where=union > 0)


def match(
    pred: ObjectSet,
    truth: ObjectSet,
    pairs: Pairs,
    thresholds: np.ndarray,
    truth_ignored: np.ndarray,
) -> np.ndarray:
    """Match predictions and truths one to one, as COCO does.

    Predictions choose in the order of falling score; each takes the free truth
    that it overlaps most, and one that counts before one that is ignored.
    Crowds are never used up.

    Without scores the pairs are taken in the order of falling overlap, which
    treats prediction and truth alike.

    Args:
        pred: Predicted objects, ranked.
        truth: True objects, ranked.
        pairs: Overlapping pairs down to the smallest threshold.
        thresholds: (T,) least intersection over union of a match.
        truth_ignored: (M,) bool, truths that are not to be counted.

    Returns:
        (T, N) int64 index of the truth each prediction is matched to, or -1.
    """
    iou_order = (-pairs.iou, truth_ignored[pairs.truth])
    if pred.scores is None:
        centre = _centres(pred)[pairs.pred] + _centres(truth)[pairs.truth]
        order = np.lexsort((centre[:, 1], centre[:, 0], *iou_order))
    else:
        order = np.lexsort((pairs.truth, *iou_order, pairs.pred))
    p, t, iou = pairs.pred[order], pairs.truth[order], pairs.iou[order]
    matched = np.full((len(thresholds), len(pred)), -1, np.int64)
    for row, threshold in enumerate(thresholds):
        # An IoU of 1 is not always reached in floating point; this is COCO's limit.
        enough = iou >= min(threshold, 1 - 1e-10)
        _assign(p[enough], t[enough], truth.crowd, matched[row])
    return matched


def _assign(p: np.ndarray, t: np.ndarray, crowd: np.ndarray, matched: np.ndarray) -> None:
    taken = np.zeros(len(crowd), bool).tolist()
    chosen = [-1] * len(matched)
    for i, j, many in zip(p.tolist(), t.tolist(), crowd[t].tolist(), strict=True):
        if chosen[i] < 0 and (many or not taken[j]):
            chosen[i] = j
            taken[j] = True
    matched[:] = chosen


def _centres(objects: ObjectSet) -> np.ndarray:
    bounds = shapely.bounds(objects.geometries).reshape(-1, 4)
    return (bounds[:, :2] + bounds[:, 2:]) / 2
