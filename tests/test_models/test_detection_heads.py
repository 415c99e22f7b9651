"""Heads and assigner on chips without objects, and with ignored ones."""

import pytest
import torch
from mmdet.models import SSDHead as MMDetSSDHead
from mmdet.models import YOLOV3Head as MMDetYOLOV3Head
from mmdet.models.task_modules import MaxIoUAssigner as MMDetMaxIoUAssigner
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from geo_mm.models.detection_heads import MaxIoUAssigner, SSDHead, YOLOV3Head

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [30, 30, 40, 40]])
IGNORED = [[0, 0, 10, 10]]


def assigned(targets, ignored, cls=MaxIoUAssigner, anchors=ANCHORS, **kwargs):
    assigner = cls(pos_iou_thr=0.5, neg_iou_thr=0.4, **{'ignore_iof_thr': 0.7, **kwargs})
    boxes = [torch.tensor(item, dtype=torch.float32).reshape(-1, 4) for item in (targets, ignored)]
    labels = torch.zeros(len(boxes[0]), dtype=torch.int64)
    result = assigner.assign(
        InstanceData(priors=anchors),
        InstanceData(bboxes=boxes[0], labels=labels),
        InstanceData(bboxes=boxes[1]),
    )
    return result.gt_inds.tolist()


def test_the_librarys_own_takes_ignored_objects_for_background():
    # If this fails the library has fixed it: delete geo_mm.MaxIoUAssigner.
    assert assigned([], IGNORED, MMDetMaxIoUAssigner) == [0, 0, 0]


def test_anchors_on_ignored_objects_are_neither():
    assert assigned([], IGNORED) == [-1, 0, 0]


def test_the_share_of_the_ignored_object_can_count_instead():
    anchors = torch.tensor([[0.0, 0, 40, 40], [30, 30, 40, 40]])
    assert assigned([], IGNORED, anchors=anchors) == [0, 0]
    assert assigned([], IGNORED, anchors=anchors, ignore_wrt_candidates=False) == [-1, 0]


@pytest.mark.parametrize('targets', [[], [[30, 30, 40, 40]]])
def test_without_ignored_objects_nothing_differs(targets):
    assert assigned(targets, []) == assigned(targets, [], MMDetMaxIoUAssigner)


def test_with_targets_nothing_differs():
    both = [assigned([[30, 30, 40, 40]], IGNORED, c) for c in (MaxIoUAssigner, MMDetMaxIoUAssigner)]
    assert both[0] == both[1] == [-1, 0, 1]


def test_ignoring_can_be_switched_off():
    assert assigned([], IGNORED, ignore_iof_thr=-1) == [0, 0, 0]


def test_no_anchors_at_all():
    assert assigned([], IGNORED, anchors=torch.empty(0, 4)) == []


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


def ssd_head(cls=SSDHead, **kwargs):
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
        ssd_head(MMDetSSDHead).predict(features(), [sample()])


def test_predicts():
    (result,) = ssd_head().eval().predict(features(), [sample()])
    assert result.bboxes.shape == (7, 4)
    assert set(result.labels.tolist()) <= {0, 1}


def test_losses_of_a_chip_with_objects_are_the_librarys():
    chip = sample([[2, 2, 14, 18], [16, 16, 30, 31]], [0, 1])
    ours, theirs = losses(ssd_head(), chip), losses(ssd_head(MMDetSSDHead), chip)
    torch.testing.assert_close(ours, theirs)


def test_an_empty_chip_trains_background():
    head = ssd_head()
    loss_cls, loss_bbox = losses(head, sample())
    assert loss_bbox == 0
    loss_cls.sum().backward()
    gradient = head.cls_convs[0][-1].bias.grad.view(-1, 3).sum(0)
    # Downhill is more background (the last class), less of either object.
    assert gradient[2] < 0 < gradient[:2].sum()
    assert losses(ssd_head(MMDetSSDHead), sample())[0] == 0


def test_an_empty_chip_gives_as_many_negatives_as_asked():
    score = torch.zeros(20, 3)
    labels = torch.full((20,), 2)
    zeros = torch.zeros(20, 4)
    for count in (1, 5):
        loss, _ = ssd_head(empty_negatives=count).loss_by_feat_single(
            score, zeros, zeros, labels, torch.ones(20), zeros, zeros, avg_factor=1
        )
        assert loss.item() == pytest.approx(count * torch.tensor(3.0).log().item())


def test_anchors_of_no_weight_are_no_negatives():
    zeros = torch.zeros(20, 4)
    weights = torch.zeros(20)
    weights[:2] = 1  # the rest is on ignored objects
    loss, _ = ssd_head().loss_by_feat_single(
        torch.zeros(20, 3), zeros, zeros, torch.full((20,), 2), weights, zeros, zeros, 1
    )
    assert loss.item() == pytest.approx(2 * torch.tensor(3.0).log().item())


META = {'img_shape': (50, 60), 'scale_factor': (1.0, 1.0)}
SUM = {'type': 'mmdet.CrossEntropyLoss', 'use_sigmoid': True, 'reduction': 'sum'}


def yolo_head(cls=YOLOV3Head, **kwargs):
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
    # Of a 40-pixel anchor at most 256 of 1600 square pixels are on this box.
    pushed = confidence_gradient(yolo_head(), ignored=[[16, 32, 32, 48]])
    expected = torch.ones(2, 4, 4, dtype=torch.bool)
    expected[0, 2, 1] = False
    assert torch.equal(pushed, expected)


def test_the_share_is_free():
    pushed = confidence_gradient(yolo_head(ignore_iof_thr=0.1), ignored=[[16, 32, 32, 48]])
    assert not pushed[1, 2, 1]


def test_targets_stay_targets_under_an_ignored_object():
    pushed = confidence_gradient(yolo_head(), [[-50, -50, 110, 110]], objects=[[17, 33, 31, 47]])
    assert pushed.nonzero().tolist() == [[0, 2, 1]]


def test_without_ignored_objects_the_losses_are_the_librarys():
    maps = (torch.randn(1, 12, 4, 4),)
    found = [instances([5, 5, 40, 44], labels=torch.tensor([0]))]
    ours = yolo_head().loss_by_feat(maps, found, [META], [instances()])
    theirs = yolo_head(MMDetYOLOV3Head).loss_by_feat(maps, found, [META])
    assert ours == theirs
    assert yolo_head().loss_by_feat(maps, found, [META]) == theirs


@pytest.mark.parametrize('rescale', [False, True])
def test_boxes_are_cut_off_at_the_chips_edge(rescale):
    # 40-pixel anchors around the corner cells reach beyond all four edges.
    maps = torch.zeros(1, 12, 4, 4)
    (ours,) = yolo_head().predict_by_feat((maps.clone(),), [META], rescale=rescale)
    (theirs,) = yolo_head(MMDetYOLOV3Head).predict_by_feat((maps,), [META], rescale=rescale)
    assert theirs.bboxes.min() < 0
    assert theirs.bboxes[:, 2].max() > 60
    assert ours.bboxes.min() == 0
    assert ours.bboxes[:, 2].max() == 60
    assert ours.bboxes[:, 3].max() == 50
