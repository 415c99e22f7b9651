"""The SSD head: predicts, learns from empty chips, leaves ignored objects alone."""

import pytest
import torch
from mmdet.models import SSDHead as MMDetSSDHead
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from geo_mm.models import SSDHead

TRAIN_CFG = ConfigDict(
    assigner=dict(
        type='mmdet.MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.0,
        ignore_iof_thr=0.5,
        gt_max_assign_all=False,
    ),
    sampler=dict(type='mmdet.PseudoSampler'),
    smoothl1_beta=1.0,
    allowed_border=-1,
    pos_weight=-1,
    neg_pos_ratio=3,
)
TEST_CFG = ConfigDict(
    nms_pre=50, nms=dict(type='nms', iou_threshold=0.45), score_thr=0.0, max_per_img=7
)


def make_head(cls=SSDHead, **kwargs):
    torch.manual_seed(0)
    return cls(
        num_classes=2,
        in_channels=(4, 4),
        anchor_generator=dict(
            type='mmdet.SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16],
            ratios=[[2], [2]],
            min_sizes=[8, 16],
            max_sizes=[16, 32],
        ),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
        train_cfg=TRAIN_CFG,
        test_cfg=TEST_CFG,
        **kwargs,
    )


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(1, 4, side, side, generator=generator) for side in (4, 2))


def sample(boxes=(), labels=(), ignored=()):
    sample = DetDataSample(metainfo=dict(img_shape=(32, 32), pad_shape=(32, 32)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4)
    )
    return sample


def losses(head, *samples):
    out = head.loss(tuple(f.expand(len(samples), -1, -1, -1) for f in features()), list(samples))
    return sum(out['loss_cls']), sum(out['loss_bbox'])


def test_the_librarys_head_still_fails_to_predict():
    # Once this fails, the class attribute `loss_cls` can go.
    with pytest.raises(AttributeError, match='loss_cls'):
        make_head(MMDetSSDHead).predict(features(), [sample()])


def test_predicts():
    (result,) = make_head().eval().predict(features(), [sample()])
    assert result.bboxes.shape == (7, 4)
    assert set(result.labels.tolist()) <= {0, 1}


def test_losses_of_a_chip_with_objects_are_the_librarys():
    chip = sample([[2, 2, 14, 18], [16, 16, 30, 31]], [0, 1])
    ours, theirs = losses(make_head(), chip), losses(make_head(MMDetSSDHead), chip)
    torch.testing.assert_close(ours, theirs)


def test_an_empty_chip_teaches_what_is_background():
    head = make_head()
    loss_cls, loss_bbox = losses(head, sample())
    assert loss_bbox == 0
    loss_cls.sum().backward()
    gradient = head.cls_convs[0][-1].bias.grad.view(-1, 3).sum(0)
    # Downhill is more background (the last class), less of either object.
    assert gradient[2] < 0 < gradient[:2].sum()
    assert losses(make_head(MMDetSSDHead), sample())[0] == 0


def test_an_empty_chip_gives_as_many_negatives_as_asked():
    score = torch.zeros(20, 3)
    labels = torch.full((20,), 2)
    zeros = torch.zeros(20, 4)
    for count in (1, 5):
        loss, _ = make_head(empty_negatives=count).loss_by_feat_single(
            score, zeros, zeros, labels, torch.ones(20), zeros, zeros, avg_factor=1
        )
        assert loss.item() == pytest.approx(count * torch.tensor(3.0).log().item())


def test_anchors_of_no_weight_are_no_negatives():
    zeros = torch.zeros(20, 4)
    weights = torch.zeros(20)
    weights[:2] = 1  # the rest lies on ignored objects
    loss, _ = make_head().loss_by_feat_single(
        torch.zeros(20, 3), zeros, zeros, torch.full((20,), 2), weights, zeros, zeros, 1
    )
    assert loss.item() == pytest.approx(2 * torch.tensor(3.0).log().item())
