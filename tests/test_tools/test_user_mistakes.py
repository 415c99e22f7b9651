"""What users get wrong, one message each: no traceback, what was found, what to do.

Every case runs a real tool on real files with one thing broken.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.chips import CONFIGS, run_tool, write_scene, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

TOOLS = CONFIGS.parent / 'tools'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a scene, its labels, a config and the checkpoint trained from them."""
    folder = tmp_path_factory.mktemp('trained')
    write_scene(folder)
    config = write_seg_config(folder)
    run_tool('train.py', config, '--work-dir', folder / 'work')
    return folder


@pytest.fixture
def folder(tmp_path):
    write_scene(tmp_path)
    return tmp_path


def message_of(capsys, tool, *args) -> str:
    """What the tool leaves on stderr as it fails."""
    with pytest.raises(SystemExit) as status:
        run_tool(tool, *args)
    return checked(status.value.code, capsys.readouterr().err)


def checked(status: int, stderr: str) -> str:
    assert status == 2, stderr[-3000:]
    assert 'Traceback' not in stderr
    assert stderr.count('error: ') == 1, stderr
    message = stderr[stderr.index('error: ') :]
    # The message is the last thing the user sees, and short enough to be read.
    assert len(message.splitlines()) <= 6, message
    return message


def cut(path: Path) -> None:
    """As an aborted copy leaves a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def labels(folder, shapes, classes=None, **kwargs):
    (folder / 'labels.gpkg').unlink()
    write_labels(folder / 'labels.gpkg', shapes, classes, **kwargs)


# Name, what is broken in the folder, lines added to the config, what the message says.
DATA = {
    'image that does not exist': (
        lambda f: (f / 'scene.tif').unlink(),
        '',
        r'no such file: .*scene\.tif.*to do: correct the path',
    ),
    'image that is none': (
        lambda f: (f / 'scene.tif').write_text('no image'),
        '',
        r'scene\.tif: .*not',
    ),
    'image without CRS': (
        lambda f: write_raster(f / 'scene.tif', noise((3, 128, 160)), crs=None),
        '',
        r'scene has no CRS, but labels\.gpkg has one.*georeference',
    ),
    'labels without CRS': (
        lambda f: labels(f, [box(1, 1, 9, 9)], ['building'], crs=None),
        '',
        r'labels\.gpkg: has no CRS.*set its CRS',
    ),
    'labels of another place': (
        lambda f: labels(f, [box(9000, 1, 9009, 9)], ['building']),
        '',
        r'labels\.gpkg: none of its 1 features touches scene.*lon .*lat .*check',
    ),
    'unknown class column': (
        None,
        "chips['label_cfg']['class_column'] = 'kind'",
        r"labels\.gpkg: has no column 'kind'.*'class'",
    ),
    'unknown key of label_cfg': (
        None,
        "chips['label_cfg']['colunm'] = 'kind'",
        r'label_cfg has the unknown key colunm.*column',
    ),
    'values without a class': (
        lambda f: labels(
            f, [box(1 + n, 1, 9, 9) for n in range(4)], ['house', 'shed', 'shed', 'building']
        ),
        '',
        r'labels\.gpkg.*house \(1\).*shed \(2\).*building \(1\).*class_map',
    ),
    'band that does not exist': (
        None,
        "chips['bands'] = ('red', 'swir')",
        r"scene\.tif: no band 'red'.*B1, B2, B3",
    ),
    'more means than bands': (
        None,
        "chips['fill'] = 0.0; model['data_preprocessor'] = dict(mean=[1.0] * 4, std=[1.0] * 4)",
        r'in_channels is 3, and model.data_preprocessor has 4 means.*in_channels',
    ),
    'more fill values than bands': (
        None,
        "chips['fill'] = [1.0] * 4",
        r'a fill of 4 values, scene has 3 bands.*one per band',
    ),
    'truncated image': (
        lambda f: cut(f / 'scene.tif'),
        '',
        r'scene\.tif: .*complete|scene\.tif: .*copy',
    ),
    'truncated labels': (lambda f: cut(f / 'labels.gpkg'), '', r'labels\.gpkg'),
    'empty labels to draw chips around': (
        lambda f: labels(f, [], []),
        "train_dataloader['sampler']['positive_share'] = 0.5",
        r'no labels of class any .*scene\.tif.*positive_share=0',
    ),
    'labels that are a raster of unknown values': (
        lambda f: write_raster(f / 'labels.tif', np.full((128, 160), 7, 'uint8')),
        "chips['scenes'][0]['labels'] = 'labels.tif'",
        r'labels\.tif: values 7 have no class.*class_map',
    ),
    'no labels at all': (
        None,
        "del chips['scenes'][0]['labels']",
        r'scene has no labels.*`labels` in its catalog entry',
    ),
    'background that is no class': (
        None,
        "chips['metainfo'] = dict(classes=('building', 'road'))",
        r"background class 'background' is not one of building, road.*label_cfg\.background",
    ),
    'classes and heads that disagree': (
        None,
        "model['decode_head']['num_classes'] = 3",
        r'decode_head .*num_classes=3, the dataset has 2 classes.*num_classes=2',
    ),
    'misspelt dataset argument': (
        None,
        "chips['chipsize'] = 64",
        r"GeoSegDataset has no argument 'chipsize'.*did you mean 'chip_size'",
    ),
    'misspelt catalog column': (
        None,
        "chips['scenes'][0]['label'] = 'labels.gpkg'",
        r'scenes: entry 0 .*rename or remove label',
    ),
    'misspelt sampler': (
        None,
        "train_dataloader['sampler']['type'] = 'geo_mm.RandomChipSamplr'",
        r'geo_mm\.RandomChipSamplr is not in the .*did you mean geo_mm\.RandomChipSampler',
    ),
    'misspelt argument of a sampler': (
        None,
        "train_dataloader['sampler']['min_valdi'] = 0.5",
        r"RandomChipSampler.*unexpected keyword argument 'min_valdi'",
    ),
    'misspelt backbone': (
        None,
        "model['backbone']['type'] = 'UNett'",
        r'UNett is not in the .*check the spelling',
    ),
    'misspelt argument of the optimizer': (
        None,
        'optim_wrapper = dict(optimizer=dict(lrr=1))',
        r"AdamW.*unexpected keyword argument 'lrr'",
    ),
    'grid over stride 1': (
        None,
        "train_dataloader['sampler'] = dict(_delete_=True, type='geo_mm.GridChipSampler')",
        r'GridChipSampler over a dataset of stride 1.*test_mode=True',
    ),
    'split that does not exist': (
        None,
        "chips['scenes'][0]['split'] = 'training'",
        r"no scene belongs to split 'train'.*training",
    ),
    'scene without a valid pixel': (
        lambda f: write_raster(f / 'scene.tif', np.zeros((3, 128, 160), 'uint8'), nodata=0),
        '',
        r'no chip of 64 x 64 pixels .*scene\.tif.*check nodata',
    ),
    'epochs without end': (
        None,
        "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)",
        r'are endless.*infinite=False',
    ),
    'weights to start from that do not exist': (
        None,
        "load_from = 'nowhere.pth'",
        r'nowhere\.pth: no such checkpoint',
    ),
    'misspelt name of a setting': (
        None,
        'optim_wraper = dict(optimizer=dict(lr=1e-3))',
        r"tiny\.py: 'optim_wraper' is no setting.*did you mean optim_wrapper",
    ),
    'syntax error in the config': (None, 'model = dict(', r'tiny\.py: .*a valid config'),
}


@pytest.mark.filterwarnings('ignore:.*no features')
@pytest.mark.parametrize('mistake', DATA)
def test_training(folder, capsys, mistake):
    break_it, more, expected = DATA[mistake]
    if break_it:
        break_it(folder)
    config = write_seg_config(folder, more)
    message = message_of(capsys, 'train.py', config, '--work-dir', folder / 'work')
    assert re.search(expected, message, re.DOTALL), message


# Tool, arguments after the config; {folder} and {checkpoint} are filled in.
ARGUMENTS = {
    'config that does not exist': (
        'train.py',
        ['{folder}/nowhere.py'],
        r'nowhere\.py: no such config file.*check the path',
    ),
    'config to print that does not exist': (
        'misc/print_config.py',
        ['{folder}/nowhere.py'],
        r'nowhere\.py: no such config file',
    ),
    'checkpoint to test that does not exist': (
        'test.py',
        ['{config}', '{folder}/nowhere.pth', '--work-dir', '{folder}/test'],
        r'nowhere\.pth: no such checkpoint.*last_checkpoint',
    ),
    'checkpoint to predict with that does not exist': (
        'predict.py',
        ['{config}', '{folder}/nowhere.pth', '{folder}/scene.tif', '-o', '{folder}/out'],
        r'nowhere\.pth: no such checkpoint',
    ),
    'checkpoint to resume from that does not exist': (
        'train.py',
        ['{config}', '--work-dir', '{folder}/new', '--resume', '{folder}/nowhere.pth'],
        r'nowhere\.pth: no such checkpoint',
    ),
    'checkpoint of another config, testing': (
        'test.py',
        ['{other}', '{checkpoint}', '--work-dir', '{folder}/test'],
        r'iter_2\.pth does not fit the model .*instead of.*the config that it was trained with',
    ),
    'checkpoint of another config, predicting': (
        'predict.py',
        ['{other}', '{checkpoint}', '{folder}/scene.tif', '-o', '{folder}/out'],
        r'iter_2\.pth does not fit the model',
    ),
    'checkpoint of another config, resuming': (
        'train.py',
        ['{other}', '--work-dir', '{folder}/new', '--resume', '{checkpoint}'],
        r'iter_2\.pth does not fit the model',
    ),
    'checkpoint that is none': (
        'test.py',
        ['{config}', '{folder}/none.pth', '--work-dir', '{folder}/test'],
        r'none\.pth: not a readable checkpoint',
    ),
    'work dir inside a file': (
        'train.py',
        ['{config}', '--work-dir', '{folder}/scene.tif/work'],
        r'scene\.tif/work: cannot be written.*--work-dir',
    ),
    'results inside a file': (
        'predict.py',
        ['{config}', '{checkpoint}', '{folder}/scene.tif', '-o', '{folder}/labels.gpkg/out'],
        r'labels\.gpkg/out',
    ),
    "results in the scene's folder": (
        'predict.py',
        ['{config}', '{checkpoint}', '{folder}/scene.tif', '-o', '{folder}'],
        r'is the folder of the scene itself.*-o',
    ),
    'scene to predict that does not exist': (
        'predict.py',
        ['{config}', '{checkpoint}', '{folder}/nowhere.tif', '-o', '{folder}/out'],
        r'nowhere\.tif',
    ),
    'pattern without a match': (
        'predict.py',
        ['{config}', '{checkpoint}', '{folder}/x*.tif', '-o', '{folder}/out'],
        r'x\*\.tif: no file matches',
    ),
    'scene to predict with too few bands': (
        'predict.py',
        ['{config}', '{checkpoint}', '{folder}/gray.tif', '-o', '{folder}/out'],
        r'gray\.tif has the bands B1.*missing: ',
    ),
    'override of a misspelt setting': (
        'train.py',
        ['{config}', '--cfg-options', 'train_cgf.max_iters=9'],
        r"train_cgf.max_iters: .*has no 'train_cgf'.*did you mean train_cfg",
    ),
    'override of what is not there': (
        'train.py',
        ['{config}', '--cfg-options', 'param_scheduler.5.factor=1'],
        r'--cfg-options',
    ),
}


@pytest.mark.parametrize('mistake', ARGUMENTS)
def test_arguments(trained, capsys, mistake):
    tool, args, expected = ARGUMENTS[mistake]
    other = trained / 'other.py'
    other.write_text((trained / 'tiny.py').read_text() + "model['backbone']['base_channels'] = 6\n")
    write_raster(trained / 'gray.tif', noise((1, 64, 64)))
    shutil.copy(trained / 'gray.tif', trained / 'none.pth')
    names = dict(
        folder=trained,
        config=trained / 'tiny.py',
        other=other,
        checkpoint=trained / 'work' / 'iter_2.pth',
    )
    message = message_of(capsys, tool, *(arg.format(**names) for arg in args))
    assert re.search(expected, message, re.DOTALL), message


def test_nothing_is_written_over_the_scene(trained, capsys):
    before = (trained / 'scene.tif').read_bytes()
    args = [trained / 'tiny.py', trained / 'work' / 'iter_2.pth', trained / 'scene.tif']
    message_of(capsys, 'predict.py', *args, '-o', trained)
    assert (trained / 'scene.tif').read_bytes() == before


@pytest.mark.parametrize('tool', [pytest.param('train.py', marks=pytest.mark.slow), 'predict.py'])
def test_as_a_user_runs_it(trained, tmp_path, tool):
    """In a process of its own, the image truncated, read by a worker or a thread."""
    for name in ('labels.gpkg', 'scene.tif'):
        shutil.copy(trained / name, tmp_path / name)
    cut(tmp_path / 'scene.tif')
    config = write_seg_config(tmp_path, "train_dataloader['num_workers'] = 1\n")
    args = {
        'train.py': [config, '--work-dir', tmp_path / 'work'],
        'predict.py': [
            *(trained / 'tiny.py', trained / 'work' / 'iter_2.pth', tmp_path / 'scene.tif'),
            *('-o', tmp_path / 'out'),
        ],
    }[tool]
    done = subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(TOOLS.parent)},
        timeout=120,
    )
    message = checked(done.returncode, done.stderr)
    assert re.search(r'scene\.tif: .*', message)
    assert done.stderr.rstrip().endswith(message.rstrip())
