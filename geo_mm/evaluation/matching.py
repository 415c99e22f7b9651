"""Which predicted object is which true one, one to one, in map space."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geo_mm.detections import Detections
from geo_mm.detections.box_index import BoxPairs, box_areas
from geo_mm.geometry import rounded

COCO_IOUS = np.linspace(0.5, 0.95, 10)
_BOX_TOLERANCE = 1e-12  # share of its bounding box that a box may lack, for rounding


@dataclass(frozen=True)
class SizeRange:
    """Ground areas of ``low`` m2 up to, but without, ``high`` m2."""

    low: float = 0.0
    high: float = np.inf

    def holds(self, areas: np.ndarray) -> np.ndarray:
        return (areas >= self.low) & (areas < self.high)


def size_ranges(limits: Sequence[float]) -> tuple[SizeRange, ...]:
    """The size classes between limits: 50, 200 gives 0-50, 50-200, from 200."""
    edges = [0.0, *sorted(limits), np.inf]
    return tuple(SizeRange(*edge) for edge in itertools.pairwise(edges))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Predictions and true objects of the same class that overlap.

    Attributes:
        pred: (P,) index of the prediction.
        truth: (P,) index of the true object.
        iou: (P,) intersection over union; over the area of the prediction
            where the true object is a crowd.
    """

    pred: np.ndarray
    truth: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True, eq=False)
class SceneMatches:
    """How the objects of one scene and one size range were matched.

    Row 0 of the (T, N) arrays belongs to the chosen IoU, the others to COCO's
    ten if those are wanted.

    Attributes:
        pred: Predicted objects, ranked.
        truth: True objects, ranked.
        counted: (T, N) bool, predictions that count as true or false positive.
        matched: (T, N) int64 true object of each prediction, or -1.
        duplicate: (N,) bool, at the chosen IoU.
        iou: (N,) overlap with the true object matched at the chosen IoU, else 0.
        truth_counted: (M,) bool.
    """

    pred: Detections
    truth: Detections
    counted: np.ndarray
    matched: np.ndarray
    duplicate: np.ndarray
    iou: np.ndarray
    truth_counted: np.ndarray


def match_scene(
    pred: Detections, truth: Detections, thresholds: np.ndarray, ranges: Sequence[SizeRange]
) -> list[SceneMatches]:
    """Match the objects of one scene, for every size range.

    Size ranges and the area of interest are treated alike, as COCO treats its
    area ranges. A true object outside is ignored: it may be matched, but is no
    false negative, and the prediction matched to it is ignored, too. An unmatched
    prediction is a false positive only if it is itself inside. So an object on the
    border never counts as a false negative and a false positive at once.

    Args:
        pred: Predicted objects with outlines in one planar CRS, and in their
            data ``area_m2``, the ground area, which decides about size
            classes, and ``inside``, false outside the area of interest.
        truth: True objects likewise; also ``crowd``, true for areas that are
            neither object nor background: what is predicted there is not counted.
        thresholds: (T,) IoUs, the chosen one first.
        ranges: Size ranges, one result for each.
    """
    pred, truth = _ranked(pred), _ranked(truth)
    pairs = overlapping_pairs(pred, truth, float(min(thresholds)) * (1 - 1e-10))
    return [_match_range(pred, truth, pairs, thresholds, each) for each in ranges]


def _ranked(objects: Detections) -> Detections:
    """By falling confidence, then by falling area, then by coordinates.

    It does not depend on the order of the input (COCO keeps that of the file
    where confidences are equal).
    """
    keys = [*objects.boxes.T[::-1], -objects.data['area_m2']]
    if objects.confidences is not None:
        keys.append(-objects.confidences)
    return objects[np.lexsort(keys)]


def _match_range(
    pred: Detections, truth: Detections, pairs: Candidates, thresholds: np.ndarray, size: SizeRange
) -> SceneMatches:
    crowd = truth.data['crowd']
    truth_counted = truth.data['inside'] & ~crowd & size.holds(truth.data['area_m2'])
    matched = _match(pred, truth, pairs, thresholds, ~truth_counted)
    own = pred.data['inside'] & size.holds(pred.data['area_m2'])
    # The last entry is what index -1, no match, finds.
    counted = np.where(matched >= 0, np.append(truth_counted, False)[matched], own)
    near = np.zeros(len(pred), bool)
    near[pairs.pred[(pairs.iou >= thresholds[0]) & ~crowd[pairs.truth]]] = True
    iou = np.zeros(len(pred))
    chosen = pairs.truth == matched[0][pairs.pred]
    iou[pairs.pred[chosen]] = pairs.iou[chosen]
    duplicate = near & (matched[0] < 0) & counted[0]
    return SceneMatches(pred, truth, counted, matched, duplicate, iou, truth_counted)


