import threading
import time
from contextlib import closing

import numpy as np
import pytest

from geo_mm.errors import SceneError
from geo_mm.inference.runner import TileSource, predicted_rows, rows_of
from geo_mm.raster import Scene, tile_plan
from tests.data.models import ensemble, pixel_files, spec_of, trained
from tests.data.rasters import noise, write_raster


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    spec = spec_of('pixels', ['low', 'high'], mean=(100.5,), std=(10.0,))
    return ensemble(trained(pixel_files(tmp_path_factory.mktemp('model'), spec, [[0.0], [1.0]])))


@pytest.fixture
def forwards(model):
    """Sizes of the batches that went through the network."""
    sizes = []
    hook = model.members[0].model.backbone.register_forward_hook(
        lambda _, x, __: sizes.append(len(x[0]))
    )
    yield sizes
    hook.remove()


@pytest.fixture(params=[False, True], ids=['on the CPU', 'on a device of its own'])
def ahead(request):
    return request.param


@pytest.fixture
def predicted_tiles(ahead):
    """Gives the tiles of all rows."""

    def tiles(model, scene, plan, batch_size, progress=None):
        rows = [[TileSource(scene, tile) for tile in row] for row in rows_of(plan)]
        rows = predicted_rows(model, rows, batch_size, readers=2, ahead=ahead, progress=progress)
        with closing(rows):
            for row in rows:
                yield from row

    return tiles


def readers():
    return [t for t in threading.enumerate() if t.name.startswith(('read-tiles', 'predict-tiles'))]


def test_order_of_the_plan_and_pixels_of_each_tile_are_kept(tmp_path, model, predicted_tiles):
    image = noise((1, 50, 70))
    scene = Scene.open(write_raster(tmp_path / 's.tif', image))
    plan = tile_plan(70, 50, 16, 4)
    found = list(predicted_tiles(model, scene, plan, batch_size=3))
    assert [tile for tile, *_ in found] == plan
    for tile, prediction, valid in found:
        assert valid.all()
        expected = (image[0][tile.window.slices()] - 100.5) / 10
        np.testing.assert_allclose(prediction[1], 1 / (1 + np.exp(-expected)), rtol=1e-5)


def test_empty_tiles_cost_no_forward_pass(tmp_path, model, forwards, predicted_tiles):
    image = noise((1, 32, 64))
    image[:, :, 16:48] = 0  # the two middle columns of tiles
    image[0, 16, 16] = 1  # but for one pixel of the second row
    scene = Scene.open(write_raster(tmp_path / 's.tif', image, nodata=0))
    steps = []
    found = list(predicted_tiles(model, scene, tile_plan(64, 32, 16, 0), 2, steps.append))
    assert [(tile.row, tile.col) for tile, *_ in found] == [(0, 0), (0, 3), (1, 0), (1, 1), (1, 3)]
    assert sum(forwards) == 5
    assert forwards == [2, 2, 1]
    assert sum(steps) == 8  # progress counts all tiles


def test_invalid_pixels_reach_the_network_as_the_mean(tmp_path, model, predicted_tiles):
    image = noise((1, 16, 16))
    image[0, 3, 5] = 0
    scene = Scene.open(write_raster(tmp_path / 's.tif', image, nodata=0))
    [(_, prediction, valid)] = predicted_tiles(model, scene, tile_plan(16, 16, 16, 0), 1)
    assert np.argwhere(~valid).tolist() == [[3, 5]]
    assert prediction[1, 3, 5] == 0.5


def test_error_in_reading_is_raised_and_ends_the_threads(tmp_path, model, predicted_tiles):
    path = write_raster(tmp_path / 's.tif', noise((1, 256, 256)), blockysize=16)
    scene = Scene.open(path)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 2)
    before = readers()
    done = []
    with pytest.raises(SceneError, match=r's\.tif'):
        for tile, *_ in predicted_tiles(model, scene, tile_plan(256, 256, 32, 0), 2):
            done.append(tile)
    assert 0 < len(done) < 64
    assert readers() == before


def test_closing_early_ends_the_threads(tmp_path, model, predicted_tiles):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 128, 128))))
    before = readers()
    with closing(predicted_tiles(model, scene, tile_plan(128, 128, 16, 0), 2)) as tiles:
        next(tiles)
        assert len(readers()) > len(before)
    assert readers() == before


def test_at_most_two_batches_are_read_ahead(tmp_path, model, monkeypatch, predicted_tiles, ahead):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 16, 640))))
    read = []
    load = model.load

    def counted(*args):
        read.append(args)
        return load(*args)

    monkeypatch.setattr(model, 'load', counted)
    with closing(predicted_tiles(model, scene, tile_plan(640, 16, 16, 0), 3)) as tiles:
        for number in range(1, 13):
            next(tiles)
            time.sleep(0.02)  # the readers are given the time to go too far
            # The batch being handed out, two more, and the one in between; and the one
            # that is predicted meanwhile.
            assert len(read) <= -(-number // 3) * 3 + (3 if ahead else 2) * 3
