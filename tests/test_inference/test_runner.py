"""Rows of tiles and the journal together."""

import threading
import tracemalloc

import numpy as np
import pytest
import torch

from geo_mm.errors import ConfigError, SceneError
from geo_mm.inference.area import Area
from geo_mm.inference.executors import StoppedError
from geo_mm.inference.journal import Journal
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.runner import RowRunner
from geo_mm.inference.tasks.segmentation import ClassMerger
from geo_mm.raster import Scene, tile_plan
from tests.data.models import ensemble, pixel_files, spec_of, trained
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(100.5,), std=(10.0,))
PLAN = tile_plan(60, 90, 16, 10)
ROWS = PLAN[-1].row + 1
COLS = PLAN[-1].col + 1


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('model')
    return ensemble(trained(pixel_files(folder, SPEC, [[0.0], [1.0]])))


@pytest.fixture
def scene(tmp_path):
    return Scene.open(write_raster(tmp_path / 's.tif', noise((1, 90, 60))))


def runner(model, scene, journal=None, plan=PLAN, batch_size=4, progress=None):
    options = PredictOptions(batch_size=batch_size)
    merger = ClassMerger(plan, scene.grid, scene.grid, 2, options)
    return RowRunner(model, merger, Area(scene, scene), plan, options, journal, progress)


def run(model, scene, folder, rows=range(ROWS), progress=None):
    journal = Journal(folder)
    if not folder.exists():
        journal.open({})
    for _ in runner(model, scene, journal, progress=progress).strips(list(rows)):
        pass
    return journal


def classes(journal):
    return np.concatenate([journal.read(row)['classes'] for row in sorted(journal.finished())])


@pytest.fixture
def forwards(model):
    """Sizes of the batches that went through the network."""
    sizes = []
    hook = model.members[0].model.register_forward_hook(lambda *args: sizes.append(len(args[-1])))
    yield sizes
    hook.remove()


def test_batches_do_not_cross_rows(tmp_path, model, scene, forwards):
    run(model, scene, tmp_path / 'j')
    full, rest = divmod(COLS, 4)
    assert forwards == ([4] * full + [rest] * bool(rest)) * ROWS


def test_rows_in_any_order_give_the_same(tmp_path, model, scene):
    whole = classes(run(model, scene, tmp_path / 'j'))
    np.testing.assert_array_equal(whole, scene.read()[0][0] > 100)
    run(model, scene, tmp_path / 'k', [5, 6, 9])
    run(model, scene, tmp_path / 'k', [0, 1, 2])
    rest = [3, 4, 7, 8, *range(10, ROWS)]
    np.testing.assert_array_equal(classes(run(model, scene, tmp_path / 'k', rest)), whole)


def test_progress_ends_at_the_total_also_with_rows_computed_again(tmp_path, model, scene):
    steps = []
    run(model, scene, tmp_path / 'j', [3, 4, 8], progress=lambda *step: steps.append(step))
    [total] = {total for _, total in steps}
    assert sum(done for done, _ in steps) == total
    # Two rows of tiles reach into each, but are not in the journal.
    assert total == COLS * (3 + 2 + 2)


def test_out_of_memory_halves_the_batch_and_gives_the_same(
    tmp_path, model, scene, forwards, monkeypatch, caplog
):
    whole = classes(run(model, scene, tmp_path / 'j'))
    del forwards[:]
    predict = model.predict

    def too_small(inputs):
        if len(inputs) > 1 and len(forwards) >= COLS:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
        return predict(inputs)

    monkeypatch.setattr(model, 'predict', too_small)
    journal = run(model, scene, tmp_path / 'k')
    np.testing.assert_array_equal(classes(journal), whole)
    assert journal.notes['batch_size'] == 1
    assert forwards[-3 * COLS :] == [1] * (3 * COLS)
    assert 'continuing with 2 tiles' in caplog.text
    assert 'continuing with 1 tiles' in caplog.text


def test_single_tile_that_does_not_fit(tmp_path, model, scene, monkeypatch):
    def too_small(inputs):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

    monkeypatch.setattr(model, 'predict', too_small)
    with pytest.raises(ConfigError, match=r'single tile: CUDA out of memory(.|\n)*--tile'):
        run(model, scene, tmp_path / 'j')


def test_failure_elsewhere_stops_the_run_and_its_threads(tmp_path, model, scene):
    journal = Journal(tmp_path / 'j')
    journal.open({})

    def fail(done, total):
        if len(journal.finished()) == 3:
            journal.report_failure()

    with pytest.raises(StoppedError):
        run(model, scene, tmp_path / 'j', progress=fail)
    assert journal.finished() == {0, 1, 2, 3}
    assert not [t for t in threading.enumerate() if t.name.startswith('read-tiles')]


def test_error_in_reading_keeps_what_is_finished(tmp_path, model):
    path = write_raster(tmp_path / 's.tif', noise((1, 90, 60)), blockysize=8)
    scene = Scene.open(path)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size * 3 // 4)
    journal = Journal(tmp_path / 'j')
    journal.open({})
    with pytest.raises(SceneError, match=r's\.tif'):
        run(model, scene, tmp_path / 'j')
    assert 0 < len(journal.finished()) < ROWS
    assert journal.finished() == set(range(len(journal.finished())))
    assert not [t for t in threading.enumerate() if t.name.startswith('read-tiles')]


def test_memory_does_not_grow_with_the_height(tmp_path, model):
    peaks = []
    for height in (200, 1600):
        path = write_raster(tmp_path / f'{height}.tif', noise((1, height, 300)))
        scene, plan = Scene.open(path), tile_plan(300, height, 64, 16)
        journal = Journal(tmp_path / str(height))
        journal.open({})
        computed = runner(model, scene, journal, plan, batch_size=2)
        tracemalloc.start()
        for _ in computed.strips():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 8 * 300 * 1600 / 2  # half of what the probabilities of the scene would take
