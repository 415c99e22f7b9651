"""Runs that are stopped, killed, out of disk, or two in one folder: nothing is lost or mixed."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook

from geo_mm.engine import launch
from geo_mm.engine.runner import LOCK, QuietRunner
from geo_mm.errors import ConfigError, GeoMMError, Interrupt, OutputError
from tests.data.chips import CONFIGS, fresh_mmengine, write_scene, write_seg_config
from tests.data.rasters import noise, write_raster

LONG = """
train_cfg = dict(max_iters=6, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=100, first=0))
"""
WORKERS = """
train_dataloader['num_workers'] = 1
train_dataloader['persistent_workers'] = True
"""


class Signals(Hook):
    """Sends signals to this process after an iteration of training or of validation."""

    def __init__(self, *numbers: int, after: int | None = None, in_validation=False) -> None:
        self.numbers, self.after, self.in_validation = numbers, after, in_validation

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            for number in self.numbers:
                os.kill(os.getpid(), number)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.in_validation:
            os.kill(os.getpid(), *self.numbers)


@pytest.fixture
def folder(tmp_path):
    write_scene(tmp_path)
    return tmp_path


def runner_of(folder, more: str = '', hook: Hook | None = None, **options):
    config = launch.load_config(write_seg_config(folder, LONG + more), options)
    config.work_dir = str(folder / 'work')
    runner = launch.build_runner(config)
    if hook is not None:
        runner.register_hook(hook)
    return runner


def checkpoints(folder) -> list[str]:
    return sorted(path.name for path in (folder / 'work').iterdir() if 'pth' in path.name)


@pytest.mark.parametrize(
    ('number', 'end'), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_stopped_run_is_saved_and_goes_on(folder, number, end):
    before = signal.getsignal(number)
    with fresh_mmengine(), pytest.raises(end) as stopped:
        runner_of(folder, hook=Signals(number, after=3)).train()
    assert number == signal.SIGINT or stopped.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(number) == before
    assert checkpoints(folder) == ['iter_3.pth']
    logs = ''.join(path.read_text() for path in (folder / 'work').rglob('*.log'))
    assert f'stopped by {number.name} after 3 of 6 iterations; saved' in logs
    assert '--resume' in logs
    with fresh_mmengine():
        runner = runner_of(folder, resume=True)
        runner.train()
    assert runner.iter == 6
    assert 'iter_6.pth' in checkpoints(folder)


def test_a_run_is_stopped_while_it_validates(folder):
    with fresh_mmengine(), pytest.raises(KeyboardInterrupt):
        runner_of(folder, hook=Signals(signal.SIGINT, in_validation=True)).train()
    assert checkpoints(folder) == ['iter_4.pth']
    saved = torch.load(folder / 'work' / 'iter_4.pth', weights_only=False)
    assert saved['meta']['iter'] == 4


class SignalBefore(Hook):
    """Sends a signal to this process when all is open and no chip was seen."""

    def __init__(self, number: int) -> None:
        self.number = number

    def before_train(self, runner) -> None:
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_before_the_first_iteration_there_is_nothing_to_save(folder, number):
    with fresh_mmengine(), pytest.raises(Interrupt, match='nothing was trained') as stopped:
        runner_of(folder, hook=SignalBefore(number)).train()
    assert stopped.value.status == 128 + number
    assert checkpoints(folder) == []


def test_a_second_ctrl_c_ends_it_at_once(folder):
    hook = Signals(signal.SIGINT, signal.SIGINT, after=3)
    with fresh_mmengine(), pytest.raises(KeyboardInterrupt):
        runner_of(folder, hook=hook).train()
    assert checkpoints(folder) == []


def test_a_first_checkpoint_comes_early_and_the_best_one_is_kept(folder):
    more = "default_hooks['checkpoint'].update(first=2, max_keep_ckpts=-1)\n"
    with fresh_mmengine():
        runner_of(folder, more).train()
    found = checkpoints(folder)
    assert {'iter_2.pth', 'iter_6.pth'} < set(found)
    assert sum(name.startswith('best_mIoU_iter_') for name in found) == 1


def test_a_score_that_validation_does_not_give_is_named(folder):
    more = "default_hooks['checkpoint']['save_best'] = 'coco/mAP'\n"
    with fresh_mmengine(), pytest.raises(ConfigError, match="save_best='coco/mAP'") as error:
        runner_of(folder, more).train()
    assert "'mIoU'" in error.value.expected


def test_no_half_checkpoint_is_left_where_the_disk_is_full(folder):
    with fresh_mmengine():
        runner = runner_of(folder)
        runner.train()
        whole = (folder / 'work' / 'iter_6.pth').read_bytes()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, hard))
            with pytest.raises(OutputError, match=r'(?s)new.pth.*cannot be written.*--resume'):
                runner.save_checkpoint(runner.work_dir, 'new.pth')
            with pytest.raises(OutputError, match=r'iter_6.pth'):
                runner.save_checkpoint(runner.work_dir, 'iter_6.pth')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (folder / 'work' / 'iter_6.pth').read_bytes() == whole
    assert not list((folder / 'work').glob('*new*')) + list((folder / 'work').glob('.*.part'))


def test_a_second_run_in_one_folder_is_refused(folder):
    with fresh_mmengine():
        runner = runner_of(folder)
        with (folder / 'work' / LOCK).open('w') as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write('4711')
            held.flush()
            with pytest.raises(OutputError, match=r'(?s)process 4711 is training.*--work-dir'):
                runner.train()
        assert checkpoints(folder) == []


class KillsAWorker(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loader = runner.train_loop.dataloader_iterator
        os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)


def test_a_killed_loader_process_is_one_sentence(folder):
    with (
        fresh_mmengine(),
        pytest.raises(GeoMMError, match=r'(?s)process that loads chips ended.*num_workers'),
    ):
        runner_of(folder, WORKERS + 'train_cfg = dict(max_iters=50)\n', KillsAWorker()).train()


COLOURS = """
bands = 8
train_dataloader['dataset'] = dict(chips, fill=0.0, pipeline=[
    dict(type='geo_mm.LoadChip'), dict(type='geo_mm.LoadChipClasses'),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')])
val_cfg = val_dataloader = val_evaluator = None
model['data_preprocessor'] = dict(mean=[100.0] * 8, std=[50.0] * 8)
model['backbone']['in_channels'] = 8
"""


@pytest.mark.parametrize('workers', ['', WORKERS])
def test_a_transform_that_fails_is_named(folder, workers):
    write_raster(folder / 'scene.tif', noise((8, 128, 160)))
    with (
        fresh_mmengine(),
        pytest.raises(ConfigError, match=r'(?s)PhotoMetricDistortion of mmseg fails.*three bands'),
    ):
        runner_of(folder, COLOURS + workers).train()


SCRIPT = """
import sys
from mmengine.hooks import Hook
from geo_mm.engine import launch

class Tells(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        workers = runner.train_loop.dataloader_iterator._iterator._workers
        print('workers', *(worker.pid for worker in workers), flush=True)

if __name__ == '__main__':
    config = launch.load_config(sys.argv[1])
    config.work_dir = sys.argv[2]
    runner = launch.build_runner(config)
    runner.register_hook(Tells())
    runner.train()
"""


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_no_loader_process_outlives_its_run(folder, number):
    (folder / 'script.py').write_text(SCRIPT)
    more = WORKERS + 'train_cfg = dict(max_iters=100000, val_interval=100000)\n'
    command = [sys.executable, folder / 'script.py', write_seg_config(folder, LONG + more)]
    run = subprocess.Popen(
        [*command, folder / 'work'],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(CONFIGS.parent)},
    )
    line = next(line for line in run.stdout if line.startswith('workers'))
    pids = [int(pid) for pid in line.split()[1:]]
    assert pids
    run.send_signal(number)
    run.stdout.close()
    run.wait(timeout=60)
    end = time.monotonic() + 30
    while any(map(running, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Talkative(BaseMetric):
    """Prints past the log, as pycocotools do."""

    default_prefix = 'test'

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        print('creating index...')
        return {'chips': sum(results)}


def test_a_quiet_runner_shows_no_prints_of_metrics(capsys):
    runner = object.__new__(QuietRunner)
    evaluator = runner.build_evaluator([Talkative()])
    evaluator.process([{}, {}])
    assert evaluator.evaluate(2) == {'test/chips': 2}
    assert capsys.readouterr().out == ''
