import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS

from geo_mm.errors import LabelError
from geo_mm.raster import Grid, Window, read_onto
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
