"""Data preprocessors for any number of bands, and what they do to whole batches."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from mmdet.models import DetDataPreprocessor
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn.functional import interpolate

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS

if TYPE_CHECKING:  # what the mixin stands beside
    from mmengine.model import ImgDataPreprocessor as _Base
else:
    _Base = object


class _BandNormalisation(_Base):
    """Mixin that lets the libraries' preprocessors normalise any number of bands.

    Theirs take 1 or 3 means, and swapping red and blue keeps three of four
    bands. Here bands stay as they come, and a wrong number is an error.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], scale: float = 1.0, **kwargs
    ) -> None:
        name = type(self).__name__
        self.scale = scale
        if len(mean) != len(std) or not mean:
            raise ConfigError(
                f'{name}: {len(mean)} means and {len(std)} standard deviations',
                'one of each per band',
            )
        if min(std) <= 0:
            raise ConfigError(f'{name}: standard deviations {list(std)}', 'positive numbers')
        if kwargs.get('bgr_to_rgb') or kwargs.get('rgb_to_bgr'):
            raise ConfigError(
                f'{name}: bgr_to_rgb and rgb_to_bgr are not supported',
                'bands in the order that the dataset gives them',
                'leave it out, and choose the order with bands=(...) in the dataset',
            )
        super().__init__(mean=None, std=None, **kwargs)
        self._enable_normalize = True
        self._non_blocking = True  # takes effect for pinned memory alone, see launch.build_runner
        for key, values in (('mean', mean), ('std', std)):
            tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(key, tensor, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        for number, image in enumerate(data['inputs']):
            if image.shape[0] != len(self.mean):
                samples = data.get('data_samples')
                path = samples[number].get('img_path', '') if samples else ''
                raise ConfigError(
                    f'a chip of {path or "a scene"} has {image.shape[0]} bands',
                    f'{len(self.mean)}, as the data_preprocessor has means',
                    'give mean and std per band, and set in_channels of the model likewise',
                )
        for sample in data.get('data_samples') or ():
            labels = sample.get('gt_sem_seg', {})
            # MMDetection calls the map sem_seg, and needs it to tell valid pixels alone.
            if 'data' in labels and labels.data.dtype == torch.uint8:
                labels.data = labels.data.long()  # as the losses want it; see stack_chips
        return super().forward(data if training else self._resized(data), training)

    def _resized(self, data: dict) -> dict:
        """Images of another size, for a model that wants them so; results are scaled back."""
        if self.scale == 1:
            return data
        images = []
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            before = image.shape[-2:]
            after = [max(1, int(side * self.scale + 1e-6)) for side in before]
            image = self.cast_data(image).float()[None]
            images.append(interpolate(image, after, mode='bilinear', align_corners=False)[0])
            factors = [new / old for new, old in zip(after, before, strict=True)]
            sample.set_metainfo({'img_shape': tuple(after), 'scale_factor': tuple(factors[::-1])})
        return {**data, 'inputs': images}


@MODELS.register_module()
class GeoDetDataPreprocessor(_BandNormalisation, DetDataPreprocessor):
    """``mmdet.DetDataPreprocessor`` for any number of bands.

    Args:
        mean: Mean of each band, in the data's units.
        std: Standard deviation of each band.
        scale: How much larger images get in prediction, for models of others.
        **kwargs: Of ``mmdet.DetDataPreprocessor``. Padding happens after
            normalisation, so the default 0 is the mean.
    """


@MODELS.register_module()
class GeoSegDataPreprocessor(_BandNormalisation, SegDataPreProcessor):
    """``mmseg.SegDataPreProcessor`` for any number of bands.

    Args:
        mean: Mean of each band, in the data's units.
        std: Standard deviation of each band.
        batch_augments: Changes of whole batches in training, such as
            ``[dict(type='geo_mm.PixelMixup')]``, one after the other.
        **kwargs: Of ``mmseg.SegDataPreProcessor``. Padding happens after
            normalisation, so the default 0 is the mean.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        batch_augments: Sequence[Mapping] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(mean, std, **kwargs)
        # The library's takes one callable, and builds nothing.
        self._augments = [MODELS.build(dict(augment)) for augment in batch_augments or ()]
        self.batch_augments = self._augment if self._augments else None

    def _augment(self, inputs: torch.Tensor, data_samples: list) -> tuple[torch.Tensor, list]:
        for augment in self._augments:
            inputs, data_samples = augment(inputs, data_samples)
        return inputs, data_samples


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
