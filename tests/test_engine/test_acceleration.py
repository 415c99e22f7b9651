"""Memory layout, mixed precision and folded norms: faster, with equal results."""

import platform
import subprocess
import sys

import pytest
import torch
from mmcv.cnn import ConvModule
from mmcv.ops import RoIAlign
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from geo_mm.engine import ChannelsLastHook, launch
from geo_mm.engine.acceleration import fold_batch_norms, use_channels_last
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.chips import CONFIGS, fresh_mmengine, run_tool, write_scene, write_seg_config


class Runner:
    """All that the hook touches."""

    model = torch.nn.Conv2d(4, 8, 3)


def test_weights_are_stored_with_channels_last_and_compute_the_same():
    torch.manual_seed(0)
    image = torch.rand(1, 4, 9, 9)
    expected = Runner.model(image)
    hook = HOOKS.build(dict(type='geo_mm.ChannelsLastHook'))
    assert isinstance(hook, ChannelsLastHook)
    hook.before_train(Runner)
    assert Runner.model.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Runner.model(image), expected)


def test_a_model_whose_operations_read_channels_first_stays_as_it_is():
    """mmcv's RoIAlign takes no notice of strides: with channels last it pools wrong pixels."""
    align = RoIAlign(7, sampling_ratio=1)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), align)
    features = torch.rand(2, 8, 16, 16)
    boxes = torch.tensor([[0, 1.0, 1, 9, 9], [1, 3, 3, 12, 12]])
    expected = align(features, boxes)
    wrong = align(features.contiguous(memory_format=torch.channels_last), boxes)
    assert not torch.allclose(wrong, expected)  # else this care can go
    assert not use_channels_last(model)
    assert not model[0].weight.is_contiguous(memory_format=torch.channels_last)


on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU takes float16')


class Types(Hook):
    """Notes types of numbers on the way through the model."""

    def before_train(self, runner) -> None:
        self.losses, self.features = [], set()

        def note(module, inputs, outputs) -> None:
            if module.training:
                self.features.add(outputs[0].dtype)

        runner.model.backbone.register_forward_hook(note)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


@on_cpu
def test_three_iterations_in_bfloat16_on_a_cpu(tmp_path):
    write_scene(tmp_path)
    config = launch.load_config(write_seg_config(tmp_path), {'train_cfg.max_iters': 3})
    config.work_dir = str(tmp_path / 'work')
    launch.use_amp(config)
    with fresh_mmengine():
        runner = launch.build_runner(config)
        types = Types()
        runner.register_hook(types)
        runner.train()
    assert len(types.losses) == 3 and all(0 < loss < 10 for loss in types.losses)
    assert types.features == {torch.bfloat16}
    weights = read_checkpoint(tmp_path / 'work' / 'iter_3.pth')['state_dict']
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


@on_cpu
def test_the_tool_trains_and_resumes_with_amp(tmp_path):
    write_scene(tmp_path)
    config = write_seg_config(tmp_path, 'default_hooks = dict(checkpoint=dict(interval=1))\n')
    work = tmp_path / 'work'
    run_tool('train.py', config, '--work-dir', work, '--amp')
    (work / 'iter_2.pth').unlink()
    run_tool('train.py', config, '--work-dir', work, '--amp', '--resume', work / 'iter_1.pth')
    assert (work / 'iter_2.pth').is_file()


@on_cpu
def test_two_stage_detectors_say_that_they_cannot():
    name = 'faster-rcnn_r18-c128_fpn_adamw-2k_town-256x256.py'
    config = launch.load_config(CONFIGS / 'faster_rcnn' / name)
    with pytest.raises(ConfigError, match=r'(?s)--amp for FasterRCNN on a CPU.*omit --amp'):
        launch.use_amp(config)


def module(**changes) -> ConvModule:
    """With statistics and weights as after training, in evaluation mode."""
    torch.manual_seed(0)
    made = ConvModule(3, 5, 3, padding=1, **{'norm_cfg': dict(type='BN'), **changes})
    for tensor in made.norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    return made.eval()


def answers(model: torch.nn.Module) -> torch.Tensor:
    image = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(image)


@pytest.mark.parametrize('changes', [{}, dict(bias=True), dict(act_cfg=None), dict(stride=2)])
def test_the_same_results_without_the_norm(changes):
    model = torch.nn.Sequential(module(**changes))
    before = answers(model)
    assert fold_batch_norms(model) == 1
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())
    torch.testing.assert_close(answers(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'changes',
    [
        dict(order=('norm', 'conv', 'act')),
        dict(norm_cfg=dict(type='GN', num_groups=5)),
        dict(norm_cfg=dict(type='BN', track_running_stats=False)),
        dict(conv_cfg=dict(type='ConvWS')),
        dict(with_spectral_norm=True),
    ],
    ids=['norm first', 'group norm', 'statistics of the batch', 'standardised', 'spectral norm'],
)
def test_others_are_left_alone(changes):
    model = module(**changes)
    before = answers(model)
    assert fold_batch_norms(model) == 0
    assert torch.equal(answers(model), before)


def test_shared_convolution_gets_a_copy_for_each_norm():
    """As in heads that use one convolution at all levels."""
    one, other = module(), module()
    other.norm.weight.data *= 3
    other.conv = one.conv
    model = torch.nn.ModuleList([one, other])
    before = [answers(part) for part in model]
    assert fold_batch_norms(model) == 2
    for part, expected in zip(model, before, strict=True):
        torch.testing.assert_close(answers(part), expected, rtol=1e-5, atol=1e-5)


def test_weights_stay_channels_last():
    model = module().to(memory_format=torch.channels_last)
    fold_batch_norms(model)
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs the GNU C library')
def test_freed_memory_is_reused_without_pages_being_filled_with_zeros_again():
    """In a process of its own, since it holds for all of it."""
    script = """
import resource, numpy
from geo_mm.engine.acceleration import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        numpy.ones(1 << 26, numpy.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
assert keep_freed_memory()
faults()
print(before, faults())
"""
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert after < before / 100
