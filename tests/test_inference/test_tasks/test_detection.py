import warnings

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from pyproj import Geod

from geo_mm.inference import TrainedModel
from geo_mm.inference.area import Area, SceneToPredict
from geo_mm.inference.prediction import Job
from geo_mm.inference.scene_run import predict_in_memory
from geo_mm.raster import Scene, tile_plan
from tests.data.models import ensemble, object_files, paint, spec_of, trained
from tests.data.rasters import TRANSFORM, UTM_17N, write_raster

SPEC = spec_of('objects', ['even', 'odd'], ['id'], dtype='uint16')
TILINGS = [(64, 20), (64, 32), (97, 21), (128, 24), (50, 37), (256, 64), (1024, 256)]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return trained(object_files(tmp_path_factory.mktemp('boxes'), SPEC))


@pytest.fixture(scope='module')
def mask_model(tmp_path_factory):
    return trained(object_files(tmp_path_factory.mktemp('masks'), SPEC, with_masks=True))


def predict(model, scene, tile=64, overlap=20, score=0.3, progress=None):
    models = ensemble(model, score=score)
    plan = tile_plan(scene.width, scene.height, tile, overlap)
    area, options = Area(scene, scene), models.task.options
    job = Job(SceneToPredict(scene), area, plan, models.spec, options, None)
    return predict_in_memory(models, job, progress).objects


def pixel_boxes(objects, transform=TRANSFORM):
    """Boxes of the result in pixels of the scene, sorted."""
    inverse = ~transform
    found = []
    for outline in objects.geometry:
        x, y = inverse @ tuple(np.array(outline.exterior.coords).T)
        found.append([x.min(), y.min(), x.max(), y.max()])
    return sorted(np.round(found, 3).tolist())


def scattered_boxes(width, height, seed=0, longest=18):
    """Boxes up to 18 pixels long that do not touch, over the whole scene and its borders."""
    rng = np.random.default_rng(seed)
    taken, boxes = np.zeros((height + 2, width + 2), bool), []
    for _ in range(4000):
        w, h = rng.integers(1, longest + 1, 2)
        left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
        if not taken[top : top + h + 2, left : left + w + 2].any():
            taken[top + 1 : top + h + 1, left + 1 : left + w + 1] = True
            boxes.append([int(left), int(top), int(left + w), int(top + h)])
    return boxes


def scene_of(path, image, **kwargs):
    return Scene.open(write_raster(path, image, descriptions=['id'], **kwargs))


@pytest.mark.parametrize(('tile', 'overlap'), TILINGS)
def test_every_object_once_whatever_the_tiles(tmp_path, model, tile, overlap):
    boxes = scattered_boxes(301, 223)
    scene = scene_of(tmp_path / 's.tif', paint((223, 301), boxes))
    objects = predict(model, scene, tile, overlap)
    assert len(boxes) > 300
    assert pixel_boxes(objects) == sorted(boxes)
    classes = dict(zip(map(tuple, boxes), np.arange(1, len(boxes) + 1) % 2, strict=True))
    for box, label in zip(objects.geometry, objects['class_id'], strict=True):
        assert classes[tuple(map(int, *pixel_boxes(gpd.GeoDataFrame(geometry=[box]))))] == label
    assert (objects['class'] == np.array(['even', 'odd'])[objects['class_id']]).all()
    assert (np.diff(objects['score']) <= 0).all()


@pytest.mark.parametrize(('tile', 'overlap'), TILINGS)
def test_touching_objects_in_rows(tmp_path, model, tile, overlap):
    boxes = [[x, y, x + 7, y + 7] for y in range(0, 196, 7) for x in range(0, 252, 7)]
    # All of one class, so that neighbours are rivals.
    image = paint((200, 260), boxes) * 2
    assert pixel_boxes(
        predict(model, scene_of(tmp_path / 's.tif', image), tile, overlap)
    ) == boxes_of(boxes)


