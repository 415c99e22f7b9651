"""Stages of real backbones, small ones."""

import itertools

import pytest
import torch
from mmengine.registry import MODELS

from geo_mm.engine.stages import backbone_stages, stage_rates
from geo_mm.errors import ConfigError
from tests.data.chips import scope

RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
LAYERS = ['layer1', 'layer2', 'layer3', 'layer4']
BACKBONES = {
    'ResNet of mmdet': ('det', dict(type='ResNet', depth=18), ['stem', *LAYERS]),
    'ResNet of mmseg': ('seg', RESNET, ['stem', *LAYERS]),
    'ResNet with a deep stem': ('seg', {**RESNET, 'type': 'ResNetV1c'}, ['stem', *LAYERS]),
    'ResNeXt': ('det', dict(type='ResNeXt', depth=50, groups=32), ['stem', *LAYERS]),
    'SSD-VGG': (
        'det',
        dict(type='geo_mm.SSDVGG', depth=16, base_channels=4),
        [*(f'stage{i}' for i in range(1, 6)), 'extra'],
    ),
    'Darknet': (
        'det',
        dict(type='geo_mm.Darknet', depth=21, base_channels=4),
        ['conv1', *(f'conv_res_block{i}' for i in range(1, 6))],
    ),
    'ResNet encoder of a U-Net': (
        'seg',
        {**RESNET, 'type': 'geo_mm.ResNetEncoder'},
        ['stem', *LAYERS],
    ),
    'VGG encoder of a U-Net': (
        'seg',
        dict(type='geo_mm.VGGEncoder', depth=16, base_channels=4),
        [f'stage{i}' for i in range(1, 6)],
    ),
    'U-Net': (
        'seg',
        dict(type='UNet', base_channels=4),
        [f'encoder.{i}' for i in range(5)],
    ),
}


def model_with(task: str, backbone: dict) -> torch.nn.Module:
    model = torch.nn.Module()
    with scope(task):
        model.backbone = MODELS.build(backbone)
    return model


@pytest.mark.parametrize('name', BACKBONES)
def test_stages_go_from_the_image_to_the_deepest_features(name):
    task, config, expected = BACKBONES[name]
    model = model_with(task, config)
    stages = backbone_stages(model)
    assert list(stages) == expected
    inside = [p for parts in stages.values() for part in parts for p in part.parameters()]
    assert len(set(inside)) == len(inside)
    rest = {name for name, p in model.backbone.named_parameters() if p not in set(inside)}
    # A U-Net's decoder learns with the head.
    assert {name.partition('.')[0] for name in rest} == ({'decoder'} if name == 'U-Net' else set())
    assert inside[0].ndim == 4 and inside[0].shape[1] == 3


def test_stages_of_vgg_begin_after_each_pooling():
    stages = backbone_stages(model_with('det', dict(type='geo_mm.SSDVGG', base_channels=4)))
    convolutions = [sum(isinstance(m, torch.nn.Conv2d) for m in parts) for parts in stages.values()]
    assert convolutions == [2, 2, 3, 3, 3, 2]


def test_a_model_wrapped_for_distributed_training():
    wrapped = torch.nn.Module()
    wrapped.module = model_with('seg', RESNET)
    assert list(backbone_stages(wrapped)) == ['stem', *LAYERS]


def test_unknown_backbones_and_none():
    model = torch.nn.Module()
    with pytest.raises(ConfigError, match='Module has no backbone'):
        backbone_stages(model)
    model.backbone = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r'(?s)backbone Linear are not known.*FAMILIES'):
        backbone_stages(model)


def test_rates_are_geometric_up_to_the_head():
    rates = [*stage_rates(4, 0.1), 1.0]
    assert rates[0] == pytest.approx(0.1)
    factors = [later / earlier for earlier, later in itertools.pairwise(rates)]
    assert factors == pytest.approx([10**0.25] * 4)
    assert stage_rates(3, 1.0) == [1.0] * 3
