"""ResNet, VGG and Darknet at any width, and with features at every resolution.

The encoders give features from the image's own resolution on: level ``i`` has a
stride of ``2**i``, as far as the backbone is not dilated. A U-Net decoder takes
them as skips, PointRend looks up its points there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn import VGG, ConvModule
from mmdet.models import SSDVGG as MMDetSSDVGG  # noqa: N811
from mmdet.models import Darknet as MMDetDarknet
from mmengine.model import BaseModule
from mmseg.models import ResNet
from torch import Tensor, nn

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS

_FULL_WIDTH = 64
"""Channels of VGG's first stage (Simonyan and Zisserman 2014, arXiv:1409.1556)."""


@MODELS.register_module()
class ResNetEncoder(ResNet):
    """``mmseg.ResNet`` that also gives what comes before its four stages.

    Names of the weights are the library's, hence torchvision's: weights for
    ResNet-18 to 152 fit, see :class:`~geo_mm.models.adapted_pretrained.AdaptedPretrained`.

    Args:
        *args: Of ``mmseg.ResNet``.
        **kwargs: Of ``mmseg.ResNet``: ``depth``, ``in_channels``,
            ``base_channels``, ``strides``, ``dilations``, ``norm_cfg``. With
            ``deep_stem=True`` it is ``mmseg.ResNetV1c``. ``out_indices`` has no
            meaning here.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of ``(N, bands, height, width)`` images.

        Returns:
            Six levels: the image as it is, the stem's features (stride 2), and
            those of the stages (strides 4, 8, 16, 32 if not dilated).
        """
        levels = [x]
        levels.append(self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x))))
        x = self.maxpool(levels[-1])
        for name in self.res_layers:
            x = getattr(self, name)(x)
            levels.append(x)
        return tuple(levels)

    def train(self, mode: bool = True) -> 'ResNetEncoder':
        super().train(mode)
        return self  # the library's gives None, which breaks `model = model.eval()`


@MODELS.register_module()
class IdentityBackbone(BaseModule):
    """Gives the image as it is, for heads on rasters whose bands are features already."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The image ``(N, bands, height, width)``, as the only level."""
        return (x,)


@MODELS.register_module()
class VGGEncoder(VGG, BaseModule):
    """VGG for any number of bands and any width, with the features before each pooling.

    Names of the weights are torchvision's: ``vgg16_bn``, or ``vgg16`` with
    ``with_bn=False``, see :class:`~geo_mm.models.adapted_pretrained.AdaptedPretrained`.

    Args:
        depth: 11, 13, 16 or 19.
        in_channels: Number of bands.
        base_channels: Channels of the first stage, 64 in the paper; all other
            stages scale with it.
        with_bn: Batch norm after each convolution. Without it VGG hardly
            learns from random weights.
        bn_eval: Keep batch norm's statistics.
        frozen_stages: The first stages that are not trained, -1 for none.
        init_cfg: Default is Kaiming's.

    Raises:
        ConfigError: If there is no such depth, or a number of channels is not
            positive.
    """

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        base_channels: int = _FULL_WIDTH,
        with_bn: bool = True,
        bn_eval: bool = False,
        frozen_stages: int = -1,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        if depth not in self.arch_settings or min(in_channels, base_channels) < 1:
            raise ConfigError(
                f'VGGEncoder: depth={depth}, in_channels={in_channels}, '
                f'base_channels={base_channels}',
                f'depth one of {sorted(self.arch_settings)}, positive numbers of channels',
            )
        super().__init__(
            depth,
            with_bn=with_bn,
            bn_eval=bn_eval,
            frozen_stages=frozen_stages,
            with_last_pool=False,
        )
        self.init_cfg = init_cfg or [
            {'type': 'Kaiming', 'layer': 'Conv2d'},
            {'type': 'Constant', 'val': 1, 'layer': 'BatchNorm2d'},
        ]
        resize_vgg(self.features, in_channels, base_channels)

    def init_weights(self) -> None:
        BaseModule.init_weights(self)  # mmcv's VGG has its own, without init_cfg

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of ``(N, bands, height, width)`` images.

        Returns:
            Five levels, with strides of 1, 2, 4, 8 and 16.
        """
        levels = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                levels.append(x)
            x = layer(x)
        return (*levels, x)

    def train(self, mode: bool = True) -> 'VGGEncoder':
        super().train(mode)
        return self  # mmcv's VGG gives None, which breaks `model = model.eval()`


def resize_vgg(layers: nn.Sequential, in_channels: int, base_channels: int) -> None:
    """Replaces the layers of a chain by ones of other widths, in place.

    Args:
        layers: Of a VGG of full width, 64 channels first.
        in_channels: Of the first convolution.
        base_channels: Of the first stage; all others scale with it.
    """
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            out_channels = layer.out_channels * base_channels // _FULL_WIDTH
            if (in_channels, out_channels) != (layer.in_channels, layer.out_channels):
                how: dict[str, Any] = {
                    key: getattr(layer, key) for key in ('kernel_size', 'padding', 'dilation')
                }
                layers[index] = nn.Conv2d(in_channels, out_channels, **how)
            in_channels = out_channels
        elif isinstance(layer, nn.BatchNorm2d) and layer.num_features != in_channels:
            layers[index] = nn.BatchNorm2d(in_channels)


@MODELS.register_module()
class SSDVGG(MMDetSSDVGG):
    """``mmdet.SSDVGG`` whose first convolution takes any number of bands.

    The library's own is fixed at 3 channels and at full width. Names of the
    weights are the same, so weights for VGG fit, see
    :class:`~geo_mm.models.adapted_pretrained.AdaptedPretrained` for more than 3 bands.

    Args:
        depth: Of VGG: 11, 13, 16 or 19.
        in_channels: Number of bands.
        base_channels: Channels of the first stage, 64 in the paper; all other
            stages scale with it. The two feature maps that come out have
            ``8 * base_channels`` and ``16 * base_channels``.
        out_feature_indices: Layers to give out; by default the last
            activation of stage 4 (stride 8) and of all (stride 16).
        **kwargs: Of ``mmdet.SSDVGG``: ``ceil_mode``, ``init_cfg``.

    Raises:
        ConfigError: If a number of channels is not positive.
    """

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        base_channels: int = 64,
        out_feature_indices: Sequence[int] | None = None,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
        **kwargs,
    ) -> None:
        if min(in_channels, base_channels) < 1:
            raise ConfigError(
                f'SSDVGG: in_channels={in_channels}, base_channels={base_channels}',
                'positive numbers',
            )
        super().__init__(depth, init_cfg=init_cfg, **kwargs)
        resize_vgg(self.features, in_channels, base_channels)
        if out_feature_indices is None:
            # Before the pooling that ends stage 4, and the very last.
            stage_4_end = self.range_sub_modules[3][1]
            out_feature_indices = (stage_4_end - 2, len(self.features) - 1)
        self.out_feature_indices = tuple(out_feature_indices)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature maps of ``(N, bands, height, width)`` images, always a tuple."""
        features = super().forward(x)
        return features if isinstance(features, tuple) else (features,)

    def train(self, mode: bool = True) -> 'SSDVGG':
        super().train(mode)
        return self  # mmcv's VGG gives None, which breaks `model = model.eval()`


