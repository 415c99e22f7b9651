"""Models scored on whole scenes, with the labels that their chips would have had."""

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.features import rasterize

from geo_mm.errors import CatalogError
from geo_mm.evaluation import evaluate_objects, evaluate_pixels
from geo_mm.inference import Predictor
from geo_mm.inference.scenes import scenes_of, score_scenes
from tests.data.chips import build_dataset
from tests.data.labels import box, write_labels
from tests.data.models import object_files, paint, pixel_files, spec_of
from tests.data.rasters import noise, write_raster

CLASSES = ('background', 'high')
PIXELS = spec_of('pixels', CLASSES, mean=(127.5,), std=(10.0,))
HOUSES = [box(5, 5, 40, 50), box(70, 20, 100, 80), box(50, 60, 66, 88)]


@pytest.fixture(scope='module')
def pixel_predictor(tmp_path_factory):
    files = pixel_files(tmp_path_factory.mktemp('pixels'), PIXELS, [[0.0], [1.0]])
    return Predictor(files[1], device='cpu', tile=64)


@pytest.fixture(scope='module')
def object_predictor(tmp_path_factory):
    spec = spec_of('objects', ['house'], dtype='uint16')
    files = object_files(tmp_path_factory.mktemp('objects'), spec)
    return Predictor(files[1], device='cpu', tile=64, score=0.0)


@pytest.fixture
def image(tmp_path):
    image = noise((1, 90, 120))
    write_raster(tmp_path / 'a.tif', image)
    return image[0]


def true_classes(shapes=HOUSES, values=(1, 1, 1)):
    return rasterize(zip(shapes, values, strict=True), (90, 120))


def matrix(true, predicted):
    return [[int(((true == t) & (predicted == p)).sum()) for p in (0, 1)] for t in (0, 1)]


def pixels_of(folder, scenes, **options):
    return build_dataset('seg', scenes, ['high'], data_root=str(folder), **options)


def test_pixels_of_each_scene_in_its_own_area(tmp_path, pixel_predictor, image):
    """West of one entry, an AOI of another of the same image; ignored are the second kind."""
    write_labels(tmp_path / 'l.gpkg', HOUSES, ['x', 'y', 'x'])
    write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 80, 30)])
    scene = dict(image='a.tif', labels='l.gpkg')
    entries = [dict(scene, area=(0, 0, 0.5, 1)), dict(scene, aoi='aoi.gpkg')]
    kinds = dict(class_column='class', class_map={'x': 'high', 'y': 'ignore'})
    dataset = pixels_of(tmp_path, entries, label_cfg=kinds)
    assert [found.name for found in scenes_of(dataset)] == ['a_0', 'a_1']
    result = score_scenes(dataset, pixel_predictor, tmp_path / 'out')
    true, high = true_classes(values=(1, 9, 1)), image > 127
    west, part = matrix(true[:, :60], high[:, :60]), matrix(true[:30, :80], high[:30, :80])
    assert [scene.confusion.matrix.tolist() for scene in result.scenes] == [west, part]
    assert result.confusion.matrix.tolist() == (np.array(west) + part).tolist()
    assert result.to_dict()['parts']['a_0']['area'] == [0, 0, 0.5, 1]
    assert 'a_1: Only the part inside aoi.gpkg is scored.' in result.scored.sentence()


def test_the_numbers_of_predicting_and_evaluating_by_hand(tmp_path, pixel_predictor, image):
    labels = write_labels(tmp_path / 'l.gpkg', HOUSES)
    area = (0.3, 0, 1, 0.9)
    dataset = pixels_of(tmp_path, dict(image='a.tif', labels='l.gpkg', area=area))
    ours = score_scenes(dataset, pixel_predictor, tmp_path / 'out')
    result = pixel_predictor.predict(tmp_path / 'a.tif', tmp_path / 'by_hand')
    by_hand = evaluate_pixels([('a', result.files[0], labels)], area=area)
    assert ours.confusion.matrix.tolist() == by_hand.confusion.matrix.tolist()
    assert ours.scored.sentence() == by_hand.scored.sentence()


def test_label_raster_with_other_numbers(tmp_path, pixel_predictor, image):
    values = np.array([3, 7, 0], 'uint8')[true_classes(values=(1, 2, 1))]
    write_raster(tmp_path / 'l.tif', values)
    numbers = dict(class_map={3: 'background', 7: 'high', 0: None})
    dataset = pixels_of(tmp_path, dict(image='a.tif', labels='l.tif'), label_cfg=numbers)
    result = score_scenes(dataset, pixel_predictor, tmp_path / 'out')
    true = true_classes(values=(1, 9, 1))
    assert result.confusion.matrix.tolist() == matrix(true, image > 127)


