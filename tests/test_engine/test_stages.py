"""Stages of real backbones, small ones."""

import itertools

import pytest
import torch
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from geo_mm.engine.launch import build_model, load_config
from geo_mm.engine.stages import backbone_stages, stage_rates
from geo_mm.errors import ConfigError
from tests.data.chips import CONFIGS, scope

SEGFORMER = CONFIGS / 'segformer' / 'segformer_mit-b0_adamw-2k_town-256x256.py'
RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
LAYERS = ['layer1', 'layer2', 'layer3', 'layer4']
HRNET = ['transition1', 'stage2', 'transition2', 'stage3', 'transition3', 'stage4']
BACKBONES = {
    'ResNet of mmdet': ('det', dict(type='ResNet', depth=18), ['stem', *LAYERS]),
    'ResNet of mmseg': ('seg', RESNET, ['stem', *LAYERS]),
    'ResNet with a deep stem': ('seg', {**RESNET, 'type': 'ResNetV1c'}, ['stem', *LAYERS]),
    'ResNeXt': ('det', dict(type='ResNeXt', depth=50, groups=32), ['stem', *LAYERS]),
    'SSD-VGG': (
        'det',
        dict(type='geo_mm.SSDVGG', depth=16, base_channels=4),
        [f'stage.{i}' for i in range(1, 7)],
    ),
    'Darknet': (
        'det',
        dict(type='geo_mm.Darknet', depth=21, base_channels=4),
        ['stem', *(f'conv_res_block{i}' for i in range(1, 6))],
    ),
    'ResNet encoder of a U-Net': (
        'seg',
        {**RESNET, 'type': 'geo_mm.ResNetEncoder'},
        ['stem', *LAYERS],
    ),
    'VGG encoder of a U-Net': (
        'seg',
        dict(type='geo_mm.VGGEncoder', depth=16, base_channels=4),
        [f'stage.{i}' for i in range(1, 6)],
    ),
    'U-Net': (
        'seg',
        dict(type='UNet', base_channels=4),
        [f'encoder.{i}' for i in range(5)],
    ),
    'HRNet': (
        'seg',
        dict(
            type='HRNet',
            extra={
                f'stage{i}': dict(
                    num_modules=1,
                    num_branches=i,
                    block='BOTTLENECK' if i == 1 else 'BASIC',
                    num_blocks=(1,) * i,
                    num_channels=(8, 16, 32, 64)[:i],
                )
                for i in range(1, 5)
            },
        ),
        ['stem', 'layer1', *HRNET],
    ),
    'SegFormer': (
        'seg',
        dict(type='MixVisionTransformer', embed_dims=8),
        [f'layers.{i}' for i in range(4)],
    ),
    'SegNeXt': (
        'seg',
        dict(type='MSCAN', depths=[1] * 4, embed_dims=[8, 16, 32, 64], norm_cfg=dict(type='BN')),
        ['stem', 'block1', *(f'{part}{i}' for i in (2, 3, 4) for part in ('patch_embed', 'block'))],
    ),
    'Swin': (
        'det',
        dict(type='SwinTransformer', embed_dims=12, depths=[1] * 4, num_heads=[3] * 4),
        ['stem', *(f'stages.{i}' for i in range(4))],
    ),
    'Twins': (
        'seg',
        dict(type='PCPVT', embed_dims=[8, 16, 32, 64], depths=[1] * 4),
        ['stem', *(f'layers.{i}' for i in range(4))],
    ),
    'vision transformer': (
        'seg',
        dict(type='VisionTransformer', img_size=64, embed_dims=16, num_layers=3, num_heads=2),
        ['stem', *(f'layers.{i}' for i in range(3))],
    ),
    'RTMDet': (
        'det',
        dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.167),
        ['stem', *(f'stage{i}' for i in range(1, 5))],
    ),
    'YOLOX': (
        'det',
        dict(type='CSPDarknet', widen_factor=0.125, deepen_factor=0.33),
        ['stem', *(f'stage{i}' for i in range(1, 5))],
    ),
    'MobileNet': (
        'det',
        dict(type='MobileNetV2'),
        ['stem', *(f'layer{i}' for i in range(1, 8)), 'conv2'],
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
    first = next(m for m in model.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.weight in {p for part in next(iter(stages.values())) for p in part.parameters()}


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
    with pytest.raises(ConfigError, match='backbone Linear has no stages'):
        backbone_stages(model)


class ConvNeXtLike(torch.nn.Module):
    """Lists of downsamplings and of blocks, as in mmpretrain; norms of the outputs."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.downsample_layers = nn.ModuleList(
            nn.Conv2d(3 if i == 0 else 8, 8, 2) for i in range(4)
        )
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 7)) for _ in range(4))
        self.norm3 = nn.LayerNorm(8)


class TimmLike(torch.nn.Module):
    """Embeddings as parameters of the model itself, blocks in a Sequential; in a wrapper."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        inner = self.timm_model = nn.Module()
        inner.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        inner.patch_embed = nn.Sequential(nn.Conv2d(3, 8, 4))
        inner.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8)) for _ in range(3)))
        inner.norm = nn.LayerNorm(8)


