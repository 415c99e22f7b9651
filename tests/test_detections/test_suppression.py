import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.detections import Detections, nmm, nms, soft_nms, suppress, suppressors
from geo_mm.detections import suppression as module


def detections(boxes, scores, labels=None, outlines=None):
    """Numbered, so that it can be told which are kept."""
    number = {'number': np.arange(len(boxes))}
    labels = np.zeros(len(boxes), int) if labels is None else labels
    return Detections(boxes, labels, scores, outlines, data=number)


def kept(function, *given, outlines=None, **options):
    """Numbers of what is kept, and the confidences."""
    found = function(detections(*given, outlines=outlines), **options)
    return found.data['number'].tolist(), found.confidences


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
def test_equals_the_greedy_rule_and_ignores_the_input_order(rows, iou, ios):
    boxes, scores, labels = table(rows)
    expected, owners = one_by_one(boxes, scores, labels, iou, ios)
    for function in (nms, nmm):
        assert kept(function, boxes, scores, labels, iou=iou, ios=ios)[0] == expected
    assert suppressors(detections(boxes, scores, labels), iou, ios).tolist() == owners
    turned, _ = kept(nms, boxes[::-1], scores[::-1], labels[::-1], iou=iou, ios=ios)
    assert [len(rows) - 1 - number for number in turned] == expected


@given(
    st.lists(box, min_size=1, max_size=25, unique=True),
    st.sampled_from([None, 0.1, 0.5]),
    st.sampled_from([0.001, 0.2]),
)
@settings(deadline=None)
def test_soft_nms_equals_the_paper_and_ignores_the_input_order(rows, sigma, least):
    boxes, scores, labels = table(rows)
    # Scores all different, or rounding decides which of two equal ones is first.
    scores = scores + np.random.default_rng(len(rows)).permutation(len(rows)) * 1e-4
    expected = fade_one_by_one(boxes, scores, labels, sigma, 0.3, least)
    options = dict(sigma=sigma, iou=0.3, least=least)
    found, now = kept(soft_nms, boxes, scores, labels, **options)
    assert dict(zip(found, now, strict=True)) == pytest.approx(dict(expected))
    assert (np.diff(now) <= 0).all()
    turned, after = kept(soft_nms, boxes[::-1], scores[::-1], labels[::-1], **options)
    assert [len(rows) - 1 - number for number in turned] == found
    assert after.tolist() == now.tolist()


def test_better_of_two_duplicates_is_kept():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10]]
    assert kept(nms, boxes, [0.5, 0.9])[0] == [1]


def test_other_class_is_no_rival():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert kept(nms, boxes, [0.5, 0.9], [0, 1])[0] == [1, 0]
    assert kept(nms, boxes, [0.5, 0.9], [-7, 10**9])[0] == [1, 0]


def test_small_one_inside_another_goes_by_the_smaller_area_only():
    boxes = [[0, 0, 100, 20], [70, 0, 100, 20]]  # IoU 0.3, but wholly inside
    assert kept(nms, boxes, [0.9, 0.8], ios=0.8)[0] == [0]
    assert kept(nms, boxes, [0.9, 0.8])[0] == [0, 1]


def test_suppressed_box_suppresses_nothing():
    boxes = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    assert kept(nms, boxes, [0.9, 0.8, 0.7], iou=0.4)[0] == [0, 2]
    assert suppressors(detections(boxes, [0.9, 0.8, 0.7]), iou=0.4).tolist() == [0, 0, 2]


def test_equal_scores_keep_the_larger():
    boxes = [[1, 1, 9, 9], [0, 0, 10, 10]]
    assert kept(nms, boxes, [0.5, 0.5])[0] == [1]


