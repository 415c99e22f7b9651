import copy
import multiprocessing
import pickle
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from geo_mm.errors import SceneError
from geo_mm.raster import Scene, Window
from tests.data.rasters import TRANSFORM, noise, pixel_centres, ramp, write_raster

DTYPES = ['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'float64']


@pytest.mark.parametrize('dtype', DTYPES)
def test_native_pixels_are_the_files(tmp_path, dtype):
    array = noise((3, 37, 53), dtype)
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array))
    data, valid = scene.read(Window(11, 7, 20, 13))
    assert data.dtype == scene.dtype == dtype
    np.testing.assert_array_equal(data, array[:, 7:20, 11:31])
    assert valid.shape == (13, 20) and valid.all()


def test_metadata(tmp_path):
    path = write_raster(tmp_path / 'town.tif', noise((2, 37, 53)), nodata=0)
    scene = Scene.open(path)
    assert (scene.name, scene.sources) == ('town', (str(path),))
    assert (scene.width, scene.height, scene.count, scene.nodata) == (53, 37, 2, 0)
    assert scene.transform == TRANSFORM
    assert scene.crs.to_epsg() == 32617
    assert scene.band_names == ('B1', 'B2')
    # At 36 degrees north on the central meridian the scale is 0.9996.
    assert scene.gsd == pytest.approx((0.5 / 0.9996, 0.5 / 0.9996), rel=1e-5)


@pytest.mark.parametrize(
    ('window', 'inside'),
    [
        (Window(-3, -2, 10, 8), (slice(2, 8), slice(3, 10))),
        (Window(8, 6, 10, 9), (slice(0, 3), slice(0, 5))),
        (Window(-5, -5, 30, 30), (slice(5, 14), slice(5, 18))),
        (Window(50, 2, 4, 4), None),
        (Window(-9, 2, 9, 4), None),
    ],
)
def test_windows_over_the_edge_are_padded_and_invalid(tmp_path, window, inside):
    array = noise((2, 9, 13))
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array))
    data, valid = scene.read(window)
    expected = np.zeros((window.height, window.width), bool)
    if inside is not None:
        expected[inside] = True
        part = window.intersection(scene.grid.window)
        np.testing.assert_array_equal(
            data[(slice(None), *inside)], array[(slice(None), *part.slices())]
        )
    np.testing.assert_array_equal(valid, expected)
    assert not data[:, ~expected].any()


# --- where pixels are -------------------------------------------------------------------------

GRIDS = {
    'utm': ('EPSG:32617', TRANSFORM),
    'mercator': ('EPSG:3857', Affine(0.149, 0, 9_500_000, 0, -0.149, 3_200_000)),
    'lonlat': ('EPSG:4326', Affine(9e-5, 0, -0.35, 0, -9e-5, 39.1)),
    'south up': ('EPSG:32617', Affine(0.5, 0, 500_000, 0, 0.5, 4_000_000)),
    'rotated': (
        'EPSG:32617',
        Affine.translation(500_000, 4e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5),
    ),
}


def assert_on_ramp(data, scene, window, *, source=TRANSFORM, margin=0):
    """Values are the map coordinates of the pixel centres, to the limits of the method.

    Linear interpolation and whole-pixel averages reproduce a ramp exactly. An
    average over parts of pixels takes each for flat, which is off by up to
    f (1 - f) / 2 / step source pixels at the fractions f, and by nothing on average.
    """
    own = scene.grid.window_transform(window)
    off = ~(own @ Affine.translation(0.5, 0.5)) @ tuple(data)
    off -= np.indices((window.height, window.width))[::-1]
    rows, cols = np.mgrid[window.row_off : window.row_end, window.col_off : window.col_end]
    inner = (rows >= margin) & (rows < scene.height - margin)
    inner &= (cols >= margin) & (cols < scene.width - margin)
    assert inner.any()
    for axis_off, axis in zip(off, ((1, 0), (0, 1)), strict=True):
        step = np.hypot(*(np.subtract(own @ axis, own @ (0, 0)))) / np.hypot(
            *(np.subtract(source @ axis, source @ (0, 0)))
        )
        assert np.abs(axis_off[inner]).max() < (0.126 / step**2 if step > 1 else 1e-4)
    if window == scene.grid.window:
        assert np.abs(off[:, inner].mean(axis=1)).max() < 1e-4


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('zoom', [0.31, 0.5, 0.93, 1.0, 1.01, 1.7, 2.0, 3.3, 7.9])
def test_ramp_keeps_its_place_at_any_gsd(tmp_path, grid, zoom):
    crs, transform = GRIDS[grid]
    path = write_raster(tmp_path / 'a.tif', ramp(67, 91, transform), crs, transform)
    scene = Scene.open(path)
    size = (scene.width, scene.height)
    scene = scene.at_gsd(scene.gsd[0] * zoom)
    # Where pixels are interpolated, the outermost half source pixel is constant.
    margin = 3 if scene.width > size[0] or scene.height > size[1] else 0
    for window in (scene.grid.window, Window(2, 3, scene.width - 5, scene.height - 4)):
        data, valid = scene.read(window)
        assert valid.all()
        assert_on_ramp(data, scene, window, source=transform, margin=margin)


