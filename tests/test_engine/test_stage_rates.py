import pytest
import torch
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from geo_mm.errors import ConfigError
from tests.data.chips import scope

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