def test_touching_boxes_are_no_rivals():
    boxes = [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert len(kept(nms, boxes, [0.5, 0.5], iou=0.0, ios=0.0)[0]) == 2


def test_outlines_are_measured_in_place_of_boxes():
    """Two triangles of one square: their boxes are the same, they do not overlap."""
    triangles = np.array(
        [
            shapely.Polygon([(0, 0), (10, 0), (0, 10)]),
            shapely.Polygon([(10, 10), (10, 0), (0, 10)]),
            shapely.Polygon([(10, 10), (10, 1), (1, 10)]),
        ]
    )
    boxes, scores = [[0, 0, 10, 10]] * 3, [0.5, 0.8, 0.7]
    assert kept(nms, boxes, scores)[0] == [1]
    assert kept(nms, boxes, scores, outlines=triangles)[0] == [1, 0]
    found, now = kept(soft_nms, boxes, scores, outlines=triangles, sigma=None)
    assert found == [1, 0, 2]
    assert now.tolist() == pytest.approx([0.8, 0.5, 0.7 * (1 - 40.5 / 50)])


def test_soft_nms_of_two():
    boxes = [[0, 0, 10, 10], [5, 0, 15, 10]]  # IoU 1/3
    found, now = kept(soft_nms, boxes, [0.6, 0.9])
    assert found == [1, 0]
    assert now.tolist() == pytest.approx([0.9, 0.6 * np.exp(-1 / 9 / 0.5)])
    assert kept(soft_nms, boxes, [0.6, 0.9], sigma=None)[1].tolist() == pytest.approx([0.9, 0.4])
    assert kept(soft_nms, boxes, [0.6, 0.9], sigma=None, least=0.5)[0] == [1]


def test_many_pairs_of_duplicates():
    rng = np.random.default_rng(0)
    corners = np.unique(rng.integers(0, 1000, (100_000, 2)) * 20.0, axis=0).repeat(2, axis=0)
    boxes = np.hstack([corners, corners + 10])
    scores = rng.random(len(boxes))
    pairs = scores.reshape(-1, 2)
    expected = np.arange(len(pairs)) * 2 + pairs.argmax(axis=1)
    assert sorted(kept(nms, boxes, scores)[0]) == expected.tolist()


def test_crowd():
    """5,000 boxes on top of each other: more pairs than are ever compared."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (5000, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 40, (5000, 2))])
    scores, labels = rng.random(5000), np.zeros(5000, int)
    expected, owners = one_by_one(boxes, scores, labels, 0.1, None)
    assert kept(nmm, boxes, scores, labels, iou=0.1)[0] == expected
    assert suppressors(detections(boxes, scores, labels), 0.1).tolist() == owners


BOXES = [[0, 0, 10, 10], [0, 1, 10, 11], [30, 0, 40, 10], [0, 8, 10, 18]]
SCORES = [0.6, 0.9, 0.95, 0.5]  # IoU of the first two 9/11, of the second and the last 3/17


def suppressed(method, outlines=None, **options):
    return suppress(detections(BOXES, SCORES, outlines=outlines), method, **options)


def numbers(method, **options):
    return suppressed(method, **options).data['number'].tolist()


def test_method_nms():
    found = suppressed('nms')
    assert found.data['number'].tolist() == [2, 1, 3]
    assert found.boxes.tolist() == [BOXES[2], BOXES[1], BOXES[3]]
    assert numbers('nms', iou=0.1) == [2, 1]


def test_method_nmm_merges_into_the_most_confident():
    found = suppressed('nmm')
    assert found.data['number'].tolist() == [2, 1, 3]
    assert found.boxes.tolist() == [BOXES[2], [0, 0, 10, 11], BOXES[3]]
    assert found.confidences.tolist() == [0.95, 0.9, 0.5]


def test_method_nmm_unites_outlines():
    found = suppressed('nmm', shapely.box(*np.array(BOXES, float).T))
    expected = [shapely.box(*BOXES[2]), shapely.box(0, 0, 10, 11), shapely.box(*BOXES[3])]
    assert shapely.equals(found.outlines, expected).all()


def test_method_soft_nms_lowers_confidences():
    found = suppressed('soft-nms')
    faded = [0.6 * np.exp(-2 * (9 / 11) ** 2), 0.5 * np.exp(-2 * (3 / 17) ** 2)]
    # The first and the last overlap, too: 2 of 18.
    faded[0] *= np.exp(-2 * (2 / 18) ** 2)
    assert found.data['number'].tolist() == [2, 1, 3, 0]
    assert found.confidences.tolist() == pytest.approx([0.95, 0.9, faded[1], faded[0]])
    assert numbers('soft-nms', score=0.3) == [2, 1, 3]


def test_method_none_keeps_all():
    assert numbers('none') == [2, 1, 0, 3]


@pytest.mark.parametrize('method', ['nms', 'nmm', 'soft-nms', 'none'])
def test_no_detections(method):
    none = Detections(np.empty((0, 4)), [], [])
    assert len(suppress(none, method)) == 0
    assert suppressors(none).tolist() == []


def test_unknown_method():
    with pytest.raises(ValueError, match="no method 'wbf'"):
        suppressed('wbf')
