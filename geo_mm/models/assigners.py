"""Assigner that knows ignored objects where there are no others."""

from mmdet.models.task_modules import AssignResult
from mmdet.models.task_modules import MaxIoUAssigner as MMDetMaxIoUAssigner
from mmengine.structures import InstanceData

from geo_mm.registry import TASK_UTILS

NEITHER = -1
"""What ``AssignResult.gt_inds`` says of an anchor that teaches nothing; background is 0."""


@TASK_UTILS.register_module()
class MaxIoUAssigner(MMDetMaxIoUAssigner):
    """``mmdet.MaxIoUAssigner`` for chips whose objects are all ignored, too.

    The library's own takes every anchor of an image without targets for
    background, ignored objects or not (OneDL mmdet 3.5.1, mmdet 3.3.0). Chips
    often show no more of an object than the part that their edge has left of
    it; such a part is ignored, and must not be learnt as background.

    Args:
        **kwargs: Of ``mmdet.MaxIoUAssigner``; ``ignore_iof_thr`` and
            ``ignore_wrt_candidates`` say which anchors lie on ignored objects.
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
