"""The pixels of a synthetic scene, and how its labels are on them."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

from geo_mm.errors import OutputError
from geo_mm.raster.grid import Window
from geo_mm.synthetic.radiometry import Sensor
from geo_mm.synthetic.render import Renderer
from geo_mm.synthetic.scene import CLASSES, SyntheticScene, windows, write_scene

SIZE = (331, 301)  # columns, rows


@pytest.fixture(scope='module')
def scene():
    return SyntheticScene.draw(0, SIZE, 0.5, seed=3)


@pytest.fixture(scope='module')
def written(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp('scene')
    ticks = []
    write_scene(scene, folder / 'a.tif', folder / 'a.gpkg', lambda: ticks.append(1))
    assert len(ticks) == 1
    return folder


@pytest.fixture(scope='module')
def pixels(written):
    with rasterio.open(written / 'a.tif') as file:
        return file.read()


@pytest.fixture(scope='module')
def classes(written, scene):
    """(rows, cols) 0 background, then 1 + index in CLASSES, burnt from the label file."""
    frame = geopandas.read_file(written / 'a.gpkg').to_crs(scene.grid.crs)
    order = ('water', 'building', 'road', 'tree')
    shapes = [
        (geometry, 1 + CLASSES.index(name))
        for name in order
        for geometry in frame.geometry[frame['class'] == name]
    ]
    return rasterize(shapes, SIZE[::-1], transform=scene.grid.transform, dtype='uint8')


def test_file_says_what_it_holds(written, scene):
    with rasterio.open(written / 'a.tif') as file:
        assert (file.width, file.height, file.count) == (*SIZE, 4)
        assert set(file.dtypes) == {'uint16'}
        assert file.descriptions == ('Red', 'Green', 'Blue', 'NIR')
        assert [c.name for c in file.colorinterp] == ['red', 'green', 'blue', 'nir']
        assert file.nodata == 0
        assert file.crs.to_epsg() == 32617
        assert file.transform == scene.grid.transform
        assert file.res == (0.5, 0.5)
        assert file.compression.name == 'deflate'
        assert file.block_shapes == [(512, 512)] * 4


def test_labels_are_in_another_crs_and_lie_inside_the_scene(written, scene):
    frame = geopandas.read_file(written / 'a.gpkg', layer='labels')
    assert frame.crs.to_epsg() == 4326
    assert set(frame['class']) == set(CLASSES)
    assert set(frame.geom_type) == {'Polygon'}
    assert frame.is_valid.all()
    back = frame.to_crs(scene.grid.crs)
    edge = shapely.box(*scene.grid.bounds)
    assert shapely.covers(edge.buffer(0.01), back.geometry.values).all()
    buildings = frame[frame['class'] == 'building']
    assert set(buildings['roof']) <= {'tile', 'metal', 'concrete'}
    assert buildings['height_m'].between(2, 25).all()
    assert frame[frame['class'] != 'building']['roof'].isna().all()


def test_nodata_is_exactly_what_lies_outside_the_swath(pixels, scene):
    cols, rows = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    inside = shapely.contains_xy(scene.swath, cols, rows)
    assert 0.02 < 1 - inside.mean() < 0.3
    np.testing.assert_array_equal((pixels > 0).all(axis=0), inside)
    np.testing.assert_array_equal((pixels > 0).any(axis=0), inside)
    assert pixels.max() <= 10000


def test_every_third_scene_has_a_nodata_corner():
    cut = [SyntheticScene.draw(i, (8, 8), 0.5, seed=0).swath is not None for i in range(4)]
    assert cut == [True, False, False, True]


def test_zones_alternate_and_scenes_lie_apart():
    scenes = [SyntheticScene.draw(i, (40, 40), 0.5, seed=0) for i in range(4)]
    assert [s.grid.crs.to_epsg() for s in scenes] == [32617, 32618, 32617, 32618]
    assert shapely.box(*scenes[0].grid.bounds).disjoint(shapely.box(*scenes[2].grid.bounds))
    lonlat = [geopandas.GeoSeries([shapely.box(*s.grid.bounds)], crs=s.grid.crs) for s in scenes]
    for series in lonlat:
        assert 36 < series.to_crs('EPSG:4326').total_bounds[1] < 45


def test_spectra_are_physical(pixels, classes):
    red, _, blue, nir = pixels.astype(float)
    valid = red > 0
    medians = {
        name: [np.median(band[valid & (classes == 1 + k)]) for band in (red, blue, nir)]
        for k, name in enumerate(CLASSES)
    }
    assert medians['water'][2] < 500
    assert medians['water'][2] < medians['water'][0]
    assert medians['tree'][2] > 4 * medians['tree'][0]
    assert 0.8 < medians['road'][2] / medians['road'][0] < 1.6
    assert medians['building'][0] > medians['tree'][0]


@pytest.mark.parametrize('shift', [(0, 2), (0, -2), (2, 0), (-2, 0)])
def test_labels_lie_on_the_objects(pixels, classes, shift):
    """Water and crowns explain NIR best where they are; moving the labels loses contrast."""
    nir = pixels[3].astype(float)
    wet = classes == 1 + CLASSES.index('water')
    inner = (slice(8, -8), slice(8, -8))

    def error(mask):
        dark = (nir < 600) & (nir > 0)
        return np.mean((dark ^ mask)[inner][nir[inner] > 0])

    assert error(wet) < error(np.roll(wet, shift, (0, 1)))


def test_windows_join_without_seams(scene):
    renderer = Renderer(scene.town, 0.5, scene.sun, scene.seed, scene.vigour)
    whole = renderer.render(Window(-3, -2, 200, 150))
    part = renderer.render(Window(60, 41, 77, 50))
    np.testing.assert_allclose(part, whole[:, 43:93, 63:140], atol=2e-4)


def test_windows_cover_any_size_once():
    seen = np.zeros((1500, 2049), int)
    for window in windows(2049, 1500):
        seen[window.slices()] += 1
    assert (seen == 1).all()


def test_noise_is_of_the_announced_size():
    sensor = Sensor(np.zeros(4), np.ones(4), 0.5, read_noise=0.002, shot_noise=1e-4, seed=1)
    xs = (np.arange(300) + 0.5) * 0.5
    numbers = sensor.expose(np.full((4, 300, 300), 0.2, np.float32), xs, xs, 0.5)
    assert numbers.mean(axis=(1, 2)) == pytest.approx([2000] * 4, abs=1)
    expected = 10000 * np.sqrt(0.002**2 + 1e-4 * 0.2)
    assert numbers.std(axis=(1, 2)) == pytest.approx([expected] * 4, rel=0.02)


def test_haze_and_gain_are_per_band():
    haze, gain = np.array([0.01, 0.02, 0.03, 0.0]), np.array([1.0, 0.9, 1.1, 1.0])
    sensor = Sensor(haze, gain, 0.5, read_noise=0.0, shot_noise=0.0, seed=1)
    xs = np.arange(20) + 0.5
    numbers = sensor.expose(np.full((4, 20, 20), 0.1, np.float32), xs, xs, 1.0)
    assert [int(n[5, 5]) for n in numbers] == [1100, 1100, 1400, 1000]


def test_unwritable_place_is_one_clear_error(scene, tmp_path):
    with pytest.raises(OutputError, match=r'no/a\.tif'):
        write_scene(scene, tmp_path / 'no' / 'a.tif', tmp_path / 'a.gpkg')
