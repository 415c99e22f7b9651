import numpy as np
import pytest
from affine import Affine

from geo_mm.raster import Scene, Window
from geo_mm.raster.turned import read_turned, turned_about
from tests.data.rasters import noise, pixel_centres, ramp, write_raster

WINDOW = Window(40, 30, 24, 20)
MIDDLE = (52, 40)


def test_a_turn_by_nothing_reads_the_same_pixels(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 80, 100))))
    data, valid = read_turned(scene, turned_about(MIDDLE, 1, 0, scene.gsd), WINDOW)
    np.testing.assert_array_equal(data, scene.read(WINDOW)[0])
    assert valid.all()


def test_a_quarter_turn(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 80, 100), 'uint16')))
    window = Window(40, 30, 20, 20)
    data, _ = read_turned(scene, turned_about((50, 40), 1, 90, None), window)
    # The chip's x axis points down in the scene.
    np.testing.assert_array_equal(data, np.rot90(scene.read(window)[0], 1, (1, 2)))


@pytest.mark.parametrize(('zoom', 'angle'), [(1.25, 0), (0.8, 30), (1.2, -160), (2.5, 45)])
def test_pixels_are_those_of_their_place_on_the_ground(tmp_path, zoom, angle):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', ramp(120, 140)))
    window = Window(50, 45, 24, 20)
    placed = turned_about((62, 55), zoom, angle, scene.gsd)
    data, valid = read_turned(scene, placed, window)
    assert valid.all()
    there = scene.transform @ placed @ Affine.translation(window.col_off, window.row_off)
    np.testing.assert_allclose(data, pixel_centres(there, 20, 24), atol=0.02)  # of 0.5 m pixels


def test_angles_are_those_on_the_ground_where_pixels_are_no_squares():
    placed = turned_about((0, 0), 1, 45, (0.5, 1.0))
    right, down = (np.array(placed @ pixel) * (0.5, 1.0) for pixel in ((2, 0), (0, 1)))
    assert np.linalg.norm(right) == pytest.approx(1) == np.linalg.norm(down)
    assert right @ down == pytest.approx(0)


def test_what_is_invalid_is_not_mixed_in(tmp_path):
    image = np.full((1, 80, 100), 200, np.uint8)
    image[:, :, 55:] = 0
    scene = Scene.open(write_raster(tmp_path / 'a.tif', image, nodata=0))
    data, valid = read_turned(scene, turned_about(MIDDLE, 1, 30, scene.gsd), WINDOW)
    assert set(np.unique(data[:, valid])) == {200}
    assert set(np.unique(data[:, ~valid])) == {0}
    assert 0.5 < valid.mean() < 0.75


def test_beyond_the_edge_is_invalid(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((1, 80, 100))))
    window = Window(0, 0, 20, 20)
    _, valid = read_turned(scene, turned_about((10, 10), 1, 45, scene.gsd), window)
    assert not valid[0, 0] and not valid[-1, 0]
    assert valid[0, -1] and valid[-1, -1] and valid[10, 10]
