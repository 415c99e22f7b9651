import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.detections import nmm, nms, soft_nms
from geo_mm.detections import suppression as module


def overlap(a, b):
    """Shared area, intersection over union, and over the smaller area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common, common / (sum(areas) - common), common / min(areas)


def one_by_one(boxes, scores, labels, iou, ios):
    """The greedy rule as it is said: kept boxes, and who claims each."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], -areas[i], *boxes[i], labels[i]))
    kept, owner = [], {}
    for i in order:
        for j in kept:
            common, by_union, by_smaller = overlap(boxes[i], boxes[j])
            near = by_union >= iou or (ios is not None and by_smaller >= ios)
            if labels[i] == labels[j] and common > 0 and near:
                owner[i] = j
                break
        else:
            kept.append(i)
            owner[i] = i
    return kept, [owner[i] for i in range(len(boxes))]


def fade_one_by_one(boxes, scores, labels, sigma, iou, least):
    """Algorithm of figure 3 of the paper."""
    now, left, kept = list(scores), list(range(len(boxes))), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while left:
        left = [i for i in left if now[i] >= least]
        if not left:
            break
        best = min(left, key=lambda i: (-now[i], -scores[i], -areas[i], *boxes[i], labels[i]))
        left.remove(best)
        kept.append((best, now[best]))
        for i in left:
            common, by_union, _ = overlap(boxes[i], boxes[best])
            if labels[i] == labels[best] and common > 0:
                linear = 1 - by_union if by_union >= iou else 1
                now[i] *= linear if sigma is None else np.exp(-(by_union**2) / sigma)
    return kept


corner = st.integers(0, 12)
side = st.integers(1, 8)
box = st.tuples(corner, corner, side, side, st.integers(0, 3), st.integers(0, 1))


def table(rows):
    rows = np.array(rows, dtype=float)
    boxes = np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
    return boxes, rows[:, 4] / 4, rows[:, 5].astype(int)


@pytest.fixture(params=[512, 2], ids=['one block', 'many blocks'])
def block(request, monkeypatch):
    monkeypatch.setattr(module, 'PROBE', request.param)
    if request.param == 2:
        monkeypatch.setattr(module, 'CROWD', 0.5)


@pytest.mark.usefixtures('block')
@given(
    st.lists(box, min_size=1, max_size=40, unique=True),
    st.sampled_from([0.3, 0.5]),
    st.sampled_from([None, 0.5, 0.8]),
)
@settings(deadline=None)
def test_equals_the_greedy_rule_and_forgets_the_input_order(rows, iou, ios):
    boxes, scores, labels = table(rows)
    expected, owners = one_by_one(boxes, scores, labels, iou, ios)
    assert nms(boxes, scores, labels, iou, ios).tolist() == expected
    kept, found = nmm(boxes, scores, labels, iou, ios)
    assert kept.tolist() == expected
    assert found.tolist() == owners
    turned = nms(boxes[::-1], scores[::-1], labels[::-1], iou, ios)
    assert (len(rows) - 1 - turned).tolist() == expected


@given(
    st.lists(box, min_size=1, max_size=25, unique=True),
    st.sampled_from([None, 0.1, 0.5]),
    st.sampled_from([0.001, 0.2]),
)
@settings(deadline=None)
def test_soft_nms_equals_the_paper_and_forgets_the_input_order(rows, sigma, least):
    boxes, scores, labels = table(rows)
    # Scores all different, or rounding decides which of two equal ones is first.
    scores = scores + np.random.default_rng(len(rows)).permutation(len(rows)) * 1e-4
    expected = fade_one_by_one(boxes, scores, labels, sigma, 0.3, least)
    kept, now = soft_nms(boxes, scores, labels, sigma=sigma, iou=0.3, least=least)
    assert dict(zip(kept.tolist(), now, strict=True)) == pytest.approx(dict(expected))
    assert (np.diff(now) <= 0).all()
    turned, after = soft_nms(
        boxes[::-1], scores[::-1], labels[::-1], sigma=sigma, iou=0.3, least=least
    )
    assert (len(rows) - 1 - turned).tolist() == kept.tolist()
    np.testing.assert_allclose(after, now)


def test_better_of_two_duplicates_is_kept():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10]]
    assert nms(boxes, [0.5, 0.9], [0, 0]).tolist() == [1]


def test_other_class_is_no_rival():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert nms(boxes, [0.5, 0.9], [0, 1]).tolist() == [1, 0]
    assert nms(boxes, [0.5, 0.9], [-7, 10**9]).tolist() == [1, 0]


