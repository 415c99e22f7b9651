"""Real Runners train a tiny U-Net; what they leave behind is checked."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from geo_mm.classes import ClassSet
from geo_mm.engine import input_spec_of, launch
from geo_mm.engine.hooks import InputSpecHook
from geo_mm.errors import ConfigError
from geo_mm.inputspec import InputSpec
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import build_dataset, fresh_mmengine, write_scene, write_seg_config
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster

BY_EPOCH = """
train_dataloader['sampler'] = dict(type='geo_mm.RandomChipSampler', infinite=False, num_chips=4)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1), logger=dict(interval=1))
log_processor = dict(by_epoch=True)
"""


class Chips(Hook):
    """Notes the chips of every iteration."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.seen += [sample.img_id for sample in data_batch['data_samples']]


def train(config_path, work_dir, **options) -> list[int]:
    with fresh_mmengine():
        config = launch.load_config(config_path, options)
        launch.set_work_dir(config, work_dir)
        runner = launch.build_runner(config)
        chips = Chips()
        runner.register_hook(chips)
        runner.train()
    return chips.seen


@pytest.fixture
def folder(tmp_path):
    write_scene(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('more', 'checkpoint'), [('', 'iter_2.pth'), (BY_EPOCH, 'epoch_2.pth')], ids=['iters', 'epochs']
)
def test_a_checkpoint_says_what_its_model_must_be_fed(folder, more, checkpoint):
    config = write_seg_config(folder, more)
    seen = train(config, folder / 'work')
    assert len(seen) == (4 if not more else 8)
    spec = InputSpec.from_dict(read_checkpoint(folder / 'work' / checkpoint)['input_spec'])
    assert spec == InputSpec(
        task='pixels',
        classes=ClassSet(('background', 'building'), background='background'),
        bands=('B1', 'B2', 'B3'),
        gsd=pytest.approx(0.5, rel=1e-3),
        dtype='uint8',
        nodata='auto',
        mean=(100.0, 100.0, 100.0),
        std=(50.0, 50.0, 50.0),
        chip_size=(64, 64),
    )
    # Measured on images of the size of a chip, whatever mode the model is in.
    assert 0 < spec.receptive_radius < 32
    written = json.loads((folder / 'work' / 'input_spec.json').read_text())
    assert InputSpec.from_dict(written) == spec


STARTED = """
model['backbone']['init_cfg'] = dict(type='geo_mm.AdaptedPretrained', checkpoint={checkpoint!r},
    from_bands=('red', 'green', 'blue'), bands=('blue', 'green', 'red'))
"""
ONCE = {'train_cfg.max_iters': 1, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}


def test_a_checkpoint_says_what_training_started_from(folder):
    with fresh_mmengine():
        model = launch.build_model(launch.load_config(write_seg_config(folder)))
    checkpoint = str(folder / 'backbone.pth')
    torch.save({'state_dict': model.backbone.state_dict()}, checkpoint)
    train(write_seg_config(folder, STARTED.format(checkpoint=checkpoint)), folder / 'work', **ONCE)
    data = read_checkpoint(folder / 'work' / 'iter_1.pth')
    (record,) = data['pretrained']
    assert record['checkpoint'] == checkpoint and len(record['sha256']) == 64
    assert record['stem'].splitlines()[0] == 'blue  <- blue   same name'
    (log,) = (folder / 'work').glob('*/*.log')
    assert 'blue  <- blue   same name' in log.read_text()
    # Its origin stays known to whoever starts from this model, or goes on with it.
    hook = InputSpecHook()
    hook.after_load_checkpoint(SimpleNamespace(_resume=False, _load_from='town.pth'), data)
    assert [each['checkpoint'] for each in hook._loaded] == ['town.pth', checkpoint]
    hook.after_load_checkpoint(SimpleNamespace(_resume=True, _load_from='town.pth'), data)
    assert hook._loaded == [record]


def test_resuming_continues_with_the_next_chips_and_ends_with_the_same_weights(folder):
    options = {'default_hooks.checkpoint.interval': 2, 'val_cfg': None, 'val_dataloader': None}
    options |= {'val_evaluator': None, 'model.decode_head.dropout_ratio': 0.0}
    options |= {'model.auxiliary_head.dropout_ratio': 0.0}
    flips = {'train_dataloader.dataset.pipeline.2.prob': 0.0}  # drawn by the global generator
    config = write_seg_config(folder, 'train_dataloader["sampler"]["num_chips"] = 5\n')
    length = {'train_cfg.max_iters': 5, 'train_cfg.val_interval': 10}
    whole = train(config, folder / 'whole', **options, **flips, **length)
    first = train(
        config, folder / 'two', **options, **flips, **{**length, 'train_cfg.max_iters': 2}
    )
    rest = train(
        config,
        folder / 'two',
        resume=True,
        load_from=str(folder / 'two' / 'iter_2.pth'),
        **options,
        **flips,
        **length,
    )
    assert first + rest == whole
    weights = [
        read_checkpoint(folder / name / 'iter_5.pth')['state_dict'] for name in ('whole', 'two')
    ]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-5)


def test_a_head_with_another_number_of_classes(folder):
    config = write_seg_config(folder, "model['decode_head']['num_classes'] = 5\n")
    with pytest.raises(ConfigError, match=r'(?s)decode_head .*num_classes=5.*2 classes: backgr'):
        train(config, folder / 'work')


class Model(torch.nn.Module):
    """Holds a preprocessor, as models do."""

    def __init__(self, **buffers) -> None:
        super().__init__()
        self.data_preprocessor = torch.nn.Module()
        for name, values in buffers.items():
            self.data_preprocessor.register_buffer(name, torch.tensor(values))


def test_spec_of_objects_over_scenes_of_different_gsd_and_type(tmp_path):
    scenes = []
    for name, scale, dtype in (('a', 1, 'uint8'), ('b', 2, 'int16'), ('c', 3, 'uint8')):
        transform = TRANSFORM @ TRANSFORM.scale(scale)
        image = write_raster(
            tmp_path / f'{name}.tif', noise((2, 64, 64), dtype), transform=transform
        )
        labels = write_labels(tmp_path / f'{name}.gpkg', [box(2, 2, 9, 9)], transform=transform)
        scenes.append(dict(image=str(image), labels=str(labels)))
    dataset = build_dataset('det', scenes, nodata=None, chip_size=(32, 48))
    spec = input_spec_of(dataset, Model(mean=[1.0, 2.0], std=[3.0, 4.0]))
    assert (spec.task, spec.dtype, spec.nodata) == ('objects', 'int16', None)
    assert spec.gsd == pytest.approx(1.0, rel=1e-3)
    assert spec.chip_size == (32, 48)
    assert (len(spec.classes), spec.classes.background) == (1, None)
    asked = build_dataset('det', scenes, gsd=0.8)
    assert input_spec_of(asked, Model(mean=[1.0, 2.0], std=[3.0, 4.0])).gsd == 0.8
    with pytest.raises(ConfigError, match=r'(?s)has no mean and std.*GeoSegDataPreprocessor'):
        input_spec_of(dataset, Model())
