"""Head of SSD that predicts, and that learns from chips without objects."""

import torch
from mmdet.models import SSDHead as MMDetSSDHead
from mmdet.models.losses import smooth_l1_loss
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from geo_mm.registry import MODELS


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

    def loss_by_feat_single(
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
