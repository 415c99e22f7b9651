"""Configs that geo-mm new writes: they load in plain MMEngine, say what the data say, and train."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch
from affine import Affine
from mmdet.models import ResNet
from mmengine.config import Config

from geo_mm.catalog import read_catalog
from geo_mm.cli import main
from geo_mm.engine.launch import build_model
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.models import pretrained
from geo_mm.new_config.choosing import make_plan
from geo_mm.new_config.plan import NewOptions
from geo_mm.new_config.recipes import RECIPES
from geo_mm.new_config.writing import config_text
from tests.data.chips import run_tool
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster

MODELS = ('faster-rcnn', 'mask-rcnn', 'retinanet', 'ssd', 'yolov3', 'unet', 'pspnet')
SIDE = 384  # pixels of 0.5 m


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    """A scene with a collar without data, and 49 houses in another CRS."""
    folder = tmp_path_factory.mktemp('town')
    pixels = noise((4, SIDE, SIDE)) // 2 + 40
    houses = [(x, y) for x in range(50, 350, 45) for y in range(50, 350, 45)]
    for x, y in houses:
        pixels[:, y : y + 24, x : x + 20] = 220
    pixels[:, :, :30] = 0
    write_raster(
        folder / 'town.tif',
        pixels,
        colorinterp=['red', 'green', 'blue', 'undefined'],
        descriptions=['red', 'green', 'blue', 'nir'],
        tiled=True,
        blockxsize=128,
        blockysize=128,
    )
    shapes = [box(x, y, x + 20, y + 24) for x, y in houses]
    roofs = ['tin'] * 30 + ['tile'] * 16 + ['slate'] + [None] * 2
    write_labels(folder / 'houses.gpkg', shapes, roofs, column='roof', to_crs='EPSG:4326')
    return folder


def new(model, folder, out, *options):
    """The config that the command writes, as plain MMEngine reads it."""
    data = ['--images', f'{folder}/town.tif', '--labels', f'{folder}/houses.gpkg']
    assert main(['new', model, *data, '-o', str(out), '--size', 'small', *options]) == 0
    return Config.fromfile(out)


@pytest.mark.parametrize('model', MODELS)
def test_configs_of_all_models_are_complete(model, town, tmp_path, capsys):
    config = new(model, town, tmp_path / f'{model}.py', '--class-column', 'roof')
    chips = config.train_dataloader.dataset
    assert config.bands == ('red', 'green', 'blue', 'nir')
    assert config.nodata == 0  # the collar, which the file does not declare
    assert config.mean[0] == pytest.approx(config.mean[3], rel=0.05)  # without the collar
    names = ('tin', 'tile')
    assert config.classes == (('background', *names) if 'seg' in str(chips.type).lower() else names)
    assert config.label_cfg.class_map == {'<null>': 'ignore', 'slate': 'ignore'}
    assert config.batch_size >= 2
    assert 'auto' not in (tmp_path / f'{model}.py').read_text()
    assert build_model(config) is not None
    out = capsys.readouterr().out
    assert f'geo-mm train {tmp_path}' in out and '_base_' not in out
    assert f'chip_size     {config.chip_size}; pixels' in out
    assert '1; parts of the scene' in out  # number of scenes, and how they are divided


def test_share_classes_and_seed_are_options_of_the_command(town, tmp_path):
    options = (
        '--val-split-pct 0.4 --class-column roof --class-mapping tin=metal tile=stone --seed 7'
    )
    config = new('unet', town, tmp_path / 'unet.py', '--chip-size', '64', *options.split())
    assert config.classes == ('background', 'metal', 'stone')
    mapped = {'tin': 'metal', 'tile': 'stone', 'slate': None, '<null>': 'ignore'}
    assert config.label_cfg.class_map == mapped
    assert config.randomness.seed == 7
    train, val, test = (scene.area for scene in config.scenes)
    assert (val[2] - val[0]) / (train[2] - train[0]) == pytest.approx(2 / 3, abs=0.15)
    assert val == test


def test_the_split_is_told_in_chips_and_objects(town):
    options = NewOptions(
        (f'{town}/town.tif',), labels=f'{town}/houses.gpkg', chip_size=64, val_split_pct=0.3
    )
    why = make_plan('faster-rcnn', options).why['scenes']
    train, val = (
        int(re.search(rf'{split} \d+ chips of ground with (\d+) objects', why)[1])
        for split in ('train', 'val')
    )
    lost = int(re.search(r'left out between them \d+ chips of ground with (\d+) objects', why)[1])
    assert train > val > 0 and lost > 0
    assert train + val + lost == 49
    assert re.search(r'val is \d+% of what is used, where 30% were asked for', why)


def test_parts_have_the_diagonal_of_a_chip_between_them(town, tmp_path):
    config = new('unet', town, tmp_path / 'unet.py')
    train, val, _ = (scene.area for scene in config.scenes)
    assert round(val[0] * SIDE) - round(train[2] * SIDE) >= config.chip_size * np.sqrt(2)
    assert round(val[2] * SIDE) - round(val[0] * SIDE) >= config.chip_size


def test_objects_are_made_as_wide_as_the_model_likes_them(town, tmp_path):
    config = new('faster-rcnn', town, tmp_path / 'rcnn.py')
    # 22 pixels at 0.5 m: less than the 32 that it wants, so the files' own.
    assert config.gsd is None
    sides = sorted(
        scale * stride
        for scale in config.model.rpn_head.anchor_generator.scales
        for stride in config.model.rpn_head.anchor_generator.strides
    )
    assert min(abs(side - 22) for side in sides) < 8


@pytest.mark.parametrize('model', ['unet', 'mask-rcnn'])
def test_configs_train(model, town, tmp_path):
    path = tmp_path / f'{model}.py'
    new(model, town, path)
    run_tool(
        'train.py',
        path,
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_cfg.val_begin=4',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=2',
    )
    weights = torch.load(tmp_path / 'run' / 'iter_2.pth', weights_only=False)['state_dict']
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_an_image_and_its_labels_train_without_a_config(town, tmp_path):
    run_tool(
        'train.py',
        town / 'town.tif',
        town / 'houses.gpkg',
        '--model',
        'unet',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=1',
        'train_cfg.val_begin=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    )
    assert Config.fromfile(tmp_path / 'town_unet_new.py').classes == ('background', 'houses')
    assert (tmp_path / 'iter_1.pth').is_file()


def test_a_catalog_with_splits_is_kept(town, tmp_path):
    scene = f'{town}/town.tif,{town}/houses.gpkg'
    table = tmp_path / 'scenes.csv'
    table.write_text(
        f'image,labels,split,area\n{scene},train,0 0 0.5 1\n{scene},val,0.6 0 1 1\n'
        f'{scene},test,0.6 0 1 0.5\n'
    )
    assert main(['new', 'unet', '--catalog', str(table), '-o', str(tmp_path / 'unet.py')]) == 0
    assert Config.fromfile(tmp_path / 'unet.py').scenes == str(table)


def test_weights_of_a_catalog_are_in_the_config(town, tmp_path):
    write_raster(town / 'weights.tif', noise((1, SIDE, SIDE)))
    (tmp_path / 'table.csv').write_text(
        f'image,labels,weight\n{town}/town.tif,{town}/houses.gpkg,{town}/weights.tif\n'
    )
    out = tmp_path / 'unet.py'
    words = ['--catalog', str(tmp_path / 'table.csv'), '-o', str(out), '--size', 'small']
    assert main(['new', 'unet', *words, '--chip-size', '64']) == 0
    config = Config.fromfile(out)
    for scene in config.scenes:
        assert os.path.join(config.get('data_root') or '', scene.weight) == f'{town}/weights.tif'


def test_many_scenes_stand_in_a_table_beside_the_config(town, tmp_path, capsys):
    for number in range(8):
        pixels, place = noise((3, 128, 128), seed=number), Affine.translation(0, 500 * number)
        write_raster(tmp_path / f'town_{number}.tif', pixels, transform=place @ TRANSFORM)
        houses = [box(30, 30, 60, 50), box(80, 70, 100, 95)]
        write_labels(tmp_path / f'town_{number}.gpkg', houses, transform=place @ TRANSFORM)
    words = ['--images', f'{tmp_path}/town_*.tif', '--labels', f'{tmp_path}/{{stem}}.gpkg']
    assert main(['new', 'unet', *words, '-o', str(tmp_path / 'unet.py')]) == 0
    assert f'splits in {tmp_path}/unet_scenes.csv; train it' in capsys.readouterr().out
    config = Config.fromfile(tmp_path / 'unet.py')
    splits = [entry.split for entry in read_catalog(config.scenes)]
    assert sorted(splits) == ['test', *['train'] * 6, 'val']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['unett', '--images', 'a.tif', '--labels', 'b.gpkg'], 'did you mean unet?'),
        (['unet'], 'one of --images with --labels, --catalog, --stac, --arcgis and --coco'),
        (['unet', '--images', 'a.tif'], 'labels to learn from'),
    ],
)
def test_mistakes_are_explained(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(['new', *words, '-o', str(tmp_path / 'new.py')])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'new.py').exists()


def test_every_model_has_both_sizes_and_a_base():
    from geo_mm.engine.launch import config_folder

    for recipe in RECIPES.values():
        for variant in (recipe.small, recipe.full):
            assert (config_folder() / '_base_' / 'models' / variant.base).is_file()


def test_weights_of_a_backbone_that_were_downloaded_before_are_used(town, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    weights = ResNet(18).state_dict()  # named as torchvision's
    torch.save(weights, tmp_path / 'checkpoints' / 'resnet18-f37072fd.pth')
    config = new('unet-resnet', town, tmp_path / 'unet.py')
    assert config.model.backbone.init_cfg.checkpoint == 'torchvision://resnet18'
    assert config.model.backbone.init_cfg.bands == config.bands
    assert 'at hand from ImageNet' in (tmp_path / 'unet.py').read_text()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Puts random weights in the place of published ones, whose checksum they lack."""

    def put(name):
        chosen = replace(pretrained.pretrained_set(name), sha256='', sha256_prefix='')
        torch.save(ResNet(18, in_channels=len(chosen.bands)).state_dict(), chosen.path(tmp_path))
        monkeypatch.setenv(pretrained.FOLDER, str(tmp_path))
        monkeypatch.setattr(pretrained, 'pretrained_sets', lambda: (chosen,))

    return put


