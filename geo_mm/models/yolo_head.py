"""Head of YOLOv3 that heeds ignored objects and stays inside the chip."""

from collections.abc import Sequence

import torch
from mmdet.models import YOLOV3Head as MMDetYOLOV3Head
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from geo_mm.registry import MODELS


@MODELS.register_module()
class YOLOV3Head(MMDetYOLOV3Head):
    """``mmdet.YOLOV3Head`` that heeds ignored objects and stays inside the chip.

    The library's own takes anchors on ignored objects, such as those that the
    chip's edge cuts, for background, and gives boxes that reach beyond the
    image, where the other heads cut them off.

    Args:
        ignore_iof_thr: An anchor of which more than this share lies on an
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
