"""The same numbers as scikit-learn from the same pixels, by way of files on disk."""

import numpy as np
import pytest
from sklearn import metrics

from geo_mm.evaluation import Confusion, evaluate_pixels
from geo_mm.evaluation.thresholds import ProbabilityCounts
from tests.data.rasters import write_raster

RNG = np.random.default_rng(3)
RASTERS = RNG.integers(0, 5, (2, 71, 83)).astype(np.uint8)
RASTERS[1] = np.where(RNG.random((71, 83)) < 0.7, *RASTERS)
RASTERS[RNG.random((2, 71, 83)) < 0.02] = 255  # no data on one side or both
TRUTH, PRED = RASTERS[:, (RASTERS < 255).all(axis=0)]


@pytest.fixture(scope='module')
def confusion(tmp_path_factory) -> Confusion:
    folder = tmp_path_factory.mktemp('rasters')
    truth, pred = (
        write_raster(folder / f'{name}.tif', raster, nodata=255)
        for name, raster in zip(('truth', 'pred'), RASTERS, strict=True)
    )
    return evaluate_pixels([('scene', pred, truth)]).confusion


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


def test_curves_of_probabilities():
    truth = RNG.integers(0, 3, (60, 50)).astype(np.uint8)
    logits = RNG.normal(size=(3, 60, 50)) + 1.5 * (truth == np.arange(3)[:, None, None])
    # In steps of the bins, in which the counts are exact.
    shares = np.floor(np.exp(logits) / np.exp(logits).sum(axis=0) * 1024) / 1024
    labelled = RNG.random(truth.shape) < 0.9
    counts = ProbabilityCounts(3)
    for half in (slice(0, 20), slice(20, 60)):
        counts.add(shares[:, half], np.where(labelled, truth, 255)[half])
    for label in range(3):
        given = truth[labelled] == label, shares[label][labelled]
        curve = counts.curve(label)
        precision, recall, thresholds = metrics.precision_recall_curve(*given)
        np.testing.assert_allclose(curve.precision[::-1], precision[:-1], atol=1e-12)
        np.testing.assert_allclose(curve.recall[::-1], recall[:-1], atol=1e-12)
        np.testing.assert_allclose(curve.thresholds[::-1], thresholds, atol=1e-12)
        expected = metrics.average_precision_score(*given)
        assert curve.average_precision == pytest.approx(expected, abs=1e-12)
