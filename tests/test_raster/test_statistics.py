import json

import numpy as np
import pytest

from geo_mm.errors import SceneError
from geo_mm.raster import BandStatistics, Scene, band_statistics
from tests.data.rasters import noise, write_raster


def assert_matches(statistics, pixels):
    """``pixels`` is (bands, n)."""
    pixels = pixels.astype(np.float64)
    assert statistics.count == pixels.shape[1]
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, pixels.std(axis=1), rtol=1e-9)
    assert statistics.min == tuple(pixels.min(axis=1))
    assert statistics.max == tuple(pixels.max(axis=1))


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_streamed_statistics_skip_invalid_pixels(tmp_path, dtype):
    array = noise((3, 1100, 1300), dtype)
    array[:, 200:700, 300:901] = 0
    path = write_raster(
        tmp_path / 'a.tif', array, nodata=0, tiled=True, blockxsize=256, blockysize=256
    )
    statistics = band_statistics([Scene.open(path)])
    valid = array[0] != 0
    assert_matches(statistics, array[:, valid])
    percentiles = np.percentile(array[:, valid], (2, 98), axis=1)
    spread = np.ptp(percentiles, axis=0).max()
    np.testing.assert_allclose([statistics.p2, statistics.p98], percentiles, atol=0.01 * spread)


def test_large_values_with_small_spread(tmp_path):
    array = 1e9 + np.random.default_rng(0).normal(0, 0.01, (1, 300, 300))
    scene = Scene.open(write_raster(tmp_path / 'a.tif', array))
    np.testing.assert_allclose(band_statistics([scene]).std, array.std(), rtol=1e-4)


def test_several_scenes_and_merging(tmp_path):
    arrays = [noise((2, 50, 70), 'uint16', 1), 3 * noise((2, 33, 21), 'uint16', 2)]
    scenes = [
        Scene.open(write_raster(tmp_path / f'{i}.tif', array)) for i, array in enumerate(arrays)
    ]
    pixels = np.concatenate([array.reshape(2, -1) for array in arrays], axis=1)
    assert_matches(band_statistics(scenes), pixels)
    first, second = (band_statistics([scene]) for scene in scenes)
    assert_matches(first.merge(second), pixels)


def test_striped_files_are_read_in_bounded_windows(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((1, 40, 60_000)), blockysize=1))
    areas = []
    read = Scene.read

    class Watched(Scene):
        def read(self, window=None):
            areas.append(window.area)
            return read(self, window)

    watched = Watched(**{f: getattr(scene, f) for f in Scene.__dataclass_fields__})
    assert band_statistics([watched]).count == 40 * 60_000
    assert max(areas) <= 2**20


def test_max_pixels_reads_less(tmp_path):
    array = noise((1, 2100, 2100))
    path = write_raster(tmp_path / 'a.tif', array, tiled=True, blockxsize=512, blockysize=512)
    calls = []
    statistics = band_statistics(
        [Scene.open(path)], max_pixels=2_200_000, progress=lambda *done: calls.append(done)
    )
    assert 500_000 <= statistics.count <= 2_200_000
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert statistics.mean[0] == pytest.approx(array.mean(), rel=0.01)


def test_equal_from_run_to_run(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 400, 400), 'uint16')))
    assert band_statistics([scene]) == band_statistics([scene])


def test_dict_round_trip(tmp_path):
    statistics = band_statistics([Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 9, 9))))])
    text = json.dumps(statistics.to_dict())
    assert BandStatistics.from_dict(json.loads(text)) == statistics


def test_no_valid_pixel(tmp_path):
    path = write_raster(tmp_path / 'void.tif', np.zeros((2, 9, 9), 'uint8'), nodata=0)
    with pytest.raises(SceneError, match='void: no valid pixel'):
        band_statistics([Scene.open(path)])


def test_different_bands(tmp_path):
    a = Scene.open(write_raster(tmp_path / 'a.tif', noise((2, 9, 9))))
    b = Scene.open(write_raster(tmp_path / 'b.tif', noise((3, 9, 9))))
    with pytest.raises(SceneError, match='b: bands are B1, B2, B3'):
        band_statistics([a, b])


def test_no_scenes():
    with pytest.raises(SceneError, match='no scenes'):
        band_statistics([])