def overlapping_pairs(pred: Detections, truth: Detections, least: float) -> Candidates:
    """Find all pairs of one class that overlap by at least ``least``.

    The overlap of two boxes is computed from their corners, and that of other
    outlines only where their bounding boxes and areas leave it possible that
    ``least`` is reached.

    Args:
        pred: Predicted objects.
        truth: True objects.
        least: Intersection over union, above 0.
    """
    count = len(pred)
    boxes = np.concatenate([pred.boxes, truth.boxes])
    class_ids = np.concatenate([pred.class_ids, truth.class_ids])
    is_pred = np.arange(len(boxes)) < count
    pred_boxes, truth_boxes = _are_boxes(pred), _are_boxes(truth)
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    found: list[tuple[np.ndarray, ...]] = [empty]
    for one, other, shared in BoxPairs(boxes, class_ids).between(is_pred, ~is_pred):
        p, t = one.astype(np.int64), other.astype(np.int64) - count
        # No outline shares more than its bounding box does, or than its own area.
        shared = np.minimum(shared, np.minimum(pred.areas[p], truth.areas[t]))
        possible = _ratio(pred, truth, p, t, shared) >= least * (1 - 1e-9)
        p, t, shared = p[possible], t[possible], shared[possible]
        drawn = ~(pred_boxes[p] & truth_boxes[t])
        both = rounded(pred.shapes[p[drawn]], truth.shapes[t[drawn]])
        shared[drawn] = shapely.area(shapely.intersection(*both))
        iou = _ratio(pred, truth, p, t, shared)
        reached = iou >= least
        found.append((p[reached], t[reached], iou[reached]))
    return Candidates(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _are_boxes(objects: Detections) -> np.ndarray:
    return objects.areas >= box_areas(objects.boxes) * (1 - _BOX_TOLERANCE)


def _ratio(pred: Detections, truth: Detections, p, t, shared) -> np.ndarray:
    own, other = pred.areas[p], truth.areas[t]
    union = np.where(truth.data['crowd'][t], own, own + other - shared)
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)


def _match(
    pred: Detections,
    truth: Detections,
    pairs: Candidates,
    thresholds: np.ndarray,
    truth_ignored: np.ndarray,
) -> np.ndarray:
    """Match predictions and true objects one to one, as COCO does.

    Predictions choose in the order of falling confidence; each takes the free
    true object that it overlaps most, and one that counts before one that is
    ignored. Crowds are never used up. Without confidences the pairs are taken
    in the order of falling overlap, which treats both sides alike.

    Returns:
        (T, N) int64 index of the true object of each prediction, or -1.
    """
    iou_order = (-pairs.iou, truth_ignored[pairs.truth])
    if pred.confidences is None:
        centre = _centres(pred)[pairs.pred] + _centres(truth)[pairs.truth]
        order = np.lexsort((centre[:, 1], centre[:, 0], *iou_order))
    else:
        order = np.lexsort((pairs.truth, *iou_order, pairs.pred))
    p, t, iou = pairs.pred[order], pairs.truth[order], pairs.iou[order]
    matched = np.full((len(thresholds), len(pred)), -1, np.int64)
    for row, threshold in enumerate(thresholds):
        # An IoU of 1 is not always reached in floating point; this is COCO's limit.
        enough = iou >= min(threshold, 1 - 1e-10)
        _assign(p[enough], t[enough], truth.data['crowd'], matched[row])
    return matched


def _assign(p: np.ndarray, t: np.ndarray, crowd: np.ndarray, matched: np.ndarray) -> None:
    taken = np.zeros(len(crowd), bool).tolist()
    chosen = [-1] * len(matched)
    for i, j, many in zip(p.tolist(), t.tolist(), crowd[t].tolist(), strict=True):
        if chosen[i] < 0 and (many or not taken[j]):
            chosen[i] = j
            taken[j] = True
    matched[:] = chosen


def _centres(objects: Detections) -> np.ndarray:
    return (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