@pytest.mark.parametrize(('tile', 'overlap'), TILINGS)
def test_object_inside_the_box_of_another(tmp_path, model, tile, overlap):
    """A small one in the bend of an angled one, of the same class, all over the scene."""
    image, expected, number = np.zeros((200, 260), np.uint16), [], 0
    for y in range(0, 180, 20):
        for x in range(0, 240, 20):
            image[y : y + 18, x : x + 5] = image[y + 13 : y + 18, x : x + 18] = number + 2
            image[y + 2 : y + 9, x + 8 : x + 15] = number + 4
            expected += [[x, y, x + 18, y + 18], [x + 8, y + 2, x + 15, y + 9]]
            number += 4
    objects = predict(model, scene_of(tmp_path / 's.tif', image), tile, overlap)
    assert pixel_boxes(objects) == boxes_of(expected)


def boxes_of(boxes):
    return sorted([float(v) for v in box] for box in boxes)


def test_object_on_the_corner_of_four_tiles(tmp_path, model):
    # Tiles of 64 start at 0 and 44; their cores meet at 54.
    image = paint((108, 108), [[46, 46, 62, 62]])
    objects = predict(model, scene_of(tmp_path / 's.tif', image))
    assert pixel_boxes(objects) == [[46, 46, 62, 62]]


def test_whole_object_wins_over_a_surer_part_of_it(tmp_path, model):
    # 40 pixels long in tiles with an overlap of 20: the tile at 0 sees it whole, that at 44 a part.
    image = paint((60, 108), [[20, 20, 60, 30]])
    objects = predict(model, scene_of(tmp_path / 's.tif', image))
    assert pixel_boxes(objects) == [[20, 20, 60, 30]]
    assert objects['score'].tolist() == [0.86]


def test_scores_below_the_limit_are_left_out(tmp_path, model):
    image = paint((60, 60), [[2, 2, 12, 12], [20, 20, 24, 25]])  # 0.89 and 0.898
    scene = scene_of(tmp_path / 's.tif', image)
    assert predict(model, scene, score=0.895)['score'].tolist() == [0.898]
    assert predict(model, scene, score=0.885)['score'].tolist() == [0.898, 0.89]


def test_scene_without_objects(tmp_path, model):
    objects = predict(model, scene_of(tmp_path / 's.tif', np.zeros((80, 90), 'uint16')))
    assert len(objects) == 0
    columns = ['class', 'class_id', 'score', 'area_m2', 'tile', 'geometry']
    assert objects.columns.tolist() == columns
    assert objects.crs == UTM_17N


def test_objects_where_there_is_no_data_are_dropped(tmp_path, model):
    image = paint((60, 90), [[5, 5, 15, 15], [50, 5, 70, 25]])
    mask = np.ones((60, 90), bool)
    mask[:, 55:65] = False  # the fill, 0, splits the second, with its middle
    image[40:50, 58:62] = 9
    scene = scene_of(tmp_path / 's.tif', image, mask=mask)
    found = pixel_boxes(predict(model, scene, 128, 0))
    assert found == [[5, 5, 15, 15]]


def test_tiles_without_data_only(tmp_path, model):
    scene = scene_of(tmp_path / 's.tif', np.zeros((80, 90), 'uint16'), nodata=0)
    assert len(predict(model, scene)) == 0


def test_rotated_scene(tmp_path, model):
    transform = (
        Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
    )
    image = paint((90, 110), [[10, 20, 30, 26]])
    objects = predict(model, scene_of(tmp_path / 's.tif', image, transform=transform))
    corners = [transform @ xy for xy in ((10, 20), (30, 20), (30, 26), (10, 26))]
    assert objects.geometry[0].symmetric_difference(shapely.Polygon(corners)).area < 1e-6
    assert objects['area_m2'][0] == pytest.approx(20 * 6 * 0.25, rel=1e-3)


@pytest.mark.parametrize(
    ('crs', 'transform'),
    [
        (UTM_17N, TRANSFORM),
        ('EPSG:3857', Affine(0.5, 0, 9_500_000, 0, -0.5, 8_400_000)),  # 60 degrees north
        ('EPSG:4326', Affine(1e-5, 0, 85.5, 0, -1e-5, 27.6)),
    ],
)
def test_areas_are_those_on_the_ground(tmp_path, model, crs, transform):
    image = paint((90, 110), [[10, 20, 30, 60], [70, 1, 90, 15]])
    scene = scene_of(tmp_path / 's.tif', image, crs=crs, transform=transform)
    objects = predict(model, scene, 128)
    assert objects.crs == crs
    to_lonlat = pyproj.Transformer.from_crs(crs, 'EPSG:4326', always_xy=True).transform
    for outline, area in zip(objects.geometry, objects['area_m2'], strict=True):
        lonlat = shapely.transform(outline, to_lonlat, interleaved=False)
        expected = abs(Geod(ellps='WGS84').geometry_area_perimeter(lonlat)[0])
        assert area == pytest.approx(expected, rel=1e-4, abs=0.005)