@pytest.mark.parametrize('zoom', [0.4, 1.0, 2.6])
def test_ramp_keeps_its_place_in_a_crop(tmp_path, zoom):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', ramp(67, 91)))
    cropped = scene.crop(Window(13, 9, 50, 41))
    assert cropped.transform @ (0, 0) == TRANSFORM @ (13, 9)
    cropped = cropped.at_gsd(0.5 * zoom)
    data, valid = cropped.read()
    assert valid.all()
    assert_on_ramp(data, cropped, cropped.grid.window, margin=3 if zoom < 1 else 0)
    window = Window(4, 2, 9, 11)
    twice = cropped.crop(window)
    np.testing.assert_allclose(
        twice.read()[0][:, 3:-3, 3:-3], data[(slice(None), *window.slices())][:, 3:-3, 3:-3]
    )


@pytest.mark.parametrize('zoom', [1.0, 0.6, 1.9, 4.0])
def test_ramp_keeps_its_place_in_a_stack(tmp_path, zoom):
    fine = write_raster(tmp_path / 'fine.tif', ramp(80, 100))
    doubled = TRANSFORM @ Affine.scale(2)
    coarse = write_raster(tmp_path / 'coarse.tif', ramp(40, 50, doubled), transform=doubled)
    # Footprint and pixel borders differ from the others'.
    shifted_grid = TRANSFORM @ Affine.translation(-7.3, -3.9) @ Affine.scale(1.37)
    shifted = write_raster(
        tmp_path / 'shifted.tif', ramp(90, 110, shifted_grid), transform=shifted_grid
    )
    scene = Scene.open([coarse, fine, shifted])
    assert scene.transform == TRANSFORM
    scene = scene.at_gsd(scene.gsd[0] * zoom)
    data, valid = scene.read()
    assert valid.all()
    # Half a coarse pixel and the kernel stay away from the border.
    for pair, source in ((data[:2], doubled), (data[2:4], TRANSFORM), (data[4:], shifted_grid)):
        inside = Window(4, 4, scene.width - 8, scene.height - 8)
        assert_on_ramp(pair[(slice(None), *inside.slices())], scene, inside, source=source)


@pytest.mark.parametrize('factor', [2.0, 4.0, 5.1, 8.0, 17.3])
def test_overviews_do_not_shift(tmp_path, factor):
    path = write_raster(
        tmp_path / 'a.tif', ramp(259, 517), overviews=[2, 4, 8], tiled=True,
        blockxsize=64, blockysize=64,
    )  # fmt: skip
    scene = Scene.open(path)
    scene = scene.at_gsd(scene.gsd[0] * factor)
    data, _ = scene.read()
    expected = pixel_centres(scene.transform, scene.height, scene.width)
    # GDAL rounds overview sizes up; what is left is that of its own averages.
    assert np.abs(data - expected)[:, 1:-1, 1:-1].max() < 0.02 * scene.transform.a


