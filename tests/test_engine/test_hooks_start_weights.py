"""Real Runners start a tiny U-Net from the weights of another."""

import pytest
import torch

from geo_mm.engine import launch
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import fresh_mmengine, run_tool, write_scene, write_seg_config

THREE_CLASSES = """
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader['dataset'] = dict(
        loader['dataset'], metainfo=dict(classes=('background', 'building', 'tree')))
for head in ('decode_head', 'auxiliary_head'):
    model[head]['num_classes'] = 3
"""
DROP = """
default_hooks = dict(
    start_weights=dict(drop=['decode_head.conv_seg', 'auxiliary_head.conv_seg']))
"""
QUICK = {'train_cfg.max_iters': 1, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('start')
    write_scene(folder)
    config = write_seg_config(folder)
    run_tool('train.py', config, '--work-dir', folder / 'first')
    return folder


def start(folder, more: str, **options) -> dict[str, torch.Tensor]:
    """Weights of a model that was started, before its first step."""
    with fresh_mmengine():
        config = launch.load_config(
            write_seg_config(folder, more),
            {**QUICK, 'load_from': str(folder / 'first' / 'iter_2.pth'), **options},
        )
        config.work_dir = str(folder / 'work')
        config.optim_wrapper.optimizer = dict(type='SGD', lr=0.0)
        runner = launch.build_runner(config)
        runner.train()
        return {name: p.detach().clone() for name, p in runner.model.named_parameters()}


def test_all_weights_are_taken(folder):
    saved = read_checkpoint(folder / 'first' / 'iter_2.pth')['state_dict']
    for name, weights in start(folder, '').items():
        assert torch.equal(weights, saved[name]), name


def test_a_head_for_other_classes_names_its_layers(folder):
    with pytest.raises(ConfigError) as caught:
        start(folder, THREE_CLASSES)
    message = str(caught.value)
    assert 'iter_2.pth: 4 weights do not fit' in message
    assert 'decode_head.conv_seg.weight is (2, 4, 1, 1), in the model (3, 4, 1, 1)' in message
    # The fix can be pasted.
    assert "drop=['decode_head.conv_seg', 'auxiliary_head.conv_seg']" in message


def test_a_dropped_head_starts_anew_and_all_else_from_the_checkpoint(folder):
    saved = read_checkpoint(folder / 'first' / 'iter_2.pth')['state_dict']
    for name, weights in start(folder, THREE_CLASSES + DROP).items():
        same = weights.shape == saved[name].shape and torch.equal(weights, saved[name])
        assert same == ('conv_seg' not in name), name


def test_weights_of_the_same_shape_can_be_dropped_too(folder):
    saved = read_checkpoint(folder / 'first' / 'iter_2.pth')['state_dict']
    found = start(folder, DROP)['decode_head.conv_seg.weight']
    assert not torch.equal(found, saved['decode_head.conv_seg.weight'])


def test_weights_that_are_missing_or_too_many(folder, tmp_path):
    saved = read_checkpoint(folder / 'first' / 'iter_2.pth')
    weights = saved['state_dict']
    other = {k.replace('backbone.', ''): v for k, v in weights.items() if k.startswith('backbone')}
    torch.save({'state_dict': other}, tmp_path / 'backbone.pth')
    with pytest.raises(ConfigError, match=r'(?s)encoder.0.*missing.*AdaptedPretrained'):
        start(folder, '', load_from=str(tmp_path / 'backbone.pth'))


def test_a_name_that_nothing_has(folder):
    with pytest.raises(ConfigError, match=r"(?s)drop names 'decode_head.conv_sg'"):
        start(folder, DROP.replace('decode_head.conv_seg', 'decode_head.conv_sg'))


def test_testing_and_resuming_keep_the_dropped_head(folder):
    config = write_seg_config(folder, DROP)
    checkpoint = folder / 'first' / 'iter_2.pth'
    saved = read_checkpoint(checkpoint)['state_dict']['decode_head.conv_seg.weight']
    with fresh_mmengine():
        options = {'work_dir': str(folder / 'test'), 'load_from': str(checkpoint)}
        runner = launch.build_runner(launch.load_config(config, options))
        runner.load_or_resume()
    assert torch.equal(runner.model.decode_head.conv_seg.weight, saved)
    with fresh_mmengine():
        runner = launch.build_runner(launch.load_config(config, {**options, 'resume': True}))
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        runner.load_or_resume()
    assert torch.equal(runner.model.decode_head.conv_seg.weight, saved)
