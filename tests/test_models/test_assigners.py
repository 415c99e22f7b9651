"""Assigner: ignored objects are no background, in chips without others too."""

import pytest
import torch
from mmdet.models.task_modules import MaxIoUAssigner as MMDetMaxIoUAssigner
from mmengine.structures import InstanceData

from geo_mm.models import MaxIoUAssigner

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
    # If this fails the library has mended it: delete geo_mm.MaxIoUAssigner.
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
