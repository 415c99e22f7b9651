"""Networks of timm as backbones: those that are made for tests, and small ones of families."""

import importlib.util
import re
import sys

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

from geo_mm.errors import ConfigError
from geo_mm.models.timm_backbone import SimpleFPN, TimmBackbone, fit_neck, import_timm, timm_levels

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason="needs pip install 'geo_mm[timm]'"
)
SWIN = {'embed_dim': 8, 'depths': (1, 1, 1, 1), 'num_heads': (1, 1, 2, 2), 'window_size': 4}
SMALL = {
    'test_resnet': {},
    'tf_efficientnet_lite0': {},
    'test_convnext': {},
    'test_vit': {},
    'test_maxvit': {'img_size': 64},
    'swin_tiny_patch4_window7_224': SWIN,
}


def small(name, in_channels=3, **more):
    torch.manual_seed(0)
    return TimmBackbone(name, in_channels, **SMALL[name], **more).eval()


@pytest.mark.parametrize('name', SMALL)
def test_features_are_those_of_the_network_in_timm(name):
    ours = small(name)
    torch.manual_seed(1)
    # A Swin transformer has smaller windows if it is told the size of small images.
    any_size = {'dynamic_img_size': True} if 'swin' in name else {}
    theirs = import_timm().create_model(name, **SMALL[name], **any_size).eval()
    missing, _ = ours.load_state_dict(ours.own_names(theirs.state_dict()), strict=False)
    assert not missing
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, intermediates_only=True)
        found = ours(images)
    assert len(found) == (1 if name == 'test_vit' else 4)
    for own, other in zip(found, expected[-len(found) :], strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', SMALL)
def test_any_bands_and_any_size(name):
    backbone = small(name, in_channels=5, with_image=True)
    image = torch.rand(1, 5, 75, 101)
    with torch.no_grad():
        given, *features = backbone(image)
    assert given is image
    assert [tuple(each.shape[1:]) for each in features] == [
        (level.channels, -(-75 // level.stride), -(-101 // level.stride))
        for level in backbone.levels
    ]


@pytest.mark.parametrize('name', SMALL)
def test_features_are_laid_out_as_roi_align_reads_them(name):
    assert all(each.is_contiguous() for each in small(name)(torch.rand(2, 3, 64, 64)))


def test_levels_are_chosen_by_index():
    levels = timm_levels('tf_efficientnet_lite0')
    assert [level.stride for level in levels] == [2, 4, 8, 16, 32]
    backbone = small('tf_efficientnet_lite0', out_indices=(0, -2))
    assert backbone.levels == (levels[0], levels[3])
    assert not any(name.startswith('model.blocks.6') for name in backbone.state_dict())


def as_efficientnet_pytorch(weights):
    """Under the names of that package, which numbers blocks through."""
    outer = {'conv_stem': '_conv_stem', 'bn1': '_bn0', 'conv_head': '_conv_head', 'bn2': '_bn1'}
    separable = {'conv_dw': '_depthwise_conv', 'bn1': '_bn1', 'conv_pw': '_project_conv'}
    inverted = {'conv_pw': '_expand_conv', 'bn1': '_bn0', 'conv_dw': '_depthwise_conv'}
    inverted |= {'bn2': '_bn1', 'conv_pwl': '_project_conv', 'bn3': '_bn2'}
    separable |= {'bn2': '_bn2'}
    numbers, named = {}, {}
    for key, value in weights.items():
        if found := re.match(r'blocks\.(\d+)\.(\d+)\.(\w+)\.(.*)', key):
            stage, block, layer, rest = found.groups()
            number = numbers.setdefault((stage, block), len(numbers))
            layers = separable if stage == '0' else inverted
            named[f'_blocks.{number}.{layers[layer]}.{rest}'] = value
        else:
            layer, _, rest = key.partition('.')
            named[f'{outer.get(layer, "_fc")}.{rest}'] = value
    return named


def test_weights_of_efficientnet_pytorch_fit():
    weights = import_timm().create_model('tf_efficientnet_lite0').state_dict()
    backbone = small('tf_efficientnet_lite0')
    found = backbone.own_names(as_efficientnet_pytorch(weights))
    assert {key: found[key] for key in backbone.state_dict()}.keys() == backbone.state_dict().keys()
    for key in backbone.state_dict():
        assert found[key] is weights[key.removeprefix('model.')]


def test_names_of_features_only_and_another_grid_of_positions_fit():
    timm = import_timm()
    listed = timm.create_model('test_convnext', features_only=True).state_dict()
    assert 'stages_0.blocks.0.conv_dw.weight' in listed
    backbone = small('test_convnext')
    assert backbone.state_dict().keys() <= backbone.own_names(listed).keys()
    large = timm.create_model('test_vit', img_size=320).state_dict()
    backbone = small('test_vit')
    backbone.load_state_dict(backbone.own_names(large), strict=False)


def test_published_weights_are_adapted_to_other_bands(tmp_path):
    published = import_timm().create_model('test_vit').state_dict()
    torch.save({'state_dict': published}, tmp_path / 'a.pth')
    bands = ('nir', 'blue', 'green', 'red')
    start = dict(type='geo_mm.AdaptedPretrained', checkpoint=str(tmp_path / 'a.pth'), bands=bands)
    backbone = small('test_vit', in_channels=4, init_cfg=start)
    backbone.init_weights()
    theirs = published['patch_embed.proj.weight']
    ours = backbone.model.patch_embed.proj.weight
    torch.testing.assert_close(ours[:, 1:], theirs.flip(1), rtol=0, atol=1e-6)
    assert torch.equal(
        backbone.model.blocks[3].attn.qkv.weight, published['blocks.3.attn.qkv.weight']
    )
    with pytest.raises(ConfigError, match=r'95 %|95%'):
        small('test_resnet', in_channels=4, init_cfg=start).init_weights()


def test_weights_that_were_loaded_are_not_initialised_again(tmp_path):
    weights = {key: value + 1 for key, value in small('test_vit').state_dict().items()}
    torch.save(weights, tmp_path / 'a.pth')
    start = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'a.pth')}
    backbone = small('test_vit', init_cfg=start)
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_a_pyramid_of_a_plain_vit():
    pyramid = SimpleFPN([8, 8], 16, num_outs=5)
    outs = pyramid((torch.zeros(1, 8, 3, 3), torch.rand(1, 8, 6, 4)))
    assert [tuple(out.shape[1:]) for out in outs] == [
        (16, 24, 16), (16, 12, 8), (16, 6, 4), (16, 3, 2), (16, 2, 1)
    ]  # fmt: skip
    with pytest.raises(ConfigError, match='stride=64'):
        SimpleFPN(8, 16, stride=64)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_found_in_either_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build({'type': 'geo_mm.TimmBackbone', 'name': 'test_resnet'})
    assert isinstance(backbone, TimmBackbone)


def test_a_neck_takes_the_channels_of_its_backbone():
    backbone = {'type': 'geo_mm.TimmBackbone', 'name': 'test_resnet', 'in_channels': 4}
    model = ConfigDict(backbone=backbone, neck={'type': 'FPN', 'out_channels': 8})
    fit_neck(model)
    assert model.neck.in_channels == [32, 48, 192, 96]
    model.neck.in_channels = [1, 2]
    fit_neck(model)
    assert model.neck.in_channels == [1, 2]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'name': 'resnet19'}, r'(?s)no network of timm.*did you mean resnet18'),
        ({'name': 'test_resnet', 'out_indices': (1, 7)}, r'(?s)levels \(0: stride 2, 1: stride 4'),
        ({'name': 'test_resnet', 'out_indices': (2, 1)}, 'ascending'),
        ({'name': 'test_resnet', 'windows': 3}, 'windows'),
        ({'name': 'test_resnet', 'pretrained': True}, '(?s)pretrained.*AdaptedPretrained'),
        ({'name': 'hf-hub:timm/test_resnet'}, 'no network of timm'),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TimmBackbone(**arguments)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, 'timm', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'(?s)not installed.*geo_mm\[timm\]'):
        TimmBackbone('resnet18')


def test_torchvision_is_left_out_without_a_trace():
    import_timm()
    if importlib.util.find_spec('torchvision') is None:
        assert not [name for name in sys.modules if name.partition('.')[0] == 'torchvision']
