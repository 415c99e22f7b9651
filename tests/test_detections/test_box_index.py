import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.detections import box_index as module
from geo_mm.detections.box_index import BoxPairs, box_areas

corner = st.integers(-20, 20)
side = st.one_of(st.integers(0, 6), st.integers(30, 60))
box = st.tuples(corner, corner, side, side, st.integers(-1, 1))


def table(rows):
    rows = np.array(rows, float).reshape(-1, 5)
    return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]), rows[:, 4].astype(int)


def shared_area(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def all_pairs(boxes, labels):
    """The pairs that share area, by comparing each with each."""
    return {
        (i, j): shared_area(boxes[i], boxes[j])
        for i in range(len(boxes))
        for j in range(i + 1, len(boxes))
        if labels[i] == labels[j] and shared_area(boxes[i], boxes[j]) > 0
    }


def listed(found):
    """Pairs with their areas; fails if a pair comes twice."""
    rows = [
        (*sorted((int(i), int(j))), area)
        for one, other, shared in found
        for i, j, area in zip(one, other, shared, strict=True)
    ]
    assert len({row[:2] for row in rows}) == len(rows)
    return {row[:2]: row[2] for row in rows}


@pytest.fixture(params=[1 << 14, 2], ids=['one band', 'bands of two'])
def band(request, monkeypatch):
    monkeypatch.setattr(module, 'BAND', request.param)
    monkeypatch.setattr(module, 'CHUNK', request.param)


@pytest.mark.usefixtures('band')
@given(st.lists(box, max_size=40))
@settings(deadline=None)
def test_finds_what_comparing_each_with_each_finds(rows):
    boxes, labels = table(rows)
    assert listed(BoxPairs(boxes, labels).among()) == all_pairs(boxes, labels)


@pytest.mark.usefixtures('band')
@given(st.lists(st.tuples(box, st.integers(0, 2)), max_size=40))
@settings(deadline=None)
def test_among_and_between_chosen_ones(rows):
    boxes, labels = table([row for row, _ in rows])
    part = np.array([number for _, number in rows], int)
    pairs, expected = BoxPairs(boxes, labels), all_pairs(boxes, labels)
    among = {key: area for key, area in expected.items() if part[list(key)].tolist() == [1, 1]}
    assert listed(pairs.among(part == 1)) == among
    between = {key: area for key, area in expected.items() if set(part[list(key)]) == {1, 2}}
    found = list(pairs.between(part == 1, part == 2))
    assert listed(found) == between
    for one, other, _ in found:
        assert (part[one] == 1).all()
        assert (part[other] == 2).all()


@given(st.lists(box, max_size=40), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
@settings(deadline=None)
def test_all_pairs_with_the_wanted_iou_are_found(rows, iou):
    boxes, labels = table(rows)
    areas, found = box_areas(boxes), listed(BoxPairs(boxes, labels, iou).among())
    for (i, j), shared in all_pairs(boxes, labels).items():
        if shared >= iou * (areas[i] + areas[j] - shared):
            assert found[i, j] == shared


def test_one_far_away_costs_nothing():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 3000, (5000, 2))
    boxes = np.vstack([np.hstack([corners, corners + 10]), [[1e9, 1e9, 1e9 + 5, 1e9 + 5]]])
    labels = np.zeros(len(boxes), int)
    near = BoxPairs(boxes[:-1], labels[:-1])
    # Far from the origin of the strips, edges are rounded, which adds a few.
    assert BoxPairs(boxes, labels).candidates() < near.candidates() + 10 < 5 * len(boxes)


def test_giants_cost_no_more_than_their_number():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 3000, (5000, 2))
    boxes = np.hstack([corners, corners + 10])
    labels = np.zeros(len(boxes) + 3, int)
    few = BoxPairs(boxes, labels[:-3]).candidates()
    boxes = np.vstack([boxes, [[0, 0, 3010, 3010]] * 3])
    # Each giant overlaps all others; strips are a little higher than without.
    assert BoxPairs(boxes, labels).candidates() < 2 * few + 3 * 2 * len(boxes)


def test_areas():
    assert box_areas(np.array([[1, 2, 4, 6], [1, 2, 1, 6], [3, 3, 2, 9.0]])).tolist() == [12, 0, 0]
