"""U-Net decoder on the features of any backbone, with pyramid pooling if asked for."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.psp_head import PPM
from mmseg.models.utils import resize
from torch import Tensor, nn

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS


@MODELS.register_module()
class UNetHead(BaseDecodeHead):
    """Goes up from the deepest features, level by level, as U-Net does.

    At each level the features so far are enlarged to the level's size, joined
    with the backbone's own and convolved (Ronneberger et al. 2015,
    arXiv:1505.04597). Convolutions after bilinear interpolation learn how to
    upsample, without a transposed convolution's checkerboard.

    With ``pool_scales`` the deepest features first pass PSPNet's pyramid
    pooling (Zhao et al. 2017, arXiv:1612.01105): the head is then PSPNet's with
    a decoder that learns, in place of one bilinear enlargement by eight.

    The classes come at the resolution of the finest level that is given, and
    are enlarged to the input's bilinearly.

    Args:
        in_channels: Channels of the levels in use, finest first.
        in_index: Which of the backbone's features these are, finest first.
            Neighbours may be of the same size, as those of a dilated backbone.
        channels: Of the decoder at the finest level; doubled at each coarser.
        pool_scales: Sides of the grids that the deepest features are pooled
            to; none for a plain U-Net.
        num_convs: Convolutions at each level.
        init_cfg: Default is torch's own. MMSegmentation's starts the last layer
            at a spread of 0.01, which narrow heads need hundreds of iterations
            to leave.
        **kwargs: Of ``mmseg.BaseDecodeHead``: ``num_classes``, ``norm_cfg``,
            ``dropout_ratio``, ``loss_decode``.

    Raises:
        ConfigError: If there are no two levels, or other numbers of
            ``in_channels`` and ``in_index``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_index: Sequence[int],
        channels: int,
        pool_scales: Sequence[int] = (),
        num_convs: int = 2,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
        **kwargs,
    ) -> None:
        if len(in_channels) != len(in_index) or len(in_index) < 2:
            raise ConfigError(
                f'UNetHead: in_channels={tuple(in_channels)}, in_index={tuple(in_index)}',
                'as many of both, and at least two levels',
            )
        super().__init__(
            in_channels=in_channels,
            in_index=in_index,
            channels=channels,
            input_transform='multiple_select',
            init_cfg=init_cfg,
            **kwargs,
        )
        *skips, deepest = in_channels
        self.pyramid = None
        if pool_scales:
            wide = channels << len(skips)
            branch = max(wide // len(pool_scales), 1)
            self.pyramid = PPM(
                pool_scales, deepest, branch, align_corners=self.align_corners, **self._layers()
            )
            self.bottleneck = self._convs(deepest + branch * len(pool_scales), wide, 1)
            deepest = wide
        self.steps = nn.ModuleList()  # coarsest level first
        for level in reversed(range(len(skips))):
            width = channels << level
            self.steps.append(self._convs(deepest + skips[level], width, num_convs))
            deepest = width

    def _layers(self) -> dict:
        return {'conv_cfg': self.conv_cfg, 'norm_cfg': self.norm_cfg, 'act_cfg': self.act_cfg}

    def _convs(self, in_channels: int, channels: int, count: int) -> nn.Sequential:
        widths = [in_channels] + [channels] * count
        return nn.Sequential(
            *(
                ConvModule(before, after, 3, padding=1, **self._layers())
                for before, after in itertools.pairwise(widths)
            )
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Class scores ``(N, classes, h, w)`` from the backbone's features."""
        *skips, x = self._transform_inputs(inputs)
        if self.pyramid is not None:
            x = self.bottleneck(torch.cat([x, *self.pyramid(x)], dim=1))
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = resize(x, skip.shape[2:], mode='bilinear', align_corners=self.align_corners)
            x = step(torch.cat([x, skip], dim=1))
        return self.cls_seg(x)