_LAYERS = {21: (1, 1, 2, 2, 1), 53: (1, 2, 8, 8, 4)}
"""Residual blocks in each of the five stages."""


@MODELS.register_module()
class Darknet(MMDetDarknet):
    """``mmdet.Darknet`` whose first convolution takes any number of bands.

    The library's own is fixed at 3 channels, 53 layers and full width. Names
    of the weights are the same, so weights for Darknet-53 fit, see
    :class:`~geo_mm.models.adapted_pretrained.AdaptedPretrained` for more than 3 bands.

    Args:
        depth: 53 (Redmon and Farhadi 2018, arXiv:1804.02767), or 21, the same
            with fewer blocks per stage.
        in_channels: Number of bands.
        base_channels: Channels of the first convolution, 32 in the paper;
            stage ``i`` of 1..5 has ``base_channels * 2**i``.
        norm_eval: Keep batch norm's statistics. The library's default is True,
            which suits pretrained weights only.
        **kwargs: Of ``mmdet.Darknet``: ``out_indices``, ``frozen_stages``,
            ``norm_cfg``, ``act_cfg``, ``init_cfg``.

    Raises:
        ConfigError: If there is no such depth, or a number of channels is not
            positive.
    """

    def __init__(
        self,
        depth: int = 53,
        in_channels: int = 3,
        base_channels: int = 32,
        norm_eval: bool = False,
        conv_cfg: Mapping | None = None,
        norm_cfg: Mapping | None = None,
        act_cfg: Mapping | None = None,
        **kwargs,
    ) -> None:
        if depth not in _LAYERS:
            raise ConfigError(f'Darknet: depth={depth}', f'one of {sorted(_LAYERS)}')
        if min(in_channels, base_channels) < 1:
            raise ConfigError(
                f'Darknet: in_channels={in_channels}, base_channels={base_channels}',
                'positive numbers',
            )
        layer_cfg = {
            'conv_cfg': conv_cfg,
            'norm_cfg': norm_cfg or {'type': 'BN', 'requires_grad': True},
            'act_cfg': act_cfg or {'type': 'LeakyReLU', 'negative_slope': 0.1},
        }
        channels = tuple((base_channels << i, base_channels << i + 1) for i in range(5))
        # Read by the library's constructor, which has no argument for them.
        self.arch_settings = {depth: (_LAYERS[depth], channels)}
        super().__init__(depth, norm_eval=norm_eval, **layer_cfg, **kwargs)
        if (in_channels, base_channels) != (3, 32):
            self.conv1 = ConvModule(in_channels, base_channels, 3, padding=1, **layer_cfg)

    def train(self, mode: bool = True) -> 'Darknet':
        super().train(mode)
        return self  # the library's gives None, which breaks `model = model.eval()`