def test_lists_side_by_side_go_together():
    model = torch.nn.Module()
    model.backbone = ConvNeXtLike()
    stages = backbone_stages(model)
    assert list(stages) == ['stem', *(f'stages.{i}' for i in range(4))]
    assert stages['stages.1'] == [model.backbone.downsample_layers[1], model.backbone.stages[1]]
    assert stages['stages.3'][-1] is model.backbone.norm3


def test_embeddings_belong_to_the_stem():
    model = torch.nn.Module()
    model.backbone = TimmLike()
    stages = backbone_stages(model)
    assert list(stages) == ['stem', *(f'blocks.{i}' for i in range(3))]
    stem = {p for part in stages['stem'] for p in part.parameters()}
    assert model.backbone.timm_model.pos_embed in stem
    assert sum(len([*part.parameters()]) for parts in stages.values() for part in parts) == len(
        [*model.parameters()]
    )


def test_rates_are_geometric_up_to_the_head():
    rates = [*stage_rates(4, 0.1), 1.0]
    assert rates[0] == pytest.approx(0.1)
    factors = [later / earlier for earlier, later in itertools.pairwise(rates)]
    assert factors == pytest.approx([10**0.25] * 4)
    assert stage_rates(3, 1.0) == [1.0] * 3


ADAMW = dict(type='AdamW', lr=0.01, weight_decay=0.2)


@pytest.fixture
def model():
    model = torch.nn.Module()
    with scope('seg'):
        model.backbone = MODELS.build(
            dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
        )
    model.decode_head = torch.nn.Conv2d(32, 2, 1)
    return model


def wrapper_of(model, optimizer=ADAMW, **paramwise):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='geo_mm.StageRateConstructor',
            optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=optimizer),
            paramwise_cfg=paramwise or None,
        )
    )
    return constructor(model)


def test_rates_from_a_tenth_to_the_head(model):
    groups = wrapper_of(model).optimizer.param_groups
    rates = {group['stage']: group['lr'] for group in groups}
    assert list(rates) == ['head', 'layer4', 'layer3', 'layer2', 'layer1', 'stem']
    assert list(rates.values()) == pytest.approx([0.01 * 10 ** (-i / 5) for i in range(6)])


def test_every_parameter_once_and_what_has_one_dimension_without_decay(model):
    optimizer = wrapper_of(model, first=0.5).optimizer
    members = [p for group in optimizer.param_groups for p in group['params']]
    assert set(members) == set(model.parameters())
    assert len(members) == len(list(model.parameters()))
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group['params']} == {group['weight_decay'] == 0.2}
        assert group['weight_decay'] in (0.0, 0.2)


def test_what_the_config_holds_fixed_is_left_out(model):
    model.backbone.conv1.weight.requires_grad = False
    optimizer = wrapper_of(model).optimizer
    members = [p for group in optimizer.param_groups for p in group['params']]
    assert set(model.parameters()) - set(members) == {model.backbone.conv1.weight}


def test_an_optimiser_without_decay(model):
    groups = wrapper_of(model, dict(type='SGD', lr=0.1)).optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {0}


@pytest.mark.parametrize('paramwise', [dict(first=0), dict(first=2), dict(lr_mult=1)])
def test_settings_that_make_no_sense(model, paramwise):
    with pytest.raises(ConfigError, match=r'(?s)StageRateConstructor with.*first'):
        wrapper_of(model, **paramwise)


def test_an_optimiser_without_a_rate(model):
    with pytest.raises(ConfigError, match='has no lr'):
        wrapper_of(model, dict(type='AdamW'))


def test_the_shipped_segformer_has_stage_rates():
    """A config of ours and a recipe of ours: they once did not go together."""
    model = build_model(load_config(SEGFORMER))
    rates = {group['stage']: group['lr'] for group in wrapper_of(model).optimizer.param_groups}
    assert list(rates) == ['head', *(f'layers.{i}' for i in (3, 2, 1, 0))]
    assert list(rates.values()) == pytest.approx([0.01 * 10 ** (-i / 4) for i in range(5)])