def test_scene_without_crs(tmp_path, model):
    image = paint((60, 90), [[5, 6, 15, 18]])
    scene = scene_of(tmp_path / 's.tif', image, crs=None, transform=None)
    objects = predict(model, scene)
    assert objects.crs is None
    # GIS programs draw a picture downwards from y = 0.
    assert objects.geometry[0].bounds == (5, -18, 15, -6)
    assert objects['area_m2'].isna().all()


@pytest.mark.parametrize(('tile', 'overlap'), [(64, 24), (97, 30), (256, 0)])
def test_masks_become_polygons_with_holes(tmp_path, mask_model, tile, overlap):
    image, expected = np.zeros((150, 170), np.uint16), []
    for number, (y, x) in enumerate([(y, x) for y in (3, 50, 97) for x in (5, 47, 130)], 1):
        image[y : y + 20, x : x + 20] = number
        image[y + 5 : y + 9, x + 6 : x + 14] = 0
        expected.append(
            shapely.box(x, y, x + 20, y + 20) - shapely.box(x + 6, y + 5, x + 14, y + 9)
        )
    objects = predict(mask_model, scene_of(tmp_path / 's.tif', image), tile, overlap)
    inverse = ~TRANSFORM
    found = shapely.transform(
        objects.geometry.to_numpy(), lambda x, y: inverse @ (x, y), interleaved=False
    )
    tree = shapely.STRtree(found)
    assert len(found) == len(expected)
    for outline in expected:
        nearest = found[tree.nearest(outline)]
        assert nearest.symmetric_difference(outline).area < 1e-3
    # 368 pixels of 0.25 m2, measured on the ellipsoid: UTM is 0.08 % smaller here.
    np.testing.assert_allclose(objects['area_m2'], 368 * 0.25, rtol=1e-3)


def test_masks_do_not_cover_pixels_without_data(tmp_path, mask_model):
    image = paint((40, 40), [[4, 4, 20, 20]])
    image[10:30, 0] = 2  # of the second
    image[10:30, 30:39] = 2
    scene = scene_of(tmp_path / 's.tif', image, mask=np.arange(1600).reshape(40, 40) % 40 < 35)
    objects = predict(mask_model, scene, 64, 0)
    inverse = ~TRANSFORM
    right = max(inverse @ (item.bounds[2], item.bounds[1]) for item in objects.geometry)
    assert right[0] == pytest.approx(35)


def test_masks_in_several_parts_make_a_layer_of_one_type(tmp_path, mask_model):
    image = paint((40, 60), [[4, 4, 20, 20], [30, 4, 34, 20]])
    image[4:20, 45:50] = 2
    objects = predict(mask_model, scene_of(tmp_path / 's.tif', image), 64, 0)
    assert objects.geom_type.unique().tolist() == ['MultiPolygon']
    assert sorted(objects.geometry.count_geometries()) == [1, 2]


def test_tile_that_shows_as_many_objects_as_the_model_reports_is_told(tmp_path):
    limit = dict(rcnn=dict(max_per_img=3))
    files = object_files(tmp_path / 'm', SPEC, test_cfg=limit)
    model = TrainedModel(files[1], device='cpu', tile=32)
    boxes = [[2, 2, 9, 9], [20, 2, 29, 9], [30, 30, 35, 35]]
    scene = scene_of(tmp_path / 's.tif', paint((60, 60), boxes))
    with pytest.warns(UserWarning, match=r'1 of 1 tiles reach the limit of .* \(3\)'):
        assert len(predict(model, scene)) == 3
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        predict(model, scene, score=0.896)  # the rest of the three was not wanted


def test_progress_counts_every_tile(tmp_path, model):
    steps = []
    predict(
        model,
        scene_of(tmp_path / 's.tif', paint((60, 200), [[1, 1, 9, 9]])),
        progress=lambda done, total: steps.append(done),
    )
    assert sum(steps) == len(tile_plan(200, 60, 64, 20))
