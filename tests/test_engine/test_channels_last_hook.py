import torch
from mmengine.registry import HOOKS

from geo_mm.engine import ChannelsLastHook


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
