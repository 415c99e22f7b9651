"""Heads of detectors, and the assigner, for chips as they are cut from scenes.

Chips may hold no object at all, and hold ignored ones: what their edge has
left of an object.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from mmdet.models import CascadeRoIHead as MMDetCascadeRoIHead
from mmdet.models import PointRendRoIHead as MMDetPointRendRoIHead
from mmdet.models import SSDHead as MMDetSSDHead
from mmdet.models import StandardRoIHead as MMDetStandardRoIHead
from mmdet.models import YOLOV3Head as MMDetYOLOV3Head
from mmdet.models.losses import smooth_l1_loss
from mmdet.models.task_modules import AssignResult
from mmdet.models.task_modules import MaxIoUAssigner as MMDetMaxIoUAssigner
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from geo_mm.registry import MODELS, TASK_UTILS

NEITHER = -1
"""``AssignResult.gt_inds`` of an anchor that is excluded from the loss; background is 0."""


@TASK_UTILS.register_module()
class MaxIoUAssigner(MMDetMaxIoUAssigner):
    """``mmdet.MaxIoUAssigner`` for chips whose objects are all ignored, too.

    The library's own takes every anchor of an image without targets for
    background, ignored objects or not (OneDL mmdet 3.5.1, mmdet 3.3.0). Chips
    often show no more of an object than the part that their edge has left of
    it; such a part is ignored, and must not be learnt as background.

    Args:
        **kwargs: Of ``mmdet.MaxIoUAssigner``; ``ignore_iof_thr`` and
            ``ignore_wrt_candidates`` say which anchors are on ignored objects.
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """As in the base class."""
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        if len(gt_instances) or gt_instances_ignore is None or self.ignore_iof_thr <= 0:
            return result
        priors, ignored = pred_instances.priors, gt_instances_ignore.bboxes
        if len(ignored) and len(priors):
            pair = (priors, ignored) if self.ignore_wrt_candidates else (ignored, priors)
            share = self.iou_calculator(*pair, mode='iof').amax(int(self.ignore_wrt_candidates))
            result.gt_inds[share > self.ignore_iof_thr] = NEITHER
        return result


