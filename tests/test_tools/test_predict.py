"""tools/predict.py as a user runs it, on models as tools/train.py leaves them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch

from geo_mm.classes import ClassSet
from geo_mm.engine.launch import build_model, load_config
from geo_mm.synthetic import make_town
from tests.data.chips import CONFIGS, run_tool
from tests.data.models import META_KEYS, pixel_files, spec_of, write_checkpoint
from tests.data.processes import hashes
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return pixel_files(tmp_path_factory.mktemp('model'), SPEC, [[0.0], [1.0]])


@pytest.fixture
def predict(model):
    """Runs the tool; gives its exit status."""

    def run(*args):
        try:
            run_tool('predict.py', model[1], *args, '--device', 'cpu', '--tile', '64')
        except SystemExit as end:
            return end.code
        return 0

    return run


def write_scene(path, seed=0, side=70):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_raster(path, noise((1, side, side), seed=seed))


def assert_predicted(result, scene):
    with rasterio.open(result) as found, rasterio.open(scene) as image:
        np.testing.assert_array_equal(found.read(1), image.read(1) > 127)


def test_several_scenes_by_name_and_pattern(tmp_path, predict, capsys):
    scenes = [write_scene(tmp_path / 'in' / f'{name}.tif', n) for n, name in enumerate('abc')]
    # 'a' is named and matched, and predicted once.
    assert predict(scenes[0], tmp_path / 'in' / '*.tif', '-o', tmp_path / 'out') == 0
    for scene in scenes:
        assert_predicted(tmp_path / 'out' / scene.name, scene)
    printed = capsys.readouterr().out
    assert printed.count(f'{tmp_path}/out/a.tif\n') == 1
    counts = json.loads((tmp_path / 'out' / 'c.json').read_text())['counts']
    assert f'low {counts["low"]:,}, high {counts["high"]:,}' in printed


def test_broken_scene_does_not_keep_the_others_from_being_predicted(tmp_path, predict, capsys):
    scenes = [write_scene(tmp_path / 'in' / f'{name}.tif', n) for n, name in enumerate('abc')]
    with scenes[0].open('r+b') as file:
        file.truncate(scenes[0].stat().st_size // 2)
    assert predict(tmp_path / 'in' / '*.tif', '-o', tmp_path / 'out') == 2
    for scene in scenes[1:]:
        assert_predicted(tmp_path / 'out' / scene.name, scene)
    assert not (tmp_path / 'out' / 'a.tif').exists()
    errors = capsys.readouterr().err.splitlines()
    assert sum(line.startswith(f'error: {scenes[0]}') for line in errors) == 1
    assert 'error: 1 of 3 scenes failed:' in errors
    assert errors[-1].startswith(f'  {scenes[0]}: ')


def test_single_broken_scene_is_told_once(tmp_path, predict, capsys):
    assert predict(tmp_path / 'none.tif', '-o', tmp_path / 'out') == 2
    assert capsys.readouterr().err.count('none.tif') == 1


def test_scenes_of_one_name_from_several_folders(tmp_path, predict):
    scenes = [write_scene(tmp_path / year / 'rgb.tif', n) for n, year in enumerate(('23', '24'))]
    assert predict(*scenes, '-o', tmp_path / 'out') == 0
    for scene in scenes:
        assert_predicted(tmp_path / 'out' / f'{scene.parent.name}_rgb.tif', scene)


def test_scenes_that_cannot_be_distinguished_are_refused_before_any_is_predicted(
    tmp_path, predict, capsys
):
    scenes = [write_scene(tmp_path / f / 'x' / 's.tif', n) for n, f in enumerate('ab')]
    assert predict(*scenes, '-o', tmp_path / 'out') == 2
    assert not (tmp_path / 'out').exists()
    assert 'would both be called x_s' in capsys.readouterr().err


def test_names_with_brackets_and_colons_are_not_markup(tmp_path, capsys):
    classes = ['[red]low', 'high[/bold] :smile:']
    files = pixel_files(
        tmp_path / 'model', replace(SPEC, classes=ClassSet(classes)), [[0.0], [1.0]]
    )
    scenes = [
        write_scene(tmp_path / '[in]' / f'{name}[bold].tif', n) for n, name in enumerate('ab')
    ]
    out = tmp_path / '[bold]out'
    run_tool('predict.py', files[1], *scenes, '-o', out, '--device', 'cpu', '--tile', '64')
    printed = capsys.readouterr().out
    for scene in scenes:
        assert_predicted(out / scene.name, scene)
        assert f'  {out / scene.name}\n' in printed
    assert printed.count('[red]low ') == printed.count('high[/bold] :smile: ') == 2


def test_an_epoch_that_is_no_number(tmp_path, predict, capsys, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', 'abc')
    assert predict(write_scene(tmp_path / 'in' / 'a.tif'), '-o', tmp_path / 'out') == 2
    assert "SOURCE_DATE_EPOCH is 'abc'" in capsys.readouterr().err


def test_a_scene_whose_name_is_not_utf8(tmp_path, predict, capsys):
    scene = write_scene(tmp_path / 'in' / 'a.tif')
    odd = os.fsdecode(os.fsencode(tmp_path / 'in') + b'/b\xff.tif')
    os.rename(write_scene(tmp_path / 'in' / 'b.tif'), odd)
    assert predict(scene, odd, '-o', tmp_path / 'out') == 2
    assert_predicted(tmp_path / 'out' / 'a.tif', scene)
    assert 'a name that is not UTF-8' in capsys.readouterr().err


def test_files_of_one_scene(tmp_path):
    spec = spec_of('pixels', ['low', 'high'], ['B1', 'B2'], mean=(127.5, 127.5), std=(10.0, 10.0))
    model = pixel_files(tmp_path, spec, [[0.0, 0.0], [0.0, 1.0]])  # the second file decides
    first, second = write_scene(tmp_path / 'a.tif', 0), write_scene(tmp_path / 'b.tif', 1)
    # The config first, as tools/test.py takes it; it is also in the checkpoint.
    run_tool('predict.py', *model, '--stack', first, second, '-o', tmp_path / 'out')
    assert_predicted(tmp_path / 'out/a.tif', second)


def test_catalog_table_with_aoi_and_confidence(tmp_path, predict):
    scene = write_scene(tmp_path / 'a.tif')
    with rasterio.open(scene) as image:
        left, bottom, right, top = image.bounds
        part = shapely.box(left, bottom, (left + right) / 2, top)
        gpd.GeoDataFrame(geometry=[part], crs=image.crs).to_file(tmp_path / 'aoi.gpkg')
    (tmp_path / 'c.csv').write_text('image,aoi,split\na.tif,aoi.gpkg,test\nb.tif,,train\n')
    (tmp_path / 'b.tif').touch()
    out = tmp_path / 'out'
    assert predict(tmp_path / 'c.csv', '--split', 'test', '-o', out, '--confidence') == 0
    with rasterio.open(out / 'a.tif') as found, rasterio.open(scene) as image:
        np.testing.assert_array_equal(found.read(1)[:, :35], image.read(1)[:, :35] > 127)
        assert (found.read(1)[:, 35:] == 255).all()
    with rasterio.open(out / 'a_confidence.tif') as found:
        assert (found.read(1)[:, 35:] == 255).all()
        assert found.read(1)[:, :35].min() >= 125


def test_other_settings_than_those_of_an_unfinished_run(tmp_path, predict, capsys):
    scene = write_scene(tmp_path / 'in' / 'a.tif', side=200)
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) * 3 // 4])
    changed = scene.stat()
    out = tmp_path / 'out'
    assert predict(scene, '-o', out) == 2
    assert [path.name for path in out.iterdir()] == ['.a.unfinished']
    scene.write_bytes(content)
    assert predict(scene, '-o', out) == 2
    assert 'scene was' in capsys.readouterr().err
    assert predict(scene, '-o', out, '--restart') == 0
    assert_predicted(out / 'a.tif', scene)
    assert changed.st_size < len(content)


@pytest.mark.slow
def test_dist_predict(tmp_path, model):
    """The script over gloo: two processes, two scenes, the bytes of one process."""
    scenes = [write_scene(tmp_path / 'in' / f'{name}.tif', n, 200) for n, name in enumerate('ab')]
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'PYTHONPATH': str(CONFIGS.parent),
        'OMP_NUM_THREADS': '1',
        'SOURCE_DATE_EPOCH': '1700000000',
        'PORT': '29517',
    }
    script = CONFIGS.parent / 'tools' / 'dist_predict.sh'
    for count in '1', '2':
        command = ['bash', script, model[1], tmp_path / 'in' / '*.tif', count]
        options = ['-o', tmp_path / 'out', '--tile', '64', '--device', 'cpu', '--trust-checkpoint']
        done = subprocess.run(
            [*map(str, command), *map(str, options)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(f'{tmp_path}/out/a.tif\n') == 1
        (tmp_path / 'out').rename(tmp_path / count)
    assert hashes(tmp_path / '1') == hashes(tmp_path / '2')
    for scene in scenes:
        assert_predicted(tmp_path / '2' / scene.name, scene)


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp('town')
    make_town(folder, scenes=2, size=(150, 170), gsd=0.5)
    return folder


def test_unet_as_training_leaves_it(tmp_path, town):
    config, work_dir = tmp_path / 'tiny.py', tmp_path / 'run'
    config.write_text(f"""
