"""Merging the detections of overlapping tiles."""

import numpy as np
import shapely
from shapely import STRtree

CHUNK = 1024  # boxes whose neighbours are looked up at once


def merge_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    iou: float = 0.5,
    ios: float | None = 0.8,
    *,
    groups: np.ndarray | None = None,
    partial: np.ndarray | None = None,
) -> np.ndarray:
    """Class-wise greedy non-maximum suppression with a spatial index.

    Boxes are taken by falling score (equal ones by falling area, then by
    coordinates); a box is kept unless a kept box of its class covers too much
    of it. The result does not depend on the order of the input.

    ``groups`` and ``partial`` say what is known of boxes that come from tiles,
    so that only what two tiles report of one object is merged, and objects
    that stand close or inside each other stay as the detector gave them.

    Args:
        boxes: (N, 4) ``x_min, y_min, x_max, y_max``.
        scores: (N,) finite.
        labels: (N,) classes.
        iou: Suppress at this intersection over union or more.
        ios: Suppress also at this intersection over the *smaller* area or
            more: an object cut by a tile's edge lies within the whole one but
            has a small IoU with it. None: do not.
        groups: (N,) the tile each box comes from. Boxes of one tile are no
            rivals: the detector has chosen among them. None: all are rivals.
        partial: (N,) bool, boxes cut by the edge of their tile. They are taken
            after the whole ones, by falling area, and only they are suppressed
            by ``ios``. None: ``ios`` counts for all.

    Returns:
        Indices of the kept boxes, by falling score.

    Raises:
        ValueError: If the arrays do not fit together or are not finite.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f'{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels')
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError('boxes and scores must be finite')
    if not len(boxes):
        return np.empty(0, dtype=np.int64)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    cut = np.zeros(len(boxes), bool) if partial is None else np.asarray(partial, bool)
    rank = np.where(cut, areas, scores)
    order = np.lexsort((labels, *boxes.T[::-1], -scores, -areas, -rank, cut))
    by_ios = None if partial is None else cut[order]
    groups = np.arange(len(boxes)) if groups is None else np.asarray(groups)
    better, worse = _conflicts(
        boxes[order], areas[order], labels[order], groups[order], iou, ios, by_ios
    )
    kept = order[_greedy(better, worse, len(order))]
    return kept[np.argsort(-scores[kept], kind='stable')]


def _conflicts(boxes, areas, labels, groups, iou: float, ios: float | None, by_ios):
    """Pairs ``better < worse`` of boxes that cannot both be kept."""
    outlines = shapely.box(*boxes.T)
    tree = STRtree(outlines)
    pairs = []
    for start in range(0, len(boxes), CHUNK):
        a, b = tree.query(outlines[start : start + CHUNK])
        a = a + start
        rivals = (a < b) & (labels[a] == labels[b]) & (groups[a] != groups[b])
        a, b = a[rivals], b[rivals]
        sides = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        conflict = common >= iou * (areas[a] + areas[b] - common)
        if ios is not None:
            inside = common >= ios * np.minimum(areas[a], areas[b])
            if by_ios is not None:
                inside &= by_ios[b] & (areas[b] <= areas[a])
            conflict |= inside
        conflict &= common > 0
        pairs.append((a[conflict], b[conflict]))
    better, worse = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return better, worse


def _greedy(better: np.ndarray, worse: np.ndarray, count: int) -> np.ndarray:
    """Which of ``count`` ranked boxes the greedy rule keeps, decided in rounds.

    An undecided box without an undecided better rival is kept, and its worse
    rivals are suppressed. This decides as going box by box does, but a round
    settles all independent groups at once.
    """
    kept = np.zeros(count, dtype=bool)
    undecided = np.ones(count, dtype=bool)
    while undecided.any():
        first = undecided.copy()
        first[worse] = False
        kept |= first
        undecided &= ~first
        undecided[worse[first[better]]] = False
        open_pairs = undecided[better] & undecided[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return np.flatnonzero(kept)
