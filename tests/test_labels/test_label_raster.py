import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.labels import LabelOptions, LabelRaster, open_labels, read_onto
from geo_mm.raster import Grid, Scene, Window
from tests.data.rasters import TRANSFORM, noise, pixel_centres, write_raster

UTM = CRS.from_epsg(32617)
GRID = Grid(TRANSFORM, 60, 40, UTM)


def test_same_grid(tmp_path):
    labels = noise((40, 60))
    path = write_raster(tmp_path / 'l.tif', labels)
    window = Window(7, 5, 20, 11)
    result = read_onto(path, GRID, window, fill=255)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, labels[window.slices()])


def test_outside_is_fill(tmp_path):
    labels = noise((40, 60), 'int16')
    path = write_raster(tmp_path / 'l.tif', labels)
    result = read_onto(path, GRID, Window(-3, 35, 10, 10), fill=-1)
    expected = np.full((10, 10), -1)
    expected[:5, 3:] = labels[35:, :7]
    np.testing.assert_array_equal(result, expected)
    assert (read_onto(path, GRID, Window(100, 0, 4, 4), fill=-1) == -1).all()


def test_fill_that_the_type_cannot_hold_widens_it(tmp_path):
    path = write_raster(tmp_path / 'l.tif', np.full((40, 60), 200, 'uint8'))
    result = read_onto(path, GRID, Window(-1, 0, 2, 1), fill=-1)
    assert result.tolist() == [[-1, 200]]


@pytest.mark.parametrize('nodata', [0, 9])
def test_nodata_becomes_fill(tmp_path, nodata):
    labels = np.array([[0, 1, 9]], 'uint8')
    path = write_raster(tmp_path / 'l.tif', labels, nodata=nodata)
    expected = np.where(labels == nodata, 255, labels)
    np.testing.assert_array_equal(read_onto(path, GRID, Window(0, 0, 3, 1), 255), expected)


def test_mask_band_becomes_fill(tmp_path):
    mask = np.array([[1, 0, 1]])
    path = write_raster(tmp_path / 'l.tif', np.array([[4, 5, 6]], 'uint8'), mask=mask)
    assert read_onto(path, GRID, Window(0, 0, 3, 1), 255).tolist() == [[4, 255, 6]]


def test_coarser_and_finer_labels(tmp_path):
    labels = noise((20, 30))
    path = write_raster(tmp_path / 'c.tif', labels, transform=TRANSFORM @ Affine.scale(2))
    np.testing.assert_array_equal(
        read_onto(path, GRID, GRID.window, 255), labels.repeat(2, 0).repeat(2, 1)
    )
    labels = noise((120, 180))
    path = write_raster(tmp_path / 'f.tif', labels, transform=TRANSFORM @ Affine.scale(1 / 3))
    np.testing.assert_array_equal(read_onto(path, GRID, GRID.window, 255), labels[1::3, 1::3])


def test_window_of_a_window_is_the_same(tmp_path):
    shifted = TRANSFORM @ Affine.translation(-5.3, 2.4) @ Affine.scale(0.7)
    path = write_raster(tmp_path / 'l.tif', noise((90, 80)), transform=shifted)
    whole = read_onto(path, GRID, GRID.window, 255)
    window = Window(13, 8, 21, 17)
    np.testing.assert_array_equal(read_onto(path, GRID, window, 255), whole[window.slices()])


@pytest.mark.parametrize(
    ('crs', 'transform'),
    [
        ('EPSG:32617', TRANSFORM @ Affine.translation(20, -9) @ Affine.rotation(25)),
        ('EPSG:4326', Affine(5e-6, 0, -81.0003, 0, -5e-6, 36.1444)),
        ('EPSG:3857', Affine(0.4, 0, -9_016_900, 0, -0.4, 4_321_990)),
    ],
)
def test_every_pixel_is_looked_up_at_its_centre(tmp_path, crs, transform):
    """Against one exact coordinate transformation per pixel."""
    to_labels = pyproj.Transformer.from_crs('EPSG:32617', crs, always_xy=True)
    centre = to_labels.transform(500_015, 3_999_990)
    if crs != 'EPSG:32617':
        # Put the middle of the labels near the middle of the grid.
        offset = Affine.translation(*np.subtract(centre, transform @ (60, 60)))
        transform = offset @ transform
    labels = noise((120, 120))
    path = write_raster(tmp_path / 'l.tif', labels, crs=crs, transform=transform)
    window = Window(-4, -3, 70, 50)
    xs, ys = pixel_centres(GRID.window_transform(window), 50, 70)
    expected = np.full((50, 70), 255)
    for (r, c), x, y in zip(np.ndindex(50, 70), xs.ravel(), ys.ravel(), strict=True):
        col, row = map(int, np.floor(~transform @ to_labels.transform(x, y)))
        if 0 <= row < 120 and 0 <= col < 120:
            expected[r, c] = labels[row, col]
    assert (expected != 255).mean() > 0.3
    np.testing.assert_array_equal(read_onto(path, GRID, window, 255), expected)


