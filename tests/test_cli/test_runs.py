"""What training and testing leave behind and print, as a user meets it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from geo_mm.engine.launch import load_config
from tests.data.chips import CONFIGS, run_tool, write_scene, write_seg_config

TOOLS = CONFIGS.parent / 'tools'
OVERRIDES = ('--cfg-options', 'model.backbone.base_channels=6', 'model.decode_head.in_channels=6')
OVERRIDES += ('model.auxiliary_head.in_channels=12',)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def run(*command: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Trained with overrides, by the command; the work dir, and what was printed."""
    folder = tmp_path_factory.mktemp('trained')
    write_scene(folder)
    config = write_seg_config(folder, 'work_dir = "somewhere/else"')
    train = (sys.executable, '-m', 'geo_mm.cli', 'train', config)
    done = run(*train, '--work-dir', folder / 'work', *OVERRIDES)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / 'work', done.stdout + done.stderr


def test_the_screen_shows_progress_and_scores_and_the_file_all(trained):
    work_dir, printed = trained
    (log,) = work_dir.glob('*/*.log')
    assert len(printed.splitlines()) < 30, printed
    assert 'Iter(val)' in printed and 'Saving checkpoint' in printed
    first = next(line for line in printed.splitlines() if 'training' in line)
    assert 'training EncoderDecoder for 2 iterations of' in first and first.endswith(str(work_dir))
    assert printed.index(first) < printed.index('Iter(val)')
    assert f'test it with:\n  geo-mm test {work_dir}/best_mIoU_iter_2.pth' in printed
    assert 'Config:' not in printed and 'System environment' not in printed
    assert 'Config:' in log.read_text() and 'System environment' in log.read_text()


def test_the_copy_of_the_config_can_be_inherited(trained):
    work_dir, _ = trained
    copy = load_config(work_dir / 'tiny.py')
    assert copy.model.backbone.base_channels == 6
    assert not {'work_dir', 'resume', 'launcher'} & set(copy)


def test_a_checkpoint_is_tested_alone_and_the_copy_of_its_config_stays(trained, capsys):
    work_dir, _ = trained
    before = (work_dir / 'tiny.py').read_bytes()
    run_tool('test.py', work_dir / 'iter_2.pth')
    scores = json.loads(next((work_dir / 'test').glob('*/*.json')).read_text())
    assert 0 <= scores['mIoU'] <= 100
    # With a config of the same name, other settings, and the training's own folder.
    other = work_dir.parent / 'tiny.py'
    changed = 'test_dataloader.dataset.stride=48'
    run_tool(
        *('test.py', other, work_dir / 'iter_2.pth', '--work-dir', work_dir),
        *(*OVERRIDES, changed),
    )
    assert (work_dir / 'tiny.py').read_bytes() == before
    assert len(list(work_dir.glob('*.py'))) == 1


def test_print_config_prints_that_of_a_checkpoint(trained, capsys):
    work_dir, _ = trained
    run_tool('misc/print_config.py', work_dir / 'iter_2.pth', '--cfg-options', 'randomness.seed=7')
    printed = capsys.readouterr().out
    scope: dict = {}
    exec(printed, scope)
    assert scope['model']['backbone']['base_channels'] == 6
    assert scope['randomness']['seed'] == 7
    assert 'work_dir' not in scope
    assert not scope.keys() & {'classes', 'chips', 'scene'}  # variables, which may be outdated


@pytest.mark.slow
def test_an_error_of_two_processes_is_told_once_and_last(trained):
    work_dir, _ = trained
    config = write_seg_config(work_dir.parent, "chips['bands'] = ('red', 'swir')")
    script = TOOLS / 'dist_train.sh'
    done = run(
        *('bash', script, config, 2, '--work-dir', work_dir.parent / 'two'),
        PYTHON=sys.executable,
        PORT=free_port(),
    )
    assert done.returncode == 2
    said = done.stderr[done.stderr.index('error: ') :]
    assert done.stderr.count('error: ') == 1
    assert re.match(r"error: \S*scene\.tif: no band 'red'", said)
    assert len(said.splitlines()) <= 4, said
    assert 'Config:' not in done.stdout


SRUN = """#!/bin/sh
# Runs a command twice and says a word of its own, as SLURM's srun does.
while [ "$1" != -u ]; do command=$1; shift; done
for rank in 0 1; do SLURM_PROCID=$rank "$command" "$@"; status=$?; done
echo 'srun: error: tasks 0-1: Exited' >&2
exit $status
"""


def test_an_error_under_slurm_is_told_once_and_last(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text(SRUN)
    srun.chmod(0o755)
    done = run(
        *('bash', TOOLS / 'slurm_train.sh', 'partition', 'job', 'a.tif', 'b.tif', 'c.gpkg'),
        PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
        PYTHON=sys.executable,
    )
    assert done.returncode == 2
    assert done.stderr.count('error: ') == 2
    assert re.search(r'tasks 0-1: Exited\nerror: 3 files', done.stderr)
    assert len(done.stderr[done.stderr.index('\nerror: ') :].splitlines()) <= 4


@pytest.mark.parametrize(
    ('wanted', 'expected'),
    [
        ({'GPUS': '4'}, '--gres=gpu:4 --ntasks=4 --ntasks-per-node=4 --cpus-per-task=5'),
        ({'GPUS': '16'}, '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=5'),
        ({'PROCESSES': '3', 'CPUS_PER_TASK': '2'}, '--job-name=job --ntasks=3 --cpus-per-task=2'),
    ],
)
def test_what_srun_is_asked_for(tmp_path, wanted, expected):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$OMP_NUM_THREADS" "$@"\n')
    srun.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != 'OMP_NUM_THREADS'}
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        ['bash', str(TOOLS / 'slurm_train.sh'), 'partition', 'job', 'config.py'],
        env={**environment, 'PATH': path, 'PYTHON': sys.executable, **wanted},
        capture_output=True,
        text=True,
        check=True,
    )
    threads = wanted.get('CPUS_PER_TASK', '5')
    assert done.stdout.startswith(f'{threads} ')
    assert f' {expected} --kill-on-bad-exit=1 ' in done.stdout


@pytest.mark.slow
def test_a_stop_of_two_processes_before_training_says_that_nothing_is_lost(tmp_path):
    config = tmp_path / 'slow.py'
    config.write_text(f"import time\nopen({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(60)\n")
    process = subprocess.Popen(
        ['bash', str(TOOLS / 'dist_train.sh'), str(config), '2'],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': free_port()},
    )
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert 'Traceback' not in said
    assert said.count('nothing was trained, and nothing is lost') == 1
    assert said.endswith('nothing is lost\n')


def test_a_config_before_an_error_is_not_printed(trained, capfd):
    work_dir, _ = trained
    config = write_seg_config(work_dir.parent, "chips['bands'] = ('red', 'swir')")
    with pytest.raises(SystemExit):
        run_tool('train.py', config, '--work-dir', work_dir.parent / 'wrong')
    assert 'model = dict(' not in capfd.readouterr().out
