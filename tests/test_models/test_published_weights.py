"""Weights in the published layout, of networks of timm, in backbones for other bands."""

import importlib.util
import re

import mmdet.models
import mmseg.models
import pytest
import torch

from geo_mm.errors import ConfigError
from geo_mm.models.adaptation import adapt_stem
from geo_mm.models.adapted_pretrained import AdaptedPretrained, _statistics
from geo_mm.models.pretrained import pretrained_set
from geo_mm.models.timm_backbone import TimmBackbone, import_timm

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason="needs pip install 'geo_mm[timm]'"
)
S2 = ('B1', 'B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8a', 'B9', 'B10', 'B11', 'B12')
BANDS = {
    13: S2,
    12: tuple(band for band in S2 if band != 'B10'),
    9: ('B04', 'B03', 'B02', 'B05', 'B06', 'B07', 'B08', 'B11', 'B12'),  # Satlas
    4: ('red', 'green', 'blue', 'nir'),
    2: ('VV', 'VH'),
}


def published(path, name, bands, **kwargs):
    """A network of timm, whose weights are at a path as TorchGeo publishes them."""
    torch.manual_seed(len(name))
    model = import_timm().create_model(name, in_chans=bands, num_classes=10, **kwargs)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            shift = -0.2 if key.endswith(('bias', 'mean')) else 0.8
            value.copy_(torch.rand_like(value) * 0.4 + shift)
    torch.save(model.state_dict(), path)
    return model.eval()


def features(model, image):
    """Those of the network of timm, as its own forward gives them."""
    with torch.no_grad():
        return model.forward_intermediates(image, intermediates_only=True, output_fmt='NCHW')


def start(backbone, path, bands, **options):
    AdaptedPretrained(str(path), bands, **options)(backbone)
    backbone.eval()
    return backbone


def assert_equal_features(ours, theirs):
    for own, other in zip(ours, theirs, strict=True):
        scale = other.abs().max()
        assert scale > 0.1
        torch.testing.assert_close(own / scale, other / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('library', 'depth', 'count'),
    [
        (mmdet, 18, 13),
        (mmseg, 18, 12),
        (mmdet, 50, 9),
        (mmseg, 18, 4),
        (mmdet, 18, 2),
    ],
)
def test_resnets_for_equal_bands_in_another_order(tmp_path, library, depth, count):
    theirs = BANDS[count]
    source = published(tmp_path / 'a.pth', f'resnet{depth}', count)
    order = torch.randperm(count).tolist()
    bands = [theirs[i].replace('B0', 'B') if 'B8a' in theirs else theirs[i] for i in order]
    backbone = library.models.ResNet(depth=depth, in_channels=count)
    start(backbone, tmp_path / 'a.pth', bands, from_bands=theirs)
    image = torch.randn(1, count, 64, 64)
    with torch.no_grad():
        ours = backbone(image[:, order])
    assert_equal_features(ours, features(source, image)[1:])
    assert backbone.pretrained_record['matched'].count('left over') == 0


SWIN = dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), img_size=64, window_size=2)


@pytest.mark.parametrize(
    ('name', 'kwargs'),
    [
        ('test_vit', {}),
        ('test_convnext', {}),
        ('test_efficientnet', {}),
        ('swin_tiny_patch4_window7_224', SWIN),
    ],
)
def test_networks_of_timm_for_other_bands(tmp_path, name, kwargs):
    """All bands of theirs, and thermal, which is at its mean."""
    source = published(tmp_path / 'a.pth', name, 12, **kwargs)
    backbone = TimmBackbone(name, in_channels=13, **kwargs)
    start(backbone, tmp_path / 'a.pth', ('thermal', *BANDS[12]), from_bands=BANDS[12])
    side = 160 if name.startswith('test') else 64
    image = torch.randn(1, 12, side, side)
    with torch.no_grad():
        ours = backbone(torch.cat([torch.zeros(1, 1, side, side), image], dim=1))
    theirs = features(source, image)
    assert_equal_features(ours, [theirs[i] for i in backbone.out_indices])


def test_four_bands_see_the_published_network_with_bands_in_between(tmp_path):
    theirs = ('B2', 'B3', 'B4', 'B5', 'B6', 'B8', 'B8A')
    source = published(tmp_path / 'a.pth', 'resnet18', len(theirs))
    backbone = mmdet.models.ResNet(depth=18, in_channels=4)
    start(backbone, tmp_path / 'a.pth', ('red', 'green', 'blue', 'nir'), from_bands=theirs)
    red, green, blue, nir = image = torch.randn(4, 64, 64)
    shares = [(w - 0.6646) / (0.8328 - 0.6646) for w in (0.7041, 0.7405)]
    edges = [(1 - share) * red + share * nir for share in shares]
    with torch.no_grad():
        ours = backbone(image[None])
    whole = torch.stack([blue, green, red, *edges, nir, nir])
    assert_equal_features(ours, features(source, whole[None])[1:])


