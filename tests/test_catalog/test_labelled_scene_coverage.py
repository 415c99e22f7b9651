import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_mm.catalog import CatalogEntry, Coverage, SceneOptions, open_labelled
from geo_mm.labels import LabelOptions
from geo_mm.raster import Window
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


def opened(path, aoi=None):
    entry = CatalogEntry(str(path), aoi=aoi and str(aoi))
    return open_labelled(entry, ('a',), SceneOptions(), LabelOptions())


@pytest.fixture(scope='module')
def half(tmp_path_factory):
    """101 x 67 pixels, valid left of column 48."""
    array = noise((1, 67, 101))
    array[:, :, 48:] = 0
    return opened(write_raster(tmp_path_factory.mktemp('half') / 'a.tif', array, nodata=0))


@given(st.integers(-40, 110), st.integers(-40, 80), st.integers(1, 60), st.integers(1, 60))
def test_share_is_right_to_within_a_cell(half, col, row, width, height):
    coverage = Coverage(half, (32, 32))
    window = Window(col, row, width, height)
    exact = window.intersection(Window(0, 0, 48, 67)).area / window.area
    assert abs(coverage.share(window) - exact) <= coverage.cell_width / width + 1e-9


def test_a_window_inside_a_scene_without_nodata_is_wholly_valid(tmp_path):
    coverage = Coverage(opened(write_raster(tmp_path / 'a.tif', noise((1, 67, 101)))), (30, 30))
    windows = [Window(x, y, 30, 30) for x in (0, 13, 71) for y in (0, 5, 37)]
    assert [coverage.share(window) for window in windows] == pytest.approx([1.0] * 9)
    assert coverage.share(Window(86, 0, 30, 30)) == pytest.approx(0.5)
    assert coverage.area == pytest.approx(67 * 101)


def test_touches_has_no_false_no(half):
    coverage = Coverage(half, (32, 32))
    assert coverage.touches(Window(47, 0, 32, 32))
    assert not coverage.touches(Window(64, 0, 32, 32))
    assert not coverage.touches(Window(0, 100, 32, 32))


@pytest.mark.parametrize(
    ('col', 'row', 'found'),
    [
        # Cells have 4 pixels; the valid one is at columns and rows 32 to 36.
        (28, 32, True),  # next to it on the left, right, above and below
        (36, 32, True),
        (32, 28, True),
        (32, 36, True),
        (24, 32, False),  # two cells away
        (40, 32, False),
        (32, 24, False),
        (32, 40, False),
    ],
)
def test_touches_looks_one_cell_beyond_the_window(tmp_path, col, row, found):
    array = np.zeros((1, 64, 64), 'uint8')
    array[:, 32:36, 32:36] = 1
    scene = opened(write_raster(tmp_path / 'a.tif', array, nodata=0))
    assert Coverage(scene, (32, 32)).touches(Window(col, row, 4, 4)) == found


def test_touches_looks_up_the_aoi_exactly(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((1, 64, 64)))
    aoi = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 32.2, 64)])
    coverage = Coverage(opened(image, aoi), (32, 32))
    assert coverage.touches(Window(32, 0, 32, 32))
    assert not coverage.touches(Window(33, 0, 31, 32))
    assert coverage.share(Window(0, 0, 32, 32)) == pytest.approx(1)
    assert coverage.share(Window(32, 0, 32, 32)) == pytest.approx(0)


def test_shares_of_many_windows_equal_those_of_each(half):
    coverage = Coverage(half, (32, 32))
    cols, rows = np.array([-5.5, 0, 31.25]), np.array([0, 12.5])
    shares = coverage.shares(cols, rows, (20, 30))
    assert shares.shape == (2, 3)
    assert shares[1, 2] == coverage.shares(cols[2:], rows[1:], (20, 30))[0, 0]


def test_points(half):
    coverage = Coverage(half, (32, 32))
    points = np.array([[1.0, 1.0], [46.0, 66.9], [51.0, 3.0], [100.9, 66.9]])
    assert coverage.at(points).tolist() == [True, True, False, False]
