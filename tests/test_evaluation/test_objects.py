"""Objects against objects: small cases with numbers worked out by hand."""

import dataclasses
import json
import time

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.errors import LabelError
from geo_mm.evaluation import ObjectSettings, evaluate_objects
from geo_mm.formats import write_layer
from geo_mm.labels import LabelLayer, LabelOptions
from geo_mm.raster import Scene
from tests.data.rasters import write_raster

UTM = 'EPSG:32617'


def layer(boxes, crs=UTM, origin=(500_000, 4_000_000), **columns) -> gpd.GeoDataFrame:
    """Boxes (left, bottom, right, top) in metres from a place in UTM zone 17."""
    boxes = np.array(boxes, float).reshape(-1, 4) + np.tile(origin, 2)
    return gpd.GeoDataFrame(columns, geometry=shapely.box(*boxes.T), crs=crs)


def evaluate(pred, truth, *, aoi=None, **options):
    return evaluate_objects([('scene', pred, truth)], ObjectSettings(**options), aoi=aoi)


def matched(pred, truth, **options):
    return evaluate(pred, truth, **options).scores.overall.counts.true_positives


# Four true objects of 10 x 10 m. The predictions: one exact; one of IoU 1/3;
# one of IoU 0.5 exactly (5 x 10 of 10 x 10); a duplicate of the first; and one in the void.
TRUTH = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10)]
PRED = [(0, 0, 10, 10), (25, 0, 35, 10), (40, 0, 45, 10), (0, 0, 10, 9), (80, 0, 90, 10)]
SCORES = [0.9, 0.8, 0.7, 0.6, 0.5]


def test_counts_and_rates_at_half():
    result = evaluate(layer(PRED, score=SCORES), layer(TRUTH))
    counts = result.scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (4, 5, 2)
    assert (counts.false_negatives, counts.false_positives, counts.duplicates) == (2, 3, 1)
    assert counts.precision == 2 / 5
    assert counts.recall == 2 / 4
    assert counts.f1 == 4 / 9
    assert counts.mean_iou == pytest.approx((1 + 0.5) / 2, abs=1e-9)


def test_average_precision_by_hand():
    # By score: hit (P 1, R 1/4), false, hit (P 2/3, R 1/2), false, false. Of the
    # recalls 0 .. 1, 26 are at most 0.25 and 25 more at most 0.5.
    result = evaluate(layer(PRED, score=SCORES), layer(TRUTH))
    expected = (26 * 1 + 25 * 2 / 3) / 101
    assert result.scores.ap == pytest.approx(expected, abs=1e-12)
    # F1: 2/5, 2/6, 4/7, 4/8, 4/9: best when all from 0.7 on are taken.
    curve = result.scores.classes['object'].curve
    assert curve.best_f1 == pytest.approx(4 / 7)
    assert curve.best_score == 0.7


def test_lower_iou_makes_the_shifted_box_a_true_positive():
    assert evaluate(layer(PRED), layer(TRUTH), iou=0.33).scores.overall.counts.true_positives == 3
    assert evaluate(layer(PRED), layer(TRUTH), iou=0.34).scores.overall.counts.true_positives == 2


@pytest.mark.parametrize(('iou', 'duplicates'), [(0.9, 1), (0.91, 0)])
def test_duplicates_are_those_at_the_chosen_iou(iou, duplicates):
    result = evaluate(layer(PRED, score=SCORES), layer(TRUTH), iou=iou, coco=True)
    assert result.scores.overall.counts.duplicates == duplicates


def test_features_tell_what_became_of_each_object():
    result = evaluate(layer(PRED, score=SCORES), layer(TRUTH))
    features = result.scenes[0].features
    rows = features[['result', 'pred_fid', 'truth_fid']].astype(object)
    rows = rows.where(rows.notna(), None)
    assert [tuple(row) for row in rows.to_numpy()] == [
        ('true positive', 0, 0),
        ('false positive', 1, None),
        ('true positive', 2, 2),
        ('duplicate', 3, None),
        ('false positive', 4, None),
        ('false negative', None, 1),
        ('false negative', None, 3),
    ]
    assert features['iou'].tolist()[:3] == pytest.approx([1, np.nan, 0.5], nan_ok=True)
    assert features.crs == UTM
    assert features.geometry[6].bounds[0] == 500_060


