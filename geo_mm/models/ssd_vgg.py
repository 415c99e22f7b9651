"""VGG backbone of SSD for any number of bands and any width."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.models import SSDVGG as MMDetSSDVGG  # noqa: N811

from geo_mm.errors import ConfigError
from geo_mm.models.encoders import resize_vgg
from geo_mm.registry import MODELS


@MODELS.register_module()
class SSDVGG(MMDetSSDVGG):
    """``mmdet.SSDVGG`` whose first convolution takes any number of bands.

    The library's own is fixed at 3 channels and at full width. Names of the
    weights are the same, so weights for VGG fit, see
    :class:`geo_mm.models.InflatedPretrained` for more than 3 bands.

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
