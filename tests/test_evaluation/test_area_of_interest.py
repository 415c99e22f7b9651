"""The part of the scenes in which results count."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine

from geo_mm.errors import LabelError
from geo_mm.evaluation import evaluate_objects, evaluate_pixels
from geo_mm.evaluation.area import ScoredPart, predicted_scene
from geo_mm.formats import write_layer
from tests.data.rasters import write_raster

UTM = 'EPSG:32617'
LEFT, TOP = 500_000, 4_000_000


def boxes(*columns) -> gpd.GeoDataFrame:
    """Boxes of 4 x 4 m, that many metres from the western edge of the scene."""
    return gpd.GeoDataFrame(
        geometry=[shapely.box(LEFT + x, TOP - 14, LEFT + x + 4, TOP - 10) for x in columns], crs=UTM
    )


@pytest.fixture
def predicted(tmp_path):
    """A scene of 101 x 60 pixels of 0.5 m, and the files of a prediction of it."""

    def write(layer, **changes):
        scene = write_raster(tmp_path / 'scene.tif', np.zeros((60, 101), np.uint8))
        spec = {'classes': ['building'], 'background': None}
        record = {'scene': [str(scene)], 'window': None, 'input_spec': spec} | changes
        (tmp_path / 'pred.json').write_text(json.dumps(record))
        return write_layer(layer, tmp_path / 'pred.gpkg')

    return write


def counts(pred, truth, **options):
    result = evaluate_objects([('scene', pred, truth)], **options)
    counts = result.scores.overall.counts
    return counts.truth, counts.predicted, counts.true_positives


def test_objects_in_a_share_of_the_scene(predicted):
    # 0.667 of 101 pixels is 67.367, so the part starts at pixel 67, 33.5 m from the edge.
    # Centroids are at 12, 33.4, 33.5 (on the edge) and 42 m.
    truth = boxes(10, 31.4, 31.5, 40)
    pred = predicted(truth)
    assert counts(pred, truth) == (4, 4, 4)
    assert counts(pred, truth, area=(0.667, 0, 1, 1)) == (2, 2, 2)
    assert counts(pred, truth, area=(0, 0, 0.667, 1)) == (3, 3, 3)
    assert counts(pred, truth, area=(0, 0, 0.667, 0.5)) == (3, 3, 3)


def test_a_pair_across_the_border_is_no_error_on_either_side(predicted):
    # The truth's centroid is 0.3 m inside the east, that of its prediction outside.
    truth, pred = boxes(31.8), predicted(boxes(31.2))
    assert counts(pred, truth, area=(0.667, 0, 1, 1)) == (1, 1, 1)
    result = evaluate_objects([('scene', pred, truth)], area=(0, 0, 0.667, 1), aoi=None)
    assert result.scores.overall.counts.truth == 0
    assert result.scores.overall.counts.predicted == 0


def test_area_and_aoi_must_both_hold(predicted):
    truth = boxes(10, 34, 40)
    aoi = gpd.GeoDataFrame(geometry=[shapely.box(LEFT, TOP - 30, LEFT + 38, TOP)], crs=UTM)
    pred = predicted(truth)
    assert counts(pred, truth, aoi=aoi) == (2, 2, 2)
    assert counts(pred, truth, aoi=aoi, area=(0.667, 0, 1, 1)) == (1, 1, 1)


def test_layers_in_another_crs_than_the_scene(predicted):
    truth = boxes(10, 31.4, 31.6, 40)
    pred = predicted(truth.to_crs('EPSG:4326'))
    assert counts(pred, truth, area=(0.667, 0, 1, 1)) == (2, 2, 2)


def test_pixels_in_a_share_of_the_scene(tmp_path):
    pred, truth = np.random.default_rng(0).integers(0, 3, (2, 31, 101)).astype(np.uint8)
    paths = [
        write_raster(tmp_path / f'{name}.tif', array)
        for name, array in (('pred', pred), ('truth', truth))
    ]
    result = evaluate_pixels([('s', *paths)], area=(0.667, 0.25, 1, 1))
    expected = np.zeros((3, 3), np.int64)
    np.add.at(expected, (truth[8:, 67:], pred[8:, 67:]), 1)
    assert result.confusion.matrix.tolist() == expected.tolist()
    # The map shows nothing else.
    np.testing.assert_array_equal(result.scenes[0].sketch.truth, truth[8:, 67:])
    np.testing.assert_array_equal(
        result.scenes[0].sketch.wrong, (truth != pred)[8:, 67:].astype(int)
    )


def test_a_raster_of_a_rectangle_takes_shares_of_the_whole_scene(tmp_path):
    # The prediction covers columns 50 to 100 of the scene, and the part starts at 67.
    scene = write_raster(tmp_path / 'scene.tif', np.zeros((1, 101), np.uint8))
    window = (LEFT + 25, TOP - 0.5, LEFT + 50.5, TOP)
    values = np.arange(51, dtype=np.uint8)[None]
    pred = write_raster(
        tmp_path / 'pred.tif', values, transform=Affine(0.5, 0, LEFT + 25, 0, -0.5, TOP)
    )
    record = {'scene': [str(scene)], 'window': window, 'input_spec': {'classes': []}}
    (tmp_path / 'pred.json').write_text(json.dumps(record))
    result = evaluate_pixels([('s', pred, pred)], area=(0.667, 0, 1, 1))
    assert result.classes == tuple(map(str, range(17, 51)))


def test_disjoint_area_and_aoi(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.zeros((60, 100), np.uint8))
    aoi = boxes(5)
    with pytest.raises(LabelError, match='no pixel has a class in both'):
        evaluate_pixels([('s', pred, pred)], aoi=aoi, area=(0.5, 0, 1, 1))


@pytest.mark.parametrize('area', [(0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 2), (0, 1)])
def test_impossible_areas(area):
    with pytest.raises(LabelError, match='fractions of the scene'):
        ScoredPart.of(None, area)


def test_a_layer_without_a_record_has_no_scene(tmp_path):
    layer = boxes(0)
    with pytest.raises(LabelError, match=r'GeoDataFrame: its scene is unknown[\s\S]*aoi'):
        evaluate_objects([('s', layer, layer)], area=(0, 0, 0.5, 1))
    path = write_layer(layer, tmp_path / 'pred.gpkg')
    with pytest.raises(LabelError, match=r'pred\.gpkg: its scene is unknown'):
        evaluate_objects([('s', path, layer)], area=(0, 0, 0.5, 1))


def test_a_scene_that_is_gone(predicted):
    pred = predicted(boxes(0), scene=['gone.tif'])
    with pytest.raises(LabelError, match=r'cannot be opened: [\s\S]*gone\.tif[\s\S]*pred\.json'):
        predicted_scene(pred)


def test_a_whole_raster_does_not_need_its_scene(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.zeros((60, 100), np.uint8))
    record = {'scene': ['gone.tif'], 'window': None, 'input_spec': {'classes': []}}
    (tmp_path / 'pred.json').write_text(json.dumps(record))
    assert predicted_scene(pred).width == 100


def test_sentences():
    assert ScoredPart.of(None, None).sentence().startswith('All of each scene')
    both = ScoredPart.of(boxes(0), (0.667, 0, 1, 1))
    assert '(0.667, 0, 1, 1)' in both.sentence() and 'inside GeoDataFrame' in both.sentence()
    assert both.to_dict() == {'area': [0.667, 0.0, 1.0, 1.0], 'aoi': 'GeoDataFrame'}
