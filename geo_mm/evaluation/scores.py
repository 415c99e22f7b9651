"""Scores, per class and summed over scenes: of objects, and of pixels by their confusion matrix."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from geo_mm.detections import Detections
from geo_mm.evaluation.matching import SceneMatches

RECALL_POINTS = np.linspace(0, 1, 101)
"""Where COCO's average precision reads the precision-recall curve."""


@dataclass(frozen=True)
class Counts:
    """Objects of one class, counted.

    Attributes:
        truth: True objects.
        predicted: Predicted objects.
        true_positives: Matched pairs.
        duplicates: Predictions that overlap a true object enough, but which
            another prediction was matched to. They are false positives too.
        truth_area: Ground area of the true objects in m2.
        predicted_area: Ground area of the predicted objects in m2.
        iou_sum: Sum of the intersections over unions of the true positives.
    """

    truth: int = 0
    predicted: int = 0
    true_positives: int = 0
    duplicates: int = 0
    truth_area: float = 0.0
    predicted_area: float = 0.0
    iou_sum: float = 0.0

    def __add__(self, other: 'Counts') -> 'Counts':
        mine, theirs = vars(self), vars(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def false_negatives(self) -> int:
        return self.truth - self.true_positives

    @property
    def false_positives(self) -> int:
        return self.predicted - self.true_positives

    @property
    def precision(self) -> float | None:
        return ratio(self.true_positives, self.predicted)

    @property
    def recall(self) -> float | None:
        return ratio(self.true_positives, self.truth)

    @property
    def f1(self) -> float | None:
        return ratio(2 * self.true_positives, self.truth + self.predicted)

    @property
    def mean_iou(self) -> float | None:
        """Mean intersection over union of the true positives."""
        return ratio(self.iou_sum, self.true_positives)

    def to_dict(self) -> dict[str, float | None]:
        counts = dict(vars(self))
        del counts['iou_sum']
        derived = ('false_negatives', 'false_positives', 'precision', 'recall', 'f1', 'mean_iou')
        return counts | {name: getattr(self, name) for name in derived}


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


def precision_recall_curve(scores: np.ndarray, right: np.ndarray, truth: int) -> Curve | None:
    """Average precision as COCO defines it.

    Precision is made non-increasing from the right, read at the 101 recalls 0,
    0.01 ... 1 (at the first point that reaches each; 0 where none does) and
    averaged: Lin et al., "Microsoft COCO", 2014, with the code of
    ``pycocotools.cocoeval.COCOeval.accumulate`` as the reference.

    Args:
        scores: (N,) of the counted predictions, in any order; equal scores keep
            the order given.
        right: (N,) bool, whether each is matched.
        truth: Number of true objects.

    Returns:
        None if there is no true object.
    """
    if not truth:
        return None
    if not len(scores):
        return Curve(0.0, 0.0, 0.0, None)
    order = np.argsort(-scores, kind='stable')
    scores, right = scores[order], right[order]
    found = np.cumsum(right)
    predicted = np.arange(1, len(right) + 1)
    recall = found / truth
    envelope = np.maximum.accumulate((found / predicted)[::-1])[::-1]
    places = np.searchsorted(recall, RECALL_POINTS, side='left')
    read = np.append(envelope, 0.0)[places]
    # A threshold keeps all predictions of that score or none.
    last = np.append(scores[1:] != scores[:-1], True)
    f1 = np.where(last, 2 * found / (truth + predicted), -1)
    best = int(f1.argmax())
    return Curve(float(read.mean()), float(recall[-1]), float(f1[best]), float(scores[best]))


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, or of all together.

    Attributes:
        counts: At the chosen IoU and least score.
        curve: Over all scores at the chosen IoU; None without scores or truth.
        ap_coco: Average precision, mean over IoU 0.50, 0.55 ... 0.95.
        ar_coco: Largest recall, mean over the same IoUs.
    """

    counts: Counts
    curve: Curve | None = None
    ap_coco: float | None = None
    ar_coco: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        curve = self.curve
        return {
            **self.counts.to_dict(),
            'ap': None if curve is None else curve.ap,
            'best_f1': None if curve is None else curve.best_f1,
            'best_score': None if curve is None else curve.best_score,
            'ap_50_95': self.ap_coco,
            'ar_50_95': self.ar_coco,
        }


@dataclass(frozen=True)
class ObjectScores:
    """Scores per class and overall.

    ``overall`` sums the counts of all classes, so its precision, recall and F1
    weigh every object alike. Its average precisions and recalls are means over
    the classes with true objects, as in COCO.
    """

    classes: dict[str, ClassScores]
    overall: ClassScores
    ap: float | None

    def to_dict(self) -> dict:
        overall = {**self.overall.to_dict(), 'ap': self.ap}
        # A threshold is a matter of one class.
        del overall['best_f1'], overall['best_score']
        return {
            'overall': overall,
            'classes': {name: scores.to_dict() for name, scores in self.classes.items()},
        }


def score_objects(
    scenes: Sequence[SceneMatches], classes: Sequence[str], *, min_score: float | None = None
) -> ObjectScores:
    """Sum the matches of scenes into scores.

    Args:
        scenes: Matches of one size range.
        classes: Names of the classes, in the order of their labels.
        min_score: Predictions below it are left out of the counts; average
            precision is over all of them.
    """
    scored = all(scene.pred.confidences is not None for scene in scenes)
    result = {}
    for label, name in enumerate(classes):
        parts = [_count(scene, label, min_score) for scene in scenes]
        counts = sum(parts, Counts())
        curves = _curves(scenes, label) if scored else []
        curve, coco = (curves[0], curves[1:]) if curves else (None, [])
        known = [each for each in coco if each is not None]
        ap, ar = mean([each.ap for each in known]), mean([each.recall for each in known])
        result[name] = ClassScores(counts, curve, ap, ar)
    total = sum((scores.counts for scores in result.values()), Counts())
    overall = ClassScores(
        total,
        None,
        mean([scores.ap_coco for scores in result.values()]),
        mean([scores.ar_coco for scores in result.values()]),
    )
    ap = mean([scores.curve.ap for scores in result.values() if scores.curve])
    return ObjectScores(result, overall, ap)


def _count(scene: SceneMatches, label: int, min_score: float | None) -> Counts:
    pred, truth = scene.pred, scene.truth
    shown = scene.counted[0] & (pred.class_ids == label) & is_shown(pred, min_score)
    right = shown & (scene.matched[0] >= 0)
    true = scene.truth_counted & (truth.class_ids == label)
    return Counts(
        truth=int(true.sum()),
        predicted=int(shown.sum()),
        true_positives=int(right.sum()),
        duplicates=int((shown & scene.duplicate).sum()),
        truth_area=float(truth.data['area_m2'][true].sum()),
        predicted_area=float(pred.data['area_m2'][shown].sum()),
        iou_sum=float(scene.iou[right].sum()),
    )


def is_shown(pred: Detections, min_score: float | None) -> np.ndarray:
    """(N,) bool, predictions of at least a score.

    Matching goes by falling score, so leaving out the low ones afterwards is
    the same as before.
    """
    if min_score is None or pred.confidences is None:
        return np.ones(len(pred), bool)
    return pred.confidences >= min_score


def _curves(scenes: Sequence[SceneMatches], label: int) -> list[Curve | None]:
    truth = sum(
        int((scene.truth_counted & (scene.truth.class_ids == label)).sum()) for scene in scenes
    )
    curves = []
    for row in range(len(scenes[0].counted) if scenes else 0):
        scores, right = [], []
        for scene in scenes:
            counted = np.flatnonzero(scene.counted[row] & (scene.pred.class_ids == label))
            # Equal scores in the order in which they were matched.
            scores.append(scene.pred.needed('confidences')[counted])
            right.append(scene.matched[row][counted] >= 0)
        curves.append(precision_recall_curve(np.concatenate(scores), np.concatenate(right), truth))
    return curves


@dataclass(frozen=True)
class PixelCounts:
    """How pixels of one class were predicted; rates are None where they are undefined.

    Attributes:
        truth: Pixels of the class in the ground truth.
        predicted: Pixels that were given the class.
        precision: Share of the pixels given the class that are of it: the user's accuracy.
        recall: Share of the pixels of the class that were given it: the producer's accuracy.
        f1: Harmonic mean of both.
        iou: Intersection over union.
    """

    truth: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


@dataclass(frozen=True)
class PixelTotals:
    """How pixels of all classes were predicted.

    Attributes:
        pixels: How many were compared.
        accuracy: Share of them that were given their class.
        kappa: Cohen's kappa: agreement beyond that of chance with the same
            totals. None where chance alone agrees fully, that is, with a single class.
        mean_iou: Mean over the classes that occur; so are the other means.
        mean_f1: As said.
        mean_precision: As said.
        mean_recall: As said.
    """

    pixels: int
    accuracy: float | None
    kappa: float | None
    mean_iou: float | None
    mean_f1: float | None
    mean_precision: float | None
    mean_recall: float | None


@dataclass(frozen=True)
class PixelScores:
    """Scores of class rasters per class and overall."""

    classes: dict[str, PixelCounts]
    overall: PixelTotals


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each true class was given each class.

    A class without pixels in ground truth and prediction has no rates (None)
    and no part in the means.

    Attributes:
        classes: Names of the K classes.
        matrix: (K, K) int64; rows are true, columns predicted classes.
    """

    classes: tuple[str, ...]
    matrix: np.ndarray

    def __add__(self, other: 'Confusion') -> 'Confusion':
        if self.classes != other.classes:
            raise ValueError(f'matrices of {self.classes} and {other.classes}')
        return Confusion(self.classes, self.matrix + other.matrix)

    @property
    def total(self) -> int:
        return int(self.matrix.sum())

    @property
    def true(self) -> np.ndarray:
        """(K,) pixels of each class in the ground truth."""
        return self.matrix.sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """(K,) pixels that were given each class."""
        return self.matrix.sum(axis=0)

    @property
    def right(self) -> np.ndarray:
        """(K,) pixels that are of the class and were given it."""
        return np.diag(self.matrix)

    @property
    def precision(self) -> list[float | None]:
        return _ratios(self.right, self.predicted)

    @property
    def recall(self) -> list[float | None]:
        return _ratios(self.right, self.true)

    @property
    def f1(self) -> list[float | None]:
        return _ratios(2 * self.right, self.true + self.predicted)

    @property
    def iou(self) -> list[float | None]:
        return _ratios(self.right, self.true + self.predicted - self.right)

    @property
    def accuracy(self) -> float | None:
        return ratio(int(self.right.sum()), self.total)

    @property
    def kappa(self) -> float | None:
        used = (self.true > 0) | (self.predicted > 0)
        accuracy = self.accuracy
        if accuracy is None or used.sum() < 2:
            return None
        # Products of pixel counts of large scenes do not fit int64.
        chance = float((self.true / self.total) @ (self.predicted / self.total))
        return (accuracy - chance) / (1 - chance)

    @property
    def scores(self) -> PixelScores:
        """Scores per class and overall."""
        counts = self.true.tolist(), self.predicted.tolist()
        rates = {name: getattr(self, name) for name in ('precision', 'recall', 'f1', 'iou')}
        rows = zip(*counts, *rates.values(), strict=True)
        means = {f'mean_{name}': mean(values) for name, values in rates.items()}
        return PixelScores(
            {name: PixelCounts(*row) for name, row in zip(self.classes, rows, strict=True)},
            PixelTotals(self.total, self.accuracy, self.kappa, **means),
        )

    def to_dict(self, pixel_area: float | None = None) -> dict:
        """Plain data for JSON.

        Args:
            pixel_area: Ground area of a pixel in m2, to give areas too.
        """
        scores = self.scores
        classes = {name: asdict(each) for name, each in scores.classes.items()}
        if pixel_area is not None:
            for each in classes.values():
                each['truth_area'] = each['truth'] * pixel_area
                each['predicted_area'] = each['predicted'] * pixel_area
        overall, confusion = asdict(scores.overall), self.matrix.tolist()
        return {'overall': overall, 'classes': classes, 'confusion': confusion}


def _ratios(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [ratio(int(a), int(b)) for a, b in zip(part, whole, strict=True)]
