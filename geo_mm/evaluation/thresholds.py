"""What a model reaches at each threshold of confidence, and which classes it takes for others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geo_mm.classes import IGNORE
from geo_mm.detections import Detections
from geo_mm.evaluation.matching import SceneMatches
from geo_mm.evaluation.scores import Confusion

NOTHING = 'background'
"""What a false positive is in truth, and what a false negative was predicted as."""

_BINS = 1024  # of probabilities


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Precision and recall of one class over the thresholds of confidence.

    Attributes:
        thresholds: (N,) falling.
        precision: (N,) of what has at least that confidence.
        recall: (N,) likewise; rising.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @classmethod
    def of_counts(
        cls, thresholds: np.ndarray, right: np.ndarray, predicted: np.ndarray, truth: int
    ) -> 'ThresholdCurve':
        """From how many are right, and predicted, at each threshold; all that is true."""
        some = predicted > 0
        return cls(thresholds[some], right[some] / predicted[some], right[some] / max(truth, 1))

    @property
    def f1(self) -> np.ndarray:
        both = self.precision + self.recall
        return np.divide(
            2 * self.precision * self.recall, both, np.zeros_like(both), where=both > 0
        )

    @property
    def best(self) -> tuple[float, float] | None:
        """Largest F1, and the threshold that reaches it; None without predictions."""
        if not len(self.thresholds):
            return None
        place = int(self.f1.argmax())
        return float(self.f1[place]), float(self.thresholds[place])

    @property
    def average_precision(self) -> float:
        """Sum of the precisions, each weighed with the recall that it adds."""
        return float(np.diff(self.recall, prepend=0.0) @ self.precision)

    def thinned(self, points: int = 200) -> 'ThresholdCurve':
        """The same line with fewer points, its ends among them."""
        if len(self.thresholds) <= points:
            return self
        kept = np.linspace(0, len(self.thresholds) - 1, points).round().astype(int)
        return ThresholdCurve(self.thresholds[kept], self.precision[kept], self.recall[kept])

    def to_dict(self) -> dict[str, list[float]]:
        return {name: np.round(values, 4).tolist() for name, values in vars(self).items()}


def object_curve(scenes: Sequence[SceneMatches], label: int) -> ThresholdCurve | None:
    """The curve of a class of objects; None without true objects.

    Args:
        scenes: Matches at one IoU, of all confidences.
        label: Number of the class.
    """
    truth, confidences, right = 0, [], []
    for scene in scenes:
        truth += int((scene.truth_counted & (scene.truth.class_ids == label)).sum())
        counted = scene.counted[0] & (scene.pred.class_ids == label)
        confidences.append(scene.pred.needed('confidences')[counted])
        right.append(scene.matched[0][counted] >= 0)
    if not truth:
        return None
    values = np.concatenate(confidences)
    order = np.argsort(-values, kind='stable')
    values, hits = values[order], np.concatenate(right)[order]
    # A threshold keeps all predictions of that confidence or none.
    last = np.append(values[1:] != values[:-1], True)[: len(values)]
    found, predicted = np.cumsum(hits)[last], np.arange(1, len(values) + 1)[last]
    return ThresholdCurve.of_counts(values[last], found, predicted, truth)


class ProbabilityCounts:
    """Counts class probabilities of pixels, for the curve of each class.

    Args:
        classes: How many classes there are.
    """

    def __init__(self, classes: int) -> None:
        self._true = np.zeros((classes, _BINS), np.int64)
        self._all = np.zeros((classes, _BINS), np.int64)

    def add(self, probabilities: np.ndarray, truth: np.ndarray) -> None:
        """Counts the labelled pixels of a chip.

        Args:
            probabilities: ``(classes, h, w)`` 0..1.
            truth: ``(h, w)`` class numbers, 255 where there is no label.
        """
        labelled = truth != IGNORE
        numbers = truth[labelled]
        for label, values in enumerate(probabilities):
            bins = np.minimum((values[labelled] * _BINS).astype(np.int64), _BINS - 1)
            self._all[label] += np.bincount(bins, minlength=_BINS)
            self._true[label] += np.bincount(bins[numbers == label], minlength=_BINS)

    def curve(self, label: int) -> ThresholdCurve | None:
        """The curve of a class; None without pixels of it."""
        right = np.cumsum(self._true[label, ::-1])
        if not right[-1]:
            return None
        used = self._all[label, ::-1] > 0  # others repeat their neighbour
        predicted = np.cumsum(self._all[label, ::-1])
        thresholds = np.arange(_BINS - 1, -1, -1) / _BINS
        return ThresholdCurve.of_counts(
            thresholds[used], right[used], predicted[used], int(right[-1])
        )


def without_classes(objects: Detections, least: float) -> Detections:
    """Objects of at least a confidence as if of one class; their own is in the data, ``class_id``.

    Matched like that, a prediction may meet a true object of another class.
    """
    if objects.confidences is not None:
        objects = objects[objects.confidences >= least]
    data = objects.data | {'class_id': objects.class_ids}
    return replace(objects, class_ids=np.zeros_like(objects.class_ids), data=data)


def object_confusion(scenes: Sequence[SceneMatches], classes: Sequence[str]) -> Confusion:
    """Which true objects were predicted as which class, with :data:`NOTHING` as the last class.

    Args:
        scenes: Matches of objects :func:`without_classes`.
        classes: Names of the classes.
    """
    count = len(classes)
    matrix = np.zeros((count + 1, count + 1), np.int64)
    for scene in scenes:
        pred, truth = scene.pred.data['class_id'], scene.truth.data['class_id']
        hit = scene.counted[0] & (scene.matched[0] >= 0)
        met = scene.matched[0][hit]
        np.add.at(matrix, (truth[met], pred[hit]), 1)
        extra = pred[scene.counted[0] & ~hit]
        np.add.at(matrix, (np.full(len(extra), count), extra), 1)
        missed = scene.truth_counted.copy()
        missed[met] = False
        np.add.at(matrix, (truth[missed], np.full(int(missed.sum()), count)), 1)
    return Confusion((*classes, NOTHING), matrix)
