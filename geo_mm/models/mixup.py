"""Mixup for pixel classes: chips shine through each other."""

from collections.abc import Sequence

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS


@MODELS.register_module()
class PixelMixup:
    """Mixes each chip of a batch with its neighbour (Zhang et al. 2018, arXiv:1710.09412).

    An image becomes ``s * a + (1 - s) * b``, with ``s`` drawn from
    ``Beta(alpha, alpha)`` for each chip. Mixup's loss is
    ``s * loss(label of a) + (1 - s) * loss(label of b)``; here each pixel draws
    its label from ``a`` with probability ``s``, else from ``b``. For losses that
    are sums over pixels that is the same in the mean, and needs no second
    label map. Unlabelled pixels stay without label to the same share.

    It draws from torch's own generators, as dropout does. Used by
    :class:`geo_mm.models.GeoSegDataPreprocessor` in training only::

        data_preprocessor = dict(batch_augments=[dict(type='geo_mm.PixelMixup', alpha=0.2)])

    Args:
        alpha: The larger, the more even the mixture; 0.1 to 0.4 in the paper.

    Raises:
        ConfigError: If ``alpha`` is not positive.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        if alpha <= 0:
            raise ConfigError(f'PixelMixup with alpha={alpha}', 'a positive number')
        self.alpha = alpha

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample]
    ) -> tuple[Tensor, Sequence[SegDataSample]]:
        """Mixed images ``(N, bands, height, width)``, and samples with mixed labels."""
        alpha = inputs.new_full((len(inputs), 1, 1, 1), self.alpha)
        share = torch.distributions.Beta(alpha, alpha).sample()
        labels = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
        own = torch.rand(labels.shape, device=labels.device) < share
        mixed = torch.where(own, labels, labels.roll(1, dims=0))
        for sample, label in zip(data_samples, mixed, strict=True):
            sample.gt_sem_seg = PixelData(data=label)
        return share * inputs + (1 - share) * inputs.roll(1, dims=0), data_samples
