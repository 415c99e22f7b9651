import numpy as np
import pytest
import shapely

from geo_mm.catalog import CatalogEntry, SceneOptions, open_labelled
from geo_mm.errors import ConfigError, LabelError
from geo_mm.labels import LabelOptions, LabelRaster
from geo_mm.raster import Window
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


@pytest.fixture
def image(tmp_path):
    return str(write_raster(tmp_path / 'scene.tif', noise((2, 40, 60))))


def opened(entry, classes=('background', 'building', 'tree'), objects=False, **options):
    return open_labelled(entry, classes, SceneOptions(), LabelOptions(**options), objects=objects)


def test_the_background_is_no_class_of_features(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(1, 2, 5, 6)], ['tree'])
    item = opened(CatalogEntry(image, str(labels)), class_column='class')
    assert item.labels.labels.tolist() == [2]
    classes = item.labels.classes(Window(0, 0, 10, 10))
    assert (classes == 2).sum() == 16 and (classes == 0).sum() == 84


def test_background_in_the_middle_of_the_classes(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(0, 0, 4, 4), box(4, 0, 8, 4)], ['a', 'c'])
    classes = ('a', 'other', 'c')
    item = opened(
        CatalogEntry(image, str(labels)), classes, class_column='class', background='other'
    )
    found = item.labels.classes(Window(0, 0, 12, 1))[0]
    assert found.tolist() == [0] * 4 + [2] * 4 + [1] * 4
    points, numbers = item.points()
    assert numbers.tolist() == [0, 2]
    assert (points[0] < 4).all()


def test_no_background_ignores_what_no_feature_covers(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(0, 0, 4, 4)], ['a'])
    item = opened(
        CatalogEntry(image, str(labels)), ('a', 'b'), class_column='class', background=None
    )
    assert item.labels.classes(Window(0, 0, 6, 1))[0].tolist() == [0] * 4 + [255] * 2


def test_later_classes_lie_on_top_and_ignored_features_above_all(tmp_path, image):
    shapes = [box(0, 0, 8, 1), box(2, 0, 8, 1), box(6, 0, 8, 1)]
    labels = write_labels(tmp_path / 'l.gpkg', shapes, ['tree', 'building', 'unsure'])
    item = opened(
        CatalogEntry(image, str(labels)), class_column='class', class_map={'unsure': 'ignore'}
    )
    # The tree is listed first and the building drawn later, yet trees are above.
    found = item.labels.classes(Window(0, 0, 10, 1))[0]
    assert found.tolist() == [2] * 6 + [255] * 2 + [0] * 2
    assert sorted(item.points()[1].tolist()) == [-1, 1, 2]


def test_a_background_that_is_no_class(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(0, 0, 4, 4)], ['a'])
    entry = CatalogEntry(image, str(labels))
    with pytest.raises(ConfigError, match=r"(?s)'background' is not one of a, b.*set that to None"):
        opened(entry, ('a', 'b'), class_column='class')


def test_a_raster_has_no_objects(tmp_path, image):
    labels = write_raster(tmp_path / 'labels.tif', np.zeros((40, 60), 'uint8'))
    with pytest.raises(LabelError, match='has no single objects'):
        opened(CatalogEntry(image, str(labels)), objects=True)
    with pytest.raises(LabelError, match='has no single objects'):
        opened(CatalogEntry(image, str(labels))).labels.objects(Window(0, 0, 9, 9))


def test_a_raster_of_labels_is_known_by_its_suffix(tmp_path, image):
    labels = write_raster(tmp_path / 'labels.tif', np.zeros((40, 60), 'uint8'))
    assert isinstance(opened(CatalogEntry(image, str(labels))).labels, LabelRaster)