def test_overviews_are_read_only_where_twice_as_fine(tmp_path):
    path = write_raster(tmp_path / 'a.tif', noise((1, 256, 256)), overviews=[2, 4])
    with rasterio.open(path, 'r+', overview_level=0) as overview:
        overview.write(np.full((1, 128, 128), 200, 'uint8'))
    scene = Scene.open(path)
    gsd = scene.gsd[0]
    assert (scene.at_gsd(gsd * 4).read()[0] == 200).all()
    assert not (scene.at_gsd(gsd * 3.9).read()[0] == 200).all()


def test_averages_where_coarser(tmp_path):
    array = noise((2, 36, 60), 'uint16')
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array))
    data, _ = scene.at_gsd(scene.gsd[0] * 3).read()
    expected = array.reshape(2, 12, 3, 20, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(data, np.rint(expected))


@settings(max_examples=40, deadline=None)
@given(
    zoom=st.floats(0.3, 6),
    window=st.tuples(
        st.integers(-20, 80), st.integers(-20, 60), st.integers(1, 40), st.integers(1, 40)
    ),
)
def test_a_pixel_does_not_depend_on_its_window(tmp_path_factory, zoom, window):
    folder = tmp_path_factory.getbasetemp()
    path = folder / 'window_test.tif'
    if not path.exists():
        array = noise((2, 61, 83), 'float32')
        array[:, 20:33, 30:47] = -1
        write_raster(path, array, nodata=-1)
    scene = Scene.open(path)
    scene = scene.at_gsd(scene.gsd[0] * zoom)
    whole, whole_valid = scene.read()
    window = Window(*window)
    data, valid = scene.read(window)
    part = window.intersection(scene.grid.window)
    here = part.slices(window)
    np.testing.assert_array_equal(valid[here], whole_valid[part.slices()])
    np.testing.assert_allclose(
        data[(slice(None), *here)], whole[(slice(None), *part.slices())], rtol=1e-5
    )
    outside = np.ones(valid.shape, bool)
    outside[here] = False
    assert not valid[outside].any() and not data[:, outside].any()


# --- crop -------------------------------------------------------------------------------------


def test_crop_reads_nothing_outside(tmp_path):
    array = noise((1, 30, 40), 'int16')
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array)).crop(Window(10, 5, 20, 15))
    data, valid = scene.read(Window(-4, -3, 30, 20))
    assert valid.sum() == 20 * 15
    np.testing.assert_array_equal(data[0, 3:18, 4:24], array[0, 5:20, 10:30])
    assert not data[:, ~valid].any()


@pytest.mark.parametrize('zoom', [0.3, 0.77, 1.6, 3.0])
def test_resampling_looks_at_nothing_outside_the_crop(tmp_path, zoom):
    array = np.full((1, 30, 40), 9000, 'uint16')
    array[:, 5:20, 10:30] = 100
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array)).crop(Window(10, 5, 20, 15))
    data, valid = scene.at_gsd(scene.gsd[0] * zoom).read()
    assert valid.all() and (data == 100).all()


def test_crop_must_lie_inside(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((1, 30, 40))))
    for window in (Window(0, 0, 41, 30), Window(-1, 0, 5, 5), Window(0, 0, 0, 5)):
        with pytest.raises(SceneError, match='cannot crop'):
            scene.crop(window)


# --- validity ---------------------------------------------------------------------------------


def test_nodata_must_be_in_all_bands(tmp_path):
    array = noise((2, 5, 6))
    array[0, 1, 2] = array[:, 3, 4] = 0
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array, nodata=0))
    data, valid = scene.read()
    expected = np.ones((5, 6), bool)
    expected[3, 4] = False
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(data, array)


def test_nodata_pixels_are_zero(tmp_path):
    array = noise((2, 5, 6), 'int16')
    array[:, 2:4] = -9999
    data, valid = Scene.open(write_raster(tmp_path / 'a.tif', array, nodata=-9999)).read()
    assert valid.sum() == 18 and not data[:, 2:4].any()


def test_given_nodata_overrides_the_declared(tmp_path):
    array = np.array([[[0, 7, 5]]], 'uint8')
    path = write_raster(tmp_path / 'a.tif', array, nodata=0)
    assert Scene.open(path).read()[1].tolist() == [[False, True, True]]
    assert Scene.open(path, nodata=7).read()[1].tolist() == [[True, False, True]]
    assert Scene.open(path, nodata=None).read()[1].all()


