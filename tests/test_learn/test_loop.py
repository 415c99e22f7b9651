"""The analyst's loop in Python: see data, find the rate, train, see results, save, reload."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

import geo_mm
from geo_mm.cli import main
from geo_mm.engine.config_data import build_dataset
from geo_mm.engine.launch import build_model
from geo_mm.errors import CatalogError, ConfigError, LabelError
from geo_mm.formats import html_page
from geo_mm.learn import Learner
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import CONFIGS, fresh_mmengine
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

MODELS = ('FasterRCNN', 'MaskRCNN', 'RetinaNet', 'SSD', 'YOLOv3', 'UNet', 'PSPNet')
SMALL = {'chip_size': 64, 'batch_size': 2, 'size': 'small'}


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    """A scene of 4 bands with 49 houses."""
    folder = tmp_path_factory.mktemp('town')
    pixels = noise((4, 384, 384)) // 2 + 40
    houses = [(x, y) for x in range(20, 350, 45) for y in range(20, 350, 45)]
    for x, y in houses:
        pixels[:, y : y + 24, x : x + 20] = 220
    write_raster(folder / 'town.tif', pixels)
    shapes = [box(x, y, x + 20, y + 24) for x, y in houses]
    write_labels(folder / 'houses.gpkg', shapes, ['house'] * len(shapes))
    return folder


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fresh_mmengine():
        yield


@pytest.fixture(scope='module')
def data(town):
    """Looked at once for all tests."""
    return geo_mm.prepare_data(
        town / 'town.tif', town / 'houses.gpkg', work_dir=town / 'work', **SMALL
    )


def unet(data) -> geo_mm.UNet:
    """Without loader processes, whose start takes longer than all the rest."""
    model = geo_mm.UNet(data)
    for split in ('train', 'val', 'test'):
        model.config[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    return model


def go_through(model: Learner, town: Path) -> None:
    """Each step of the loop at toy size."""
    curve = model.lr_find(iterations=20, trials=20)
    assert Path(model.work_dir, 'lr_find', 'lr_find.png').is_file()
    model.fit(iters=2, lr=curve)
    assert model.checkpoint.is_file()
    model.fit(iters=1, lr=1e-4)
    assert model.plot_losses().width == 990
    assert isinstance(model.show_results(number=2), Image.Image)
    assert model.report('page.html', examples=1).with_suffix('.json').is_file()
    assert model.metrics()
    pixels = isinstance(model, geo_mm.UNet | geo_mm.PSPNet)
    check_classes(
        model, *(('iou', model.mIOU) if pixels else ('ap', model.average_precision_score))
    )
    saved = model.save('saved/mine')
    again = type(model).from_model(saved)
    first, second = (each.predict(town / 'town.tif', overlap=16).counts for each in (model, again))
    assert first == second
    assert again.show_results(number=1)


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_the_loop_for_every_model(name, town, data):
    go_through(getattr(geo_mm, name)(data), town)


@pytest.mark.slow
def test_the_config_of_a_model_trains_as_the_model_does(data, tmp_path):
    """The same losses from a dumped config as from fit()."""
    model = unet(data)
    rate = model.config.optim_wrapper.optimizer.lr
    model.config.default_hooks.logger.interval = 1
    model.fit(iters=20, lr=rate)
    run = model.checkpoint.parent
    model.config.train_cfg.max_iters = 20
    model.config.train_cfg.val_interval = 5
    model.config.dump(str(tmp_path / 'mine.py'))
    assert main(['train', 'mine.py', '--work-dir', 'command']) == 0
    losses = [
        [line['loss'] for line in scalars(folder) if 'loss' in line]
        for folder in (run, tmp_path / 'command')
    ]
    assert losses[0] == losses[1] != []


def test_a_batch_is_shown_as_the_last_model_takes_it(town, tmp_path):
    """The legend of pixels has one more class, the background."""
    data = geo_mm.prepare_data(
        town / 'town.tif', town / 'houses.gpkg', work_dir=tmp_path / 'work', **SMALL
    )
    heights = [data.show_batch(number=1, columns=1).height]
    for algorithm in ('unet', 'mask-rcnn'):
        data.config(algorithm)
        heights.append(data.show_batch(number=1, columns=1).height)
    assert heights[0] == heights[2] < heights[1]


@pytest.mark.parametrize(
    'paths', [('no.csv',), ('no.tif', 'houses.gpkg'), ('town.tif', 'no.gpkg')], ids=str
)
def test_files_that_are_not_there_are_named_at_once(paths, town):
    with pytest.raises(CatalogError, match=r'no\.\w+: no such file or folder'):
        geo_mm.prepare_data(*(town / path for path in paths))


def test_pictures_without_a_crs_have_no_map(town, tmp_path):
    plain = dict(crs=None, transform=None)
    with rasterio.open(town / 'town.tif') as image:
        write_raster(tmp_path / 'plain.tif', image.read(), **plain)
        write_raster(tmp_path / 'mask.tif', image.read(1) // 220, **plain)
    data = geo_mm.prepare_data(tmp_path / 'plain.tif', tmp_path / 'mask.tif', **SMALL)
    with pytest.raises(CatalogError, match='a map of images without a CRS'):
        data.map()


def test_data_of_one_image_with_other_options_do_not_mix(town, tmp_path):
    """Both write their configs into the work dir of the image."""
    paths = town / 'town.tif', town / 'houses.gpkg'
    one = geo_mm.prepare_data(*paths, work_dir=tmp_path, **SMALL)
    one.config('unet')
    geo_mm.prepare_data(*paths, work_dir=tmp_path, **{**SMALL, 'batch_size': 4}).config('unet')
    assert one.config('unet').train_dataloader.batch_size == 2


def test_the_last_model_stays_the_last_when_data_are_printed(town, tmp_path):
    paths = town / 'town.tif', town / 'houses.gpkg'
    data = geo_mm.prepare_data(*paths, work_dir=tmp_path, **SMALL)
    data.config('unet')
    height = data.show_batch(number=1, columns=1).height
    assert data.classes == ('house',)
    assert data.show_batch(number=1, columns=1).height == height


@pytest.mark.parametrize('rate', [slice(1e-4, 1e-3), '0.001', -1.0, 0])
def test_what_is_no_learning_rate_is_named(rate, data):
    with pytest.raises(ConfigError, match='fit with lr='):
        unet(data).fit(iters=2, lr=rate)


def test_damaged_labels_are_named(town, tmp_path):
    (tmp_path / 'houses.gpkg').write_bytes(b'no layer')
    with pytest.raises(LabelError, match=r'houses\.gpkg'):
        _ = geo_mm.prepare_data(town / 'town.tif', tmp_path / 'houses.gpkg').kind


def test_fit_keeps_the_models_that_are_asked_for(data):
    model = unet(data)
    model.fit(iters=4, lr=1e-3, monitor='mAcc', checkpoint='all', mixed_precision=True)
    run = model.checkpoint.parent
    assert {f'iter_{number}.pth' for number in (1, 2, 3, 4)} <= {
        path.name for path in run.iterdir()
    }
    assert model.checkpoint.name.startswith('best_mAcc_iter_')
    (used,) = run.glob('*/vis_data/config.py')
    assert 'BFloat16OptimWrapper' in used.read_text()
    check_classes(model, 'iou', model.mIOU)
    with pytest.raises(ConfigError, match=r'mIOU\(\), or per_class_metrics\(\)'):
        model.average_precision_score()


def check_classes(model: Learner, score: str, alone) -> None:
    """The table of classes has what the report says of them."""
    table = model.per_class_metrics(split='val')
    assert list(table) == ['precision', 'recall', 'f1', score]
    page = model.report('classes.html', split='val', examples=1)
    expected = json.loads(page.with_suffix('.json').read_text())['scores']['classes']
    for name, row in table.iterrows():
        values = [expected[name][column] for column in table]
        assert row.tolist() == pytest.approx(
            [np.nan if v is None else v for v in values], nan_ok=True
        )
    assert alone(split='val') == pytest.approx(table[score].to_dict(), nan_ok=True)


def test_the_best_model_is_chosen_on_the_map(data):
    best = unet(data).fit(iters=2, lr=1e-3, monitor='map/mean_iou').checkpoint
    assert best.name.startswith('best_map_mean_iou_iter_')
    with pytest.raises(ConfigError, match="save_best='f1'"):
        unet(data).fit(iters=2, lr=1e-3, monitor='f1')
    with pytest.raises(ConfigError, match="checkpoint='every'"):
        unet(data).fit(iters=2, lr=1e-3, checkpoint='every')


def test_fit_says_what_tensorboard_needs(data, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)  # as if not installed
    with pytest.raises(ConfigError, match='tensorboard'):
        unet(data).fit(iters=2, lr=1e-3, tensorboard=True)


def scalars(folder: Path) -> list[dict]:
    (file,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_data_are_looked_at_and_drawn(data, town):
    assert data.kind == 'instances'
    sheet = data.show_batch(number=4, columns=2)
    assert sheet.info['number'] == 4
    # Values of bands, labels, sizes and the map of scenes, below each other.
    assert data.plot_statistics().height > data.map().height > 400
    assert data.classes == ('house',)
    assert data.reasons['chip_size'] == 'pixels; given'
    assert 'instances' in data._repr_html_()
    assert str(data).splitlines()[1].split() == ['classes', 'house']
    assert '64, pixels; given' in str(data)
    assert max(map(len, str(data).splitlines())) <= 100
    assert repr(data) == f'<TrainingData, {town / "town.tif"}>'


@pytest.mark.slow
def test_a_frozen_backbone_keeps_its_weights(data):
    model = unet(data).fit(iters=1, lr=1e-3)
    before = weights(model.checkpoint)
    model.freeze().fit(iters=2, lr=1e-2)
    frozen = weights(model.checkpoint)
    assert all(np.array_equal(before[key], frozen[key]) for key in before)
    assert not model.unfreeze()._started().get('custom_hooks')


def weights(checkpoint: Path) -> dict[str, np.ndarray]:
    state = geo_mm.models.checkpoints.read_checkpoint(checkpoint)['state_dict']
    return {
        key: value.numpy().copy()
        for key, value in state.items()
        if key.startswith('backbone.encoder.') and key.endswith('weight')
    }


def test_lr_find_says_what_it_found_and_the_model_what_it_is(data, capsys):
    model = unet(data)
    assert repr(model) == '<UNet, not trained yet>'
    curve = model.lr_find(iterations=20, trials=20)
    said = capsys.readouterr().out
    assert f'suggested learning rate: {model.rate:.2g} (trials)' in said and 'lr_find.png' in said
    assert repr(curve) in said
    assert f'{model.rate:.2g}, found by lr_find' in str(model)
    assert 'house' in str(model)


def test_epochs_count_passes_over_the_ground(data):
    model = unet(data).fit(epochs=1, lr=1e-3)
    lines = scalars(model.checkpoint.parent)
    sampler = geo_mm.engine.config_data.build_loader(model.config).sampler
    expected = -(-len(sampler) // 2)
    assert max(line['iter'] for line in lines if 'loss' in line) == expected
    page = (model.checkpoint.parent / 'training.html').read_text()
    assert f'{expected:,} of {expected:,}' in page and 'ended' in page
    # Scores stand at the iteration of their validation.
    assert max(line['step'] for line in lines if 'mIoU' in line) == expected


@pytest.mark.slow
def test_trainings_of_earlier_sessions_stay(data, tmp_path):
    first = unet(data).fit(iters=1, lr=1e-3).checkpoint
    second = unet(data).fit(iters=1, lr=1e-3).checkpoint
    assert first.is_file() and second.is_file()
    assert first.parent != second.parent


def test_another_split_of_the_same_images_is_noticed(data, town, tmp_path, capsys):
    saved = unet(data).fit(iters=1, lr=1e-3).save('mine.pth')
    capsys.readouterr()
    geo_mm.UNet.from_model(saved, data)
    assert 'another split' not in capsys.readouterr().out
    paths = town / 'town.tif', town / 'houses.gpkg'
    other = geo_mm.prepare_data(*paths, work_dir=tmp_path, val_split_pct=0.3, **SMALL)
    assert geo_mm.UNet.from_model(saved, other).checkpoint == saved
    assert 'it was trained on another split of these images' in capsys.readouterr().out


def test_a_model_of_a_file_cannot_train_without_data(data, town):
    saved = unet(data).fit(iters=1, lr=1e-3).save('mine.pth')
    stranger = geo_mm.UNet.from_model(saved)
    with pytest.raises(ConfigError, match='may not train'):
        stranger.fit(iters=1)
    again = geo_mm.UNet.from_model(saved, data)
    assert again.config.load_from == str(saved.absolute())
    # Of the same classes and bands it is the model that was saved.
    found = repr(again.predict(town / 'town.tif'))
    assert found.startswith('<Prediction of town: ') and ' house' in found
    # Of another network it is weights to start from.
    assert geo_mm.PSPNet.from_model(saved, data).checkpoint is None
    with pytest.raises(ConfigError, match='of the type EncoderDecoder') as error:
        geo_mm.FasterRCNN.from_model(saved)
    assert error.value.fix == 'load it with the class of unet or pspnet'


def test_a_model_learns_other_classes_of_other_bands(data, town, tmp_path, capsys):
    """The head starts at random, the first convolution is adapted, and both is said."""
    saved = unet(data).fit(iters=1, lr=1e-3).save('mine.pth')
    with rasterio.open(town / 'town.tif') as image:
        pixels = image.read()[[2, 0, 1, 3, 3]]
    names = ['B3', 'B1', 'B2', 'swir', 'B4']
    write_raster('other.tif', pixels, descriptions=names)
    shapes = [box(x, y, x + 20, y + 24) for x in range(20, 350, 45) for y in range(20, 350, 45)]
    kinds = ['house', 'shed', 'barn']
    write_labels('other.gpkg', shapes, [kinds[i % 3] for i in range(len(shapes))])
    other = geo_mm.prepare_data('other.tif', 'other.gpkg', work_dir='work', **SMALL)
    capsys.readouterr()
    model = geo_mm.UNet.from_model(saved, other)
    said = capsys.readouterr().out
    assert 'other classes' in said and 'decode_head.conv_seg' in said
    assert 'swir <- mean of all' in said
    before, start = (
        read_checkpoint(path)['state_dict'] for path in (saved, model.config.load_from)
    )
    (stem,) = (key for key in before if before[key].shape != start[key].shape)
    assert torch.equal(start[stem][:, [1, 2, 0, 4]], before[stem])
    assert torch.allclose(start[stem][:, 3], before[stem].mean(dim=1) / 3)
    for split in ('train', 'val', 'test'):
        model.config[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    model.fit(iters=1, lr=1e-3)  # the hook checks that all else is loaded
    assert model.fit(iters=1, lr=1e-3).checkpoint.is_file()


@pytest.mark.parametrize(
    ('name', 'config'),
    [
        ('MMDetection', 'fcos/fcos_r18-c128_fpn_adamw-2k_town-256x256.py'),
        ('MMSegmentation', 'deeplabv3plus/deeplabv3plus_r18-d8-c32_adamw-2k_town-256x256.py'),
    ],
)
def test_any_other_model_takes_the_classes_and_bands_of_the_data(name, config, data):
    model = getattr(geo_mm, name)(data, CONFIGS / config)
    built = build_model(model.config)
    head = built.bbox_head if name == 'MMDetection' else built.decode_head
    assert head.num_classes == len(model.config.train_dataloader.dataset.metainfo.classes)
    assert len(model.config.model.data_preprocessor.mean) == 4
    assert model.work_dir.name == Path(config).stem
    assert build_dataset(model.config)[0]['inputs'].shape[0] == 4


def test_steps_of_ones_own_come_before_packing(town):
    own = dict(type='RandomFlip', prob=1.0, direction='horizontal')
    more = geo_mm.prepare_data(
        town / 'town.tif', town / 'houses.gpkg', work_dir='own', transforms=[own], **SMALL
    )
    *_, last, pack = geo_mm.UNet(more).config.train_dataloader.dataset.pipeline
    assert last == own and pack['type'] == 'PackSegInputs'


def test_mistakes_are_named(town, data):
    with pytest.raises(CatalogError, match='no data'):
        geo_mm.prepare_data([])
    with pytest.raises(CatalogError, match='2 paths without labels'):
        geo_mm.prepare_data(['a.tif', 'b.tif'])
    model = unet(data)
    with pytest.raises(ConfigError, match='epochs=1 and iters=1'):
        model.fit(1, iters=1)
    with pytest.raises(ConfigError, match='epochs=-1') as error:
        model.fit(-1)
    assert 'positive' in error.value.expected
    with pytest.raises(ConfigError, match='the argument chipsize') as error:
        geo_mm.prepare_data(town / 'town.tif', town / 'houses.gpkg', chipsize=64)
    assert error.value.fix == 'did you mean chip_size?'
    with pytest.raises(ConfigError, match='has not been trained'):
        model.predict(town / 'town.tif')
    with pytest.raises(ConfigError, match='no losses'):
        model.plot_losses()


def test_notebook_tables_escape_what_they_show():
    assert '&lt;b&gt;' in html_page.pairs('data', {'classes': '<b>'})