def test_the_better_score_takes_the_object_even_if_it_fits_less():
    pred = layer([(0, 0, 10, 8), (0, 0, 10, 10)], score=[0.9, 0.8])
    result = evaluate(pred, layer(TRUTH[:1]))
    assert result.scenes[0].features['iou'].tolist() == pytest.approx([0.8, np.nan], nan_ok=True)


def test_a_prediction_takes_its_second_choice_when_the_first_is_gone():
    truth = layer([(0, 0, 10, 10), (0, 0, 10, 7)])
    pred = layer([(0, 0, 10, 10), (0, 0, 10, 9)], score=[0.9, 0.8])
    result = evaluate(pred, truth)
    assert result.scores.overall.counts.true_positives == 2


def test_classes_do_not_match_each_other():
    truth = layer(TRUTH[:2], **{'class': ['car', 'tree']})
    pred = layer(TRUTH[:2], **{'class': ['tree', 'tree']}, score=[0.9, 0.8])
    result = evaluate(pred, truth)
    car, tree = (result.scores.classes[name].counts for name in ('car', 'tree'))
    assert (car.truth, car.predicted, car.true_positives) == (1, 0, 0)
    assert (tree.truth, tree.predicted, tree.true_positives) == (1, 2, 1)
    assert car.precision is None
    # Car 0; tree: a false positive first, then a true one: 1/2 at every recall.
    assert result.scores.ap == pytest.approx((0 + 0.5) / 2)
    assert result.scores.to_dict()['overall']['precision'] == 0.5


def test_a_class_without_truth_has_no_average_precision_but_false_positives():
    pred = layer(TRUTH[:2], **{'class': ['car', 'tree']}, score=[0.9, 0.8])
    truth = layer(TRUTH[1:2], **{'class': ['tree']})
    result = evaluate(pred, truth)
    assert result.scores.classes['car'].curve is None
    assert result.scores.classes['car'].counts.false_positives == 1
    assert result.scores.ap == 1.0


def test_without_scores_there_is_no_average_precision():
    result = evaluate(layer(PRED), layer(TRUTH))
    assert result.scores.ap is None
    assert result.scores.overall.counts.true_positives == 2
    assert any("no column 'score'" in note for note in result.notes)


def test_without_scores_the_best_fit_is_taken_first():
    pred = layer([(0, 0, 10, 8), (0, 0, 10, 10)])
    features = evaluate(pred, layer(TRUTH[:1])).scenes[0].features
    assert features.set_index('pred_fid')['result'].to_dict() == {
        0: 'duplicate',
        1: 'true positive',
    }


def test_least_score_is_for_counts_not_for_average_precision():
    pred, truth = layer(PRED, score=SCORES), layer(TRUTH)
    all_of_them, some = evaluate(pred, truth), evaluate(pred, truth, min_score=0.8)
    counts = some.scores.overall.counts
    assert (counts.predicted, counts.true_positives, counts.false_negatives) == (2, 1, 3)
    assert some.scores.ap == all_of_them.scores.ap
    assert (some.scenes[0].features['result'] == 'false negative').sum() == 3


def test_size_classes_in_square_metres():
    truth = layer([(0, 0, 5, 5), (20, 0, 30, 10), (40, 0, 60, 20)])
    result = evaluate(truth, truth, size_limits=[100, 50])
    found = [(size.low, size.high, s.overall.counts.truth) for size, s in result.sizes]
    # In this place a UTM metre is 1.0004 m: 100 square units are a little more than 100 m2.
    assert found == [(0, 50, 1), (50, 100, 0), (100, np.inf, 2)]
    assert [s.overall.counts.true_positives for _, s in result.sizes] == [1, 0, 2]


