"""Patch embeddings that are made from wavelengths, as those of DOFA.

DOFA (Xiong et al. 2024, arXiv:2403.15356) is a vision transformer for any bands: a small
network makes the filters of its first convolution from the bands' wavelengths. Bands of a
model do not change, so its filters are made once, when the weights are loaded. What is
left is a plain ViT, which may be fine-tuned, exported and saved like any other.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from geo_mm.errors import ConfigError
from geo_mm.models.adaptation import StemRow, StemTable, label
from geo_mm.models.spectral import BandLike, resolve_bands

_TOKENS = 'patch_embed.weight_generator.weight_tokens'
_HEADS = 4  # of the transformer that makes filters; the weights do not tell
_SCALE = 0.01  # of what it makes
_RADAR = {'vv': 5.405, 'vh': 5.405}
"""What DOFA takes for a wavelength of Sentinel-1: its frequency in GHz."""


def has_wavelength_embedding(weights: Mapping[str, Tensor]) -> bool:
    """Whether the weights make their filters from wavelengths."""
    return any(name.endswith(_TOKENS) for name in weights)


def as_plain_vit(
    weights: Mapping[str, Tensor], bands: Sequence[BandLike]
) -> tuple[dict[str, Tensor], StemTable]:
    """Weights of DOFA as those of a plain ViT for some bands.

    DOFA's patches begin one pixel above and left of the image, those of a plain ViT at its
    corner: its features are DOFA's of the image that is moved by one pixel.

    Args:
        weights: By name, in the published layout (``blocks.0...``), also in a wrapper.
        bands: In the order that the model gets them.

    Returns:
        The weights, with ``patch_embed.proj``, and where its filters come from.

    Raises:
        ConfigError: If the wavelength of a band is unknown, or the weights are incomplete.
    """
    prefix = next(name for name in weights if name.endswith(_TOKENS)).removesuffix(_TOKENS)
    prefix += 'patch_embed.'
    own = {
        name.removeprefix(prefix): value.float()
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    wavelengths = _wavelengths(bands)
    try:
        filters, bias = _filters(own, torch.tensor(wavelengths))
    except (KeyError, RuntimeError) as error:
        raise ConfigError(
            f'a patch embedding made from wavelengths, but not as in DOFA: {error}',
            'the weights that DOFA has published for patches of 14 or 16 pixels',
        ) from error
    found = {name: value for name, value in weights.items() if not name.startswith(prefix)}
    found |= {f'{prefix}proj.weight': filters, f'{prefix}proj.bias': bias}
    rows = [
        StemRow(label(band), f'{wavelength:.4g} um', 'made from its wavelength')
        for band, wavelength in zip(bands, wavelengths, strict=True)
    ]
    return found, StemTable(tuple(rows))


def _wavelengths(bands: Sequence[BandLike]) -> list[float]:
    """In micrometres."""
    found = [_RADAR.get(band.name, band.wavelength) for band in resolve_bands(bands)]
    unknown = [label(band) for band, wave in zip(bands, found, strict=True) if wave is None]
    if unknown:
        raise ConfigError(
            f'weights whose filters are made from wavelengths, and that of {", ".join(unknown)} '
            'is unknown',
            'names such as red, B04, s2:B4, VV, or wavelengths in micrometres',
            "write bands=[dict(name='x', wavelength=0.71), ...], or leave the band out",
        )
    return [wave for wave in found if wave is not None]


def _filters(own: Mapping[str, Tensor], wavelengths: Tensor) -> tuple[Tensor, Tensor]:
    """Filters ``(features, bands, side, side)`` and biases ``(features,)`` of the embedding."""
    tokens, last = own['weight_generator.weight_tokens'], own['weight_generator.bias_token']
    waves = _encoded(1000 * wavelengths, tokens.shape[1])
    hidden = _linear(own, 'fclayer.w1', waves).relu()
    waves = waves + _linear(own, 'fclayer.w2', hidden).relu()
    with torch.no_grad():
        made = _transformer(own)(torch.cat([tokens, waves, last]))
    filters = _linear(own, 'weight_generator.fc_weight', made[len(tokens) : -1] + waves)
    bias = _linear(own, 'weight_generator.fc_bias', made[-1])
    side = math.isqrt(filters.shape[1] // len(bias))
    filters = filters.reshape(len(waves), side, side, len(bias)).permute(3, 0, 1, 2)
    return (filters * _SCALE).contiguous(), bias * _SCALE


def _transformer(own: Mapping[str, Tensor]) -> nn.Module:
    start = 'weight_generator.transformer_encoder.'
    given = {k.removeprefix(start): v for k, v in own.items() if k.startswith(start)}
    wide, narrow = given['layers.0.linear1.weight'].shape
    layer = nn.TransformerEncoderLayer(narrow, _HEADS, wide, activation='gelu')
    depth = 1 + max(int(key.split('.')[1]) for key in given)
    network = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    network.load_state_dict(given)
    return network.eval()


def _linear(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return nn.functional.linear(x, own[f'{name}.weight'], own[f'{name}.bias'])


def _encoded(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions ``(n,)``: ``(n, width)`` (Vaswani et al. 2017)."""
    # In float32 as there: angles are thousands, of which rounding leaves four digits.
    rates = 1 / 10000 ** (torch.arange(width // 2) / (width / 2))
    angles = positions[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
