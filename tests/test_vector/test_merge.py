import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.vector import merge_boxes


def one_by_one(boxes, scores, labels, iou, ios):
    """The greedy rule as it is said: the reference."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], -areas[i], *boxes[i], labels[i]))
    kept = []
    for i in order:
        for j in kept:
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            common = max(width, 0) * max(height, 0)
            if labels[i] != labels[j] or common == 0:
                continue
            if common >= iou * (areas[i] + areas[j] - common):
                break
            if ios is not None and common >= ios * min(areas[i], areas[j]):
                break
        else:
            kept.append(i)
    return kept


corner = st.integers(0, 12)
side = st.integers(1, 8)
box = st.tuples(corner, corner, side, side, st.integers(0, 3), st.integers(0, 1))


@given(st.lists(box, min_size=1, max_size=40, unique=True), st.sampled_from([None, 0.5, 0.8]))
@settings(deadline=None)
def test_equals_the_greedy_rule_and_forgets_the_input_order(rows, ios):
    rows = np.array(rows, dtype=float)
    boxes = np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
    scores, labels = rows[:, 4] / 4, rows[:, 5].astype(int)
    kept = merge_boxes(boxes, scores, labels, 0.5, ios)
    assert kept.tolist() == one_by_one(boxes, scores, labels, 0.5, ios)
    turned = merge_boxes(boxes[::-1], scores[::-1], labels[::-1], 0.5, ios)
    assert (len(rows) - 1 - turned).tolist() == kept.tolist()


def test_better_of_two_duplicates_is_kept():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10]]
    assert merge_boxes(boxes, [0.5, 0.9], [0, 0]).tolist() == [1]


def test_other_class_is_no_rival():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert merge_boxes(boxes, [0.5, 0.9], [0, 1]).tolist() == [1, 0]


def test_part_cut_off_by_a_tile_is_merged_into_the_whole():
    boxes = [[0, 0, 100, 20], [70, 0, 100, 20]]  # IoU 0.3, but wholly inside
    assert merge_boxes(boxes, [0.9, 0.8], [0, 0]).tolist() == [0]
    assert merge_boxes(boxes, [0.9, 0.8], [0, 0], ios=None).tolist() == [0, 1]


def test_suppressed_box_suppresses_nothing():
    boxes = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    assert merge_boxes(boxes, [0.9, 0.8, 0.7], [0, 0, 0], iou=0.4).tolist() == [0, 2]


def test_equal_scores_keep_the_larger():
    boxes = [[1, 1, 9, 9], [0, 0, 10, 10]]
    assert merge_boxes(boxes, [0.5, 0.5], [0, 0]).tolist() == [1]


def test_touching_boxes_are_no_rivals():
    boxes = [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert len(merge_boxes(boxes, [0.5, 0.5], [0, 0], iou=0.0, ios=0.0)) == 2


def test_no_boxes():
    assert merge_boxes(np.empty((0, 4)), [], []).tolist() == []


def test_many_boxes_over_several_chunks():
    rng = np.random.default_rng(0)
    corners = np.repeat(rng.integers(0, 100_000, (10_000, 2)) * 20.0, 2, axis=0)
    corners = np.unique(corners, axis=0).repeat(2, axis=0)
    boxes = np.column_stack([corners, corners + 10])
    scores = rng.random(len(boxes))
    kept = merge_boxes(boxes, scores, np.zeros(len(boxes), dtype=int))
    pairs = scores.reshape(-1, 2)
    assert sorted(kept) == (np.arange(len(pairs)) * 2 + pairs.argmax(axis=1)).tolist()


@pytest.mark.parametrize(
    ('boxes', 'scores', 'message'),
    [([[0, 0, 1, 1]], [0.5, 0.6], '1 boxes, 2 scores'), ([[0, 0, 1, np.nan]], [0.5], 'finite')],
)
def test_arrays_that_do_not_fit(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        merge_boxes(boxes, scores, [0])


def test_boxes_of_one_tile_are_no_rivals():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11]]
    scores = [0.9, 0.8, 0.7]
    assert merge_boxes(boxes, scores, [0] * 3, groups=[5, 5, 5]).tolist() == [0, 1, 2]
    assert merge_boxes(boxes, scores, [0] * 3, groups=[5, 5, 6]).tolist() == [0, 1]
    assert merge_boxes(boxes, scores, [0] * 3, groups=[1, 2, 3]).tolist() == [0]


def test_whole_box_wins_over_a_surer_part_of_it():
    boxes = [[0, 0, 100, 20], [70, 0, 100, 20]]
    kept = merge_boxes(boxes, [0.5, 0.9], [0, 0], groups=[0, 1], partial=[False, True])
    assert kept.tolist() == [0]
    assert merge_boxes(boxes, [0.5, 0.9], [0, 0], groups=[0, 1]).tolist() == [1]


def test_whole_box_inside_another_is_an_object_of_its_own():
    boxes = [[0, 0, 100, 20], [70, 0, 100, 20]]
    kept = merge_boxes(boxes, [0.5, 0.9], [0, 0], groups=[0, 1], partial=[False, False])
    assert kept.tolist() == [1, 0]  # by falling score
    # Nor does it make a larger one vanish that a tile cuts.
    kept = merge_boxes(boxes, [0.5, 0.9], [0, 0], groups=[0, 1], partial=[True, False])
    assert kept.tolist() == [1, 0]


def test_of_two_parts_the_larger_is_kept():
    boxes = [[0, 0, 50, 20], [10, 0, 30, 20]]
    kept = merge_boxes(boxes, [0.5, 0.9], [0, 0], groups=[0, 1], partial=[True, True])
    assert kept.tolist() == [0]


@given(st.lists(st.tuples(box, st.integers(0, 2), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None)
def test_groups_and_parts_forget_the_input_order(rows):
    numbers = np.array([(*row, group, part) for row, group, part in rows], dtype=float)
    numbers = np.unique(numbers, axis=0)

    def kept(table):
        boxes = np.column_stack([table[:, :2], table[:, :2] + table[:, 2:4]])
        found = merge_boxes(
            boxes, table[:, 4], table[:, 5], groups=table[:, 6], partial=table[:, 7]
        )
        return sorted(map(tuple, table[found, :6]))

    assert kept(numbers) == kept(numbers[::-1])
