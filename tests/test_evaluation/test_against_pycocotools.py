"""The same numbers as COCOeval where chips and scenes coincide."""

import contextlib
import io

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from geo_mm.evaluation import ObjectSettings, evaluate_objects

CLASSES = ('building', 'car', 'tree')
SIZES = (150.0, 600.0)


def make_scene(rng: np.random.Generator, count: int) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Crowded boxes, and predictions that hit some well, some badly, some twice."""
    corner = rng.uniform(0, 300, (count, 2))
    size = rng.uniform(5, 40, (count, 2))
    labels = rng.integers(0, len(CLASSES), count)
    truth = np.hstack([corner, corner + size])
    chosen = rng.integers(0, count, count * 2)
    pred = truth[chosen] + rng.normal(0, 3, (count * 2, 4))
    pred[:, 2:] = np.maximum(pred[:, 2:], pred[:, :2] + 1)
    wrong = rng.random(len(pred)) < 0.1
    pred_labels = np.where(wrong, rng.integers(0, len(CLASSES), len(pred)), labels[chosen])
    names = np.array(CLASSES, object)
    # No two scores are equal: COCO would take these in the order of the file.
    scores = rng.permutation(len(pred)) / len(pred)
    return (
        gpd.GeoDataFrame(
            {'class': names[pred_labels], 'score': scores}, geometry=shapely.box(*pred.T)
        ),
        gpd.GeoDataFrame(
            {'class': names[labels], 'crowd': rng.random(count) < 0.05},
            geometry=shapely.box(*truth.T),
        ),
    )


def coco_eval(scenes) -> COCOeval:
    images, annotations, results = [], [], []
    for image, (pred, truth) in enumerate(scenes, start=1):
        images.append({'id': image, 'width': 400, 'height': 400})
        for number, crowd in enumerate(truth['crowd']):
            # A crowd is one for all classes with us, for its own with COCO.
            names = CLASSES if crowd else [truth['class'][number]]
            for name in names:
                row = _box(truth.geometry[number], name, image)
                annotations.append({'id': len(annotations) + 1, 'iscrowd': int(crowd), **row})
        for shape, name, score in zip(pred.geometry, pred['class'], pred['score'], strict=True):
            results.append({**_box(shape, name, image), 'score': score})
    coco = COCO()
    coco.dataset = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), 'bbox')
        run.params.maxDets = [1, 10, 100_000]
        low, high = SIZES
        run.params.areaRng = [[0, 1e10], [0, low], [low, high], [high, 1e10]]
        run.params.areaRngLbl = ['all', 'small', 'medium', 'large']
        run.evaluate()
        run.accumulate()
    return run


def _box(shape, name: str, image: int) -> dict:
    left, top, right, bottom = shape.bounds
    return {
        'image_id': image,
        'category_id': CLASSES.index(name) + 1,
        'bbox': [left, top, right - left, bottom - top],
        'area': shape.area,
    }


def ours_of(scenes):
    pairs = []
    for number, (pred, truth) in enumerate(scenes):
        truth = truth.assign(**{'class': truth['class'].mask(truth['crowd'], 'ignore')})
        pairs.append((str(number), pred, truth))
    return evaluate_objects(pairs, ObjectSettings(iou=0.5, coco=True, size_limits=SIZES))


@pytest.fixture(scope='module', params=[(1, 150), (4, 60)], ids=['one scene', 'four scenes'])
def both(request):
    count, objects = request.param
    rng = np.random.default_rng(count)
    scenes = [make_scene(rng, objects) for _ in range(count)]
    assert any(truth['crowd'].any() for _, truth in scenes)
    return ours_of(scenes), coco_eval(scenes)


def test_average_precision_per_class(both):
    ours, theirs = both
    for index, name in enumerate(CLASSES):
        precision = theirs.eval['precision'][:, :, index, 0, 2]
        scores = ours.scores.classes[name]
        assert 0.1 < scores.curve.ap < 0.99
        assert scores.curve.ap == pytest.approx(precision[0].mean(), abs=1e-9)
        assert scores.ap_coco == pytest.approx(precision.mean(), abs=1e-9)


def test_average_recall_per_class(both):
    ours, theirs = both
    for index, name in enumerate(CLASSES):
        recall = theirs.eval['recall'][:, index, 0, 2]
        assert ours.scores.classes[name].ar_coco == pytest.approx(recall.mean(), abs=1e-9)


def test_means_over_classes(both):
    ours, theirs = both
    precision = theirs.eval['precision'][:, :, :, 0, 2]
    overall = ours.scores.to_dict()['overall']
    assert overall['ap'] == pytest.approx(precision[0].mean(), abs=1e-9)
    assert overall['ap_50_95'] == pytest.approx(precision.mean(), abs=1e-9)
    assert overall['ar_50_95'] == pytest.approx(theirs.eval['recall'][:, :, 0, 2].mean(), abs=1e-9)


@pytest.mark.parametrize('size', [0, 1, 2])
def test_size_classes(both, size):
    ours, theirs = both
    scores = ours.sizes[size][1].to_dict()['overall']
    precision = theirs.eval['precision'][:, :, :, size + 1, 2]
    assert scores['truth'] > 10
    assert scores['ap'] == pytest.approx(precision[0].mean(), abs=1e-9)
    assert scores['ap_50_95'] == pytest.approx(precision.mean(), abs=1e-9)
    assert scores['ar_50_95'] == pytest.approx(
        theirs.eval['recall'][:, :, size + 1, 2].mean(), abs=1e-9
    )


def test_true_positives_and_predictions_that_count(both):
    ours, theirs = both
    images = [image for image in theirs.evalImgs if image and image['aRng'] == [0, 1e10]]
    counted = [~image['dtIgnore'][0].astype(bool) for image in images]
    hits = sum(
        int((image['dtMatches'][0] > 0)[keep].sum())
        for image, keep in zip(images, counted, strict=True)
    )
    counts = ours.scores.overall.counts
    assert (counts.true_positives, counts.predicted) == (
        hits,
        sum(int(keep.sum()) for keep in counted),
    )
