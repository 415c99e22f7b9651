import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.raster import Grid, Window

UTM = CRS.from_epsg(32617)
NORTH_UP = Grid(Affine(0.5, 0, 1000, 0, -0.5, 2000), 40, 20, UTM)
ROTATED = Grid(Affine.translation(1000, 2000) @ Affine.rotation(30) @ Affine.scale(1, -1), 4, 3)


def test_footprint():
    assert NORTH_UP.footprint.equals(shapely.box(1000, 1990, 1020, 2000))
    assert ROTATED.footprint.area == pytest.approx(12)
    assert ROTATED.footprint.bounds == pytest.approx(ROTATED.bounds)
    assert not ROTATED.footprint.equals(shapely.box(*ROTATED.bounds))


@pytest.mark.parametrize(
    ('bounds', 'window'),
    [
        (NORTH_UP.bounds, (0, 0, 40, 20)),
        ((1000.5, 1999, 1001, 1999.5), (1, 1, 1, 1)),
        ((1000.6, 1999.1, 1000.9, 1999.4), (1, 1, 1, 1)),
        ((1000.5 - 1e-8, 1999 - 1e-8, 1001 + 1e-8, 1999.5 + 1e-8), (1, 1, 1, 1)),
        ((1000.4, 1998.9, 1001.1, 1999.6), (0, 0, 3, 3)),
        ((990, 2000, 1000.5, 2001), (-20, -2, 21, 2)),
    ],
)
def test_window_of_bounds(bounds, window):
    assert NORTH_UP.window_of(bounds) == Window(*window)


def test_window_of_bounds_in_a_rotated_grid():
    x, y = ROTATED.transform @ (2.5, 1.5)
    assert ROTATED.window_of((x - 0.1, y - 0.1, x + 0.1, y + 0.1)) == Window(2, 1, 1, 1)
    assert ROTATED.window_of(ROTATED.bounds).intersection(ROTATED.window) == ROTATED.window


def test_pad():
    padded = NORTH_UP.pad(2, 1)
    assert padded.bounds == (999, 1989.5, 1021, 2000.5)
    assert (padded.width, padded.height) == (44, 22)
    assert padded.crop(Window(2, 1, 40, 20)) == NORTH_UP
    assert NORTH_UP.pad(3).pad(-3) == NORTH_UP


def test_degrees():
    grid = Grid(Affine(1000, 0, 200000, 0, -1000, 6100000), 600, 100, UTM)
    west, south, east, north = grid.lonlat_bounds
    outline = grid.lonlat_footprint()
    assert outline.bounds == pytest.approx((west, south, east, north), abs=1e-2)
    assert len(outline.exterior.coords) == 65
    assert outline.exterior.is_ccw
    # The middle of the northern edge is no straight line between the corners.
    assert north > np.max(outline.exterior.coords[0][1]) + 0.05


@pytest.mark.parametrize('grid', [ROTATED, Grid(Affine.translation(1e20, 1e20), 4, 4, UTM)])
def test_no_degrees_without_a_place_on_earth(grid):
    assert grid.lonlat_bounds is None
    assert grid.lonlat_footprint() is None


def test_a_local_system_has_no_gsd():
    site = Grid(NORTH_UP.transform, 4, 4, CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'))
    assert site.gsd is None


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_no_pixel_lies_under_bounds_that_are_not_finite(value):
    grid = Grid(Affine(0.5, 0, 0, 0, -0.5, 0), 10, 10)
    assert grid.window_of((0, 0, 1, value)).area == 0
