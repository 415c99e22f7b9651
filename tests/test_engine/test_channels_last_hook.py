import torch
from mmcv.ops import RoIAlign
from mmengine.registry import HOOKS

from geo_mm.engine import ChannelsLastHook
from geo_mm.engine.channels_last_hook import use_channels_last


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
