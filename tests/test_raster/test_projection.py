import threading

import numpy as np
import pyproj
import pytest
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from geo_mm.raster.projection import LONLAT, bounds_in, proj_crs, transformer

UTM = 'EPSG:32617'


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