def test_an_object_across_a_size_limit_is_no_error():
    # The truth is large, its prediction small: it counts as a hit of the large.
    truth, pred = layer([(0, 0, 10, 10)]), layer([(0, 0, 10, 6)])
    small, large = (s.overall.counts for _, s in evaluate(pred, truth, size_limits=[80]).sizes)
    assert (small.truth, small.predicted, small.false_positives) == (0, 0, 0)
    assert (large.truth, large.true_positives) == (1, 1)


def test_aoi_counts_objects_by_their_centroid():
    # The area ends at x = 25: the centroid of the second true object is on its edge.
    aoi = layer([(-5, -5, 25, 15)])
    result = evaluate(layer(PRED, score=SCORES), layer(TRUTH), aoi=aoi)
    counts = result.scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives, counts.duplicates) == (
        2,
        2,
        1,
        1,
    )


def test_aoi_edge_makes_no_error_of_a_shifted_pair():
    # The centroids of the truth are just inside, those of its predictions just
    # outside; and the other way round, where the objects are those of elsewhere.
    truth = layer([(0, 0, 10, 10), (20, 0, 30, 10)])
    pred = layer([(1, 0, 11, 10), (19, 0, 29, 10)])
    aoi = layer([(-10, -5, 5.5, 15), (24.5, -5, 40, 15)])
    counts = evaluate(pred, truth, aoi=aoi).scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (2, 2, 2)
    counts = evaluate(truth, pred, aoi=aoi).scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (0, 0, 0)


def test_aoi_may_be_a_raster(tmp_path):
    raster = write_raster(tmp_path / 'scene.tif', np.zeros((60, 100), np.uint8))  # 50 m x 30 m
    result = evaluate(
        layer(TRUTH, origin=(500_000, 3_999_980)),
        layer(TRUTH, origin=(500_000, 3_999_980)),
        aoi=raster,
    )
    assert result.scores.overall.counts.truth == 3


def test_areas_to_ignore_swallow_predictions():
    truth = layer([(0, 0, 10, 10), (40, 0, 100, 60)], **{'class': ['car', 'blurred']})
    pred = layer(
        [(0, 0, 10, 10), (41, 1, 45, 5), (50, 1, 55, 5), (0, 40, 5, 45)],
        **{'class': ['car'] * 4},
        score=[0.5, 0.9, 0.8, 0.7],
    )
    result = evaluate(pred, truth, class_map={'blurred': 'ignore'})
    counts = result.scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (1, 2, 1)
    assert result.classes == ('car',)


def test_truth_in_another_crs_is_brought_to_the_prediction():
    result = evaluate(layer(TRUTH), layer(TRUTH).to_crs('EPSG:4326'), iou=0.999)
    assert result.scores.overall.counts.true_positives == 4
    assert result.scenes[0].features.crs == UTM


def test_areas_are_true_areas_in_web_mercator_and_degrees():
    expected = evaluate(layer(TRUTH), layer(TRUTH)).scores.overall.counts.truth_area
    # UTM stretches by 0.9996 on the central meridian, which x = 500,000 is.
    assert expected == pytest.approx(400 / 0.9996**2, rel=1e-5)
    for crs in ('EPSG:3857', 'EPSG:4326'):
        there = layer(TRUTH).to_crs(crs)
        counts = evaluate(there, there).scores.overall.counts
        assert counts.truth_area == pytest.approx(expected, rel=1e-5)


def test_without_crs_coordinates_are_compared_as_they_are():
    result = evaluate(layer(TRUTH, crs=None), layer(TRUTH, crs=None))
    assert result.scores.overall.counts.true_positives == 4
    assert result.scores.overall.counts.truth_area == 400
    assert any('no CRS' in note for note in result.notes)


def test_parts_of_a_feature_are_one_object():
    both = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(12, 0, 22, 10)])
    truth = gpd.GeoDataFrame(geometry=[both], crs=UTM)
    counts = evaluate(truth, truth).scores.overall.counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (1, 1, 1)
    one_part = gpd.GeoDataFrame(geometry=[both.geoms[0]], crs=UTM)
    assert evaluate(one_part, truth).scores.overall.counts.mean_iou == pytest.approx(0.5)


