"""Scenes predicted by the workers of a Dask cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from distributed import Client, LocalCluster

from geo_mm import prediction_status
from geo_mm.cli import main
from geo_mm.errors import ConfigError, GeoMMError, SetupError
from geo_mm.inference import cluster as cluster_module
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.cluster import ModelFiles, predict_on_cluster
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.scenes import check_outcomes, predict_scenes
from tests.data import processes
from tests.data.models import pixel_files, spec_of
from tests.data.processes import hashes
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    checkpoint = pixel_files(tmp_path_factory.mktemp('model'), SPEC, [[0.0], [1.0]])[1]
    options = PredictOptions(tile=32)
    return ModelFiles((str(checkpoint),), device='cpu', trust_checkpoint=True, options=options)


@pytest.fixture(scope='module')
def threads():
    """A cluster whose workers are threads of this process."""
    arguments = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with LocalCluster(**arguments) as found:
        yield found


def made(folder, count, size=(70, 60)):
    return [
        SceneToPredict(write_raster(folder / f'{n}.tif', noise((1, *size), seed=n)))
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')


def test_same_bytes_as_one_process(tmp_path, model, threads):
    scenes = made(tmp_path, 6)
    check_outcomes(predict_scenes(model.load(), scenes, tmp_path / 'one'))
    address = threads.scheduler_address
    seen = []
    outcomes = predict_on_cluster(
        model,
        scenes,
        tmp_path / 'many',
        address,
        report=lambda _: seen.append(prediction_status(tmp_path / 'many')),
    )
    check_outcomes(outcomes)
    assert [outcome.scene.stem for outcome in outcomes] == list('012345')
    assert hashes(tmp_path / 'many') == hashes(tmp_path / 'one')
    assert not (tmp_path / 'many' / '.runs').exists()
    for number, status in enumerate(seen, 1):
        assert (status.total, status.runs) == (6, 1)
        assert status.counts['done'] >= number
    # Again, with one more.
    scenes.append(SceneToPredict(write_raster(tmp_path / '6.tif', noise((1, 20, 20)))))
    again = predict_on_cluster(model, scenes, tmp_path / 'many', address)
    assert [outcome.was_there for outcome in again] == [True] * 6 + [False]


@pytest.fixture
def shares(monkeypatch):
    """The first rows of the shares of scenes that are computed."""
    found, compute = [], cluster_module.predict_rows

    def predict_rows(predictor, scene, folder, rows, progress):
        found.append(rows[0])
        compute(predictor, scene, folder, rows, progress)

    monkeypatch.setattr(cluster_module, 'predict_rows', predict_rows)
    return found


def tall(folder, height=1500):
    return SceneToPredict(write_raster(folder / 'tall.tif', noise((1, height, 40), seed=height)))


def test_large_scenes_are_divided(tmp_path, model, threads, shares):
    """1,500 rows of pixels are 47 of tiles."""
    scenes = [*made(tmp_path, 2), tall(tmp_path)]
    check_outcomes(predict_scenes(model.load(), scenes, tmp_path / 'one'))
    for restart in (False, False, True):
        outcomes = predict_on_cluster(
            model, scenes, tmp_path / 'many', threads.scheduler_address, restart=restart
        )
        check_outcomes(outcomes)
    assert sorted(shares) == [0, 0, 16, 16, 32, 32]  # nothing the second time
    assert hashes(tmp_path / 'many') == hashes(tmp_path / 'one')


def test_shares_that_fail_fail_the_scene_and_are_resumed(
    tmp_path, model, threads, shares, monkeypatch
):
    scenes, compute = [*made(tmp_path, 1), tall(tmp_path)], cluster_module.predict_rows

    def broken(predictor, scene, folder, rows, progress):
        def stop(*_):
            if rows[0] == 16:
                raise ConfigError('out of memory', 'more of it')

        compute(predictor, scene, folder, rows, stop)

    monkeypatch.setattr(cluster_module, 'predict_rows', broken)
    arguments = (model, scenes, tmp_path / 'many', threads.scheduler_address)
    fine, wrong = predict_on_cluster(*arguments)
    assert fine.error is None
    assert 'out of memory' in str(wrong.error)
    status = prediction_status(tmp_path / 'many')
    assert [status.counts[state] for state in ('done', 'failed')] == [1, 1]
    finished = status.tiles_done
    monkeypatch.setattr(cluster_module, 'predict_rows', compute)
    check_outcomes(predict_on_cluster(*arguments))
    check_outcomes(predict_scenes(model.load(), scenes, tmp_path / 'one'))
    assert hashes(tmp_path / 'many') == hashes(tmp_path / 'one')
    assert finished > 8  # of the first scene, and what other shares had done


def test_models_are_loaded_once(tmp_path, model, threads, monkeypatch):
    loads = []
    load = ModelFiles.load
    monkeypatch.setattr(ModelFiles, 'load', lambda self: loads.append(1) or load(self))
    cluster_module._loaded.clear()
    predict_on_cluster(model, made(tmp_path, 5), tmp_path / 'out', threads.scheduler_address)
    assert loads == [1]  # the workers are in one process


def test_failures_are_told_with_their_reasons(tmp_path, model, threads):
    scenes = [*made(tmp_path, 2), SceneToPredict(tmp_path / 'none.tif')]
    with pytest.raises(GeoMMError, match=r'1 of 3 scenes failed:\n.*none\.tif: no such file'):
        check_outcomes(
            predict_on_cluster(model, scenes, tmp_path / 'out', threads.scheduler_address)
        )
    status = prediction_status(tmp_path / 'out')
    assert status.counts['failed'] == 1
    assert 'no such file' in next(s for s in status.scenes if s.name == 'none').note


def test_model_that_no_worker_can_load_is_told_at_once(tmp_path, model, threads):
    wrong = replace(model, checkpoints=(str(tmp_path / 'none.pth'),))
    with pytest.raises(GeoMMError, match=r'none\.pth'):
        predict_on_cluster(wrong, made(tmp_path, 1), tmp_path / 'out', threads.scheduler_address)
    assert not (tmp_path / 'out').exists()


def unreachable(*_, **__):
    raise OSError('refused')


def test_clusters_that_are_none(tmp_path, model, monkeypatch):
    with pytest.raises(ConfigError, match="'local:4' for four"):
        predict_on_cluster(model, [], tmp_path, 'local:0')
    with pytest.raises(ConfigError, match='address of its scheduler'):
        predict_on_cluster(model, [], tmp_path, 'node1')
    monkeypatch.setattr('distributed.client.Client.__init__', unreachable)
    with pytest.raises(SetupError, match='no Dask scheduler answers: refused'):
        predict_on_cluster(model, [], tmp_path, 'tcp://127.0.0.1:1')
    with pytest.raises(SystemExit, match='2'):
        main(['predict', 'm.onnx', 'a.tif', '-o', 'out', '--dask', 'local', '--shard', '0/2'])


class Machines:
    """A scheduler and a worker, each a process that may be killed."""

    def __init__(self):
        self.port = processes.free_port()
        self.address = f'tcp://127.0.0.1:{self.port}'
        self.start()

    def start(self):
        self.scheduler = processes.start(processes.dask_scheduler, self.port)
        self.worker = processes.start(processes.dask_worker, self.address)

    def kill(self):
        for process in (self.scheduler, self.worker):
            process.kill()
            process.join()


@pytest.fixture
def machines():
    found = Machines()
    yield found
    found.kill()


@pytest.mark.slow
def test_scheduler_that_comes_back_loses_nothing(tmp_path, model, machines):
    scenes, counted = made(tmp_path, 8), []

    def report(_):
        counted.append(1)
        if len(counted) == 2:
            machines.kill()
            machines.start()

    outcomes = predict_on_cluster(model, scenes, tmp_path / 'many', machines.address, report=report)
    check_outcomes(outcomes)
    assert len(counted) == 8
    check_outcomes(predict_scenes(model.load(), scenes, tmp_path / 'one'))
    assert hashes(tmp_path / 'many') == hashes(tmp_path / 'one')


@pytest.mark.slow
def test_scheduler_that_stays_away_ends_the_command(tmp_path, model, machines, monkeypatch):
    monkeypatch.setattr('geo_mm.cluster._PATIENCE', 0.1)
    monkeypatch.setattr('distributed.client.Client.__init__', refused_later())
    scenes = made(tmp_path, 3)
    arguments = (model, scenes, tmp_path / 'out')
    with pytest.raises(SetupError, match='scheduler was lost'):
        predict_on_cluster(*arguments, machines.address, report=lambda _: machines.kill())
    assert prediction_status(tmp_path / 'out').counts['done'] >= 1
    monkeypatch.undo()
    machines.start()
    outcomes = predict_on_cluster(*arguments, machines.address)
    check_outcomes(outcomes)
    assert any(outcome.was_there for outcome in outcomes)


def refused_later():
    """Connects once: what waits for a scheduler need not wait here."""
    calls, connect = [], Client.__init__

    def init(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise OSError('refused')
        connect(self, *args, **kwargs)

    return init


def test_interrupts_leave_nothing_at_work(tmp_path, model, machines):
    made(tmp_path, 2, (2000, 1500))
    out, said = tmp_path / 'out', tmp_path / 'said.txt'
    words = ['predict', *model.checkpoints, str(tmp_path / '*.tif'), '-o', str(out), '--tile', '32']
    words += ['--device', 'cpu', '--trust-checkpoint', '--dask', machines.address]
    client = processes.start(processes.command, words, said)
    wait_for(lambda: list(out.glob('.*.unfinished/row-*')) or not client.is_alive())
    os.kill(client.pid, signal.SIGINT)
    client.join()
    assert client.exitcode == 130
    assert said.read_text().splitlines()[-1] == 'interrupted: repeat the command to resume'
    # The worker ends what it is at, long before the scene is complete.
    wait_for(lambda: prediction_status(out).counts['running'] == 0)
    status = prediction_status(out)
    # Both were begun, and then divided.
    assert (status.counts['interrupted'], status.counts['done']) == (2, 0)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(group):
    """Whether a process of a group is left, if only until init has seen its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