def test_labels_on_the_other_side_of_the_earth(tmp_path):
    path = write_raster(tmp_path / 'l.tif', noise((9, 9)), crs='EPSG:32756', transform=TRANSFORM)
    assert (read_onto(path, GRID, Window(0, 0, 5, 5), 255) == 255).all()


def test_second_band(tmp_path):
    labels = noise((2, 40, 60))
    path = write_raster(tmp_path / 'l.tif', labels)
    np.testing.assert_array_equal(read_onto(path, GRID, GRID.window, 0, band=2), labels[1])
    with pytest.raises(LabelError, match='no band 3'):
        read_onto(path, GRID, GRID.window, 0, band=3)


def test_plain_pictures(tmp_path):
    labels = noise((40, 60))
    path = write_raster(tmp_path / 'l.png', labels, None, None, driver='PNG')
    picture = Grid(Affine.identity(), 60, 40)
    np.testing.assert_array_equal(read_onto(path, picture, picture.window, 0), labels)
    with pytest.raises(LabelError, match='the image has a CRS and the label raster has none'):
        read_onto(path, GRID, GRID.window, 0)


def test_unreadable(tmp_path):
    with pytest.raises(LabelError, match=r'gone\.tif'):
        read_onto(tmp_path / 'gone.tif', GRID, GRID.window, 0)
    path = write_raster(tmp_path / 'l.tif', noise((400, 600)))
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(LabelError, match='cannot be read as a label raster'):
        read_onto(path, Grid(TRANSFORM, 600, 400, UTM), Window(0, 0, 600, 400), 0)


@pytest.mark.parametrize('rounding', [0, -1e-8, 1e-8])
@pytest.mark.parametrize('turned', [False, True])
def test_a_centre_on_a_border_takes_the_right_and_lower_pixel(tmp_path, rounding, turned):
    labels = np.arange(12, dtype='uint8').reshape(3, 4)
    path = write_raster(tmp_path / 'labels.tif', labels[None], transform=TRANSFORM)
    # Half a pixel further: every centre is on a corner of four label pixels.
    shift = Affine.translation(0.5 + rounding, 0.5 + rounding)
    turn = Affine.rotation(90) @ Affine.translation(0, -2) if turned else Affine.identity()
    grid = Grid(TRANSFORM @ shift @ turn, 2, 2, UTM)
    expected = labels[1:3, 1:3]
    found = read_onto(path, grid, grid.window, 255)
    np.testing.assert_array_equal(found, np.rot90(expected) if turned else expected)


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


@pytest.mark.parametrize('key', ['#ff0010', (255, 0, 16)])
def test_classes_may_be_colours(tmp_path, grid, key):
    colours = np.zeros((3, 17, 21), 'uint8')
    colours[:, 3, 4] = 255, 0, 16
    colours[:, 5, 6] = 255, 255, 255
    path = write_raster(tmp_path / 'labels.tif', colours)
    class_map = {key: 'roof', '#000000': 'ground', (255, 255, 255): None}
    labels = LabelRaster.read(path, CLASSES, grid, class_map)
    classes = labels.classes(Window(-1, 0, 22, 17))
    assert classes[3, 5] == CLASSES.index('roof')
    assert classes[5, 7] == IGNORE and (classes[:, 0] == IGNORE).all()
    assert (classes == CLASSES.index('ground')).sum() == 17 * 21 - 2
    with pytest.raises(LabelError, match=r'values #ff0010 have no class.*#000000 \(99.4% of'):
        LabelRaster.read(path, CLASSES, grid, {'#000000': 'ground', '#ffffff': None})
    with pytest.raises(LabelError, match='both values and colours'):
        LabelRaster.read(path, CLASSES, grid, {'#000000': 'ground', 1: 'roof'})


def test_a_mask_without_georeference_covers_the_scene(tmp_path, grid):
    values = np.arange(17 * 21).reshape(17, 21) % 2
    path = write_raster(tmp_path / 'labels.png', values.astype('uint8'), crs=None, transform=None)
    options = LabelOptions()
    labels = open_labels(path, CLASSES, options, grid)
    assert (labels.classes(grid.window) == values).all()
    part, half = grid.crop(Window(3, 2, 8, 8)), grid.at_gsd(1.0)
    labels = open_labels(path, CLASSES, options, part, whole=grid)
    assert (labels.classes(part.window) == values[2:10, 3:11]).all()
    assert open_labels(path, CLASSES, options, half).own.width == 21
    other = write_raster(tmp_path / 'o.png', values[:9].astype('uint8'), crs=None, transform=None)
    with pytest.raises(LabelError, match='label raster without a CRS'):
        open_labels(other, CLASSES, options, grid)


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