_base_ = {str(CONFIGS / 'unet/unet-s5-d16-c16_adamw-2k_town-256x256.py')!r}
data = dict(data_root={str(town)!r}, chip_size=64)
loader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=data, **loader)
val_dataloader = dict(dataset=dict(split='train', stride=64, **data), **loader)
model = dict(
    backbone=dict(base_channels=2),
    decode_head=dict(in_channels=2, channels=2),
    auxiliary_head=dict(in_channels=4, channels=2),
)
train_cfg = dict(max_iters=1, val_interval=99)
default_hooks = dict(checkpoint=dict(interval=1))
""")
    run_tool('train.py', config, '--work-dir', work_dir)
    scene = town / 'images' / 'town_1.tif'
    # Tiles and overlaps that are no multiples of the 16 that the network divides by.
    run_tool(
        *('predict.py', work_dir / 'iter_1.pth', scene, '-o', tmp_path / 'out'),
        *('--tile', 70, '--overlap', 9),
    )
    with rasterio.open(tmp_path / 'out' / 'town_1.tif') as found, rasterio.open(scene) as image:
        assert (found.crs, found.shape) == (image.crs, image.shape)
        assert found.transform.almost_equals(image.transform, 1e-9)
        empty = ~image.dataset_mask().astype(bool)
        np.testing.assert_array_equal(found.read(1) == 255, empty)
        assert found.read(1)[~empty].max() < 5
    summary = json.loads((tmp_path / 'out' / 'town_1.json').read_text())
    assert summary['input_spec'] == json.loads((work_dir / 'input_spec.json').read_text())


def test_faster_rcnn(tmp_path, town):
    """Untrained, so the boxes are arbitrary, but they are in the scene."""
    config = tmp_path / 'tiny.py'
    config.write_text(f"""