def test_outlines_are_compared_unless_boxes_are_asked_for():
    triangle = gpd.GeoDataFrame(geometry=[shapely.Polygon([(0, 0), (10, 0), (0, 10)])], crs=UTM)
    square = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs=UTM)
    assert matched(triangle, square, iou=0.51) == 0
    assert matched(triangle, square, iou=0.5) == 1
    assert (
        evaluate(triangle, square, iou=0.99, boxes=True).scores.overall.counts.true_positives == 1
    )


def test_holes_count():
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(1, 1, 9, 9))
    truth = gpd.GeoDataFrame(geometry=[ring], crs=UTM)
    assert (
        evaluate(layer([(0, 0, 10, 10)], origin=(0, 0)), truth).scores.overall.counts.true_positives
        == 0
    )


def test_points_become_squares_of_metres():
    truth = gpd.GeoDataFrame(geometry=[shapely.Point(500_005, 4_000_005)], crs=UTM)
    web = truth.to_crs('EPSG:3857')
    for points in (truth, web):
        result = evaluate(layer(TRUTH[:1]), points, point_size=10)
        assert result.scores.overall.counts.mean_iou > 0.97
    with pytest.raises(LabelError, match='1 of 1 features are points'):
        evaluate(layer(TRUTH[:1]), truth)


@pytest.mark.parametrize('turn', [0, 30])
def test_squares_of_training_and_of_scores_are_the_same(tmp_path, turn):
    """A model that predicts its training labels exactly, in a grid that may be rotated."""
    turned = Affine.translation(5e5, 4e6) @ Affine.rotation(turn) @ Affine.scale(2, -3)
    image = write_raster(tmp_path / 'a.tif', np.ones((40, 50), 'uint8'), transform=turned)
    grid = Scene.open(image).grid
    points = gpd.GeoDataFrame(
        geometry=[shapely.Point(grid.transform @ place) for place in ((10, 10), (30, 22))], crs=UTM
    ).to_crs('EPSG:4326')
    trained = LabelLayer.read(points, ['tree'], LabelOptions(point_size=12)).onto(grid)
    outlines = shapely.transform(
        trained.geometries, lambda xy: np.column_stack(grid.transform @ (xy[:, 0], xy[:, 1]))
    )
    write_layer(
        gpd.GeoDataFrame({'score': [1.0, 1.0]}, geometry=outlines, crs=UTM), tmp_path / 'p.gpkg'
    )
    record = {'scene': [str(image)], 'input_spec': {'classes': ['tree']}}
    (tmp_path / 'p.json').write_text(json.dumps(record))
    counts = evaluate(tmp_path / 'p.gpkg', points, point_size=12).scores.overall.counts
    assert counts.true_positives == 2
    assert counts.mean_iou > 0.9999


