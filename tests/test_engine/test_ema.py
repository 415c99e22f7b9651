"""MMEngine's EMAHook with our models, hooks and checkpoints."""

import pytest
import torch
from mmengine.hooks import Hook

from geo_mm.engine import launch
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import fresh_mmengine, write_scene, write_seg_config

EMA = """
default_hooks = dict(
    ema=dict(type='EMAHook', momentum=0.25), checkpoint=dict(interval=1, max_keep_ckpts=-1))
val_cfg = val_dataloader = val_evaluator = None
model['decode_head']['dropout_ratio'] = model['auxiliary_head']['dropout_ratio'] = 0.0
train_dataloader['dataset'] = dict(chips, pipeline=[
    dict(type='geo_mm.LoadChip'), dict(type='geo_mm.LoadChipClasses'),
    dict(type='PackSegInputs')])
train_cfg = dict(max_iters=3)
"""
KEY = 'backbone.encoder.0.0.convs.0.conv.weight'


class Weights(Hook):
    """Notes the weights of the stem, and the losses, after each iteration."""

    def __init__(self) -> None:
        self.seen, self.losses = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(runner.model.state_dict()[KEY].clone())
        self.losses.append(outputs['loss'].item())


def train(folder, work: str, **options) -> Weights:
    with fresh_mmengine():
        config = launch.load_config(write_seg_config(folder, EMA), options)
        config.work_dir = str(folder / work)
        runner = launch.build_runner(config)
        weights = Weights()
        runner.register_hook(weights)
        runner.train()
    return weights


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ema')
    write_scene(folder)
    return folder


@pytest.fixture(scope='module')
def whole(folder):
    return train(folder, 'whole')


def test_checkpoints_hold_the_average_to_predict_with(folder, whole):
    saved = read_checkpoint(folder / 'whole' / 'iter_3.pth')
    first, second, third = whole.seen
    expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
    torch.testing.assert_close(saved['state_dict'][KEY], expected)
    assert 'input_spec' in saved


def test_a_test_run_scores_the_average(folder, whole):
    options = {'work_dir': str(folder / 'test'), 'load_from': str(folder / 'whole' / 'iter_3.pth')}
    with fresh_mmengine():
        runner = launch.build_runner(launch.load_config(write_seg_config(folder, EMA), options))
        runner.test()
    saved = read_checkpoint(folder / 'whole' / 'iter_3.pth')['state_dict'][KEY]
    assert torch.equal(runner.model.state_dict()[KEY], saved)


def test_resuming_goes_on_with_weights_and_average(folder, whole):
    options = {'resume': True, 'load_from': str(folder / 'whole' / 'iter_2.pth')}
    rest = train(folder, 'rest', **options)
    assert rest.losses == whole.losses[2:]
    ends = [read_checkpoint(folder / name / 'iter_3.pth') for name in ('whole', 'rest')]
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in ends[0][key].items():
            assert torch.equal(ends[1][key][name], value), name
