"""The stages of a backbone, from the image to the deepest features.

Transfer learning treats a network by stages: early ones see edges and colours
and are kept, late ones see objects and are taught anew.
"""

from collections.abc import Callable

from torch import nn

from geo_mm.errors import ConfigError

HEAD = 'head'
"""Name of everything that no stage holds: necks, decoders and heads."""

Stages = dict[str, list[nn.Module]]
"""Modules by name of their stage, the earliest first."""


def _resnet(backbone: nn.Module) -> Stages:
    stem = [backbone.stem] if backbone.deep_stem else [backbone.conv1, backbone.norm1]
    return {'stem': stem, **{name: [getattr(backbone, name)] for name in backbone.res_layers}}


def _darknet(backbone: nn.Module) -> Stages:
    return {name: [getattr(backbone, name)] for name in backbone.cr_blocks}


def _vgg(backbone: nn.Module) -> Stages:
    layers, ends = list(backbone.features), [end for _, end in backbone.range_sub_modules]
    stages = {
        f'stage{number}': layers[start:end]
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1)
    }
    # SSD goes on with convolutions that VGG had as fully connected layers.
    return {**stages, 'extra': layers[ends[-1] :]} if layers[ends[-1] :] else stages


def _unet(backbone: nn.Module) -> Stages:
    return {f'encoder.{number}': [stage] for number, stage in enumerate(backbone.encoder)}


FAMILIES: dict[str, Callable[[nn.Module], Stages]] = {
    'res_layers': _resnet,
    'cr_blocks': _darknet,
    'range_sub_modules': _vgg,
    'encoder': _unet,
}
"""What gives the stages of a backbone, by an attribute that only such backbones have.

ResNet and its kin, Darknet, VGG and the encoder of ``mmseg.UNet``, whose
decoder counts as head. Add others in a module named by ``custom_imports``.
"""


def backbone_stages(model: nn.Module) -> Stages:
    """The stages of a detector's or segmentor's backbone, the earliest first.

    Args:
        model: May be wrapped for distributed training.

    Returns:
        Modules by name of their stage. What they do not hold is the head.

    Raises:
        ConfigError: If there is no backbone, or not of a known family.
    """
    backbone = getattr(getattr(model, 'module', model), 'backbone', None)
    for attribute, stages_of in FAMILIES.items():
        if hasattr(backbone, attribute):
            return stages_of(backbone)
    raise ConfigError(
        f'the stages of the backbone {type(backbone).__name__} are not known'
        if backbone is not None
        else f'{type(getattr(model, "module", model)).__name__} has no backbone',
        'a ResNet or its kin, VGG, Darknet or U-Net',
        'to teach others, add to geo_mm.engine.stages.FAMILIES in a module of your own, and '
        "name it in custom_imports=dict(imports=['my_module'])",
    )


def stage_rates(count: int, first: float) -> list[float]:
    """Multipliers of the learning rate for ``count`` stages; that of the head is 1.

    A geometric series (Howard and Ruder 2018, arXiv:1801.06146, who found a
    factor of 2.6 from layer to layer).

    Args:
        count: Number of stages.
        first: Multiplier of the earliest stage, above 0.

    Example:
        >>> stage_rates(2, 0.01)
        [0.01, 0.1]
    """
    return [first ** (1 - number / count) for number in range(count)]