def test_published_weights_bring_their_normalisation(town, tmp_path, publish):
    publish('resnet18.tv_in1k')
    config = new('unet-resnet', town, tmp_path / 'unet.py', '--weights', 'resnet18.tv_in1k')
    assert config.model.backbone.init_cfg.checkpoint == 'resnet18.tv_in1k'
    assert config.mean[:3] == [123.7, 116.3, 103.5] and config.std[:3] == [58.4, 57.12, 57.38]
    assert 40 < config.mean[3] < 220  # of the images: photographs have no near infrared
    assert 'BSD-3-Clause' in (tmp_path / 'unet.py').read_text()


def test_published_weights_for_other_values_leave_the_normalisation(town, tmp_path, publish):
    publish('ssl4eo-s12-moco-r18')
    config = new('unet-resnet', town, tmp_path / 'unet.py', '--weights', 'ssl4eo-s12-moco-r18')
    assert 40 < config.mean[0] < 220
    assert 'not those of ssl4eo-s12-moco-r18' in (tmp_path / 'unet.py').read_text()


def test_published_weights_of_another_backbone_are_refused(town):
    images, labels = [f'{town}/town.tif'], f'{town}/houses.gpkg'
    options = NewOptions(images=images, labels=labels, size='small', weights='resnet50.tv_in1k')
    with pytest.raises(ConfigError, match='unet-resnet of --size full'):
        make_plan('unet', options)


