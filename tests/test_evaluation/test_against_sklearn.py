"""The same numbers as scikit-learn from the same pixels."""

import numpy as np
import pytest
from sklearn import metrics

from geo_mm.evaluation.confusion import Confusion

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 5, 5000)
PRED = np.where(RNG.random(5000) < 0.7, TRUTH, RNG.integers(0, 5, 5000))
LABELS = list(range(5))


@pytest.fixture
def confusion() -> Confusion:
    matrix = np.zeros((5, 5), np.int64)
    np.add.at(matrix, (TRUTH, PRED), 1)
    return Confusion(tuple('abcde'), matrix)


def test_matrix_has_the_same_orientation(confusion):
    np.testing.assert_array_equal(confusion.matrix, metrics.confusion_matrix(TRUTH, PRED))


def test_kappa_and_accuracy(confusion):
    assert confusion.kappa == pytest.approx(metrics.cohen_kappa_score(TRUTH, PRED), abs=1e-12)
    assert confusion.accuracy == pytest.approx(metrics.accuracy_score(TRUTH, PRED), abs=1e-12)


def test_rates_per_class(confusion):
    precision, recall, f1, support = metrics.precision_recall_fscore_support(TRUTH, PRED)
    np.testing.assert_allclose(confusion.precision, precision, atol=1e-12)
    np.testing.assert_allclose(confusion.recall, recall, atol=1e-12)
    np.testing.assert_allclose(confusion.f1, f1, atol=1e-12)
    np.testing.assert_array_equal(confusion.true, support)
    np.testing.assert_allclose(
        confusion.iou, metrics.jaccard_score(TRUTH, PRED, average=None), atol=1e-12
    )


def test_means(confusion):
    overall = confusion.to_dict()['overall']
    assert overall['mean_f1'] == pytest.approx(metrics.f1_score(TRUTH, PRED, average='macro'))
    assert overall['mean_iou'] == pytest.approx(metrics.jaccard_score(TRUTH, PRED, average='macro'))
    assert overall['mean_recall'] == pytest.approx(metrics.balanced_accuracy_score(TRUTH, PRED))