def test_objects_with_boxes_in_the_area(tmp_path, object_predictor):
    found = [[3, 4, 20, 14], [55, 50, 70, 66], [90, 60, 110, 75]]
    write_raster(tmp_path / 'a.tif', paint((90, 120), found))
    # The first is found, the second is elsewhere, the third outside the area.
    true = [box(3, 4, 20, 14), box(30, 70, 45, 86), box(90, 60, 110, 75)]
    labels = write_labels(tmp_path / 'l.gpkg', true)
    area = (0, 0, 0.75, 1)
    scenes = dict(image='a.tif', labels='l.gpkg', area=area)
    dataset = build_dataset('det', scenes, ['house'], data_root=str(tmp_path))
    result = score_scenes(dataset, object_predictor, tmp_path / 'out')
    counts = result.scores.classes['house'].counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (2, 2, 1)
    assert result.settings.boxes and result.settings.min_score == 0.3
    by_hand = evaluate_objects([('a', tmp_path / 'out' / 'a.gpkg', labels)], area=area)
    again = by_hand.scores.classes['house'].counts
    assert (again.truth, again.predicted, again.true_positives) == (2, 2, 1)
    assert again.truth_area == pytest.approx(counts.truth_area)


def test_points_parts_and_objects_to_ignore(tmp_path, object_predictor):
    found = [[3, 4, 23, 24], [60, 50, 80, 70], [30, 60, 40, 80]]
    write_raster(tmp_path / 'a.tif', paint((90, 120), found))
    two = shapely.MultiPolygon([box(60, 50, 68, 70), box(70, 50, 80, 70)])
    kinds = ['house', 'house', 'ruin']
    write_labels(tmp_path / 'l.gpkg', [shapely.Point(13, 14), two, box(30, 60, 40, 80)], kinds)
    cfg = dict(class_column='class', class_map={'ruin': 'ignore'}, point_size=10.0)
    scenes = dict(image='a.tif', labels='l.gpkg')
    dataset = build_dataset('det', scenes, ['house'], data_root=str(tmp_path), label_cfg=cfg)
    result = score_scenes(dataset, object_predictor, tmp_path / 'out')
    counts = result.scores.classes['house'].counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (2, 2, 2)


def test_objects_on_other_scenes_of_a_shared_layer_are_not_missed(tmp_path, object_predictor):
    found = [[3, 4, 20, 14]]
    write_raster(tmp_path / 'a.tif', paint((90, 120), found))
    write_labels(
        tmp_path / 'l.gpkg', [box(3, 4, 20, 14), *(box(x, 4, x + 9, 14) for x in (500, 900))]
    )
    scenes = dict(image='a.tif', labels='l.gpkg')
    dataset = build_dataset('det', scenes, ['house'], data_root=str(tmp_path))
    result = score_scenes(dataset, object_predictor, tmp_path / 'out')
    counts = result.scores.classes['house'].counts
    assert (counts.truth, counts.true_positives) == (1, 1)


@pytest.mark.parametrize('side', [1, -1])
def test_objects_of_a_picture_with_rows_counted_either_way(tmp_path, object_predictor, side):
    image = paint((90, 120), [[3, 4, 20, 14], [30, 60, 40, 80]])
    write_raster(tmp_path / 'a.tif', image, crs=None, transform=None)
    true = [box(3, 4 * side, 20, 14 * side), box(30, 60 * side, 40, 80 * side)]
    write_labels(tmp_path / 'l.gpkg', true, crs=None, transform=Affine.identity())
    aoi = [box(0, 0, 60, 40 * side)]
    write_labels(tmp_path / 'aoi.gpkg', aoi, crs=None, transform=Affine.identity())
    scenes = dict(image='a.tif', labels='l.gpkg', aoi='aoi.gpkg')
    dataset = build_dataset('det', scenes, ['house'], data_root=str(tmp_path))
    result = score_scenes(dataset, object_predictor, tmp_path / 'out')
    counts = result.scores.classes['house'].counts
    assert (counts.truth, counts.predicted, counts.true_positives) == (1, 1, 1)


def test_scene_without_labels(tmp_path, pixel_predictor, image):
    dataset = pixels_of(tmp_path, dict(image='a.tif'))
    with pytest.raises(CatalogError, match='a has no labels'):
        score_scenes(dataset, pixel_predictor, tmp_path / 'out')
