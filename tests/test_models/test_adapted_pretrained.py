"""Published weights in our backbones: equal features, and what is refused."""

import logging

import mmseg.models
import pytest
import torch
from mmdet.models import ResNet
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope

from geo_mm.errors import ConfigError
from geo_mm.models.adapted_pretrained import AdaptedPretrained
from geo_mm.models.backbones import SSDVGG, Darknet, ResNetEncoder, VGGEncoder
from geo_mm.models.preprocessors import GeoDetDataPreprocessor

BANDS_4 = ('red', 'green', 'blue', 'nir')
# As in Sentinel-2: blue, green, red, and none of them first.
BANDS_13 = ('coastal', 'Blue', 'Green', 'Red', *(f'edge_{i}' for i in range(9)))


def backbone(kind, bands, **kwargs):
    # Wide enough for different features, small enough for a test.
    return {
        'resnet': lambda: ResNet(18, in_channels=bands, base_channels=8, **kwargs),
        'deep stem': lambda: mmseg.models.ResNetV1c(
            depth=18, in_channels=bands, base_channels=8, stem_channels=8, **kwargs
        ),
        'vgg': lambda: SSDVGG(11, in_channels=bands, base_channels=8, **kwargs),
        'resnet encoder': lambda: ResNetEncoder(
            depth=18, in_channels=bands, base_channels=8, stem_channels=8, **kwargs
        ),
        'vgg encoder': lambda: VGGEncoder(11, in_channels=bands, base_channels=8, **kwargs),
        'darknet': lambda: Darknet(21, in_channels=bands, base_channels=4, **kwargs),
    }[kind]()


def rgb_network(kind, path=None):
    """A network for RGB with weights and statistics unlike fresh ones."""
    torch.manual_seed(1)
    model = backbone(kind, 3)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.2 - (0.1 if value.ndim == 4 else -0.5))
    if path is not None:
        torch.save(model.state_dict(), path)
    model.eval()
    return model


def adapted(kind, path, bands, **kwargs):
    init_cfg = {'type': 'geo_mm.AdaptedPretrained', 'checkpoint': str(path), 'bands': bands}
    torch.manual_seed(2)
    model = backbone(kind, len(bands), init_cfg=init_cfg | kwargs)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model.init_weights()
    model.eval()
    return model


@pytest.mark.parametrize(
    'kind', ['resnet', 'deep stem', 'resnet encoder', 'vgg', 'vgg encoder', 'darknet']
)
def test_features_are_the_rgb_networks_where_other_bands_are_at_their_mean(tmp_path, kind):
    bands = BANDS_13
    rgb_model = rgb_network(kind, tmp_path / 'rgb.pth')
    model = adapted(kind, tmp_path / 'rgb.pth', bands)
    mean, std = torch.rand(len(bands)) * 3000, torch.rand(len(bands)) * 900 + 100
    places = [[band.lower() for band in bands].index(c) for c in ('red', 'green', 'blue')]
    image = mean.view(-1, 1, 1).repeat(1, 64, 70)
    image[places] += torch.randn(3, 64, 70) * 500

    def features(network, chosen):
        preprocess = GeoDetDataPreprocessor(mean[chosen].tolist(), std[chosen].tolist())
        with torch.no_grad():
            levels = network(preprocess({'inputs': [image[chosen]]})['inputs'])
        return levels[-4:]  # the first of an encoder's six is the image itself

    ours = features(model, list(range(len(bands))))
    theirs = features(rgb_model, places)
    assert theirs[-1].std() > 0.01  # there is something to compare
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_order_of_caffe_weights(tmp_path):
    rgb_network('vgg', tmp_path / 'a.pth')
    rgb, bgr = (
        adapted('vgg', tmp_path / 'a.pth', BANDS_4, channel_order=order).features[0].weight
        for order in ('rgb', 'bgr')
    )
    torch.testing.assert_close(rgb[:, [2, 1, 0, 3]], bgr)


