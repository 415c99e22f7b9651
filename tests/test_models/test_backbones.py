"""Backbones with n-band stems: same network as the library's, other first layer."""

import pytest
import torch
from mmdet.models import SSDVGG as MMDetSSDVGG  # noqa: N811
from mmdet.models import Darknet as MMDetDarknet
from mmengine.registry import MODELS, DefaultScope

from geo_mm.errors import ConfigError
from geo_mm.models.backbones import SSDVGG, Darknet


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize('depth', [11, 16])
def test_ssd_vgg_of_3_bands_is_the_librarys(depth):
    indices = {11: (14, 24), 16: (22, 34)}[depth]
    ours = SSDVGG(depth, ceil_mode=True).eval()
    theirs = MMDetSSDVGG(depth, out_feature_indices=indices)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(1, 3, 67, 50)
    with torch.no_grad():
        for a, b in zip(ours(image), theirs(image), strict=True):
            assert torch.equal(a, b)


def test_ssd_vgg_of_13_bands_differs_in_its_first_layer_only():
    ours, theirs = shapes(SSDVGG(16, in_channels=13)), shapes(MMDetSSDVGG(16))
    assert ours.pop('features.0.weight') == (64, 13, 3, 3)
    assert theirs.pop('features.0.weight') == (64, 3, 3, 3)
    assert ours == theirs


def test_ssd_vgg_can_be_narrow():
    model = SSDVGG(11, in_channels=4, base_channels=8)
    outs = model(torch.rand(2, 4, 65, 40))
    assert [tuple(out.shape) for out in outs] == [(2, 64, 9, 5), (2, 128, 5, 3)]


def test_darknet_of_3_bands_is_the_librarys():
    ours, theirs = Darknet(), MMDetDarknet()
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs):
        model.eval()
    image = torch.rand(1, 3, 64, 33)
    with torch.no_grad():
        for a, b in zip(ours(image), theirs(image), strict=True):
            assert torch.equal(a, b)


def test_darknet_of_4_bands_differs_in_its_first_layer_only():
    ours, theirs = shapes(Darknet(in_channels=4)), shapes(MMDetDarknet())
    assert ours.pop('conv1.conv.weight') == (32, 4, 3, 3)
    assert theirs.pop('conv1.conv.weight') == (32, 3, 3, 3)
    assert ours == theirs


def test_darknet_can_be_small():
    model = Darknet(21, in_channels=13, base_channels=4)
    outs = model(torch.rand(1, 13, 64, 96))
    assert [tuple(out.shape) for out in outs] == [(1, 32, 8, 12), (1, 64, 4, 6), (1, 128, 2, 3)]


def test_darknet_learns_its_batch_norm_from_scratch():
    model = Darknet(21, base_channels=4).train()
    assert model.conv1.bn.training
    assert not Darknet(21, base_channels=4, norm_eval=True).train().conv1.bn.training


@pytest.mark.parametrize('backbone', [SSDVGG, Darknet])
def test_train_and_eval_give_the_model_as_in_torch(backbone):
    model = backbone(base_channels=4)
    assert model.eval() is model
    assert model.train() is model


@pytest.mark.parametrize('arguments', [{'in_channels': 0}, {'base_channels': 0}])
@pytest.mark.parametrize('backbone', [SSDVGG, Darknet])
def test_channels_must_be_positive(backbone, arguments):
    with pytest.raises(ConfigError, match='positive numbers'):
        backbone(**arguments)


def test_darknet_names_the_depths_there_are():
    with pytest.raises(ConfigError, match=r'\[21, 53\]'):
        Darknet(depth=19)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('name', ['SSDVGG', 'Darknet'])
def test_found_by_name_in_either_scope(scope, name):
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build({'type': f'geo_mm.{name}', 'in_channels': 5})
    assert next(model.parameters()).shape[1] == 5
