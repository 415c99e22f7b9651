"""timm's names for weights that other packages have published."""

import re
from collections.abc import Mapping

from torch import Tensor


def from_efficientnet_pytorch(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict:
    """timm's names for weights of the package efficientnet-pytorch.

    It numbers blocks through all stages. Both register the layers of a block in the
    order in which they compute.
    """
    blocks: dict[str, list[str]] = {}
    for key in own:
        if found := re.match(r'blocks\.\d+\.\d+\.', key):
            blocks.setdefault(found[0], []).append(key.removeprefix(found[0]))
    theirs: dict[str, list[str]] = {}
    for key in weights:
        if found := re.match(r'_blocks\.\d+\.', key):
            theirs.setdefault(found[0], []).append(key)
    names = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2'}
    named = {
        names[key.split('.')[0]] + '.' + key.split('.', 1)[1]: value
        for key, value in weights.items()
        if key.split('.')[0] in names
    }
    for (start, layers), keys in zip(blocks.items(), theirs.values(), strict=False):
        if len(layers) == len(keys):
            named |= {start + layer: weights[key] for layer, key in zip(layers, keys, strict=True)}
    return named


def from_torchvision_swin(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's names for weights of torchvision's Swin v2, as SatlasPretrain has them.

    Its ``features`` are the patch embedding, then stages and the layers that merge patches
    between them in turn. Where timm has biases of query and value, torchvision has one of
    key as well, which counts as 0.
    """
    found = {}
    for key, value in weights.items():
        name = re.sub(r'^features\.0\.([02])\.', _in_embedding, key)
        name = re.sub(r'^features\.(\d+)\.(\d+)\.', _in_stage, name)
        name = re.sub(r'^features\.(\d+)\.(?=reduction|norm)', _between_stages, name)
        name = re.sub(r'\.mlp\.([03])\.', lambda f: f'.mlp.fc{1 if f[1] == "0" else 2}.', name)
        if name.endswith('attn.qkv.bias'):
            start = name.removesuffix('qkv.bias')
            found[f'{start}q_bias'], _, found[f'{start}v_bias'] = value.chunk(3)
        elif 'relative_' not in name:  # follow from the size of the window
            found[name] = value
    return found


def _in_embedding(found: re.Match) -> str:
    return 'patch_embed.proj.' if found[1] == '0' else 'patch_embed.norm.'


def _in_stage(found: re.Match) -> str:
    return f'layers.{int(found[1]) // 2}.blocks.{found[2]}.'


def _between_stages(found: re.Match) -> str:
    return f'layers.{int(found[1]) // 2}.downsample.'