def test_another_difference_names_the_layers(tmp_path):
    rgb_network('resnet', tmp_path / 'a.pth')
    init_cfg = {'checkpoint': str(tmp_path / 'a.pth'), 'bands': BANDS_4}
    wide = ResNet(18, in_channels=4, base_channels=12)
    with pytest.raises(ConfigError, match=r'conv1\.weight is \(8, 4, 7, 7\), in the model \(12'):
        AdaptedPretrained(**init_cfg)(wide)
    with pytest.raises(
        ConfigError, match=r'conv1\.weight is \(8, 3, 7, 7\), in the model conv1\.weight is \(8, 5'
    ):
        AdaptedPretrained(**init_cfg)(ResNet(18, in_channels=5, base_channels=8))


def test_what_quietly_went_wrong_before_is_said(tmp_path, caplog):
    rgb_network('resnet', tmp_path / 'a.pth')
    # All but its stem would be loaded; of a deeper network all, and the rest left over.
    with pytest.raises(
        ConfigError, match=r'conv1\.weight is .*stem\.0\.weight is .*(?s:.*)ResNetV1c'
    ):
        adapted('deep stem', tmp_path / 'a.pth', BANDS_4)
    torch.save(ResNet(34, base_channels=8).state_dict(), tmp_path / 'b.pth')
    adapted('resnet', tmp_path / 'b.pth', BANDS_4)
    assert 'left over: layer1.2.conv1.weight' in caplog.text


def test_weights_of_another_network_do_not_fit(tmp_path):
    rgb_network('vgg', tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match=r'0 of \d+ .*conv1.*left over: features.0'):
        adapted('darknet', tmp_path / 'a.pth', BANDS_4)


@pytest.mark.parametrize('missing', ['random', 'zero'])
def test_random_filters_are_never_frozen(tmp_path, missing):
    rgb_network('resnet', tmp_path / 'a.pth')
    model = ResNet(18, in_channels=4, base_channels=8, frozen_stages=1)
    initialise = AdaptedPretrained(str(tmp_path / 'a.pth'), BANDS_4, missing=missing)
    with pytest.raises(ConfigError, match='freezes its stem conv1'):
        initialise(model)


def test_what_the_checkpoint_lacks_keeps_its_initialisation(tmp_path, caplog):
    weights = rgb_network('vgg').state_dict()
    kept = {k: v for k, v in weights.items() if not k.startswith(('features.21', 'features.23'))}
    torch.save(kept, tmp_path / 'a.pth')
    path = str(tmp_path / 'a.pth')
    init_cfg = [
        {'type': 'Constant', 'layer': 'Conv2d', 'val': 7.0},
        {
            'type': 'geo_mm.AdaptedPretrained',
            'checkpoint': path,
            'bands': BANDS_4,
            'least': 0.4,
        },
    ]
    model = SSDVGG(11, in_channels=4, base_channels=8, init_cfg=init_cfg)
    with pytest.raises(ConfigError, match=r'(?s)SSDVGG: 16 of 20 .*missing: .*at least 95%'):
        AdaptedPretrained(path, BANDS_4)(model)
    with caplog.at_level(logging.WARNING):
        model.init_weights()
    assert (model.features[21].weight == 7).all()
    assert torch.equal(model.features[3].weight, weights['features.3.weight'])
    assert 'missing: features.21.weight' in caplog.text


class Detector(BaseModule):
    def __init__(self, path):
        super().__init__()
        init_cfg = {
            'type': 'geo_mm.AdaptedPretrained',
            'checkpoint': str(path),
            'bands': BANDS_4,
            'prefix': 'backbone.',
        }
        self.backbone = Darknet(21, in_channels=4, base_channels=4, init_cfg=init_cfg)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_in_a_model_from_a_detectors_checkpoint(tmp_path, scope):
    weights = rgb_network('darknet').state_dict()
    renamed = {f'module.backbone.{key}': value for key, value in weights.items()}
    torch.save({'state_dict': renamed, 'meta': {'epoch': 3}}, tmp_path / 'a.pth')
    model = Detector(tmp_path / 'a.pth')
    with DefaultScope.overwrite_default_scope(scope):
        model.init_weights()
    own = model.backbone.state_dict()
    assert torch.equal(own.pop('conv1.conv.weight')[:, :3], weights.pop('conv1.conv.weight'))
    for key, value in weights.items():
        assert torch.equal(own[key], value), key
