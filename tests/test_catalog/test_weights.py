import tracemalloc
from itertools import islice

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import calculate_default_transform, reproject

from geo_mm.catalog import read_catalog
from geo_mm.catalog.entries import write_catalog
from geo_mm.catalog.weights import read_weights
from geo_mm.datasets import BlockChipSampler, RandomChipSampler
from geo_mm.errors import CatalogError, SceneError
from geo_mm.raster import Scene
from tests.data.chips import build_dataset
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

SAMPLERS = [RandomChipSampler, BlockChipSampler]


def middles(scenes, kind, count=4000, **options):
    """Scene and middle (x, y) of chips of 16 pixels, in the order of training."""
    dataset = build_dataset('seg', scenes, chip_size=16)
    sampler = kind(dataset, seed=1, infinite=True, num_chips=1000, **options)
    places = [dataset.chip_space.locate(index) for index in islice(iter(sampler), count)]
    return np.array([(scene, w.col_off + 8, w.row_off + 8) for scene, w in places])


def write_weights(path, weights, crs):
    """Weights of cells of 10 pixels, in a CRS."""
    rows, cols = weights.shape
    transform = TRANSFORM @ Affine.scale(10)
    if crs == UTM_17N:
        return write_raster(path, weights[None], transform=transform)
    with rasterio.open(
        write_raster(path.with_stem('utm'), weights[None], transform=transform)
    ) as d:
        to, width, height = calculate_default_transform(d.crs, crs, cols, rows, *d.bounds)
        turned = np.zeros((1, height * 5, width * 5), np.float32)
        to = to @ Affine.scale(0.2)
        reproject(rasterio.band(d, 1), turned[0], dst_transform=to, dst_crs=crs)
    return write_raster(path, turned, crs=crs, transform=to)


@pytest.mark.parametrize('kind', SAMPLERS)
def test_scenes_count_by_their_weight(tmp_path, kind):
    scenes = []
    for name, weight in (('a', 1), ('b', 3), ('c', 0), ('d', None)):
        image = write_raster(tmp_path / f'{name}.tif', noise((1, 64, 64)))
        scenes.append(dict(image=str(image), weight=weight))
    seen = np.bincount(middles(scenes, kind)[:, 0], minlength=4) / 4000
    np.testing.assert_allclose(seen, [0.2, 0.6, 0, 0.2], atol=0.03)


@pytest.mark.parametrize('kind', SAMPLERS)
@pytest.mark.parametrize('crs', [UTM_17N, 'EPSG:4326'])
def test_places_count_by_the_raster(tmp_path, kind, crs):
    """Columns of cells of weights 0, 1 and 4; a second scene without weights."""
    image = write_raster(tmp_path / 'a.tif', noise((1, 80, 120)))
    other = write_raster(tmp_path / 'b.tif', noise((1, 80, 120)))
    weights = np.repeat(np.repeat([[0, 1, 4]], 4, axis=1), 8, axis=0).astype(np.float32)
    raster = write_weights(tmp_path / 'w.tif', weights, crs)
    found = middles([dict(image=str(image), weight=str(raster)), str(other)], kind, min_valid=1)
    here = found[found[:, 0] == 0]
    # Middles are from 8 to 112: 32 of weight 0, 40 of 1 and 32 of 4, 1.62 on average.
    low, middle, high = np.diff(np.searchsorted(np.sort(here[:, 1]), [0, 40, 80, 121])) / len(here)
    assert low < 0.01
    assert middle == pytest.approx(40 / 168, abs=0.04)
    assert high == pytest.approx(128 / 168, abs=0.04)
    assert len(here) / 4000 == pytest.approx(168 / 104 / (168 / 104 + 1), abs=0.05)


def test_chips_around_labels_are_where_weights_are(tmp_path):
    from tests.data.labels import box, write_labels

    image = write_raster(tmp_path / 'a.tif', noise((1, 80, 120)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(x, 30, x + 8, 38) for x in (20, 50, 90)])
    weights = np.repeat(np.repeat([[0, 1, 1]], 4, axis=1), 8, axis=0).astype(np.float32)
    raster = write_weights(tmp_path / 'w.tif', weights, UTM_17N)
    scene = dict(image=str(image), labels=str(labels), weight=str(raster))
    found = middles([scene], RandomChipSampler, 500, positive_share=1.0)
    assert found[:, 1].min() > 36


