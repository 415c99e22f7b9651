"""Encoders: features at every resolution, under torchvision's names."""

import pytest
import torch

from geo_mm.engine.launch import build_model, load_config
from geo_mm.errors import ConfigError
from geo_mm.models.backbones import ResNetEncoder, VGGEncoder
from tests.data.chips import CONFIGS


def shapes(levels):
    return [tuple(level.shape[1:]) for level in levels]


@pytest.mark.parametrize('deep_stem', [False, True])
def test_levels_of_a_resnet(deep_stem):
    model = ResNetEncoder(
        depth=18, in_channels=5, base_channels=8, stem_channels=8, deep_stem=deep_stem
    )
    image = torch.randn(2, 5, 64, 96)
    levels = model(image)
    assert levels[0] is image
    assert shapes(levels[1:]) == [
        (8, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6), (64, 2, 3),
    ]  # fmt: skip


def test_levels_of_a_dilated_resnet():
    model = ResNetEncoder(depth=50, base_channels=4, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    sizes = [level.shape[-1] for level in model(torch.randn(1, 3, 64, 64))]
    assert sizes == [64, 32, 16, 8, 8, 8]


@pytest.mark.parametrize('depth', [11, 16])
def test_levels_of_a_vgg(depth):
    model = VGGEncoder(depth, in_channels=5, base_channels=4)
    levels = model(torch.randn(2, 5, 32, 48))
    assert shapes(levels) == [
        (4, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6), (32, 2, 3),
    ]  # fmt: skip


def test_the_stem_is_what_the_stages_see():
    model = ResNetEncoder(depth=18, base_channels=8, stem_channels=8).eval()
    levels = model(torch.randn(1, 3, 33, 47))
    torch.testing.assert_close(model.layer1(model.maxpool(levels[1])), levels[2])
    assert (levels[1] >= 0).all()  # after its activation


def norm(name):
    parts = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    return {f'{name}.{part}' for part in parts}


def test_names_of_torchvisions_resnet18():
    names = {'conv1.weight'} | norm('bn1')
    for stage in range(1, 5):
        for block in range(2):
            for part in (1, 2):
                names |= {f'layer{stage}.{block}.conv{part}.weight'}
                names |= norm(f'layer{stage}.{block}.bn{part}')
        if stage > 1:
            names |= {f'layer{stage}.0.downsample.0.weight'}
            names |= norm(f'layer{stage}.0.downsample.1')
    weights = ResNetEncoder(depth=18, in_channels=3).state_dict()
    assert set(weights) == names
    assert weights['conv1.weight'].shape == (64, 3, 7, 7)
    assert weights['layer4.1.conv2.weight'].shape == (512, 512, 3, 3)


VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG16_BN = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)


@pytest.mark.parametrize('with_bn', [False, True])
def test_names_of_torchvisions_vgg16(with_bn):
    convolutions = VGG16_BN if with_bn else VGG16
    names = {f'features.{i}.{part}' for i in convolutions for part in ('weight', 'bias')}
    for i in convolutions if with_bn else ():
        names |= norm(f'features.{i + 1}')
    weights = VGGEncoder(16, with_bn=with_bn).state_dict()
    assert set(weights) == names
    assert weights['features.0.weight'].shape == (64, 3, 3, 3)
    last = f'features.{convolutions[-1]}.weight'
    assert weights[last].shape == (512, 512, 3, 3)


def test_weights_start_random_but_scaled():
    model = VGGEncoder(16, in_channels=4, base_channels=16, with_bn=False)
    model.init_weights()
    with torch.no_grad():
        levels = model(torch.randn(1, 4, 64, 64))
    # Kaiming's: what goes in comes out at a like magnitude, through 13 layers.
    assert 0.1 < levels[-1].std() / levels[0].std() < 10


def test_frozen_stages_stay_so_in_training():
    model = VGGEncoder(11, base_channels=4, frozen_stages=2).train()
    learning = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learning[0].startswith('features.8.')  # the third stage of VGG-11 with batch norm
    assert not model.features[1].training
    assert model.features[9].training


@pytest.mark.parametrize('wrong', [{'depth': 12}, {'in_channels': 0}, {'base_channels': 0}])
def test_what_cannot_be_built(wrong):
    with pytest.raises(ConfigError, match='VGGEncoder'):
        VGGEncoder(**wrong)


def test_without_a_backbone_a_pixel_is_classified_by_itself():
    path = CONFIGS / 'fcn/fcn-pixels_adamw-2k_embeddings-128x128.py'
    model = build_model(load_config(path)).eval()
    first = torch.rand(1, 64, 8, 8)
    second = first.clone()
    second[..., 3, 5] += 1
    with torch.no_grad():
        changed = (model(first) != model(second)).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[3, 5]]