_base_ = [
    {str(CONFIGS / '_base_/models/faster-rcnn_r50_fpn.py')!r},
    {str(CONFIGS / '_base_/datasets/geo_det.py')!r},
    {str(CONFIGS / '_base_/det_runtime.py')!r},
]
model = dict(
    data_preprocessor=dict(mean=[1000.0] * 4, std=[500.0] * 4),
    backbone=dict(depth=18, base_channels=8, in_channels=4),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=2),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=20)),
)
""")
    torch.manual_seed(0)
    weights = build_model(load_config(config)).state_dict()
    bands = ('red', 'green', 'blue', 'nir')
    stats = dict(mean=(1000.0,) * 4, std=(500.0,) * 4)
    changes = stats | dict(gsd=0.5, dtype='uint16', chip_size=(100, 100))
    spec = spec_of('objects', ('building', 'tree'), bands, **changes)
    checkpoint = write_checkpoint(tmp_path, spec, weights, config)
    scene, out = town / 'images' / 'town_0.tif', tmp_path / 'out'
    with pytest.warns(UserWarning, match=r'tiles reach the limit of .* \(20\)'):
        run_tool(*('predict.py', checkpoint, scene, '-o', out), *('--tile', 100, '--score', 0.06))
    objects = gpd.read_file(out / 'town_0.gpkg')
    with rasterio.open(scene) as image:
        assert objects.crs == image.crs
        left, bottom, right, top = image.bounds
    assert len(objects) > 20
    assert (objects['score'] >= 0.06).all()
    assert set(objects['class']) <= {'building', 'tree'}
    x_min, y_min, x_max, y_max = objects.total_bounds
    assert (left <= x_min, bottom <= y_min, x_max <= right, y_max <= top) == (True,) * 4


def test_pipeline_keys_are_those_that_training_uses():
    """The tests' own configs read chips as the base configs do."""
    keys = load_config(CONFIGS / '_base_/datasets/geo_seg.py').meta_keys
    assert set(META_KEYS) <= set(keys)
