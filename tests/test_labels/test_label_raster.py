import numpy as np
import pytest
from affine import Affine

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.labels import LabelRaster
from geo_mm.raster import Scene, Window
from tests.data.rasters import TRANSFORM, write_raster

CLASSES = ('ground', 'roof', 'water')


@pytest.fixture
def grid(tmp_path):
    """21 x 17 pixels of 0.5 m."""
    return Scene.open(write_raster(tmp_path / 'scene.tif', np.zeros((17, 21), 'uint8'))).grid


def test_without_a_map_values_are_class_indices(tmp_path, grid):
    values = np.arange(17 * 21).reshape(17, 21) % 3
    path = write_raster(tmp_path / 'labels.tif', values.astype('uint8'))
    labels = LabelRaster.read(path, CLASSES, grid)
    np.testing.assert_array_equal(labels.classes(grid.window), values)


def test_mapped_values_in_a_coarser_grid(tmp_path, grid):
    values = np.array([[10, 20], [-1, 30]], 'int16')
    coarse = TRANSFORM @ Affine.scale(10)
    path = write_raster(tmp_path / 'labels.tif', values, transform=coarse)
    class_map = {10: 'roof', 20: 'water', 30: 'ground', -1: None}
    found = LabelRaster.read(path, CLASSES, grid, class_map).classes(grid.window)
    expected = np.full((17, 21), IGNORE)
    expected[:10, :10], expected[:10, 10:20] = 1, 2
    expected[10:, 10:20] = 0  # column 20 is beyond the label raster, and -1 is ignored
    np.testing.assert_array_equal(found, expected)


def test_another_crs(tmp_path, grid):
    """Labels in degrees, cells of about 2.2 m: the classes are where they belong."""
    import pyproj

    lon, lat = pyproj.Transformer.from_crs(32617, 4326, always_xy=True).transform(500_000, 4e6)
    values = np.array([[0, 1, 2, 0, 1]] * 10, 'uint8')
    step = 2.5e-5  # 2.25 m east
    path = write_raster(
        tmp_path / 'labels.tif',
        values,
        crs='EPSG:4326',
        transform=Affine(step, 0, lon, 0, -step, lat),
    )
    found = LabelRaster.read(path, CLASSES, grid).classes(grid.window)
    metres = step * 111_320 * np.cos(np.radians(lat))
    expected = values[0][((np.arange(21) + 0.5) * 0.5 / metres).astype(int)]
    np.testing.assert_array_equal(found[8], expected)


def test_declared_nodata_is_ignored(tmp_path, grid):
    values = np.ones((17, 21), 'uint8')
    values[3, 4] = 99
    path = write_raster(tmp_path / 'labels.tif', values, nodata=99)
    found = LabelRaster.read(path, CLASSES, grid).classes(Window(0, 0, 21, 17))
    assert found[3, 4] == IGNORE
    assert (found == 1).sum() == 17 * 21 - 1


def test_a_class_that_the_file_calls_nodata_is_an_error(tmp_path, grid):
    path = write_raster(tmp_path / 'labels.tif', np.ones((17, 21), 'uint8'), nodata=0)
    with pytest.raises(LabelError, match=r'(?s)value 0 has a class.*unset-nodata'):
        LabelRaster.read(path, CLASSES, grid)
    labels = LabelRaster.read(path, CLASSES, grid, {0: None, 1: 'roof'})
    assert (labels.classes(grid.window) == 1).all()


def test_values_without_class_are_listed_with_their_share(tmp_path, grid):
    values = np.zeros((17, 21), 'uint8')
    values[0, :5], values[1, 0] = 7, 8
    path = write_raster(tmp_path / 'labels.tif', values)
    with pytest.raises(LabelError, match=r'(?s)labels.tif: values 7, 8 .*7 \(1.4% of pixels\)'):
        LabelRaster.read(path, CLASSES, grid)


def test_values_away_from_the_scene_do_not_matter(tmp_path, grid):
    values = np.zeros((40, 40), 'uint8')
    values[30:, 30:] = 77
    path = write_raster(tmp_path / 'labels.tif', values)
    assert (LabelRaster.read(path, CLASSES, grid).classes(grid.window) == 0).all()


def test_ignore_is_a_name_for_ignored_pixels(tmp_path, grid):
    path = write_raster(tmp_path / 'labels.tif', np.full((17, 21), 5, 'uint8'))
    labels = LabelRaster.read(path, CLASSES, grid, {5: 'ignore'})
    assert (labels.classes(grid.window) == IGNORE).all()


def test_a_raster_elsewhere_is_an_error(tmp_path, grid):
    away = TRANSFORM @ Affine.translation(5000, 0)
    path = write_raster(tmp_path / 'labels.tif', np.zeros((17, 21), 'uint8'), transform=away)
    with pytest.raises(LabelError, match=r'labels.tif: the label raster does not touch the scene'):
        LabelRaster.read(path, CLASSES, grid)


@pytest.mark.parametrize(
    ('array', 'options', 'class_map', 'message'),
    [
        (np.zeros((17, 21), 'float32'), {}, None, 'of type float32'),
        (np.zeros((17, 21), 'uint8'), dict(crs=None), None, 'without a CRS'),
        (np.zeros((17, 21), 'uint8'), {}, {0: 'lake'}, "maps value 0 to 'lake'"),
        (np.zeros((17, 21), 'uint8'), {}, {'grass': 'roof'}, "value 'grass'"),
    ],
)
def test_mistakes(tmp_path, grid, array, options, class_map, message):
    path = write_raster(tmp_path / 'labels.tif', array, **options)
    with pytest.raises(LabelError, match=message):
        LabelRaster.read(path, CLASSES, grid, class_map)


def test_points_lie_in_pixels_of_their_class(tmp_path, grid):
    values = np.full((17, 21), 9, 'uint8')
    values[5, 7], values[16, 20] = 1, 2
    path = write_raster(tmp_path / 'labels.tif', values)
    labels = LabelRaster.read(path, CLASSES, grid, {1: 'roof', 2: 'water', 9: None})
    points, classes = labels.points()
    np.testing.assert_array_equal(points, [[7.5, 5.5], [20.5, 16.5]])
    np.testing.assert_array_equal(classes, [1, 2])


def test_values_without_class_away_from_the_middle_are_found_as_they_are_read(tmp_path):
    """Opening reads 256 pixels along a side, wherever the wrong value is."""
    image = write_raster(tmp_path / 'scene.tif', np.zeros((600, 2000), 'uint8'))
    grid = Scene.open(image).grid
    values = np.zeros((600, 2000), 'uint8')
    values[10, 20] = 77
    path = write_raster(tmp_path / 'labels.tif', values)
    labels = LabelRaster.read(path, CLASSES, grid)
    assert (labels.classes(Window(900, 200, 64, 64)) == 0).all()
    with pytest.raises(LabelError, match=r'(?s)values 77 have no class.*77 \(0.0% of pixels\)'):
        labels.classes(Window(0, 0, 64, 64))
    values[300, 1000] = 78
    write_raster(tmp_path / 'labels.tif', values)
    with pytest.raises(LabelError, match='values 77, 78 have no class'):
        LabelRaster.read(path, CLASSES, grid)