def test_given_nodata_that_cannot_occur(tmp_path):
    path = write_raster(tmp_path / 'a.tif', noise((1, 5, 6)))
    with pytest.raises(SceneError, match='cannot occur in uint8'):
        Scene.open(path, nodata=-9999)


def test_nan_and_infinity_in_any_band_are_invalid(tmp_path):
    array = noise((2, 5, 6), 'float32')
    array[0, 1, 2], array[1, 3, 4] = np.nan, np.inf
    data, valid = Scene.open(write_raster(tmp_path / 'a.tif', array)).read()
    assert np.argwhere(~valid).tolist() == [[1, 2], [3, 4]]
    assert np.isfinite(data).all() and not data[:, 1, 2].any()


def test_nodata_as_float32_stores_it(tmp_path):
    array = np.array([[[1, -3.3999999521443642e38]]], 'float32')
    path = write_raster(tmp_path / 'a.tif', array, nodata=-3.3999999521443642e38)
    assert Scene.open(path).read()[1].tolist() == [[True, False]]


@pytest.mark.parametrize('sidecar', [False, True])
def test_mask_band(tmp_path, sidecar):
    mask = np.ones((20, 30), bool)
    mask[3:7, 5:9] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not sidecar):
        path = write_raster(tmp_path / 'a.tif', noise((3, 20, 30)), mask=mask)
    assert (tmp_path / 'a.tif.msk').exists() == sidecar
    for scene in (Scene.open(path), Scene.open(path, nodata=None)):
        data, valid = scene.read(Window(2, 2, 10, 6))
        np.testing.assert_array_equal(valid, mask[2:8, 2:12])
        assert not data[:, ~valid].any()


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_alpha_is_a_mask_unless_chosen(tmp_path, dtype):
    array = noise((4, 6, 7), dtype)
    array[3] = 255
    array[3, 2, 3], array[3, 4, 4] = 0, 1
    path = write_raster(
        tmp_path / 'a.tif', array, colorinterp=['red', 'green', 'blue', 'alpha'], nodata=None
    )
    scene = Scene.open(path)
    assert scene.band_names == ('red', 'green', 'blue')
    data, valid = scene.read()
    assert np.argwhere(~valid).tolist() == [[2, 3]]
    assert data.shape == (3, 6, 7) and not data[:, 2, 3].any()
    data, valid = Scene.open(path, bands=['alpha', 'red']).read()
    assert valid.all()
    np.testing.assert_array_equal(data, array[[3, 0]])
    np.testing.assert_array_equal(Scene.open(path, bands=[1, 2, 3, 4]).read()[0], array)


def test_resampling_mixes_no_nodata_into_valid_pixels(tmp_path):
    array = np.full((1, 40, 40), 1000, 'int16')
    array[:, 13:27, 9:24] = -32768
    path = write_raster(tmp_path / 'a.tif', array, nodata=-32768)
    scene = Scene.open(path)
    for zoom in (0.4, 1.3, 2.0, 3.1):
        data, valid = scene.at_gsd(scene.gsd[0] * zoom).read()
        assert (data[:, valid] == 1000).all() and not data[:, ~valid].any()
        # The hole keeps its size to within the pixels on its border.
        assert (~valid).sum() * zoom**2 == pytest.approx(14 * 15, abs=2 * 29 * zoom)


def test_a_resampled_pixel_needs_half_its_area(tmp_path):
    array = np.array([[[0, 0, 0, 5], [0, 5, 5, 5]]], 'uint8')
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array, nodata=0))
    data, valid = scene.at_gsd(scene.gsd[0] * 2).read()
    assert valid.tolist() == [[False, True]] and data.tolist() == [[[0, 5]]]


def test_read_valid(tmp_path):
    array = noise((2, 50, 70))
    array[:, :20, :30] = 0
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array, nodata=0))
    window = Window(-10, -10, 40, 40)
    np.testing.assert_array_equal(scene.read_valid(window), scene.read(window)[1])
    coarse = scene.read_valid(window, out_shape=(4, 8))
    expected = np.zeros((4, 8), bool)
    expected[3, 2:] = True  # rows 20-30, columns from 0
    np.testing.assert_array_equal(coarse, expected)


