"""Losses of pixels: exact numbers, and unlabelled pixels take no part."""

import math

import pytest
import torch
from mmseg.models.losses import CrossEntropyLoss as MMSegCrossEntropyLoss
from torch.nn import functional as F  # noqa: N812

from geo_mm.errors import ConfigError
from geo_mm.models.pixel_losses import CrossEntropyLoss, DiceLoss, FocalLoss
from geo_mm.models.segmentors import UNetHead

WEIGHTS = [1.0, 2.0, 0.5]
LOSSES = [
    CrossEntropyLoss(),
    CrossEntropyLoss(class_weight=WEIGHTS),
    FocalLoss(),
    FocalLoss(gamma=0.5, class_weight=WEIGHTS),
    DiceLoss(),
]
every_loss = pytest.mark.parametrize(
    'loss', LOSSES, ids=['ce', 'weighted ce', 'focal', 'weighted focal', 'dice']
)


def scores_and_labels():
    """Two chips of 7 x 9 pixels, 3 classes; the upper rows of the first have no label."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 7, 9, generator=generator) * 3
    labels = torch.randint(0, 3, (2, 7, 9), generator=generator)
    labels[0, :4] = 255
    return scores, labels


@pytest.mark.parametrize('weights', [None, WEIGHTS])
def test_cross_entropy_is_torchs(weights):
    scores, labels = scores_and_labels()
    expected = F.cross_entropy(
        scores, labels, None if weights is None else torch.tensor(weights), ignore_index=255
    )
    for loss in (CrossEntropyLoss(weights), FocalLoss(gamma=0.0, class_weight=weights)):
        torch.testing.assert_close(loss(scores, labels), expected)


def test_unweighted_cross_entropy_is_the_librarys():
    scores, labels = scores_and_labels()
    theirs = MMSegCrossEntropyLoss(avg_non_ignore=True)(scores, labels, ignore_index=255)
    torch.testing.assert_close(CrossEntropyLoss()(scores, labels), theirs)


def test_focal_loss_of_one_pixel():
    scores = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    expected = 0.8**2 * -math.log(0.2)
    assert FocalLoss()(scores, torch.tensor([1])).item() == pytest.approx(expected)
    assert FocalLoss(gamma=1.0, loss_weight=3.0)(scores, torch.tensor([0])).item() == pytest.approx(
        3 * 0.3 * -math.log(0.7)
    )


def test_dice_of_four_pixels():
    # Said with certainty: 0 1 1 1, in truth: 0 0 1 1; the third class occurs in neither.
    scores = torch.full((1, 3, 4), -50.0)
    scores[0, [0, 1, 1, 1], [0, 1, 2, 3]] = 50.0
    expected = 1 - (2 / 3 + 4 / 5) / 2
    assert DiceLoss()(scores, torch.tensor([[0, 0, 1, 1]])).item() == pytest.approx(expected)


def test_dice_of_what_is_right():
    _, labels = scores_and_labels()
    scores = F.one_hot(labels.clamp(max=2), 3).permute(0, 3, 1, 2) * 100.0
    assert DiceLoss()(scores, labels).item() == pytest.approx(0, abs=1e-6)


@every_loss
def test_pixels_without_label_take_no_part(loss):
    scores, labels = scores_and_labels()
    other = torch.where(labels.unsqueeze(1) == 255, torch.randn_like(scores) * 9, scores)
    other.requires_grad_()
    value = loss(other, labels)
    torch.testing.assert_close(value, loss(scores, labels))
    value.backward()
    pushed = other.grad.abs().sum(dim=1) > 0
    assert torch.equal(pushed, labels != 255)


@every_loss
def test_no_labels_at_all(loss):
    scores = torch.randn(2, 3, 5, 4, requires_grad=True)
    value = loss(scores, torch.full((2, 5, 4), 255))
    value.backward()
    assert value.item() == 0
    assert not scores.grad.any()


@every_loss
def test_one_class_only(loss):
    scores = (torch.randn(2, 3, 5, 4) * 100).requires_grad_()
    loss(scores, torch.zeros(2, 5, 4, dtype=torch.int64)).backward()
    assert scores.grad.isfinite().all()
    assert scores.grad.any()


@pytest.mark.parametrize('loss', [CrossEntropyLoss(), FocalLoss(), DiceLoss()])
def test_one_channel_is_the_second_class(loss):
    scores, labels = scores_and_labels()
    labels = torch.where(labels == 255, labels, labels.clamp(max=1))
    two = torch.cat([torch.zeros_like(scores[:, :1]), scores[:, :1]], dim=1)
    torch.testing.assert_close(loss(scores[:, :1], labels), loss(two, labels))


@every_loss
def test_points_are_as_pixels(loss):
    scores, labels = scores_and_labels()
    torch.testing.assert_close(loss(scores.flatten(2), labels.flatten(1)), loss(scores, labels))


def test_a_class_of_weight_zero_has_no_loss():
    scores, labels = scores_and_labels()
    scores.requires_grad_()
    CrossEntropyLoss(class_weight=[1.0, 1.0, 0.0])(scores, labels).backward()
    assert not scores.grad.abs().sum(dim=1)[labels == 2].any()
    only = torch.full_like(labels, 2)
    assert CrossEntropyLoss(class_weight=[1.0, 1.0, 0.0])(scores, only).item() == 0


def test_a_weight_for_each_class():
    scores, labels = scores_and_labels()
    with pytest.raises(ConfigError, match=r'2 class weights\n  expected: one for each of 3'):
        CrossEntropyLoss(class_weight=[1.0, 2.0])(scores, labels)


def test_pixel_samplers_are_refused():
    scores, labels = scores_and_labels()
    with pytest.raises(ConfigError, match='pixel sampler'):
        DiceLoss()(scores, labels, weight=torch.ones(2, 7, 9))


def test_mixed_losses_in_a_head():
    head = UNetHead(
        in_channels=[4, 8],
        in_index=[0, 1],
        channels=4,
        num_classes=3,
        loss_decode=[
            {'type': 'geo_mm.CrossEntropyLoss', 'loss_weight': 0.7},
            {'type': 'geo_mm.DiceLoss', 'loss_weight': 0.3},
        ],
    )
    assert [loss.loss_name for loss in head.loss_decode] == ['loss_ce', 'loss_dice']
    assert [loss.loss_weight for loss in head.loss_decode] == [0.7, 0.3]
