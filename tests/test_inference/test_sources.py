from contextlib import ExitStack

import numpy as np
import pytest
from affine import Affine

from geo_mm.errors import LabelError, SceneError
from geo_mm.inference.sources import open_area, scene_of_array
from geo_mm.raster import Scene
from tests.data.models import spec_of
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

SPEC = spec_of('pixels', ['a', 'b'], ['B1'])


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'float32'])
def test_array_becomes_a_scene(dtype):
    array = noise((4, 30, 40), dtype)
    with scene_of_array(array, transform=TRANSFORM, crs=UTM_17N, bands=list('rgbn')) as scene:
        assert scene.band_names == ('r', 'g', 'b', 'n')
        assert (scene.transform, scene.crs) == (TRANSFORM, UTM_17N)
        values, valid = scene.read()
    np.testing.assert_array_equal(values, array)
    assert valid.all()


def test_array_without_georeference_or_names():
    array = noise((4, 30, 40))
    with scene_of_array(array, nodata=int(array[0, 0, 0])) as scene:
        assert scene.crs is None
        assert scene.band_names == ('B1', 'B2', 'B3', 'B4')


def test_arrays_at_the_same_time():
    arrays = [noise((1, 9, 9), seed=n) for n in range(3)]
    with ExitStack() as stack:
        scenes = [stack.enter_context(scene_of_array(array)) for array in arrays]
        for scene, array in zip(scenes, arrays, strict=True):
            np.testing.assert_array_equal(scene.read()[0], array)


def test_data_array():
    xarray = pytest.importorskip('xarray')
    pytest.importorskip('rioxarray')
    array = xarray.DataArray(noise((2, 30, 40)), dims=('band', 'y', 'x'))
    array = array.rio.write_crs(UTM_17N).rio.write_transform(TRANSFORM).rio.write_nodata(3)
    array.attrs['long_name'] = ('Red', 'NIR')
    with scene_of_array(array) as scene:
        assert scene.band_names == ('Red', 'NIR')
        assert (scene.transform, scene.crs, scene.nodata) == (TRANSFORM, UTM_17N, 3)


@pytest.mark.parametrize(
    'transform',
    [TRANSFORM, TRANSFORM @ Affine.rotation(30), Affine(0.5, 0, 10, 0, 0.5, 20)],
)
def test_window_takes_all_pixels_that_it_touches(tmp_path, transform):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80)), transform=transform))
    corners = [transform @ xy for xy in ((20.2, 10.4), (30.2, 10.4), (20.2, 25), (30.2, 25))]
    xs, ys = zip(*corners, strict=True)
    bounds = (min(xs), min(ys), max(xs), max(ys))
    found = open_area(scene, SPEC, nodata='auto', window=bounds).native
    inverse = ~scene.transform
    offset = inverse @ (found.transform @ (0, 0))
    left, top = (round(value) for value in offset)
    assert offset == pytest.approx((left, top))
    assert left <= 20 and top <= 10 and left + found.width >= 31 and top + found.height >= 25
    if transform.is_rectilinear:
        assert (left, top, found.width, found.height) == (20, 10, 11, 15)


def test_window_that_ends_where_it_begins(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80))))
    x, y = TRANSFORM @ (5, 5)
    with pytest.raises(SceneError, match='is empty'):
        open_area(scene, SPEC, nodata='auto', window=(x + 9, y, x, y + 9))


def test_names_of_bands_that_do_not_fit_an_array():
    with (
        pytest.raises(SceneError, match=r'2 names of bands for an array of shape \(60, 80, 2\)'),
        scene_of_array(np.zeros((60, 80, 2)), bands=['red', 'nir']),
    ):
        pass


def test_an_aoi_that_cannot_be_used_is_called_one(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 60, 80))))
    with pytest.raises(LabelError, match=r'the AOI cannot be used: (.|\n)*nowhere.gpkg'):
        open_area(scene, SPEC, nodata='auto', aoi=tmp_path / 'nowhere.gpkg')
