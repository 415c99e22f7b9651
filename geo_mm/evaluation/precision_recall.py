"""Precision, recall and average precision from matched objects."""

from dataclasses import dataclass

import numpy as np

RECALL_POINTS = np.linspace(0, 1, 101)
"""Where COCO's average precision reads the precision-recall curve."""

COCO_IOUS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Counts:
    """Objects of one class, counted.

    Attributes:
        truth: True objects.
        predicted: Predicted objects.
        hits: Matched pairs.
        duplicates: Predictions that overlap a true object enough, but which
            another prediction was matched to. They are false alarms too.
        truth_area: Ground area of the true objects in m2.
        predicted_area: Ground area of the predicted objects in m2.
        iou_sum: Sum of the intersections over unions of the hits.
    """

    truth: int = 0
    predicted: int = 0
    hits: int = 0
    duplicates: int = 0
    truth_area: float = 0.0
    predicted_area: float = 0.0
    iou_sum: float = 0.0

    def __add__(self, other: 'Counts') -> 'Counts':
        mine, theirs = vars(self), vars(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def missed(self) -> int:
        return self.truth - self.hits

    @property
    def false_alarms(self) -> int:
        return self.predicted - self.hits

    @property
    def precision(self) -> float | None:
        return ratio(self.hits, self.predicted)

    @property
    def recall(self) -> float | None:
        return ratio(self.hits, self.truth)

    @property
    def f1(self) -> float | None:
        return ratio(2 * self.hits, self.truth + self.predicted)

    @property
    def mean_iou(self) -> float | None:
        """Mean intersection over union of the hits."""
        return ratio(self.iou_sum, self.hits)

    def to_dict(self) -> dict[str, float | None]:
        counts = {**vars(self), 'missed': self.missed, 'false_alarms': self.false_alarms}
        del counts['iou_sum']
        rates = ('precision', 'recall', 'f1', 'mean_iou')
        return {**counts, **{name: getattr(self, name) for name in rates}}


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``, or None where there is nothing to take a share of."""
    return float(part / whole) if whole else None


def mean(values: list[float | None]) -> float | None:
    """Mean of the values that are defined."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Curve:
    """What one class reaches over all score thresholds, at one IoU.

    Attributes:
        ap: Average precision, see :func:`precision_recall_curve`.
        recall: Largest recall.
        best_f1: Largest F1.
        best_score: Score threshold at which it is reached.
    """

    ap: float
    recall: float
    best_f1: float
    best_score: float | None


def precision_recall_curve(scores: np.ndarray, hits: np.ndarray, truth: int) -> Curve | None:
    """Average precision as COCO defines it.

    Precision is made non-increasing from the right, read at the 101 recalls 0,
    0.01 ... 1 (at the first point that reaches each; 0 where none does) and
    averaged: Lin et al., "Microsoft COCO", 2014, with the code of
    ``pycocotools.cocoeval.COCOeval.accumulate`` as the reference.

    Args:
        scores: (N,) of the counted predictions, in any order; equal scores keep
            the order given.
        hits: (N,) bool, whether each is matched.
        truth: Number of true objects.

    Returns:
        None if there is no true object.
    """
    if not truth:
        return None
    if not len(scores):
        return Curve(0.0, 0.0, 0.0, None)
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], hits[order]
    found = np.cumsum(hits)
    predicted = np.arange(1, len(hits) + 1)
    recall = found / truth
    envelope = np.maximum.accumulate((found / predicted)[::-1])[::-1]
    places = np.searchsorted(recall, RECALL_POINTS, side='left')
    read = np.append(envelope, 0.0)[places]
    # A threshold keeps all predictions of that score or none.
    last = np.append(scores[1:] != scores[:-1], True)
    f1 = np.where(last, 2 * found / (truth + predicted), -1)
    best = int(f1.argmax())
    return Curve(float(read.mean()), float(recall[-1]), float(f1[best]), float(scores[best]))