@pytest.mark.parametrize('nodata', [None, 0])
@pytest.mark.parametrize(
    'window', [Window(-7, -3, 30, 20), Window(2, 2, 5, 4), Window(50, 0, 6, 6)]
)
def test_validity_is_the_same_without_pixels(tmp_path, nodata, window):
    window = Window(*window)
    shifted = TRANSFORM @ Affine.translation(3, 2)
    files = [
        write_raster(tmp_path / 'a.tif', noise((1, 10, 12)), nodata=nodata),
        write_raster(tmp_path / 'b.tif', noise((1, 10, 12)), nodata=nodata, transform=shifted),
    ]
    stack = Scene.open(files)
    for scene in (stack, stack.at_gsd(0.8), stack.at_gsd(0.3), stack.crop(Window(1, 1, 9, 7))):
        np.testing.assert_array_equal(scene.read_valid(window), scene.read(window)[1])


@pytest.mark.parametrize('overviews', [(), (2, 4, 8)])
def test_read_overview(tmp_path, overviews):
    path = write_raster(tmp_path / 'a.tif', ramp(300, 500), overviews=overviews)
    scene = Scene.open(path)
    data, valid, grid = scene.read_overview(50)
    assert data.shape == (2, 30, 50) and valid.all()
    assert grid.bounds == scene.grid.bounds
    expected = pixel_centres(grid.transform, 30, 50)
    assert np.abs(data - expected).max() < 0.3 * grid.transform.a
    assert scene.read_overview(1000)[2] == scene.grid


# --- bands ------------------------------------------------------------------------------------


def test_band_names_and_order(tmp_path):
    array = noise((4, 5, 6))
    path = write_raster(
        tmp_path / 'a.tif',
        array,
        descriptions=['Red edge', None, None, None],
        colorinterp=['undefined', 'green', 'undefined', 'undefined'],
    )
    scene = Scene.open(path)
    assert scene.band_names == ('Red edge', 'green', 'B3', 'B4')
    picked = Scene.open(path, bands=['b4', 'RED EDGE', 2])
    assert picked.band_names == ('B4', 'Red edge', 'green')
    np.testing.assert_array_equal(picked.read()[0], array[[3, 0, 1]])
    np.testing.assert_array_equal(scene.select([4, 'red edge', 2]).read()[0], array[[3, 0, 1]])
    np.testing.assert_array_equal(picked.select([1]).read()[0], array[[3]])


@pytest.mark.parametrize('band', [0, 5, -1, 'swir', 1.0])
def test_unknown_band_lists_the_names(tmp_path, band):
    path = write_raster(tmp_path / 'a.tif', noise((2, 5, 6)), descriptions=['red', 'nir'])
    with pytest.raises(SceneError, match='red, nir'):
        Scene.open(path, bands=[band])


def test_last_of_13_bands_arrives(tmp_path):
    array = noise((13, 5, 6), 'int16')
    data, _ = Scene.open(write_raster(tmp_path / 'a.tif', array)).read()
    np.testing.assert_array_equal(data[12], array[12])


# --- stacks -----------------------------------------------------------------------------------


def test_stack_in_any_band_order(tmp_path):
    a, b = noise((2, 9, 11), 'uint8', 1), noise((2, 9, 11), 'int16', 2)
    paths = [write_raster(tmp_path / 'a.tif', a), write_raster(tmp_path / 'b.tif', b)]
    scene = Scene.open(paths)
    assert (scene.name, scene.count, scene.dtype) == ('a', 4, np.int16)
    np.testing.assert_array_equal(scene.read()[0], np.concatenate([a, b]))
    mixed = Scene.open(paths, bands=[3, 1, 4])
    np.testing.assert_array_equal(mixed.read()[0], np.stack([b[0], a[0], b[1]]))
    np.testing.assert_array_equal(scene.select(['B4', 'B1']).read()[0], np.stack([b[1], a[0]]))
    assert mixed.select([2]).dtype == np.uint8