def test_a_file_of_weights_that_is_missing_is_called_a_file(town):
    images, labels = [f'{town}/town.tif'], f'{town}/houses.gpkg'
    options = NewOptions(images=images, labels=labels, size='small', weights='missing.pth')
    with pytest.raises(ConfigError, match=r'missing\.pth: no such file'):
        make_plan('unet', options)


def test_weights_of_a_whole_model_are_loaded_from(town, tmp_path):
    torch.save({'state_dict': {'backbone.conv1.weight': torch.zeros(1)}}, tmp_path / 'a.pth')
    config = new('unet', town, tmp_path / 'unet.py', '--weights', str(tmp_path / 'a.pth'))
    assert config.load_from == str(tmp_path / 'a.pth')


def test_a_layer_without_features_is_an_error(town, tmp_path, capsys):
    labels = write_labels(tmp_path / 'none.gpkg', [])
    with pytest.raises(SystemExit) as end:
        main(['new', 'unet', '--images', f'{town}/town.tif', '--labels', str(labels)])
    assert end.value.code == 2
    assert 'none.gpkg: no labelled object on any of the 1 scenes' in capsys.readouterr().err
    columns = gpd.GeoDataFrame({'class': []}, geometry=[], crs=32617)
    columns.to_file(tmp_path / 'columns.gpkg')
    with pytest.raises(SystemExit):
        main(
            ['new', 'unet', '--images', f'{town}/town.tif', '--labels', f'{tmp_path}/columns.gpkg']
        )
    assert 'columns.gpkg: no features on the images' in capsys.readouterr().err


