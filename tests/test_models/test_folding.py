import pytest
import torch
from mmcv.cnn import ConvModule

from geo_mm.models.folding import fold_batch_norms


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