def test_repeated_names_are_distinguished_by_file(tmp_path):
    for folder in ('s1', 's2'):
        (tmp_path / folder).mkdir()
    names = {'s1/p.tif': 'VV', 's2/p.tif': 'B2', 's2/q.tif': 'B2'}
    paths = [
        write_raster(tmp_path / path, np.full((1, 4, 4), i, 'uint8'), descriptions=[name])
        for i, (path, name) in enumerate(names.items())
    ]
    scene = Scene.open(paths)
    assert scene.band_names == ('VV', '2:B2', '3:B2')
    assert (Scene.open(paths, bands=['3:b2']).read()[0] == 2).all()
    # As in configs and checkpoints of geo_mm 0.1.
    old = Scene.open(paths, bands=['q:b2', 's2/p:B2'])
    assert old.band_names == ('3:B2', '2:B2')
    assert old.read()[0][:, 0, 0].tolist() == [2, 1]
    assert scene.select(['q:b2']).read()[0][:, 0, 0].tolist() == [2]


def test_a_description_shared_by_bands_is_no_name(tmp_path):
    path = write_raster(tmp_path / 'a.tif', noise((2, 4, 4)), descriptions=['bands', 'bands'])
    assert Scene.open(path).band_names == ('B1', 'B2')


def test_stack_is_valid_where_every_file_is(tmp_path):
    a = write_raster(tmp_path / 'a.tif', noise((1, 10, 12)))
    b = noise((1, 10, 12), 'int16')
    b[0, 2, 6] = -1
    # Three columns and two rows further on the ground.
    b = write_raster(
        tmp_path / 'b.tif', b, nodata=-1, transform=TRANSFORM @ Affine.translation(3, 2)
    )
    data, valid = Scene.open([a, b]).read()
    expected = np.zeros((10, 12), bool)
    expected[2:, 3:] = True
    expected[4, 9] = False
    np.testing.assert_array_equal(valid, expected)
    assert not data[:, ~valid].any()
    assert Scene.open([a, b], bands=[1]).read()[1].all()


def test_rounding_of_transforms_does_not_resample(tmp_path):
    a, b = noise((1, 10, 12), 'int16', 1), noise((1, 10, 12), 'int16', 2)
    near = TRANSFORM @ Affine.translation(1e-4, -2e-4) @ Affine.scale(1 + 1e-5)
    scene = Scene.open(
        [write_raster(tmp_path / 'a.tif', a), write_raster(tmp_path / 'b.tif', b, transform=near)]
    )
    np.testing.assert_array_equal(scene.read()[0], np.concatenate([a, b]))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'crs': 'EPSG:32618'}, 'its CRS .EPSG:32618.'),
        ({'crs': None}, 'its CRS .none.'),
        ({'transform': TRANSFORM @ Affine.rotation(5)}, 'rotated or mirrored'),
        ({'transform': Affine(0.5, 0, 500_000, 0, 0.5, 3_999_990)}, 'rotated or mirrored'),
        ({'transform': TRANSFORM @ Affine.translation(12, 0)}, 'does not overlap'),
    ],
)
def test_files_that_do_not_stack(tmp_path, change, message):
    a = write_raster(tmp_path / 'a.tif', noise((1, 10, 12)))
    b = write_raster(tmp_path / 'b.tif', noise((1, 10, 12)), **change)
    with pytest.raises(SceneError, match=message) as caught:
        Scene.open([a, b])
    assert 'b.tif' in str(caught.value)


# --- a value that travels ---------------------------------------------------------------------


def test_pickle_carries_no_handles(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 9, 11))), gsd=1.0)
    expected = scene.read()[0]
    text = pickle.dumps(scene)
    assert len(text) < 4000
    again = pickle.loads(text)
    assert again == scene
    np.testing.assert_array_equal(again.read()[0], expected)
    assert copy.deepcopy(scene) is copy.copy(scene) is scene


def _sum_of(scene):
    return int(scene.read()[0].sum())


def test_forked_workers_read_after_the_parent_has(tmp_path, monkeypatch):
    # With decoding threads in the parent, GDAL's pool would be dead in the child.
    monkeypatch.setenv('GDAL_NUM_THREADS', '4')
    array = noise((2, 300, 400), 'uint16')
    path = write_raster(tmp_path / 'a.tif', array, compress='deflate', tiled=True)
    scene = Scene.open(path)
    assert _sum_of(scene) == array.sum()
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map_async(_sum_of, [scene] * 6).get(30) == [int(array.sum())] * 6