def test_stac_items_whose_labels_are_a_layer_of_their_own(town, tmp_path):
    asset = {'href': f'{town}/town.tif', 'type': 'image/tiff', 'roles': ['data']}
    item = {'type': 'Feature', 'stac_version': '1.1.0', 'id': 'item', 'assets': {'image': asset}}
    items = tmp_path / 'items.json'
    items.write_text(json.dumps(item))
    with pytest.raises(CatalogError, match='no scene has labels'):
        make_plan('unet', NewOptions(stac=str(items)))
    plan = make_plan('unet', NewOptions(stac=str(items), labels=f'{town}/houses.gpkg'))
    assert {(entry.name, entry.labels) for entry in plan.entries} == {
        ('item', f'{town}/houses.gpkg')
    }


def test_files_that_share_no_folder_are_named_in_full(town):
    """As an image on a data disk, and labels in the home folder."""
    plan = make_plan('unet', NewOptions((f'{town}/town.tif',), labels=f'{town}/houses.gpkg'))
    entries = [replace(entry, labels='/elsewhere/houses.gpkg') for entry in plan.entries]
    text = config_text(replace(plan, entries=tuple(entries)), Path('/a/new.py'))
    assert "'/elsewhere/houses.gpkg'" in text and 'data_root' not in text


@pytest.mark.slow
def test_chips_side_by_side_are_split_by_blocks(tmp_path):
    """Dealt out one by one, most would lie in the gaps between the splits."""
    for number in range(64):
        place = Affine.translation(*(32 * side for side in divmod(number, 8))) @ TRANSFORM
        write_raster(tmp_path / f'chip_{number}.tif', noise((3, 64, 64)), transform=place)
        write_labels(tmp_path / f'chip_{number}.gpkg', [box(9, 9, 30, 30)], transform=place)
    words = ['--images', f'{tmp_path}/chip_*.tif', '--labels', f'{tmp_path}/{{stem}}.gpkg']
    out = tmp_path / 'unet.py'
    assert main(['new', 'unet', *words, '-o', str(out), '--chip-size', '64']) == 0
    assert 'blocks of the ground, since the scenes adjoin' in out.read_text()
    entries = read_catalog(Config.fromfile(out).scenes)
    assert len({entry.image for entry in entries if entry.split == 'train'}) > 20
