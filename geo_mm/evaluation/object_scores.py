"""Scores of objects, summed over scenes, per class and size."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo_mm.evaluation.matching import ObjectSet, Pairs, match, overlapping_pairs
from geo_mm.evaluation.precision_recall import (
    COCO_IOUS,
    Counts,
    Curve,
    mean,
    precision_recall_curve,
)


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
class SceneMatches:
    """How the objects of one scene and one size range were matched.

    Row 0 of the (T, N) arrays belongs to the chosen IoU, the others to COCO's
    ten if those are wanted.

    Attributes:
        pred: Predicted objects, ranked.
        truth: True objects, ranked.
        counted: (T, N) bool, predictions that count as hit or false alarm.
        matched: (T, N) int64 truth of each prediction, or -1.
        duplicate: (N,) bool, at the chosen IoU.
        iou: (N,) overlap with the truth matched at the chosen IoU, else 0.
        truth_counted: (M,) bool.
    """

    pred: ObjectSet
    truth: ObjectSet
    counted: np.ndarray
    matched: np.ndarray
    duplicate: np.ndarray
    iou: np.ndarray
    truth_counted: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """(T, N) bool, counted predictions with a truth."""
        return self.counted & (self.matched >= 0)


def match_scene(
    pred: ObjectSet, truth: ObjectSet, thresholds: np.ndarray, ranges: Sequence[SizeRange]
) -> list[SceneMatches]:
    """Match the objects of one scene, for every size range.

    What counts follows COCO's area ranges, and the area of interest works in
    the same way: true objects outside of either are ignored but may still be
    matched; a prediction matched to an ignored truth is ignored, and an
    unmatched one is a false alarm only if it lies inside itself. An object
    that straddles a limit is therefore never both missed and a false alarm.

    Args:
        pred: Predicted objects.
        truth: True objects, in the same CRS.
        thresholds: (T,) IoUs, the chosen one first.
        ranges: Size ranges, one result for each.
    """
    pred, truth = pred.ranked(), truth.ranked()
    pairs = overlapping_pairs(pred, truth, float(min(thresholds)) * (1 - 1e-10))
    return [_match_range(pred, truth, pairs, thresholds, each) for each in ranges]


def _match_range(
    pred: ObjectSet, truth: ObjectSet, pairs: Pairs, thresholds: np.ndarray, size: SizeRange
) -> SceneMatches:
    truth_counted = truth.inside & ~truth.crowd & size.holds(truth.areas)
    matched = match(pred, truth, pairs, thresholds, ~truth_counted)
    own = pred.inside & size.holds(pred.areas)
    # The last entry is what index -1, no match, finds.
    counted = np.where(matched >= 0, np.append(truth_counted, False)[matched], own)
    near = np.zeros(len(pred), bool)
    near[pairs.pred[(pairs.iou >= thresholds[0]) & ~truth.crowd[pairs.truth]]] = True
    iou = np.zeros(len(pred))
    chosen = pairs.truth == matched[0][pairs.pred]
    iou[pairs.pred[chosen]] = pairs.iou[chosen]
    duplicate = near & (matched[0] < 0) & counted[0]
    return SceneMatches(pred, truth, counted, matched, duplicate, iou, truth_counted)


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
            'ap': curve and curve.ap,
            'best_f1': curve and curve.best_f1,
            'best_score': curve and curve.best_score,
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
    scored = all(scene.pred.scores is not None for scene in scenes)
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


def thresholds_of(iou: float, coco: bool) -> np.ndarray:
    """The IoUs to match at: the chosen one, then COCO's if wanted."""
    return np.append(iou, COCO_IOUS) if coco else np.array([iou])


def _count(scene: SceneMatches, label: int, min_score: float | None) -> Counts:
    pred, truth = scene.pred, scene.truth
    shown = scene.counted[0] & (pred.labels == label) & is_shown(pred, min_score)
    hits = shown & (scene.matched[0] >= 0)
    true = scene.truth_counted & (truth.labels == label)
    return Counts(
        truth=int(true.sum()),
        predicted=int(shown.sum()),
        hits=int(hits.sum()),
        duplicates=int((shown & scene.duplicate).sum()),
        truth_area=float(truth.areas[true].sum()),
        predicted_area=float(pred.areas[shown].sum()),
        iou_sum=float(scene.iou[hits].sum()),
    )


def is_shown(pred: ObjectSet, min_score: float | None) -> np.ndarray:
    """(N,) bool, predictions of at least a score.

    Matching goes by falling score, so leaving out the low ones afterwards is
    the same as before.
    """
    if min_score is None or pred.scores is None:
        return np.ones(len(pred), bool)
    return pred.scores >= min_score


def _curves(scenes: Sequence[SceneMatches], label: int) -> list[Curve | None]:
    truth = sum(
        int((scene.truth_counted & (scene.truth.labels == label)).sum()) for scene in scenes
    )
    curves = []
    for row in range(len(scenes[0].counted) if scenes else 0):
        scores, hits = [], []
        for scene in scenes:
            counted = np.flatnonzero(scene.counted[row] & (scene.pred.labels == label))
            # Equal scores in the order in which they were matched.
            scores.append(scene.pred.scores[counted])
            hits.append(scene.matched[row][counted] >= 0)
        curves.append(precision_recall_curve(np.concatenate(scores), np.concatenate(hits), truth))
    return curves
