"""Confusion matrices and what is computed from them."""

from dataclasses import asdict, dataclass

import numpy as np

from geo_mm.evaluation.scores import mean, ratio


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