def test_threads_read_one_scene(tmp_path):
    array = noise((2, 256, 256), 'uint16')
    path = write_raster(
        tmp_path / 'a.tif', array, compress='deflate', tiled=True, blockxsize=64, blockysize=64
    )
    scene = Scene.open(path)
    windows = [Window(x, y, 61, 67) for x in range(0, 190, 7) for y in range(0, 190, 31)]
    with ThreadPoolExecutor(4) as pool:
        for window, (data, _) in zip(windows, pool.map(scene.read, windows), strict=True):
            np.testing.assert_array_equal(data, array[(slice(None), *window.slices())])


def test_relative_paths_survive_a_change_of_folder(tmp_path, monkeypatch):
    write_raster(tmp_path / 'a.tif', noise((1, 5, 6)))
    monkeypatch.chdir(tmp_path)
    scene = Scene.open('a.tif')
    monkeypatch.chdir('/')
    assert scene.read()[1].all()


def test_a_rewritten_file_is_read_anew(tmp_path):
    path = write_raster(tmp_path / 'a.tif', np.full((1, 5, 6), 1, 'uint8'))
    assert (Scene.open(path).read()[0] == 1).all()
    path.unlink()
    write_raster(path, np.full((1, 7, 8), 2, 'uint8'))
    data, _ = Scene.open(path).read()
    assert data.shape == (1, 7, 8) and (data == 2).all()


def test_zipped_files(tmp_path):
    array = noise((1, 5, 6))
    write_raster(tmp_path / 'a.tif', array)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.write(tmp_path / 'a.tif', 'inner.tif')
    scene = Scene.open(f'/vsizip/{tmp_path}/a.zip/inner.tif')
    assert scene.name == 'inner'
    np.testing.assert_array_equal(scene.read()[0], array)


def test_block_shape_in_the_scenes_pixels(tmp_path):
    path = write_raster(
        tmp_path / 'a.tif', noise((1, 200, 300)), tiled=True, blockxsize=64, blockysize=32
    )
    scene = Scene.open(path)
    assert scene.block_shape == (32, 64)
    assert scene.at_gsd(scene.gsd[0] * 2).block_shape == (16, 32)
    assert scene.crop(Window(0, 0, 40, 200)).block_shape == (32, 40)


# --- what cannot be read ----------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(SceneError, match=r'nowhere\.tif: no such file'):
        Scene.open(tmp_path / 'nowhere.tif')


def test_no_files():
    with pytest.raises(SceneError, match='without files'):
        Scene.open([])


def test_not_a_raster(tmp_path):
    (tmp_path / 'a.tif').write_text('hello')
    with pytest.raises(SceneError, match=r'a\.tif: cannot be opened as a raster'):
        Scene.open(tmp_path / 'a.tif')


def test_a_folder_is_no_raster(tmp_path):
    (tmp_path / 'a.tif').touch()
    with pytest.raises(SceneError, match=r"(?s): a folder.*name the files in it.*/\*\.tif'"):
        Scene.open(tmp_path)


@pytest.mark.parametrize('creation', [{}, {'compress': 'deflate'}])
def test_truncated_file_names_the_window(tmp_path, creation):
    path = write_raster(
        tmp_path / 'a.tif', noise((1, 256, 256)), tiled=True, blockxsize=64, blockysize=64,
        **creation,
    )  # fmt: skip
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(SceneError, match=r'a\.tif: cannot read .* at column 128, row 190'):
        Scene.open(path).read(Window(128, 190, 100, 66))


def test_vrt_with_a_missing_source(tmp_path):
    vrt = tmp_path / 'a.vrt'
    vrt.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">gone.tif</SourceFilename>'
        '<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="8" ySize="8"/>'
        '<DstRect xOff="0" yOff="0" xSize="8" ySize="8"/></SimpleSource>'
        '</VRTRasterBand></VRTDataset>'
    )
    with pytest.raises(SceneError, match=r'a\.vrt.*gone\.tif'):
        Scene.open(vrt).read()


