"""Stems for any number of bands on backbones that know three, and weights for them."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS

from geo_mm.errors import ConfigError
from geo_mm.models.stems import find_stems, fit_bands, replace_stem
from tests.data.chips import scope

SMALL = dict(widen_factor=0.125, deepen_factor=0.167)
# In mmdet or mmseg, none with in_channels.
BACKBONES = {
    'CSPNeXt of RTMDet': ('det', dict(type='CSPNeXt', **SMALL), ['stem.0.conv']),
    'CSPDarknet of YOLOX': ('det', dict(type='CSPDarknet', **SMALL), ['stem.conv.conv']),
    'Darknet': ('det', dict(type='Darknet'), ['conv1.conv']),
    'SSD-VGG': ('det', dict(type='SSDVGG', depth=16, out_feature_indices=(22, 34)), ['features.0']),
    'MobileNetV2': ('seg', dict(type='MobileNetV2'), ['conv1.conv']),
    'EfficientNet': ('det', dict(type='EfficientNet', arch='b0'), ['layers.0.conv']),
}
MEANS = {bands: [0.0] * bands for bands in (3, 4, 13)}


def build(task: str, backbone: dict, bands: int) -> torch.nn.Module:
    """The backbone that a model's config has after it was fitted to its bands."""
    model = ConfigDict(data_preprocessor=dict(mean=MEANS[bands]), backbone=dict(backbone))
    with scope(task):
        fit_bands(model)
        return MODELS.build(model.backbone)


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones_without_in_channels_take_13_bands(name):
    task, config, stems = BACKBONES[name]
    model, own = build(task, config, 13), build(task, config, 3)
    model.eval()  # gives None in some of them
    assert type(model) is type(own)
    # Nothing but the stem differs, under the same name.
    ours, theirs = shapes(model), shapes(own)
    changed = [key for key in ours if ours[key] != theirs[key]]
    assert changed == [f'{stem}.weight' for stem in stems]
    pixels = 4 if 'YOLOX' in name else 1
    assert ours[changed[0]][1] == 13 * pixels
    with torch.no_grad():
        model(torch.rand(1, 13, 64, 64))


@pytest.mark.parametrize(
    ('task', 'config'),
    [
        ('det', dict(type='ResNet', depth=18)),
        ('det', dict(type='SwinTransformer', embed_dims=12, depths=[1] * 4, num_heads=[3] * 4)),
        ('seg', dict(type='MixVisionTransformer', embed_dims=8)),
        ('seg', dict(type='ResNetV1c', depth=18)),
        ('seg', dict(type='geo_mm.VGGEncoder', base_channels=4)),
    ],
)
def test_in_channels_are_set_where_a_backbone_has_them(task, config):
    model = ConfigDict(data_preprocessor=dict(mean=MEANS[4]), backbone=config)
    with scope(task):
        fit_bands(model)
        assert (model.backbone.type, model.backbone.in_channels) == (config['type'], 4)
        assert MODELS.build(model.backbone)(torch.rand(1, 4, 64, 64))


def test_three_bands_change_nothing():
    model = ConfigDict(data_preprocessor=dict(mean=MEANS[3]), backbone=dict(type='CSPNeXt'))
    with scope('det'):
        fit_bands(model)
    assert model.backbone == dict(type='CSPNeXt')


def test_a_fitted_config_stays_as_it_is():
    model = ConfigDict(data_preprocessor=dict(mean=MEANS[4]), backbone=dict(type='CSPNeXt'))
    with scope('det'):
        fit_bands(model)
        once = model.to_dict()
        fit_bands(model)
    assert model.to_dict() == once
    assert once['backbone'] == dict(
        type='geo_mm.AnyBands', in_channels=4, backbone=dict(type='CSPNeXt')
    )


def test_another_number_of_bands_is_refused():
    model = ConfigDict(
        data_preprocessor=dict(mean=MEANS[4]), backbone=dict(type='ResNet', in_channels=3)
    )
    with scope('det'), pytest.raises(ConfigError, match=r'in_channels is 3.*has 4 means'):
        fit_bands(model)


def test_a_backbone_without_a_convolution_on_the_image():
    with pytest.raises(ConfigError, match=r'no convolution on the image .*Sequential'):
        replace_stem(torch.nn.Sequential(torch.nn.Conv2d(7, 3, 1)), 4)