@pytest.mark.parametrize(
    ('weights', 'nodata', 'message'),
    [
        (-np.ones((1, 8, 12), np.float32), None, 'weights from -1 to -1'),
        (np.full((1, 8, 12), np.nan, np.float32), None, 'weights from nan'),
        (np.zeros((1, 8, 12), np.float32), None, '0 everywhere on the image'),
        (np.ones((2, 8, 12), np.float32), None, '2 bands'),
        (np.full((1, 8, 12), -9, np.float32), -9, '0 everywhere'),
    ],
)
def test_rasters_that_are_no_weights(tmp_path, weights, nodata, message):
    image = write_raster(tmp_path / 'a.tif', noise((1, 80, 120)))
    path = write_raster(
        tmp_path / 'w.tif', weights, transform=TRANSFORM @ Affine.scale(10), nodata=nodata
    )
    with pytest.raises(SceneError, match=message):
        read_weights(str(path), Scene.open(image).grid, (10, 15))


def test_a_raster_without_georeference_lies_on_an_image_of_its_size(tmp_path):
    image = write_raster(tmp_path / 'a.png', noise((1, 40, 60)), None, None, driver='PNG')
    weights = np.arange(40 * 60, dtype=np.float32).reshape(1, 40, 60)
    path = write_raster(tmp_path / 'w.tif', weights, None, None)
    grid = Scene.open(image).grid
    expected = weights.reshape(4, 10, 6, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(read_weights(str(path), grid, (4, 6)), expected, rtol=1e-5)
    with pytest.raises(SceneError, match='60 x 40 pixels, the image has 30 x 40'):
        read_weights(str(path), Scene.from_array(noise((1, 40, 30))).grid, (4, 3))


def test_of_a_large_raster_what_is_on_the_image_is_read(tmp_path):
    """Weights of 3 million pixels, of which 40 x 60 lie on the image; far from it, others."""
    weights = np.full((1, 2000, 1500), -1, np.int16)
    weights[0, 900:1100, 700:900] = np.arange(200 * 200).reshape(200, 200)
    on_image = weights[0, 1000:1040, 800:860].astype(float)
    path = write_raster(tmp_path / 'w.tif', weights)
    image = write_raster(
        tmp_path / 'a.tif', noise((1, 40, 60)), transform=TRANSFORM @ Affine.translation(800, 1000)
    )
    found = read_weights(str(path), Scene.open(image).grid, (4, 6))
    expected = on_image.reshape(4, 10, 6, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_of_more_pixels_than_are_needed_some_are_read(tmp_path):
    """36 million pixels on the image, of which the western half has weight 1."""
    side = 6000
    weights = np.zeros((1, side, side), np.uint8)
    weights[..., : side // 2] = 1
    pixel = TRANSFORM @ Affine.scale(60 / side)
    path = write_raster(tmp_path / 'w.tif', weights, transform=pixel, tiled=True, nodata=0)
    image = write_raster(tmp_path / 'a.tif', noise((1, 60, 60)))
    tracemalloc.start()
    try:
        found = read_weights(str(path), Scene.open(image).grid, (6, 6))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found, [[1] * 3 + [0] * 3] * 6, atol=0.01)
    assert peak < 10 * weights.nbytes


def test_a_file_that_is_no_raster_is_told(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((1, 8, 8)))
    (tmp_path / 'w.tif').write_text('none')
    with pytest.raises(SceneError, match=r'w\.tif: cannot be read as a raster'):
        read_weights(str(tmp_path / 'w.tif'), Scene.open(image).grid, (2, 2))


@pytest.mark.parametrize('weight', [-1, 'nan', 'inf', [2]])
def test_numbers_that_are_no_weights(tmp_path, weight):
    image = write_raster(tmp_path / 'a.tif', noise((1, 8, 8)))
    with pytest.raises(CatalogError, match='entry 0 has weight'):
        read_catalog([dict(image=str(image), weight=weight)])


@pytest.mark.parametrize('suffix', ['.csv', '.gpkg', '.parquet'])
def test_weights_in_a_table(tmp_path, suffix):
    for name in 'abw':
        write_raster(tmp_path / f'{name}.tif', noise((1, 8, 8)))
    given = [
        dict(image=str(tmp_path / 'a.tif'), weight='{stem}.tif'),
        dict(image=str(tmp_path / 'b.tif'), weight=2.5),
        str(tmp_path / 'w.tif'),
    ]
    entries = read_catalog(given, root=tmp_path)
    path = write_catalog(entries, [None] * 3, tmp_path / f'table{suffix}')
    found = [entry.weight for entry in read_catalog(path)]
    assert found == [str(tmp_path / 'a.tif'), 2.5, None]