def test_control_points_only(tmp_path):
    points = [GroundControlPoint(r, c, 5e5 + c, 4e6 - r) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = write_raster(tmp_path / 'a.tif', noise((1, 10, 10)), crs=None, transform=None)
    with rasterio.open(path, 'r+') as dataset:
        dataset.gcps = points, 'EPSG:32617'
    with pytest.raises(SceneError, match='ground control points only') as caught:
        Scene.open(path)
    assert 'gdalwarp' in str(caught.value)


def test_rpcs_only(tmp_path):
    path = write_raster(tmp_path / 'a.tif', noise((1, 10, 10)), crs=None, transform=None)
    ones = [1.0] + [0.0] * 19
    with rasterio.open(path, 'r+') as dataset:
        dataset.rpcs = RPC(0.0, 1.0, 36.0, 1.0, ones, ones, 5.0, 5.0, -81.0, 1.0, ones, ones, 5, 5)
    with pytest.raises(SceneError, match='RPC') as caught:
        Scene.open(path)
    assert 'gdalwarp -rpc' in str(caught.value)


def test_plain_picture(tmp_path):
    array = noise((3, 20, 30))
    path = write_raster(tmp_path / 'a.png', array, None, None, driver='PNG')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        scene = Scene.open(path)
        np.testing.assert_array_equal(scene.read()[0], array)
    assert scene.crs is None and scene.gsd is None
    for gsd in (0.5, 0):
        with pytest.raises(SceneError, match='no ground sampling distance'):
            scene.at_gsd(gsd)


@pytest.mark.parametrize('gsd', [0, -1, np.nan, np.inf])
def test_impossible_gsd(tmp_path, gsd):
    with pytest.raises(SceneError, match='must be positive'):
        Scene.open(write_raster(tmp_path / 'a.tif', noise((1, 5, 6))), gsd=gsd)


def test_wavelengths_are_those_that_files_declare(tmp_path):
    paths = [write_raster(tmp_path / f'{name}.tif', noise((2, 20, 30))) for name in 'ab']
    with rasterio.open(paths[1], 'r+') as dataset:
        dataset.update_tags(2, ns='IMAGERY', CENTRAL_WAVELENGTH_UM='0.842')
    scene = Scene.open(paths)
    assert scene.wavelengths == (None, None, None, 0.842)
    assert scene.select([4, 1]).wavelengths == (0.842, None)


def test_integers_that_are_complex(tmp_path):
    profile = dict(driver='GTiff', width=8, height=8, count=1, dtype='complex_int16')
    with rasterio.open(tmp_path / 's.tif', 'w', transform=TRANSFORM, **profile):
        pass
    with pytest.raises(SceneError, match=r'(?s)complex_int16.*amplitude'):
        Scene.open(tmp_path / 's.tif')


@pytest.mark.parametrize('values', [(np.nan,) * 6, (0.0, 0.0, 5.0, 0.0, 0.0, 5.0)])
def test_a_geotransform_that_places_nothing(tmp_path, values):
    path = write_raster(tmp_path / 's.tif', noise((1, 8, 8)), transform=Affine(*values))
    with pytest.raises(SceneError, match='a geotransform of'):
        Scene.open(path)


def test_notebooks_show_a_picture(tmp_path):
    scene = Scene.open(write_raster(tmp_path / '<b>.tif', noise((4, 900, 600), 'uint16')))
    shown = scene._repr_html_()
    assert 'data:image/png;base64,' in shown
    assert '&lt;b&gt;' in shown and '<b>' not in shown


@pytest.mark.parametrize(
    ('dtype', 'nodata'), [('uint16', 7), ('int16', -3), ('int32', 7), ('float64', -3)]
)
def test_pixels_in_another_type_have_the_same_values_and_mask(tmp_path, dtype, nodata):
    image = noise((2, 20, 30), dtype)
    image[:, 3:9, 4:11] = nodata
    scene = Scene.open(write_raster(tmp_path / 'a.tif', image, nodata=nodata))
    for window in (scene.grid.window, Window(-5, -5, 20, 20)):
        stored, floats = scene.read(window), scene.read(window, dtype=np.dtype(np.float32))
        assert floats[0].dtype == np.float32
        np.testing.assert_array_equal(floats[0], stored[0].astype(np.float32))
        np.testing.assert_array_equal(floats[1], stored[1])
    assert not stored[1].all()