@pytest.mark.parametrize('backbone', [torch.nn.Identity(), torch.nn.Conv2d(4, 2, 1)])
def test_a_backbone_for_these_bands_or_for_any_stays_as_it_is(backbone):
    before = shapes(backbone)
    replace_stem(backbone, 4)
    assert shapes(backbone) == before


def test_every_path_from_the_image_gets_its_stem():
    """As BiSeNet, whose spatial path sees the image, too."""
    two = torch.nn.ModuleDict(
        {'context': torch.nn.Conv2d(3, 8, 3), 'spatial': torch.nn.Conv2d(3, 4, 7, bias=False)}
    )
    replace_stem(two, 5)
    assert [stem.in_channels for stem in two.values()] == [5, 5]
    assert two['spatial'].weight.shape == (4, 5, 7, 7)
    assert find_stems(two) == {}


def rgb_weights(folder, task, config):
    """A checkpoint of the backbone for three colours, and its path."""
    torch.manual_seed(1)
    with scope(task):
        model = MODELS.build(dict(config))
    torch.save(model.state_dict(), folder / 'rgb.pth')
    return model.state_dict(), str(folder / 'rgb.pth')


@pytest.mark.parametrize(
    ('task', 'config', 'stem'),
    [
        ('det', dict(type='CSPNeXt', **SMALL), 'stem.0.conv.weight'),
        (
            'det',
            dict(type='SwinTransformer', embed_dims=12, depths=[1] * 4, num_heads=[3] * 4),
            'patch_embed.projection.weight',
        ),
        ('seg', dict(type='MixVisionTransformer', embed_dims=8), 'layers.0.0.projection.weight'),
    ],
)
def test_pretrained_stems_are_adapted(tmp_path, task, config, stem):
    rgb, path = rgb_weights(tmp_path, task, config)
    bands = ('nir', 'red', 'green', 'blue')
    adapted = dict(type='geo_mm.AdaptedPretrained', checkpoint=path, bands=bands)
    model = build(task, dict(config, init_cfg=adapted), 4)
    model.init_weights()
    found = model.state_dict()
    for key in rgb.keys() - {stem}:
        torch.testing.assert_close(found[key], rgb[key])
    torch.testing.assert_close(found[stem][:, 1:], rgb[stem])
    torch.testing.assert_close(found[stem][:, 0], rgb[stem].mean(dim=1) / 3)


def test_stacked_pixels_are_adapted_one_by_one(tmp_path):
    config = dict(type='CSPDarknet', **SMALL)
    rgb, path = rgb_weights(tmp_path, 'det', config)
    bands = ('red', 'green', 'blue', 'nir')
    adapted = dict(type='geo_mm.AdaptedPretrained', checkpoint=path, bands=bands)
    model = build('det', dict(config, init_cfg=adapted), 4)
    model.init_weights()
    # The same network on an image whose fourth band is 0 after normalisation.
    with scope('det'):
        own = MODELS.build(config)
    own.load_state_dict(rgb)
    own.eval()
    model.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = model(torch.cat([image, torch.zeros(1, 1, 64, 64)], dim=1))
        for a, b in zip(ours, own(image), strict=True):
            torch.testing.assert_close(a, b)


def test_own_initialisation_comes_before_adapted_weights(tmp_path):
    class Own(BaseModule):
        """Initialises itself whatever init_cfg says, as the Swin transformer does."""

        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.stem = torch.nn.Conv2d(3, 2, 1)
            self.rest = torch.nn.Conv2d(2, 2, 1)

        def init_weights(self):
            assert self.init_cfg is None
            torch.nn.init.constant_(self.rest.weight, 7.0)

    MODELS.register_module(name='OwnForStems', module=Own, force=True)
    torch.save({'stem.weight': torch.ones(2, 3, 1, 1)}, tmp_path / 'stem.pth')
    adapted = dict(
        type='geo_mm.AdaptedPretrained',
        checkpoint=str(tmp_path / 'stem.pth'),
        bands=('red', 'green', 'blue', 'nir'),
        least=0.5,
    )
    model = build('det', dict(type='OwnForStems', init_cfg=adapted), 4)
    model.init_weights()
    assert model.rest.weight.eq(7).all()
    torch.testing.assert_close(model.stem.weight[:, 3], torch.full((2, 1, 1), 1 / 3))
    assert model.init_cfg == adapted
