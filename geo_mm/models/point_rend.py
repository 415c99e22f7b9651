"""PointRend: what is uncertain after a coarse prediction is decided point by point.

Kirillov et al. 2020, arXiv:1912.08193.
"""

import math
from collections.abc import Mapping, Sequence

from mmdet.models import PointRendRoIHead as MMDetPointRendRoIHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS


@MODELS.register_module()
class PointRendSegmentor(EncoderDecoder):
    """An encoder-decoder whose prediction is refined up to the input's resolution.

    Where ``decode_head`` predicts at a coarser resolution than the input's,
    its scores are doubled in size again and again, and after each doubling the
    most uncertain pixels are predicted anew by ``point_head``, from the
    coarse scores and fine features at each of them. Training adds the loss of
    some points, most of them uncertain.

    ``mmseg.CascadeEncoderDecoder`` does the same, but holds both heads in a list,
    which a child config can only replace as a whole, runs the first head twice
    per step, and needs the number of doublings by hand.

    Args:
        point_head: ``dict(type='PointHead', ...)``; its ``in_index`` names the
            backbone's features that it looks up, the finer the better.
        refined_share: Pixels that are predicted anew after each doubling, as a
            share 0..1 of the input's; equal for any size of input.
        **kwargs: Of ``mmseg.EncoderDecoder``. ``train_cfg`` has ``num_points``
            per chip, ``oversample_ratio`` and ``importance_sample_ratio``.

    Raises:
        ConfigError: If a head does not fit: one output channel, or a
            ``decode_head`` that predicts at the input's resolution already.
    """

    def __init__(self, point_head: Mapping, refined_share: float = 1 / 16, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.out_channels < 2:
            raise ConfigError(
                'PointRend on a decode_head with out_channels=1',
                'a channel per class, since the two best of a pixel are compared',
                'leave out_channels out, with num_classes=2 for a binary model',
            )
        if not 0 < refined_share <= 1:
            raise ConfigError(f'PointRend with refined_share={refined_share}', 'above 0, at most 1')
        self.point_head = MMSEG_MODELS.build(point_head)
        self.point_head.init_cfg = None  # as for geo_mm.UNetHead
        self.refined_share = refined_share

    def encode_decode(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Class scores ``(N, classes, height, width)``."""
        x = self.extract_feat(inputs)
        coarse = self.decode_head(x)
        height, width = inputs.shape[2:]
        rendering = ConfigDict(
            scale_factor=2,
            subdivision_steps=_doublings(inputs, coarse),
            subdivision_num_points=max(round(self.refined_share * height * width), 1),
        )
        return self.point_head.predict(x, coarse, batch_img_metas, rendering)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict:
        """Losses of both heads, and of the auxiliary one if there is any."""
        x = self.extract_feat(inputs)
        coarse = self.decode_head(x)
        _doublings(inputs, coarse)
        losses = add_prefix(self.decode_head.loss_by_feat(coarse, data_samples), 'decode')
        points = self.point_head.loss(x, coarse, data_samples, self.train_cfg)
        losses.update(add_prefix(points, 'point'))
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(x, data_samples))
        return losses

    def _forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Tensor:
        return self.encode_decode(inputs, [{'img_shape': inputs.shape[2:]}] * len(inputs))


def _doublings(inputs: Tensor, coarse: Tensor) -> int:
    """How often scores must be doubled in size to reach the input's."""
    steps = math.ceil(math.log2(inputs.shape[-1] / coarse.shape[-1]))
    if steps < 1:
        raise ConfigError(
            f'PointRend on a decode_head that predicts {coarse.shape[-1]} of '
            f'{inputs.shape[-1]} pixels in a row',
            'a coarser prediction, which it could refine',
            'leave the finest levels out of in_index and in_channels of the decode_head',
        )
    return steps


@MODELS.register_module()
class PointRendRoIHead(MMDetPointRendRoIHead):
    """``mmdet.PointRendRoIHead`` that takes chips without objects.

    The library's own stops with an AssertionError where a training batch has
    no object, and where one is predicted in some chip of a batch and none in
    another (OneDL mmdet 3.5.1).
    """

    def _mask_point_loss(
        self,
        x: Sequence[Tensor],
        sampling_results: Sequence,
        mask_preds: Tensor,
        batch_gt_instances: Sequence[InstanceData],
    ) -> dict:
        if len(mask_preds):
            return super()._mask_point_loss(x, sampling_results, mask_preds, batch_gt_instances)
        # Zero, and still with gradients for all, which distributed training wants.
        fine = mask_preds.new_zeros(0, self.point_head.in_channels, 1)
        return {'loss_point': self.point_head(fine, mask_preds.flatten(2)[..., :1]).sum()}

    def _mask_point_forward_test(
        self, x: Sequence[Tensor], rois: Tensor, label_preds: Tensor, mask_preds: Tensor
    ) -> Tensor:
        if len(rois):
            return super()._mask_point_forward_test(x, rois, label_preds, mask_preds)
        return mask_preds
