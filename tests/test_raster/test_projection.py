import threading

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from geo_mm.raster import Grid
from geo_mm.raster.projection import (
    LONLAT,
    bounds_in,
    ground_areas,
    ground_distances,
    proj_crs,
    same,
    transformer,
)

UTM = 'EPSG:32617'
MARS = (
    'GEOGCS["GCS_Mars_2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190.0,'
    '169.89444722361179]],PRIMEM["Reference_Meridian",0.0],UNIT["Degree",0.0174532925199433]]'
)


def test_a_pair_of_systems_has_one_transformer_however_they_are_given():
    first = transformer(CRS.from_epsg(32617))
    assert transformer(CRS.from_epsg(32617), LONLAT) is first
    assert transformer(UTM) is transformer(pyproj.CRS(UTM))
    assert proj_crs(UTM) is proj_crs(UTM)


def test_x_comes_before_y():
    lon, lat = transformer(UTM).transform(500000, 3000000)
    assert (lon, lat) == pytest.approx((-81, 27.1225), abs=1e-4)
    assert transformer(LONLAT, UTM).transform(lon, lat) == pytest.approx((500000, 3000000))


def test_a_system_that_is_none():
    with pytest.raises(ProjError):
        transformer('no such thing')


def test_threads_share_it():
    found = []

    def work():
        xs = np.full(1000, 500000.0)
        found.append(transformer(UTM).transform(xs, xs + 2500000)[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.concatenate(found), -81)


def test_bounds_hold_curved_edges():
    # The northern edge of a wide UTM rectangle bends north in the middle.
    north = bounds_in((200000, 6000000, 800000, 6100000), UTM)[3]
    corner = transformer(UTM).transform(200000, 6100000)[1]
    middle = transformer(UTM).transform(500000, 6100000)[1]
    assert north == pytest.approx(middle, abs=1e-3)
    assert north > corner + 0.05


def test_bounds_without_a_place():
    assert bounds_in((1e20, 1e20, 2e20, 2e20), UTM) is None
    assert bounds_in((0, 0, 1, 1), 'no such thing') is None


def test_bounds_across_the_antimeridian():
    west, _, east, _ = bounds_in((-100000, -100000, 100000, 100000), '+proj=laea +lon_0=180')
    assert west > 179 > 0 > -179 > east


def test_the_order_of_axes_makes_no_other_system():
    assert same('EPSG:4326', 'OGC:CRS84')
    assert not same('EPSG:4326', 'EPSG:4258')


def test_a_long_edge_is_bent_in_the_equal_area_projection():
    """Half of a square of 100 km near 60 degrees north, against its 1 km cells."""
    triangle = shapely.Polygon([(4e5, 6.6e6), (5e5, 6.7e6), (4e5, 6.7e6)])
    west, south = np.meshgrid(4e5 + np.arange(100) * 1e3, 6.6e6 + np.arange(100) * 1e3)
    cells = shapely.box(west, south, west + 1e3, south + 1e3).ravel()
    parts = shapely.intersection(cells, triangle)
    expected = ground_areas(parts[~shapely.is_empty(parts)], 'EPSG:32635').sum()
    assert ground_areas([triangle], 'EPSG:32635') == pytest.approx([expected], rel=1e-6)


def test_an_area_does_not_depend_on_what_else_is_measured():
    near, far = shapely.box(5e5, 4e6, 5e5 + 9, 4e6 + 7), shapely.box(7e5, 1e6, 8e5, 2e6)
    assert ground_areas([near, far], 'EPSG:32617')[0] == ground_areas([near], 'EPSG:32617')[0]


def test_no_area_without_a_place_on_earth():
    boxes = [shapely.box(0, 0, 1, 1), shapely.box(0, 89, 1, 95)]
    assert np.isnan(ground_areas(boxes, None)).all()
    assert np.isnan(ground_areas(boxes, MARS)).all()
    assert np.isnan(ground_areas(boxes, 'EPSG:4326')).tolist() == [False, True]


def test_degrees_beyond_the_poles_are_no_place():
    start = np.array([[10.0, 50.0], [10.0, 95.0]])
    metres = ground_distances(start, start + np.array([0, 1e-5]), 'EPSG:4326')
    assert metres[0] == pytest.approx(1.112, abs=1e-3)
    assert np.isnan(metres[1])


def test_a_scene_of_mars_has_its_own_globe():
    """A degree along its equator is 3,396,190 m * pi / 180 = 59,274.7 m."""
    grid = Grid(Affine(0.01, 0, 10, 0, -0.01, 0.5), 100, 100, CRS.from_wkt(MARS))
    assert grid.gsd[0] == pytest.approx(592.747, abs=1e-3)
