"""Any network of timm as a backbone of both libraries, and a pyramid for plain ViTs.

PyTorch Image Models (Wightman 2019, https://github.com/huggingface/pytorch-image-models)
has some 1300 networks, convolutional and transformers. All of them give their
intermediate features by ``forward_intermediates``, in NCHW and under the names of the
published weights.
"""

import difflib
import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from torch import Tensor, nn

from geo_mm.errors import ConfigError
from geo_mm.models.lora import add_lora, lora_name
from geo_mm.models.timm_names import from_efficientnet_pytorch, from_torchvision_swin
from geo_mm.registry import MODELS

_PYRAMID = 4
"""Levels that detectors and decoders take of a hierarchical network: the last ones."""

_NOT_HERE = {
    *('pretrained', 'pretrained_cfg', 'pretrained_cfg_overlay', 'checkpoint_path', 'cache_dir'),
    *('features_only', 'in_chans', 'num_classes', 'global_pool'),
}
"""Arguments by which timm would load files, from the network or by itself, or leave out layers."""


@dataclass(frozen=True)
class Level:
    """Features of one resolution.

    Attributes:
        stride: Pixels of the image per pixel of the features.
        channels: How many.
    """

    stride: int
    channels: int


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm that gives its intermediate features.

    Names of the weights are timm's with ``model.`` before: published ones are loaded by
    :class:`~geo_mm.models.adapted_pretrained.AdaptedPretrained`. Without it the weights
    are random.

    Images of any size are taken. Position embeddings are interpolated to it; sides
    that patches or windows do not divide are padded with 0 on the right and below.

    Args:
        name: Of the network, as in ``timm.list_models()``.
        in_channels: Number of bands.
        out_indices: Which intermediate features to give, counted from 0 or from the
            end; :func:`timm_levels` lists them. Default is the last four of different
            stride, or the last block of a network whose features all have one stride,
            such as a plain ViT: :class:`SimpleFPN` makes levels of it.
        with_image: Gives the image itself as well, before all others: for a decoder
            that works at full resolution, as ``ResNetEncoder`` does.
        lora: ``dict(rank=8)``: only additions of this rank to the weights of attention
            learn, see :func:`geo_mm.models.lora.add_lora`. For transformers with
            pretrained weights.
        with_cp: Computes activations again in the backward pass, for less memory.
        init_cfg: ``dict(type='geo_mm.AdaptedPretrained', ...)``.
        **kwargs: Of the network in timm: ``drop_path_rate``, ``img_size`` for those with
            windows of a share of the image (MaxViT), ``output_stride`` for dilated ResNets.

    Raises:
        ConfigError: If timm is not installed, has no such network or the network no
            such arguments or levels.
    """

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        with_image: bool = False,
        lora: Mapping | None = None,
        with_cp: bool = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(init_cfg)
        self.name = name
        self.in_channels = in_channels
        self.with_image = with_image
        if not _NOT_HERE.isdisjoint(kwargs):
            raise ConfigError(
                f'geo_mm.TimmBackbone with {", ".join(sorted(_NOT_HERE & kwargs.keys()))}',
                'arguments of the network',
                "weights are loaded by init_cfg=dict(type='geo_mm.AdaptedPretrained', ...)",
            )
        self.model: Any = _create(name, {'in_chans': in_channels, 'num_classes': 0, **kwargs})
        levels = _levels(self.model)
        self.out_indices = _checked_indices(name, levels, out_indices)
        self.levels = tuple(levels[i] for i in self.out_indices)
        """Of the features that it gives, without the image."""
        self.model.prune_intermediate_layers(list(self.out_indices), prune_norm=True)
        self.divisor = _divisor(self.model, self.levels[-1])
        """Images are padded to multiples of it."""
        if lora is not None:
            add_lora(self.model, **lora)
        if with_cp:
            self.model.set_grad_checkpointing(True)
        # MMEngine would let it initialise itself again, after weights have been loaded.
        self.model.is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of ``(N, bands, height, width)`` images.

        Returns:
            ``(N, channels, rows, columns)`` for each of ``out_indices``, with the image
            itself before them if ``with_image``.
        """
        height, width = x.shape[-2:]
        below, right = -height % self.divisor, -width % self.divisor
        features = self.model.forward_intermediates(
            F.pad(x, (0, right, 0, below)) if below or right else x,
            indices=list(self.out_indices),
            output_fmt='NCHW',
            intermediates_only=True,
        )
        if below or right:
            features = [
                each[..., : -(-height // level.stride), : -(-width // level.stride)]
                for each, level in zip(features, self.levels, strict=True)
            ]
        if self._filters.is_contiguous():
            # Norms of ConvNeXt leave channels last; RoIAlign of mmcv reads such features wrongly.
            features = [each.contiguous() for each in features]
        return (x, *features) if self.with_image else tuple(features)

    @property
    def _filters(self) -> Tensor:
        """Weights of the first convolution: their layout in memory is the network's."""
        return next(each for each in self.model.parameters() if each.ndim == 4)

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under the names, and in the shapes, that they have here.

        Takes timm's names, those of its ``features_only`` (``stages_0``), those of the
        authors as far as timm knows them, those of ``efficientnet-pytorch``, and
        torchvision's for Swin v2. Embeddings of positions are resampled to the grid of
        this network.

        Args:
            weights: By name, without the prefix of a wrapper.
        """
        own = self.model.state_dict()
        found = dict(weights)
        if '_conv_stem.weight' in found:
            found = from_efficientnet_pytorch(found, own)
        elif 'features.0.0.weight' in found and 'patch_embed.proj.weight' in own:
            found = from_torchvision_swin(found)
        dotted = {re.sub(r'_(\d+)(?=\.)', r'.\1', key): value for key, value in found.items()}
        found = max(found, dotted, key=lambda names: sum(key in own for key in names))
        convert = getattr(sys.modules[type(self.model).__module__], 'checkpoint_filter_fn', None)
        if convert is not None:
            found = dict(convert(found, self.model))
        return {f'model.{lora_name(key, own)}': value for key, value in found.items()}


def timm_levels(name: str, **kwargs) -> tuple[Level, ...]:
    """Stride and channels of each intermediate feature of a network of timm.

    Args:
        name: As in ``timm.list_models()``.
        **kwargs: Of the network.
    """
    with torch.device('meta'):  # no memory, no time
        return _levels(_create(name, {'num_classes': 0, **kwargs}))


def fit_neck(model: ConfigDict) -> None:
    """Gives the neck of a :class:`TimmBackbone` the channels of its features, if it says none.

    Args:
        model: Config of a model; changed in place.
    """
    backbone, neck = model.get('backbone') or {}, model.get('neck')
    if backbone.get('type') not in (TimmBackbone, 'geo_mm.TimmBackbone'):
        return
    if isinstance(neck, dict) and 'in_channels' not in neck:
        own = {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
        with torch.device('meta'):  # no memory, no time
            neck['in_channels'] = [level.channels for level in TimmBackbone(**own).levels]


def import_timm() -> ModuleType:
    """The package timm.

    timm imports torchvision, which none of its networks computes with, and which has to
    fit torch to the build. If it is not installed, stand-ins take its place meanwhile.

    Raises:
        ConfigError: If timm is not installed.
    """
    if 'timm' in sys.modules:
        return sys.modules['timm']
    if importlib.util.find_spec('timm') is None:
        raise ConfigError(
            'geo_mm.TimmBackbone, and timm is not installed',
            'the package timm',
            "pip install 'geo_mm[timm]'",
        )
    names = () if importlib.util.find_spec('torchvision') else _TORCHVISION
    for name in names:
        module = sys.modules[name] = _StandIn(name)
        above, _, last = name.rpartition('.')
        if above:
            setattr(sys.modules[above], last, module)
    try:
        return importlib.import_module('timm')
    finally:
        for name in names:
            del sys.modules[name]


_TORCHVISION = (
    'torchvision',
    'torchvision.datasets',
    'torchvision.ops',
    'torchvision.ops.misc',
    'torchvision.transforms',
    'torchvision.transforms.functional',
)


class _Named(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith('__'):
            raise AttributeError(name)
        return name


class _StandIn(ModuleType):
    """A module of which any class may be imported, but none is of use."""

    __path__: list[str] = []  # noqa: RUF012 - makes it a package

    def __getattr__(self, name: str) -> type:
        if name.startswith('__'):
            raise AttributeError(name)
        return _Named(name, (), {})


def _create(name: str, arguments: Mapping[str, Any]) -> Any:
    """A network of timm for images of any size, if it can be that."""
    timm = import_timm()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 5)
        raise ConfigError(
            f'geo_mm.TimmBackbone: {name!r} is no network of timm {timm.__version__}',
            "a name of timm.list_models('*pattern*')",
            f'did you mean {", ".join(close)}?' if close else 'check the name',
        )
    try:
        model = timm.create_model(name, **arguments)
        known = inspect.signature(type(model)).parameters
        if 'dynamic_img_size' in known and not getattr(model, 'dynamic_img_size', False):
            model = timm.create_model(name, dynamic_img_size=True, **arguments)
    except (TypeError, RuntimeError) as error:  # RuntimeError: of a tag that timm does not know
        raise ConfigError(
            f'geo_mm.TimmBackbone {name} with {", ".join(arguments)}: {error}',
            'arguments that the network takes',
        ) from error
    if not hasattr(model, 'forward_intermediates'):
        raise ConfigError(
            f'geo_mm.TimmBackbone: {name} gives no intermediate features', 'another network'
        )
    return model


def _levels(model: Any) -> tuple[Level, ...]:
    return tuple(Level(each['reduction'], each['num_chs']) for each in model.feature_info)


def _checked_indices(
    name: str, levels: Sequence[Level], indices: Sequence[int] | None
) -> tuple[int, ...]:
    """Indices from 0; the default ones for None."""
    if indices is None:
        indices = range(len(levels))[-_PYRAMID:] if levels[0] != levels[-1] else [-1]
    found = tuple(i + len(levels) if i < 0 else i for i in indices)
    if (
        not found
        or list(found) != sorted(set(found))
        or not 0 <= found[0] <= found[-1] < len(levels)
    ):
        described = ', '.join(f'{i}: stride {lv.stride}' for i, lv in enumerate(levels))
        raise ConfigError(
            f'geo_mm.TimmBackbone {name} with out_indices={tuple(indices)}',
            f'ascending indices of its levels ({described})',
        )
    return found


def _divisor(model: Any, coarsest: Level) -> int:
    """What the sides of images have to be multiples of."""
    from timm.models._input import get_model_input_config

    config = get_model_input_config(model)
    # With windows that are a share of this size, or embeddings for nothing else.
    return max(config['input_size'][-2:]) if config['fixed_input_size'] else coarsest.stride


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """Levels of strides 4 to 32 out of the features of a plain vision transformer.

    All of a plain ViT's features have one stride, and the last are the best: they are
    enlarged by transposed convolutions, and pooled, to each other stride, without
    connections between levels (Li et al. 2022, arXiv:2203.16527). It stands as the neck
    where a hierarchical backbone has an FPN, in detectors and segmentors.

    Args:
        in_channels: Of the backbone's features; of several the last count.
        out_channels: Of each level.
        num_outs: Levels: strides 4, 8, 16, 32, and each further one twice the last.
        stride: Of the backbone's features: 16, or 14 for patches of 14 pixels, whose
            levels then have 3.5, 7, 14 and 28; 8 and 32 work as well.
        norm_cfg: Of all its convolutions.
        init_cfg: Default is Xavier's, as for an FPN.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int,
        num_outs: int = 5,
        stride: int = 16,
        norm_cfg: Mapping | None = None,
        init_cfg: Mapping | None = None,
    ) -> None:
        super().__init__(
            init_cfg or {'type': 'Xavier', 'layer': 'Conv2d', 'distribution': 'uniform'}
        )
        norm = norm_cfg or {'type': 'GN', 'num_groups': 1, 'requires_grad': True}
        steps = round(math.log2(stride / 4))
        if not 0 <= steps <= 3 or num_outs < 1:
            raise ConfigError(
                f'geo_mm.SimpleFPN: stride={stride}, num_outs={num_outs}',
                'a stride of about 4, 8, 16 or 32, and at least one level',
            )
        last = in_channels if isinstance(in_channels, int) else in_channels[-1]
        self.levels = nn.ModuleList()
        for level in range(min(num_outs, 4)):
            resize, width = _resized(last, steps - level, norm)
            self.levels.append(
                nn.Sequential(
                    *resize,
                    ConvModule(width, out_channels, 1, norm_cfg=norm, act_cfg=None),
                    ConvModule(
                        out_channels, out_channels, 3, padding=1, norm_cfg=norm, act_cfg=None
                    ),
                )
            )
        self.num_outs = num_outs

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``num_outs`` levels, the finest first, from a backbone's features: its last are used."""
        outs = [level(inputs[-1]) for level in self.levels]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


def _resized(channels: int, doublings: int, norm_cfg: Mapping) -> tuple[list[nn.Module], int]:
    """Layers that double the size so often, or halve it, and the channels after them."""
    if doublings < 0:
        return [nn.MaxPool2d(2)] * -doublings, channels
    layers: list[nn.Module] = []
    for step in range(doublings):
        if step:
            layers += [build_norm_layer(dict(norm_cfg), channels)[1], nn.GELU()]
        narrow = max(channels // 2, 1)
        layers.append(nn.ConvTranspose2d(channels, narrow, 2, stride=2))
        channels = narrow
    return layers, channels