def test_from_13_to_10_bands_by_other_names(tmp_path, caplog):
    published(tmp_path / 'a.pth', 'resnet18', 13)
    ours = ('B02', 'B03', 'R', 'rededge', 's2:B6', 'B07', 'nir', 'B8A', 'swir1', 'swir2')
    backbone = mmseg.models.ResNet(depth=18, in_channels=10)
    with caplog.at_level('INFO'):
        start(backbone, tmp_path / 'a.pth', ours, from_bands=S2, lost='scale')
    weight = torch.load(tmp_path / 'a.pth', weights_only=True)['conv1.weight']
    found = backbone.conv1.weight / weight[:, [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]]
    sizes = weight.abs().mean(dim=(0, 2, 3))
    expected = sizes.sum() / sizes[[1, 2, 3, 4, 5, 6, 7, 8, 11, 12]].sum()
    torch.testing.assert_close(found, expected.expand_as(found))
    assert 'B02     <- blue        same name' in caplog.text
    assert '100 of 100 tensors' in caplog.text


def test_a_patch_embedding_for_a_series_of_one_image(tmp_path):
    """Prithvi's, whose filters are three-dimensional, in the names of a masked autoencoder."""
    source = published(tmp_path / 'a.pth', 'test_vit', 6)
    weights = source.state_dict()
    weights['patch_embed.proj.weight'] = weights['patch_embed.proj.weight'].unsqueeze(2)
    wrapped = {f'module.encoder.{key}': value for key, value in weights.items()}
    torch.save({'model': wrapped | {'module.decoder.weight': torch.ones(1)}}, tmp_path / 'b.pth')
    bands = ('blue', 'green', 'red', 'nir08', 'swir16', 'swir22')
    backbone = start(TimmBackbone('test_vit', 6), tmp_path / 'b.pth', bands, from_bands=bands)
    image = torch.randn(1, 6, 160, 160)
    with torch.no_grad():
        assert_equal_features(backbone(image), features(source, image)[-1:])


def test_a_name_of_the_registry_gives_bands_and_statistics():
    known = pretrained_set('ssl4eo-s12-moco-r50')
    assert len(known.bands) == 13
    with pytest.raises(ConfigError, match='ssl4eo-s12-moco-r50'):
        AdaptedPretrained('ssl4eo-s12-moko-r50', ('red',))(torch.nn.Conv2d(1, 1, 1))
    table = adapt_stem(torch.ones(1, 13, 1, 1), known.bands, ('VV', 'B04'))[1]
    assert _statistics(known, table) == [None, [known.mean[3], known.std[3]]]


def names_of_torchvision(weights):
    """Swin v2 in the layout of torchvision, which has a bias of keys, too, but takes it for 0."""
    found = {}
    for key, value in weights.items():
        layer = re.match(r'layers\.(\d)\.(blocks|downsample)\.', key)
        if layer:
            number = 2 * int(layer[1]) + (layer[2] == 'blocks')
            key = f'features.{number}.{key[layer.end() :]}'
        for ours, theirs in (
            ('patch_embed.proj', 'features.0.0'),
            ('patch_embed.norm', 'features.0.2'),
            ('mlp.fc1', 'mlp.0'),
            ('mlp.fc2', 'mlp.3'),
        ):
            key = key.replace(ours, theirs)
        if key.endswith('q_bias'):
            found[key.replace('q_bias', 'qkv.bias')] = value.repeat(3) + 1
        elif not key.endswith('v_bias'):
            found[key] = value
    for key, value in found.items():
        if key.endswith('qkv.bias'):
            number, block = map(int, key.split('.')[1:3])
            attention = f'layers.{number // 2}.blocks.{block}.attn'
            bias = [weights[f'{attention}.{part}_bias'] for part in 'qv']
            value.copy_(torch.cat([bias[0], torch.ones_like(bias[0]), bias[1]]))
    return found


def test_swin_v2_in_the_layout_of_torchvision(tmp_path):
    """As that of SatlasPretrain."""
    name, kwargs = 'swinv2_tiny_window8_256', SWIN | {'depths': (1, 2, 1, 1)}
    source = published(tmp_path / 'a.pth', name, 3, **kwargs)
    torch.save(names_of_torchvision(source.state_dict()), tmp_path / 'b.pth')
    backbone = TimmBackbone(name, in_channels=3, **kwargs)
    start(backbone, tmp_path / 'b.pth', ('red', 'green', 'blue'))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_equal_features(backbone(image), features(source, image))


