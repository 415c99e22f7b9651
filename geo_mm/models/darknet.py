"""Darknet backbone of YOLOv3 for any number of bands and any width."""

from collections.abc import Mapping

from mmcv.cnn import ConvModule
from mmdet.models import Darknet as MMDetDarknet

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS

_LAYERS = {21: (1, 1, 2, 2, 1), 53: (1, 2, 8, 8, 4)}
"""Residual blocks in each of the five stages."""


@MODELS.register_module()
class Darknet(MMDetDarknet):
    """``mmdet.Darknet`` whose first convolution takes any number of bands.

    The library's own is fixed at 3 channels, 53 layers and full width. Names
    of the weights are the same, so weights for Darknet-53 fit, see
    :class:`geo_mm.models.InflatedPretrained` for more than 3 bands.

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