@pytest.mark.slow
def test_interrupts_end_a_local_cluster(tmp_path, model):
    """As a terminal does it: all processes of the command get the signal."""
    made(tmp_path, 2, (2000, 1500))
    out = tmp_path / 'out'
    words = ['predict', *model.checkpoints, tmp_path / '0.tif', tmp_path / '1.tif', '-o', out]
    words += ['--tile', '32', '--device', 'cpu', '--trust-checkpoint', '--dask', 'local:2']
    client = subprocess.Popen(
        [sys.executable, '-m', 'geo_mm.cli', *map(str, words)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(out.glob('.*.unfinished/row-*')) or client.poll(), 200)
    os.killpg(client.pid, signal.SIGINT)
    assert client.communicate()[1] == 'interrupted: repeat the command to resume\n'
    assert client.returncode == 130
    wait_for(lambda: not is_alive(client.pid))
    assert prediction_status(out).counts['interrupted']


def kill_workers(cluster, stop, kills, seed=0):
    """Kills a worker now and then."""
    random = np.random.default_rng(seed)
    while not stop.wait(random.uniform(1, 4)):
        processes = [nanny.process.pid for nanny in cluster.workers.values() if nanny.process]
        if processes and len(kills) < 6:
            kills.append(int(random.choice(processes)))
            os.kill(kills[-1], signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(tmp_path, model):
    """Two processes, of which one is killed every few seconds."""
    scenes, expected = [*made(tmp_path, 60, (230, 190)), tall(tmp_path, 9000)], tmp_path / 'one'
    predict_scenes(model.load(), scenes, expected)
    stop, kills = threading.Event(), []
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killer = threading.Thread(target=kill_workers, args=(cluster, stop, kills))
        killer.start()
        try:
            found = predict_on_cluster(model, scenes, tmp_path / 'many', cluster.scheduler_address)
        finally:
            stop.set()
            killer.join()
    check_outcomes(found)
    assert kills
    assert hashes(tmp_path / 'many') == hashes(expected)
