"""Backbones that give features at every resolution, the image's own included.

Level ``i`` has a stride of ``2**i``, as far as the backbone is not dilated. A
U-Net decoder takes them as skips, PointRend looks up its points there.
"""

from collections.abc import Mapping, Sequence

from mmcv.cnn import VGG
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
    ResNet-18 to 152 fit, see :class:`geo_mm.models.InflatedPretrained`.

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
class VGGEncoder(VGG, BaseModule):
    """VGG for any number of bands and any width, with the features before each pooling.

    Names of the weights are torchvision's: ``vgg16_bn``, or ``vgg16`` with
    ``with_bn=False``, see :class:`geo_mm.models.InflatedPretrained`.

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
        BaseModule.init_weights(self)  # mmcv's VGG has its own, which knows no init_cfg

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
                layers[index] = nn.Conv2d(
                    in_channels,
                    out_channels,
                    layer.kernel_size,
                    padding=layer.padding,
                    dilation=layer.dilation,
                )
            in_channels = out_channels
        elif isinstance(layer, nn.BatchNorm2d) and layer.num_features != in_channels:
            layers[index] = nn.BatchNorm2d(in_channels)