@pytest.mark.parametrize('sides', [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_rows_of_a_picture_may_be_counted_down_as_in_qgis(sides):
    pred, truth = (gpd.GeoDataFrame(geometry=[shapely.box(3, 10 * y, 9, 16 * y)]) for y in sides)
    aoi = gpd.GeoDataFrame(geometry=[shapely.box(0, -8, 50, -50)])
    counts = evaluate(pred, truth, aoi=aoi).scores.overall.counts
    assert (counts.true_positives, counts.truth) == (1, 1)
    assert counts.mean_iou == 1


def test_several_scenes_are_summed_and_split_apart():
    pairs = [
        ('a', layer(PRED, score=SCORES), layer(TRUTH)),
        (
            'b',
            layer(TRUTH[:1], score=[0.95]),
        ),
    ]
    pairs[1] = (*pairs[1], layer(TRUTH[:1], crs='EPSG:32618'))
    pairs[1] = ('b', layer(TRUTH[:1], crs='EPSG:32618', score=[0.95]), pairs[1][2])
    result = evaluate_objects(pairs)
    assert result.scores.overall.counts.true_positives == 3
    assert [scene.scores.overall.counts.true_positives for scene in result.scenes] == [2, 1]
    # True positives at 0.95 and 0.9, a false one at 0.8, a true one at 0.7; five true objects:
    # precision 1 up to recall 0.4, 3/4 up to 0.6.
    assert result.scores.ap == pytest.approx((41 + 20 * 0.75) / 101)


def test_nothing_predicted():
    result = evaluate(layer([], score=[]), layer(TRUTH))
    counts = result.scores.overall.counts
    assert (counts.precision, counts.recall, counts.f1) == (None, 0, 0)
    assert result.scores.ap == 0


def test_nothing_there_and_nothing_predicted():
    result = evaluate(layer([], score=[]), layer([]))
    assert result.scores.overall.counts.f1 is None
    assert any('no object' in note for note in result.notes)
    assert len(result.scenes[0].features) == 0


# Messages


def test_layers_apart():
    with pytest.raises(LabelError, match=r'no common area[\s\S]*lon -81\.0[\s\S]*lon -80'):
        evaluate(layer(TRUTH), layer(TRUTH, origin=(520_000, 4_000_000)))


def test_swapped_axes_are_recognised():
    truth = layer(TRUTH).to_crs('EPSG:4326')
    swapped = truth.set_geometry(shapely.transform(truth.geometry.array, lambda xy: xy[:, ::-1]))
    with pytest.raises(LabelError, match='look swapped'):
        evaluate(layer(TRUTH).to_crs('EPSG:4326'), swapped.set_crs('EPSG:4326'))


def test_one_layer_without_crs(tmp_path):
    path = write_layer(layer(TRUTH, crs=None), tmp_path / 'truth.gpkg')
    with pytest.raises(LabelError, match=r'truth\.gpkg: has no CRS, but GeoDataFrame has one'):
        evaluate(layer(TRUTH), path)


def test_aoi_without_any_object():
    with pytest.raises(LabelError, match='no predicted or true object'):
        evaluate(layer(TRUTH), layer(TRUTH), aoi=layer([(500, 0, 600, 100)]))


def test_unknown_class_column_lists_the_columns():
    truth = layer(TRUTH, kind=['a'] * 4)
    pred = layer(TRUTH, **{'class': ['a', 'a', 'a', 'b']})
    with pytest.raises(LabelError, match=r"no column 'class'[\s\S]*a, b[\s\S]*'kind'"):
        evaluate(pred, truth)
    result = evaluate(pred, truth, truth_class_column='kind')
    assert result.scores.overall.counts.true_positives == 3
    with pytest.raises(LabelError, match=r"no column 'art'[\s\S]*'kind'"):
        evaluate(truth, truth, class_column='art')


def test_a_truth_without_class_column_is_of_the_one_class_predicted():
    pred = layer(PRED, **{'class': ['building'] * 5})
    result = evaluate(pred, layer(TRUTH))
    assert result.classes == ('building',)
    assert result.scores.overall.counts.true_positives == 2
    assert "All features of GeoDataFrame are taken as class 'building'." in result.notes


def test_an_empty_prediction_says_its_class_in_its_record(tmp_path):
    empty = layer([], **{'class': np.array([], object)})
    path = write_layer(empty, tmp_path / 'pred.gpkg')
    assert evaluate(path, layer(TRUTH)).classes == ('object',)
    spec = {'classes': ['building'], 'background': None}
    (tmp_path / 'pred.json').write_text(json.dumps({'scene': ['a.tif'], 'input_spec': spec}))
    result = evaluate(path, layer(TRUTH))
    assert result.scores.classes['building'].counts.false_negatives == 4


def test_a_model_of_several_classes_needs_a_class_column_in_the_truth(tmp_path):
    # Only buildings were found, but cars could have been.
    path = write_layer(layer(PRED, **{'class': ['building'] * 5}), tmp_path / 'pred.gpkg')
    spec = {'classes': ['building', 'car'], 'background': None}
    (tmp_path / 'pred.json').write_text(json.dumps({'scene': ['a.tif'], 'input_spec': spec}))
    with pytest.raises(LabelError, match=r'classes building, car[\s\S]*one_class'):
        evaluate(path, layer(TRUTH))
    result = evaluate(path, layer(TRUTH), classes=['building'])
    assert result.scores.classes['building'].counts.true_positives == 2
    result = evaluate(path, layer(TRUTH), one_class=True)
    assert result.scores.classes['object'].counts.true_positives == 2


def test_a_column_that_was_named_must_be_there():
    pred = layer(TRUTH, **{'class': ['building'] * 4})
    with pytest.raises(LabelError, match="no column 'art'"):
        evaluate(pred, layer(TRUTH), truth_class_column='art')


def test_what_messages_advise_can_be_set():
    pred = layer(TRUTH, **{'class': ['a', 'a', 'a', 'b']})
    with pytest.raises(LabelError) as caught:
        evaluate(pred, layer(TRUTH))
    advice = str(caught.value).split('to do:')[1].split('(')[0]
    names = {field.name for field in dataclasses.fields(ObjectSettings)}
    named = {word.strip(',') for word in advice.split()} & names
    assert named == {'class_column', 'truth_class_column', 'classes', 'one_class'}


def test_scores_that_are_no_numbers():
    with pytest.raises(LabelError, match=r"'score' has 1 of 2 values that are no numbers"):
        evaluate(layer(TRUTH[:2], score=[0.5, None]), layer(TRUTH))


@pytest.mark.parametrize('iou', [0, -1, 1.5])
def test_impossible_iou(iou):
    with pytest.raises(LabelError, match='above 0 and up to 1'):
        ObjectSettings(iou=iou)


# Invariants

coordinate = st.floats(0, 100, allow_nan=False)
side = st.floats(1, 30)
box = st.tuples(coordinate, coordinate, side, side).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
boxes = st.lists(box, min_size=1, max_size=12)


@settings(max_examples=25)
@given(boxes)
def test_perfect_prediction(truth):
    result = evaluate(
        layer(truth, origin=(0, 0), score=np.linspace(0, 1, len(truth))),
        layer(truth, origin=(0, 0)),
        coco=True,
        iou=1.0,
    )
    overall = result.scores.to_dict()['overall']
    assert overall['f1'] == overall['ap'] == overall['ar_50_95'] == 1.0


@settings(max_examples=25)
@given(boxes, boxes, st.floats(0.1, 0.9))
def test_swapping_the_sides_swaps_precision_and_recall(a, b, iou):
    a, b = layer([*a, (0, 0, 130, 130)], crs=None), layer([*b, (0, 0, 130, 130)], crs=None)
    one, other = (evaluate(*sides, iou=iou).scores.overall.counts for sides in ((a, b), (b, a)))
    assert (one.precision, one.recall, one.f1) == (other.recall, other.precision, other.f1)


@settings(max_examples=25)
@given(boxes, boxes, st.randoms(use_true_random=False))
def test_order_of_the_features_does_not_matter(a, b, random):
    whole = (0, 0, 130, 130)
    pred = layer([*a, whole], crs=None, score=[0.1 * (i % 3) for i in range(len(a) + 1)])
    truth = layer([*b, whole], crs=None)
    shuffled = [
        frame.iloc[random.sample(range(len(frame)), len(frame))].reset_index(drop=True)
        for frame in (pred, truth)
    ]
    first, second = (
        evaluate(*pair, coco=True, iou=0.3).scores.to_dict() for pair in ((pred, truth), shuffled)
    )
    assert _flat(first) == pytest.approx(_flat(second), nan_ok=True)


def _flat(scores: dict) -> list[float]:
    return [np.nan if v is None else v for v in scores['overall'].values()]


def test_a_hundred_thousand_boxes_take_seconds():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 20_000, (100_000, 2))
    truth = np.hstack([corner, corner + rng.uniform(5, 30, (100_000, 2))])
    pred = truth + rng.normal(0, 1.5, truth.shape)
    pred[:, 2:] = np.maximum(pred[:, 2:], pred[:, :2] + 1)
    start = time.perf_counter()
    result = evaluate(layer(pred, score=rng.random(100_000)), layer(truth), coco=True)
    assert time.perf_counter() - start < 30  # about 5 s on an idle core
    assert 80_000 < result.scores.overall.counts.true_positives < 100_000
