"""Confusion matrices and what is computed from them."""

from dataclasses import dataclass

import numpy as np

from geo_mm.evaluation.precision_recall import mean, ratio


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each true class was given each class.

    A class without pixels in truth and prediction has no rates (None) and no
    part in the means.

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
    def hits(self) -> np.ndarray:
        """(K,) pixels that are of the class and were given it."""
        return np.diag(self.matrix)

    @property
    def true(self) -> np.ndarray:
        """(K,) pixels of each class in the truth."""
        return self.matrix.sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """(K,) pixels that were given each class."""
        return self.matrix.sum(axis=0)

    @property
    def precision(self) -> list[float | None]:
        """Share of the pixels given a class that are of it: the user's accuracy."""
        return _ratios(self.hits, self.predicted)

    @property
    def recall(self) -> list[float | None]:
        """Share of the pixels of a class that were given it: the producer's accuracy."""
        return _ratios(self.hits, self.true)

    @property
    def f1(self) -> list[float | None]:
        return _ratios(2 * self.hits, self.true + self.predicted)

    @property
    def iou(self) -> list[float | None]:
        return _ratios(self.hits, self.true + self.predicted - self.hits)

    @property
    def accuracy(self) -> float | None:
        """Share of all pixels that were given their class."""
        return ratio(int(self.hits.sum()), self.total)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond that of chance with the same totals.

        None where chance alone agrees fully, that is, with a single class.
        """
        if not self.total:
            return None
        # Products of pixel counts of large scenes do not fit int64.
        chance = float((self.true / self.total) @ (self.predicted / self.total))
        used = (self.true > 0) | (self.predicted > 0)
        if used.sum() < 2:
            return None
        return (self.accuracy - chance) / (1 - chance)

    def to_dict(self, pixel_area: float | None = None) -> dict:
        """Plain data for JSON.

        Args:
            pixel_area: Ground area of a pixel in m2, to give areas too.
        """
        columns = {
            'truth': self.true.tolist(),
            'predicted': self.predicted.tolist(),
            'precision': self.precision,
            'recall': self.recall,
            'f1': self.f1,
            'iou': self.iou,
        }
        if pixel_area is not None:
            columns['truth_area'] = (self.true * pixel_area).tolist()
            columns['predicted_area'] = (self.predicted * pixel_area).tolist()
        return {
            'overall': {
                'pixels': self.total,
                'accuracy': self.accuracy,
                'kappa': self.kappa,
                'mean_iou': mean(self.iou),
                'mean_f1': mean(self.f1),
                'mean_precision': mean(self.precision),
                'mean_recall': mean(self.recall),
            },
            'classes': {
                name: {key: values[index] for key, values in columns.items()}
                for index, name in enumerate(self.classes)
            },
            'confusion': self.matrix.tolist(),
        }


def _ratios(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [ratio(int(a), int(b)) for a, b in zip(part, whole, strict=True)]
