"""The tools do what they say, on real files."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.chips import CONFIGS, run_tool, write_scene, write_seg_config

TOOLS = CONFIGS.parent / 'tools'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tools')
    write_scene(folder)
    write_seg_config(folder)
    return folder


def test_train_then_test(folder):
    config, work = folder / 'tiny.py', folder / 'work'
    run_tool('train.py', config, '--work-dir', work, '--cfg-options', 'randomness.seed=3')
    assert (work / 'iter_2.pth').is_file()
    assert (work / 'tiny.py').is_file()
    map_folder = folder / 'map'
    arguments = '--work-dir', folder / 'test', '--scenes', map_folder
    run_tool('test.py', config, work / 'iter_2.pth', *arguments)
    scores = json.loads(next((folder / 'test').glob('*/*.json')).read_text())
    assert 0 <= scores['mIoU'] <= 100
    metrics = json.loads((map_folder / 'evaluation' / 'metrics.json').read_text())
    assert [scene['prediction'] for scene in metrics['scenes']] == ['scene.tif']
    assert 0 <= metrics['overall']['accuracy'] <= 1
    assert sum(map(sum, metrics['confusion'])) > 0
    assert (map_folder / 'scene.tif').is_file()


def test_scenes_are_scored_by_one_process(folder, capsys):
    with pytest.raises(SystemExit):
        run_tool('test.py', 'c.py', 'c.pth', '--scenes', 'out', '--launcher', 'pytorch')
    assert 'one process' in capsys.readouterr().err


def test_print_config_is_a_config(folder, capsys):
    run_tool('misc/print_config.py', folder / 'tiny.py', '--cfg-options', 'train_cfg.max_iters=9')
    printed = capsys.readouterr().out
    scope: dict = {}
    exec(printed, scope)
    assert scope['train_cfg'] == dict(type='IterBasedTrainLoop', max_iters=9, val_interval=2)


def test_band_statistics_are_those_of_the_scene(folder, capsys):
    import rasterio

    run_tool('analysis_tools/band_statistics.py', folder / 'tiny.py')
    printed = capsys.readouterr().out
    with rasterio.open(folder / 'scene.tif') as image:
        array = image.read().reshape(3, -1).astype(float)
    for name, expected in (('mean', array.mean(1)), ('std', array.std(1))):
        values = re.search(rf'^{name} = \[(.*)\]', printed, re.MULTILINE)[1]
        np.testing.assert_allclose([float(v) for v in values.split(',')], expected, rtol=1e-3)


def test_browse_dataset_draws_the_chips(folder, capsys):
    out = folder / 'browse'
    run_tool('analysis_tools/browse_dataset.py', folder / 'tiny.py', '-o', out, '-n', 4)
    assert '4 chips of 64 x 64 pixels' in capsys.readouterr().out
    with Image.open(out / 'tiny_train.png') as image:
        assert image.width >= 4 * 64 and np.asarray(image).std() > 0


@pytest.mark.slow
def test_two_processes_on_cpus_train_together(folder):
    """tools/dist_train.sh over gloo: both ranks, their shares of the batch, one checkpoint."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [
            *('bash', str(TOOLS / 'dist_train.sh'), str(folder / 'tiny.py'), '2'),
            *('--work-dir', str(folder / 'dist')),
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            'PORT': str(port),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            'PYTHON': sys.executable,
        },
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = (folder / 'dist').glob('*/*.log')
    assert 'GPU number: 2' in log.read_text()
    assert (folder / 'dist' / 'iter_2.pth').is_file()
