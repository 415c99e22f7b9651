"""The YOLOv3 head: ignored objects are no background, boxes stay in the chip."""

import pytest
import torch
from mmdet.models import YOLOV3Head as MMDetYOLOV3Head
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from geo_mm.models import YOLOV3Head

META = {'img_shape': (50, 60), 'scale_factor': (1.0, 1.0)}
SUM = {'type': 'mmdet.CrossEntropyLoss', 'use_sigmoid': True, 'reduction': 'sum'}


def make_head(cls=YOLOV3Head, **kwargs):
    torch.manual_seed(0)
    return cls(
        num_classes=1,
        in_channels=[4],
        out_channels=[4],
        anchor_generator={
            'type': 'mmdet.YOLOAnchorGenerator',
            'base_sizes': [[(16, 16), (40, 40)]],
            'strides': [16],
        },
        bbox_coder={'type': 'mmdet.YOLOBBoxCoder'},
        featmap_strides=[16],
        loss_cls=SUM,
        loss_conf=SUM,
        loss_xy=SUM,
        loss_wh={'type': 'mmdet.MSELoss', 'reduction': 'sum'},
        train_cfg=ConfigDict(
            assigner={
                'type': 'mmdet.GridAssigner',
                'pos_iou_thr': 0.5,
                'neg_iou_thr': 0.5,
                'min_pos_iou': 0,
            }
        ),
        test_cfg=ConfigDict(
            nms_pre=100,
            score_thr=0.0,
            conf_thr=0.0,
            nms={'type': 'nms', 'iou_threshold': 0.9},
            max_per_img=50,
        ),
        **kwargs,
    )


def instances(*boxes, **fields):
    return InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), **fields)


def confidence_gradient(head, ignored, objects=()):
    """Where the confidence is pushed: (anchor, row, col) True for any push."""
    maps = torch.zeros(1, 12, 4, 4, requires_grad=True)
    found = instances(*objects, labels=torch.zeros(len(objects), dtype=torch.int64))
    losses = head.loss_by_feat((maps,), [found], [META], [instances(*ignored)])
    sum(sum(value) for value in losses.values()).backward()
    return maps.grad.view(2, 6, 4, 4)[:, 4] != 0


def test_anchors_on_ignored_objects_are_no_background():
    # Of a 40-pixel anchor at most 256 of 1600 square pixels lie on this box.
    pushed = confidence_gradient(make_head(), ignored=[[16, 32, 32, 48]])
    expected = torch.ones(2, 4, 4, dtype=torch.bool)
    expected[0, 2, 1] = False
    assert torch.equal(pushed, expected)


def test_the_share_is_free():
    pushed = confidence_gradient(make_head(ignore_iof_thr=0.1), ignored=[[16, 32, 32, 48]])
    assert not pushed[1, 2, 1]


def test_targets_stay_targets_under_an_ignored_object():
    pushed = confidence_gradient(make_head(), [[-50, -50, 110, 110]], objects=[[17, 33, 31, 47]])
    assert pushed.nonzero().tolist() == [[0, 2, 1]]


def test_without_ignored_objects_the_losses_are_the_librarys():
    maps = (torch.randn(1, 12, 4, 4),)
    found = [instances([5, 5, 40, 44], labels=torch.tensor([0]))]
    ours = make_head().loss_by_feat(maps, found, [META], [instances()])
    theirs = make_head(MMDetYOLOV3Head).loss_by_feat(maps, found, [META])
    assert ours == theirs
    assert make_head().loss_by_feat(maps, found, [META]) == theirs


@pytest.mark.parametrize('rescale', [False, True])
def test_boxes_are_cut_off_at_the_chips_edge(rescale):
    # 40-pixel anchors around the corner cells reach beyond all four edges.
    maps = torch.zeros(1, 12, 4, 4)
    (ours,) = make_head().predict_by_feat((maps.clone(),), [META], rescale=rescale)
    (theirs,) = make_head(MMDetYOLOV3Head).predict_by_feat((maps,), [META], rescale=rescale)
    assert theirs.bboxes.min() < 0
    assert theirs.bboxes[:, 2].max() > 60
    assert ours.bboxes.min() == 0
    assert ours.bboxes[:, 2].max() == 60
    assert ours.bboxes[:, 3].max() == 50
