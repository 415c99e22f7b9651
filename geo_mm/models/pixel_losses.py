"""Segmentation losses that exclude unlabelled pixels.

MMSegmentation's own are not right with 255 in the labels (OneDL mmseg 1.4.2):
``CrossEntropyLoss`` stops with an IndexError given both ``class_weight`` and
``avg_non_ignore``, ``FocalLoss`` compares wrong shapes on a CPU and averages over
ignored pixels, ``DiceLoss`` counts what is predicted on ignored pixels as false.

Mixed losses are a list, each with its share::

    loss_decode = [
        dict(type='geo_mm.CrossEntropyLoss', loss_weight=0.7),
        dict(type='geo_mm.DiceLoss', loss_weight=0.3),
    ]
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from geo_mm.errors import ConfigError
from geo_mm.registry import MODELS


class _PixelLoss(nn.Module):
    """A loss of the labelled pixels of a batch; 0, with a gradient of 0, if there are none.

    Args:
        loss_weight: Factor of the whole.
        loss_name: In the log; it must begin with ``loss_`` to count.
    """

    def __init__(self, loss_weight: float, loss_name: str) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self, pred: Tensor, target: Tensor, weight: None = None, ignore_index: int = 255, **kwargs
    ) -> Tensor:
        """The loss as a scalar.

        Args:
            pred: Scores ``(N, classes, ...)``; of one channel, the score of
                class 1 against 0.
            target: Class indices ``(N, ...)``.
            weight: Not supported.
            ignore_index: Index of pixels without label.
        """
        if weight is not None:
            raise ConfigError(
                f'{type(self).__name__} with a pixel sampler',
                'a decode_head without `sampler`',
                'geo_mm.FocalLoss prefers hard pixels, too',
            )
        labelled = target != ignore_index
        scores = pred.movedim(1, -1)[labelled].float()  # (pixels, classes)
        if scores.shape[1] == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        if not len(scores):
            return pred.float().sum() * 0
        return self.loss_weight * self._loss(scores, target[labelled])

    def _loss(self, scores: Tensor, classes: Tensor) -> Tensor:
        """The loss of ``(pixels, classes)`` scores, which are at least one."""
        raise NotImplementedError


@MODELS.register_module()
class FocalLoss(_PixelLoss):
    """Cross-entropy with a lower weight for well-classified pixels.

    ``(1 - p)**gamma * -log(p)``, with the probability ``p`` of the pixel's class
    (Lin et al. 2017, arXiv:1708.02002, here over all classes), and the mean
    over pixels, weighted by class.

    Args:
        gamma: 0 is cross-entropy.
        class_weight: A factor for the pixels of each class, as
            geo-mm class-weights prints.
        loss_weight: Factor of the whole.
        loss_name: In the log.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_focal',
    ) -> None:
        super().__init__(loss_weight, loss_name)
        self.gamma = gamma
        self.class_weight = class_weight

    def _loss(self, scores: Tensor, classes: Tensor) -> Tensor:
        log_p = -F.cross_entropy(scores, classes, reduction='none')
        losses = -log_p
        if self.gamma:
            # Above 0, where the gradient of a gamma below 1 is finite.
            losses = losses * (1 - log_p.exp()).clamp(min=1e-6) ** self.gamma
        if self.class_weight is None:
            return losses.mean()
        if len(self.class_weight) != scores.shape[1]:
            raise ConfigError(
                f'{type(self).__name__} with {len(self.class_weight)} class weights',
                f'one for each of {scores.shape[1]} classes',
            )
        weights = scores.new_tensor(self.class_weight)[classes]
        # All pixels may be of a class of weight 0.
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


@MODELS.register_module()
class CrossEntropyLoss(FocalLoss):
    """Cross-entropy, the mean over labelled pixels, weighted by class.

    Args:
        class_weight: A factor for the pixels of each class, as
            geo-mm class-weights prints; 0 for a class that is not learnt.
        loss_weight: Factor of the whole.
        loss_name: In the log.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
    ) -> None:
        super().__init__(0.0, class_weight, loss_weight, loss_name)


@MODELS.register_module()
class DiceLoss(_PixelLoss):
    """One minus the overlap of prediction and label, whatever a class's size.

    ``1 - 2 * sum(p * y) / (sum(p) + sum(y))`` over all labelled pixels of the
    batch (Milletari et al. 2016, arXiv:1606.04797, without squares), and its
    mean over the classes that occur in the labels. Mix it with cross-entropy:
    alone its gradients are poor.

    Args:
        loss_weight: Factor of the whole.
        loss_name: In the log.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = 'loss_dice') -> None:
        super().__init__(loss_weight, loss_name)

    def _loss(self, scores: Tensor, classes: Tensor) -> Tensor:
        predicted = scores.softmax(dim=1)
        truth = F.one_hot(classes, scores.shape[1])
        overlap = (predicted * truth).sum(dim=0)
        pixels = truth.sum(dim=0)
        dice = 2 * overlap / (predicted.sum(dim=0) + pixels)
        return 1 - dice[pixels > 0].mean()