def test_the_layer_of_an_entry_comes_first(tmp_path, image):
    path = tmp_path / 'l.gpkg'
    import geopandas as gpd

    for layer, left in (('old', 0), ('new', 10)):
        write_labels(tmp_path / 'one.gpkg', [box(left, 0, left + 4, 4)])
        gpd.read_file(tmp_path / 'one.gpkg').to_file(path, layer=layer)
    entry = CatalogEntry(image, str(path), layer='new')
    item = opened(entry, ('background', 'building'), layer='old')
    assert item.points()[0][0, 0] > 10


def test_areas_of_one_file_share_no_pixel(image):
    west = opened(CatalogEntry(image, area=(0, 0, 0.33, 1))).scene
    east = opened(CatalogEntry(image, area=(0.33, 0, 1, 1))).scene
    assert (west.width, east.width) == (20, 40)
    assert west.grid.bounds[2] == east.grid.bounds[0]
    data, valid = west.read(Window(10, 0, 20, 40))
    assert not valid[:, 10:].any() and not data[:, :, 10:].any()


def test_labels_of_an_area_are_cut_at_its_edge(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(15, 0, 25, 10)])
    entry = CatalogEntry(image, str(labels), area=(0.5, 0, 1, 1))
    assert (
        len(opened(entry, ('building',), background=None).labels) == 0
    )  # touches only the other half
    entry = CatalogEntry(image, str(labels), area=(1 / 3, 0, 1, 1))
    clipped = opened(entry, ('building',), background=None).labels.objects(Window(0, 0, 40, 40))
    assert clipped.boxes.tolist() == [[0, 0, 5, 10]]
    assert clipped.visible.tolist() == [0.5]


def test_pixels_outside_the_aoi_are_invalid_to_the_pixel(tmp_path, image):
    shape = shapely.Polygon(
        [(0, 0), (30, 0), (30, 20), (0, 20)], [[(4, 4), (8, 4), (8, 8), (4, 8)]]
    )
    aoi = write_labels(tmp_path / 'aoi.geojson', [shape], to_crs='EPSG:4326')
    item = opened(CatalogEntry(image, aoi=str(aoi)))
    valid = item.read(Window(-2, -3, 60, 50))[1]
    expected = np.zeros((50, 60), bool)
    expected[3:23, 2:32] = True
    expected[7:11, 6:10] = False
    np.testing.assert_array_equal(valid, expected)


def test_points_lie_inside_the_aoi(tmp_path, image):
    labels = write_labels(tmp_path / 'l.gpkg', [box(0, 0, 4, 4), box(40, 20, 44, 24)])
    aoi = write_labels(tmp_path / 'aoi.gpkg', [box(30, 10, 60, 40)])
    points, classes = opened(
        CatalogEntry(image, str(labels), aoi=str(aoi)), ('b',), background=None
    ).points()
    assert len(points) == len(classes) == 1
    assert 40 < points[0, 0] < 44


def test_an_aoi_of_another_place_is_an_error_but_one_beside_the_area_is_not(tmp_path, image):
    aoi = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 20, 40)])
    item = opened(CatalogEntry(image, aoi=str(aoi), area=(0.5, 0, 1, 1)))
    assert not item.read(Window(0, 0, 30, 40))[1].any()
    away = write_labels(tmp_path / 'away.gpkg', [box(9000, 0, 9020, 40)])
    with pytest.raises(LabelError, match=r'away.gpkg: none of its 1 features touches scene'):
        opened(CatalogEntry(image, aoi=str(away)))


@pytest.mark.parametrize('shapes', [[], [shapely.Point(3, 3)]])
def test_an_aoi_without_polygons_is_an_error(tmp_path, image, shapes):
    aoi = write_labels(tmp_path / 'aoi.gpkg', shapes)
    with pytest.raises(LabelError, match=r'aoi.gpkg: the area of interest has no polygon'):
        opened(CatalogEntry(image, aoi=str(aoi)))


def test_an_unknown_label_option(image):
    with pytest.raises(ConfigError, match=r'(?s)label_cfg has the unknown key colum.*column'):
        LabelOptions.from_cfg(dict(colum='class'))
