"""Arrays in the place of files."""

import numpy as np
import pytest

from geo_mm.errors import SceneError
from geo_mm.raster import Scene, Window
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'float32'])
def test_array_becomes_a_scene(dtype):
    array = noise((4, 30, 40), dtype)
    scene = Scene.from_array(array, transform=TRANSFORM, crs=UTM_17N, bands=list('rgbn'))
    assert scene.band_names == ('r', 'g', 'b', 'n')
    assert (scene.transform, scene.crs) == (TRANSFORM, UTM_17N)
    values, valid = scene.read()
    np.testing.assert_array_equal(values, array)
    assert valid.all()


def test_array_without_georeference_or_names():
    array = noise((4, 30, 40))
    scene = Scene.from_array(array, nodata=int(array[0, 0, 0]))
    assert scene.crs is None
    assert scene.band_names == ('B1', 'B2', 'B3', 'B4')
    assert scene.read()[1].sum() == (array != array[0, 0, 0]).any(axis=0).sum()


def test_data_array():
    xarray = pytest.importorskip('xarray')
    pytest.importorskip('rioxarray')
    array = xarray.DataArray(noise((2, 30, 40)), dims=('band', 'y', 'x'))
    array = array.rio.write_crs(UTM_17N).rio.write_transform(TRANSFORM).rio.write_nodata(3)
    array.attrs['long_name'] = ('Red', 'NIR')
    scene = Scene.from_array(array)
    assert scene.band_names == ('Red', 'NIR')
    assert (scene.transform, scene.crs, scene.nodata) == (TRANSFORM, UTM_17N, 3)


def test_names_of_bands_that_do_not_fit_an_array():
    with pytest.raises(SceneError, match=r'2 names of bands for an array of shape \(60, 80, 2\)'):
        Scene.from_array(np.zeros((60, 80, 2)), bands=['red', 'nir'])


def test_windows_overviews_and_parts_are_those_of_a_file(tmp_path):
    array = noise((3, 60, 80))
    array[:, 10:30, 5:40] = 0
    scene = Scene.from_array(array, transform=TRANSFORM, crs=UTM_17N, nodata=0)
    file = Scene.open(write_raster(tmp_path / 's.tif', array, nodata=0))
    for one, other in (
        (scene.read(Window(-5, 20, 50, 60)), file.read(Window(-5, 20, 50, 60))),
        (scene.at_gsd(0.8).read(), file.at_gsd(0.8).read()),
        (scene.crop(Window(3, 4, 20, 30)).read(), file.crop(Window(3, 4, 20, 30)).read()),
        (scene.select([3, 1]).read(), file.select([3, 1]).read()),
        (scene.read_overview(20)[:2], file.read_overview(20)[:2]),
    ):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert scene.wavelengths == (None, None, None)


def test_array_stays_as_it_is():
    array = noise((2, 30, 40)).astype('float32')
    array[0, 3, 4] = np.nan
    before = array.copy()
    assert Scene.from_array(array).read()[1].sum() == 30 * 40 - 1
    np.testing.assert_array_equal(array, before)