def test_small_one_inside_another_goes_by_the_smaller_area_only():
    boxes = [[0, 0, 100, 20], [70, 0, 100, 20]]  # IoU 0.3, but wholly inside
    assert nms(boxes, [0.9, 0.8], [0, 0], ios=0.8).tolist() == [0]
    assert nms(boxes, [0.9, 0.8], [0, 0]).tolist() == [0, 1]


def test_suppressed_box_suppresses_nothing():
    boxes = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    assert nms(boxes, [0.9, 0.8, 0.7], [0, 0, 0], iou=0.4).tolist() == [0, 2]
    assert nmm(boxes, [0.9, 0.8, 0.7], [0, 0, 0], iou=0.4)[1].tolist() == [0, 0, 2]


def test_equal_scores_keep_the_larger():
    boxes = [[1, 1, 9, 9], [0, 0, 10, 10]]
    assert nms(boxes, [0.5, 0.5], [0, 0]).tolist() == [1]


def test_touching_boxes_are_no_rivals():
    boxes = [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert len(nms(boxes, [0.5, 0.5], [0, 0], iou=0.0, ios=0.0)) == 2


def test_outlines_are_measured_in_place_of_boxes():
    """Two triangles of one square: their boxes are the same, they do not overlap."""
    triangles = np.array(
        [
            shapely.Polygon([(0, 0), (10, 0), (0, 10)]),
            shapely.Polygon([(10, 10), (10, 0), (0, 10)]),
            shapely.Polygon([(10, 10), (10, 1), (1, 10)]),
        ]
    )
    boxes = [[0, 0, 10, 10]] * 3
    assert nms(boxes, [0.5, 0.8, 0.7], [0] * 3).tolist() == [1]
    assert nms(boxes, [0.5, 0.8, 0.7], [0] * 3, outlines=triangles).tolist() == [1, 0]
    kept, now = soft_nms(boxes, [0.5, 0.8, 0.7], [0] * 3, sigma=None, outlines=triangles)
    assert kept.tolist() == [1, 0, 2]
    assert now.tolist() == pytest.approx([0.8, 0.5, 0.7 * (1 - 40.5 / 50)])


def test_soft_nms_of_two():
    boxes = [[0, 0, 10, 10], [5, 0, 15, 10]]  # IoU 1/3
    kept, now = soft_nms(boxes, [0.6, 0.9], [0, 0])
    assert kept.tolist() == [1, 0]
    assert now.tolist() == pytest.approx([0.9, 0.6 * np.exp(-1 / 9 / 0.5)])
    kept, now = soft_nms(boxes, [0.6, 0.9], [0, 0], sigma=None)
    assert now.tolist() == pytest.approx([0.9, 0.4])
    assert soft_nms(boxes, [0.6, 0.9], [0, 0], sigma=None, least=0.5)[0].tolist() == [1]


def test_no_boxes():
    none = np.empty((0, 4)), np.empty(0), np.empty(0, int)
    assert nms(*none).tolist() == []
    assert [values.tolist() for values in nmm(*none)] == [[], []]
    assert [values.tolist() for values in soft_nms(*none)] == [[], []]


def test_many_pairs_of_duplicates():
    rng = np.random.default_rng(0)
    corners = np.unique(rng.integers(0, 1000, (100_000, 2)) * 20.0, axis=0).repeat(2, axis=0)
    boxes = np.hstack([corners, corners + 10])
    scores = rng.random(len(boxes))
    kept = nms(boxes, scores, np.zeros(len(boxes), dtype=int))
    pairs = scores.reshape(-1, 2)
    assert sorted(kept) == (np.arange(len(pairs)) * 2 + pairs.argmax(axis=1)).tolist()


def test_crowd():
    """5,000 boxes on top of each other: more pairs than are ever compared."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (5000, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 40, (5000, 2))])
    scores, labels = rng.random(5000), np.zeros(5000, int)
    expected, owners = one_by_one(boxes, scores, labels, 0.1, None)
    kept, found = nmm(boxes, scores, labels, 0.1)
    assert kept.tolist() == expected
    assert found.tolist() == owners


@pytest.mark.parametrize(
    ('boxes', 'scores', 'message'),
    [([[0, 0, 1, 1]], [0.5, 0.6], '1 boxes, 2 scores'), ([[0, 0, 1, np.nan]], [0.5], 'finite')],
)
def test_arrays_that_do_not_fit(boxes, scores, message):
    for function in (nms, nmm, soft_nms):
        with pytest.raises(ValueError, match=message):
            function(boxes, scores, [0])
