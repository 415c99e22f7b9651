import numpy as np
import pytest
import shapely

from geo_mm.detections import Objects, settle


def objects(boxes, scores, *, outlines=None):
    count = len(boxes)
    return Objects(
        np.array(boxes, float),
        np.zeros(count, int),
        np.array(scores, float),
        np.arange(count),
        outlines,
    )


BOXES = [[0, 0, 10, 10], [0, 1, 10, 11], [30, 0, 40, 10], [0, 8, 10, 18]]
SCORES = [0.6, 0.9, 0.95, 0.5]  # IoU of the first two 9/11, of the second and the last 3/17


def test_nms_keeps_the_surest():
    found = settle(objects(BOXES, SCORES), 'nms')
    assert found.sources.tolist() == [2, 1, 3]
    assert found.boxes.tolist() == [BOXES[2], BOXES[1], BOXES[3]]
    assert settle(objects(BOXES, SCORES), 'nms', iou=0.1).sources.tolist() == [2, 1]


def test_nmm_merges_into_the_surest():
    found = settle(objects(BOXES, SCORES), 'nmm')
    assert found.sources.tolist() == [2, 1, 3]
    assert found.boxes.tolist() == [BOXES[2], [0, 0, 10, 11], BOXES[3]]
    assert found.scores.tolist() == [0.95, 0.9, 0.5]


def test_nmm_unites_outlines():
    outlines = shapely.box(*np.array(BOXES, float).T)
    found = settle(objects(BOXES, SCORES, outlines=outlines), 'nmm')
    expected = [shapely.box(*BOXES[2]), shapely.box(0, 0, 10, 11), shapely.box(*BOXES[3])]
    assert shapely.equals(found.outlines, expected).all()


def test_soft_nms_lowers_scores():
    found = settle(objects(BOXES, SCORES), 'soft-nms')
    faded = [0.6 * np.exp(-2 * (9 / 11) ** 2), 0.5 * np.exp(-2 * (3 / 17) ** 2)]
    # The first and the last overlap, too: 2 of 18.
    faded[0] *= np.exp(-2 * (2 / 18) ** 2)
    assert found.sources.tolist() == [2, 1, 3, 0]
    assert found.scores.tolist() == pytest.approx([0.95, 0.9, faded[1], faded[0]])
    assert settle(objects(BOXES, SCORES), 'soft-nms', score=0.3).sources.tolist() == [2, 1, 3]


def test_none_keeps_all():
    assert settle(objects(BOXES, SCORES), 'none').sources.tolist() == [2, 1, 0, 3]


@pytest.mark.parametrize('method', ['nms', 'nmm', 'soft-nms', 'none'])
def test_no_objects(method):
    assert len(settle(objects(np.empty((0, 4)), []), method).boxes) == 0


def test_unknown_method():
    with pytest.raises(ValueError, match="no method 'wbf'"):
        settle(objects(BOXES, SCORES), 'wbf')