@MODELS.register_module()
class SSDHead(MMDetSSDHead):
    """``mmdet.SSDHead`` that predicts, and learns from chips without objects.

    The library's own differs in two ways:

    - It has no ``loss_cls``, which ``predict`` asks for, so every prediction
      ends in an AttributeError (OneDL mmdet 3.5.1, mmdet 3.3.0; mmdet#11524).
      Once a release predicts, delete the class attribute here.
    - It takes three negatives for each positive anchor of an image, hence
      none from an image without objects: what looks like an object there is
      never corrected. Here such an image gives its ``empty_negatives``
      hardest ones.

    Args:
        empty_negatives: Number of negative anchors taken from an image
            without objects.
        **kwargs: Of ``mmdet.SSDHead``.
    """

    loss_cls = None

    def __init__(self, *args, empty_negatives: int = 3, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.empty_negatives = empty_negatives

    def loss_by_feat_single(  # noqa: PLR0913 - mmdet's
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchor: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: float,
    ) -> tuple[Tensor, Tensor]:
        """Losses of one image; arguments as in ``mmdet.SSDHead``.

        Returns:
            Classification loss ``(1,)`` and box loss.
        """
        losses = F.cross_entropy(cls_score, labels, reduction='none') * label_weights
        positive = (labels >= 0) & (labels < self.num_classes)
        # Ignored anchors are labelled as background, with a weight of 0.
        negative = (labels == self.num_classes) & (label_weights > 0)
        num_positive = int(positive.sum())
        wanted = self.train_cfg['neg_pos_ratio'] * num_positive or self.empty_negatives
        hardest = losses[negative].topk(min(wanted, int(negative.sum()))).values
        loss_cls = (losses[positive].sum() + hardest.sum()) / avg_factor
        if self.reg_decoded_bbox:
            bbox_pred = self.bbox_coder.decode(anchor, bbox_pred)
        loss_bbox = smooth_l1_loss(
            bbox_pred,
            bbox_targets,
            bbox_weights,
            beta=self.train_cfg['smoothl1_beta'],
            avg_factor=avg_factor,
        )
        return torch.atleast_1d(loss_cls), loss_bbox


@MODELS.register_module()
class YOLOV3Head(MMDetYOLOV3Head):
    """``mmdet.YOLOV3Head`` that supports ignored objects and clips boxes to the chip.

    The library's own takes anchors on ignored objects, such as those that the
    chip's edge cuts, for background, and gives boxes that reach beyond the
    image, where the other heads cut them off.

    Args:
        ignore_iof_thr: An anchor of which more than this share is on an
            ignored object is no background.
        **kwargs: Of ``mmdet.YOLOV3Head``.
    """

    def __init__(self, *args, ignore_iof_thr: float = 0.5, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.ignore_iof_thr = ignore_iof_thr

    def loss_by_feat(
        self,
        pred_maps: Sequence[Tensor],
        batch_gt_instances: Sequence[InstanceData],
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Sequence[InstanceData] | None = None,
    ) -> dict:
        """Losses; arguments as in ``mmdet.YOLOV3Head``."""
        # get_targets() is not given them.
        self._ignored = batch_gt_instances_ignore
        try:
            return super().loss_by_feat(pred_maps, batch_gt_instances, batch_img_metas)
        finally:
            del self._ignored

    def get_targets(
        self,
        anchor_list: list[list[Tensor]],
        responsible_flag_list: list[list[Tensor]],
        batch_gt_instances: Sequence[InstanceData],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Target maps and maps of negatives, a pair of lists of levels."""
        targets, negatives = super().get_targets(
            anchor_list, responsible_flag_list, batch_gt_instances
        )
        for image, ignored in enumerate(self._ignored or ()):
            boxes = get_box_tensor(ignored.bboxes)
            if not len(boxes):
                continue
            for level, anchors in enumerate(anchor_list[image]):
                share = bbox_overlaps(anchors, boxes, mode='iof').amax(dim=1)
                negatives[level][image, share > self.ignore_iof_thr] = 0
        return targets, negatives

    def _bbox_post_process(
        self, results: InstanceData, *args, img_meta: dict, **kwargs
    ) -> InstanceData:
        height, width = img_meta['img_shape'][:2]
        limits = results.bboxes.new_tensor([width, height, width, height])
        results.bboxes = torch.minimum(results.bboxes.clamp(min=0), limits)
        return super()._bbox_post_process(results, *args, img_meta=img_meta, **kwargs)


if TYPE_CHECKING:  # what the mixin stands beside
    from mmdet.models import BaseRoIHead as _Base
else:
    _Base = object


class _OneNumberOfClasses(_Base):
    """Mixin: heads for masks have as many classes as those for boxes, if they do not say."""

    def init_mask_head(self, mask_roi_extractor: Mapping, mask_head: Mapping) -> None:
        super().init_mask_head(mask_roi_extractor, self._completed(mask_head))

    def _completed(self, head: Mapping) -> dict:
        return {'num_classes': self.bbox_head.num_classes, **head}


@MODELS.register_module()
class StandardRoIHead(_OneNumberOfClasses, MMDetStandardRoIHead):
    """``mmdet.StandardRoIHead`` whose ``mask_head`` need not say ``num_classes``."""


@MODELS.register_module()
class CascadeRoIHead(MMDetCascadeRoIHead):
    """``mmdet.CascadeRoIHead`` that says the number of classes once.

    Args:
        bbox_head: Configs of the heads for boxes.
        num_classes: Of those that do not say it.
        **kwargs: Of ``mmdet.CascadeRoIHead``.
    """

    def __init__(
        self, *args, bbox_head: Sequence[Mapping], num_classes: int | None = None, **kwargs
    ) -> None:
        common = {} if num_classes is None else {'num_classes': num_classes}
        super().__init__(*args, bbox_head=[{**common, **head} for head in bbox_head], **kwargs)


@MODELS.register_module()
class PointRendRoIHead(_OneNumberOfClasses, MMDetPointRendRoIHead):
    """``mmdet.PointRendRoIHead`` that takes chips without objects.

    The library's own stops with an AssertionError where a training batch has
    no object, and where one is predicted in some chip of a batch and none in
    another (OneDL mmdet 3.5.1). ``mask_head`` and ``point_head`` need not say
    ``num_classes``.
    """

    def init_point_head(self, point_head: Mapping) -> None:
        super().init_point_head(self._completed(point_head))

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
