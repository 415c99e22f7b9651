"""What several detectors, or views of a tile, say together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from geo_mm.inference.ensemble import VIEWS
from geo_mm.inference.model import turned
from geo_mm.inference.network import TileObjects
from geo_mm.inference.tasks.detection import fuse, turned_back

SIDE = 20


def instances(*items, masks=None):
    """Of (left, top, right, bottom, score, label)."""
    table = np.array(items, np.float32).reshape(-1, 6)
    if masks is not None:
        masks = np.array(masks, bool).reshape(-1, SIDE, SIDE)
    return TileObjects((SIDE, SIDE), table[:, :4], table[:, 4], table[:, 5].astype(np.int64), masks)


def mask_of(left, top, right, bottom):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize('view', VIEWS['d4'])
def test_what_is_found_in_a_view_is_turned_back(view):
    box = (2, 5, 9, 18)
    tile = mask_of(*box)[:, :12]
    item = {'inputs': torch.from_numpy(tile)[None], 'data_samples': DetDataSample()}
    image = turned(item, view)['inputs'][0]
    rows, cols = np.nonzero(image.numpy())
    seen = (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
    found = replace(instances((*seen, 0.5, 1)), size=tuple(image.shape), masks=image.numpy()[None])
    back = turned_back(found, view)
    assert back.size == tile.shape
    assert back.bboxes.tolist() == [list(box)]
    np.testing.assert_array_equal(back.masks[0], tile)
    assert (back.scores.tolist(), back.labels.tolist()) == ([0.5], [1])


def test_boxes_are_averaged_with_their_scores_as_weights():
    found = fuse([instances((0, 0, 10, 10, 0.75, 0)), instances((2, 0, 10, 12, 0.25, 0))])
    assert found.bboxes.tolist() == [[0.5, 0, 10, 10.5]]
    assert found.scores.tolist() == [0.5]


def test_who_does_not_see_an_object_gives_it_no_score():
    reports = [instances((0, 0, 10, 10, 0.8, 0)), instances()]
    assert fuse(reports).scores.tolist() == pytest.approx([0.4])
    assert fuse(reports, 'max').scores.tolist() == pytest.approx([0.8])


def test_the_most_confident_come_first():
    reports = [
        instances((0, 0, 5, 5, 0.9, 0), (10, 10, 15, 15, 0.6, 0)),
        instances((10, 10, 15, 15, 0.6, 0)),
    ]
    found = fuse(reports)
    assert found.scores.tolist() == pytest.approx([0.6, 0.45])
    assert found.bboxes.tolist() == [[10, 10, 15, 15], [0, 0, 5, 5]]


def test_objects_of_several_classes_stay_apart():
    reports = [instances((0, 0, 10, 10, 0.8, 0)), instances((0, 0, 10, 10, 0.6, 1))]
    found = fuse(reports)
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.4, 0.3])


def test_two_objects_of_one_voter_stay_apart():
    # Each overlaps the other by an IoU of 0.67, and the second's by more.
    reports = [
        instances((0, 0, 10, 10, 0.8, 0), (0, 2, 10, 12, 0.7, 0)),
        instances((0, 2, 10, 12, 0.5, 0)),
    ]
    found = fuse(reports, 'max')
    assert len(found) == 2


def test_a_voters_nearest_object_is_taken():
    reports = [
        instances((0, 0, 10, 10, 0.9, 0)),
        instances((0, 2, 10, 12, 0.8, 0), (0, 0, 10, 10, 0.1, 0)),
    ]
    found = fuse(reports, 'max')
    assert found.bboxes.tolist() == [[0, 0, 10, 10], [0, 2, 10, 12]]


def test_masks_are_voted_on():
    reports = [
        instances((0, 0, 10, 10, 0.6, 0), masks=[mask_of(0, 0, 10, 10)]),
        instances((0, 0, 10, 8, 0.4, 0), masks=[mask_of(0, 0, 10, 8)]),
        instances((0, 0, 8, 10, 0.4, 0), masks=[mask_of(0, 0, 8, 10)]),
    ]
    # In the corner only one of them, with 0.6 of 1.4, sees it.
    expected = mask_of(0, 0, 10, 10) & ~mask_of(8, 8, 10, 10)
    np.testing.assert_array_equal(fuse(reports).masks[0], expected)


def test_nothing_at_all():
    found = fuse([instances(masks=[]), instances(masks=[])])
    assert len(found) == 0
    assert found.bboxes.shape == (0, 4)


def test_scores_of_zero_give_no_nan():
    found = fuse([instances((0, 0, 10, 10, 0, 0)), instances((0, 0, 10, 10, 0, 0))])
    assert np.isfinite(found.bboxes).all()