@pytest.mark.skipif(
    importlib.util.find_spec('torchvision') is None, reason='torchvision is not installed'
)
def test_swin_v2_of_torchvision_itself(tmp_path):
    from torchvision.models import swin_v2_t

    torch.manual_seed(0)
    theirs = swin_v2_t().eval()
    torch.save(theirs.state_dict(), tmp_path / 'a.pth')
    backbone = TimmBackbone('swinv2_tiny_window8_256', in_channels=3)
    start(backbone, tmp_path / 'a.pth', ('red', 'green', 'blue'))
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        x, levels = image, []
        for number, layer in enumerate(theirs.features):
            x = layer(x)
            if number % 2:
                levels.append(x.permute(0, 3, 1, 2))
        assert_equal_features(backbone(image), levels)


class Dofa(torch.nn.Module):
    """DOFA in its published layout: filters of ``test_vit`` are made from wavelengths."""

    def __init__(self):
        super().__init__()
        network = import_timm().create_model('test_vit', num_classes=0)
        self.cls_token, self.pos_embed = network.cls_token, network.pos_embed
        self.blocks, width = network.blocks, network.embed_dim
        part = torch.nn.Module
        self.patch_embed, maker = part(), part()
        self.patch_embed.weight_generator = maker
        self.patch_embed.fclayer = part()
        self.patch_embed.fclayer.w1 = torch.nn.Linear(128, 128)
        self.patch_embed.fclayer.w2 = torch.nn.Linear(128, 128)
        layer = torch.nn.TransformerEncoderLayer(128, 4, activation='gelu', dropout=0)
        maker.transformer_encoder = torch.nn.TransformerEncoder(layer, 1)
        maker.fc_weight = torch.nn.Linear(128, 16 * 16 * width)
        maker.fc_bias = torch.nn.Linear(128, width)
        maker.weight_tokens = torch.nn.Parameter(torch.randn(128, 128))
        maker.bias_token = torch.nn.Parameter(torch.randn(1, 128))

    def forward(self, image, wavelengths):
        """Tokens of patches, after each block."""
        maker, residual = self.patch_embed.weight_generator, self.patch_embed.fclayer
        rates = 1 / 10000 ** (torch.arange(64) / 64)
        angles = torch.einsum('m,d->md', torch.tensor(wavelengths) * 1000, rates)
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        waves = waves + residual.w2(residual.w1(waves).relu()).relu()
        tokens = maker.transformer_encoder(
            torch.cat([maker.weight_tokens, waves, maker.bias_token])
        )
        filters = maker.fc_weight(tokens[128:-1] + waves).view(len(waves), 16, 16, -1)
        bias = maker.fc_bias(tokens[-1])
        x = torch.nn.functional.conv2d(
            image, filters.permute(3, 0, 1, 2) * 0.01, bias * 0.01, stride=16, padding=1
        )
        x = torch.cat([self.cls_token, x.flatten(2).mT], 1) + self.pos_embed
        return [x := block(x) for block in self.blocks]


@pytest.mark.parametrize(
    ('bands', 'wavelengths'),
    [
        (['red', 'green', 'blue', 'nir'], [0.6646, 0.5598, 0.4924, 0.8328]),
        (['VV', dict(name='lidar', wavelength=1.06)], [5.405, 1.06]),
    ],
)
def test_filters_made_from_wavelengths(tmp_path, bands, wavelengths):
    """Features of DOFA, whose patches begin one pixel above and left of the image."""
    torch.manual_seed(0)
    dofa = Dofa().eval()
    torch.save({'model': dofa.state_dict()}, tmp_path / 'dofa.pth')
    backbone = TimmBackbone('test_vit', in_channels=len(bands), out_indices=range(len(dofa.blocks)))
    start(backbone, tmp_path / 'dofa.pth', bands)
    image = torch.randn(1, len(bands), 160, 160)
    with torch.no_grad():
        theirs = [tokens[:, 1:].mT.unflatten(2, (10, 10)) for tokens in dofa(image, wavelengths)]
        ours = backbone(torch.nn.functional.pad(image, (1, 0, 1, 0))[..., :160, :160])
    assert_equal_features(ours, theirs)
    assert 'made from its wavelength' in backbone.pretrained_record['stem']


def test_filters_of_an_unknown_wavelength(tmp_path):
    torch.save(Dofa().state_dict(), tmp_path / 'dofa.pth')
    backbone = TimmBackbone('test_vit', in_channels=2)
    with pytest.raises(ConfigError, match='that of elevation is unknown'):
        start(backbone, tmp_path / 'dofa.pth', ['red', 'elevation'])
