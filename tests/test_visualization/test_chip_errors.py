"""Errors on a chip: counted and drawn for objects and for pixels."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from geo_mm.visualization.chip_errors import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    WRONG,
    ErrorDrawing,
)

PICTURE = np.full((40, 60, 3), 200, np.uint8)


def instances(boxes, scores=None) -> InstanceData:
    data = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
    )
    if scores is not None:
        data.scores = torch.tensor(scores)
    return data


def objects(pred, scores, truth, ignored=()) -> DetDataSample:
    sample = DetDataSample()
    sample.pred_instances = instances(pred, scores)
    sample.gt_instances = instances(truth)
    sample.ignored_instances = instances(ignored)
    return sample


def colours(image) -> set[tuple[int, ...]]:
    return {tuple(colour) for _, colour in image.getcolors(1 << 16)}


def test_objects_are_counted_and_drawn_by_kind_of_error():
    hit, extra, missed = [5, 5, 15, 15], [30, 5, 40, 15], [5, 25, 15, 35]
    found = ErrorDrawing()(PICTURE, objects([hit, extra], [0.9, 0.8], [hit, missed]))
    assert found.text == '1 TP, 1 FP, 1 FN'
    assert found.share == pytest.approx(2 / 3)
    assert colours(found.image) == {
        (100, 100, 100), TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE
    }  # fmt: skip


def test_objects_below_the_confidence_do_not_count():
    box = [5, 5, 15, 15]
    sample = objects([box], [0.4], [box])
    assert ErrorDrawing(confidence=0.5)(PICTURE, sample).text == '0 TP, 0 FP, 1 FN'
    assert ErrorDrawing(confidence=0.3)(PICTURE, sample).share == 0


def test_a_smaller_iou_accepts_a_coarser_box():
    sample = objects([[5, 5, 15, 15]], [0.9], [[10, 5, 20, 15]])  # a third
    assert ErrorDrawing(iou=0.5)(PICTURE, sample).text == '0 TP, 1 FP, 1 FN'
    assert ErrorDrawing(iou=0.3)(PICTURE, sample).text == '1 TP, 0 FP, 0 FN'


def test_predictions_on_ignored_objects_are_no_errors():
    box = [5, 5, 15, 15]
    found = ErrorDrawing()(PICTURE, objects([box], [0.9], [], ignored=[box]))
    assert found.text == '0 TP, 0 FP, 0 FN'


def test_a_chip_without_objects_has_no_errors():
    assert ErrorDrawing()(PICTURE, objects([], [], [])).share == 0


def test_wrong_pixels_are_marked_where_there_is_a_label():
    truth = np.zeros((40, 60), np.uint8)
    truth[:, :30] = 1
    truth[:10] = 255
    pred = np.zeros((40, 60), np.uint8)
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.from_numpy(truth)[None]),
        pred_sem_seg=PixelData(data=torch.from_numpy(pred)[None]),
    )
    found = ErrorDrawing()(PICTURE, sample)
    assert (found.text, found.count) == ('50.0% wrong', 900)
    marked = (np.array(found.image) == WRONG).all(-1)
    assert np.array_equal(marked, truth == 1)
    assert (PICTURE == 200).all()  # the caller's picture is left as it was
