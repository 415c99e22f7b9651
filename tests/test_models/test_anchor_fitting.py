"""IoU with anchors on their grid, and k-means of sizes: against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures.bbox import bbox_overlaps

from geo_mm.models import AnchorFamily, AnchorGrid, fit_anchors

sides = st.floats(1.0, 90.0)


@st.composite
def boxes_on_chips(draw, most=6):
    """Boxes in a chip of any size, and that size."""
    extent = np.array(draw(st.tuples(st.integers(8, 130), st.integers(8, 130))), float)
    corners = draw(
        st.lists(
            st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(0.02, 1)] * 2), min_size=1, max_size=most
        )
    )
    low = np.array(corners)[:, :2] * (extent - 1)
    high = np.minimum(low + 1 + np.array(corners)[:, 2:] * (extent - 1), extent)
    return np.concatenate([low, high], axis=1), extent


@st.composite
def grids(draw):
    """Anchors of one to three levels, each with strides and a centre of its own."""
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        stride = np.array(draw(st.tuples(st.sampled_from([4, 8, 16, 32]), st.integers(3, 40))))
        centre = stride * draw(st.sampled_from([0.0, 0.5]))
        rows += [
            (draw(st.tuples(sides, sides)), centre, stride) for _ in range(draw(st.integers(1, 3)))
        ]
    return AnchorGrid(*(np.array(column, float) for column in zip(*rows, strict=True)))


def every_anchor(grid: AnchorGrid, kind: int, extent: np.ndarray) -> np.ndarray:
    """All anchors of one kind on a chip, xyxy."""
    (width, height), stride = extent, grid.strides[kind]
    x, y = np.meshgrid(
        np.arange(np.ceil(width / stride[0])), np.arange(np.ceil(height / stride[1]))
    )
    centres = np.stack([x.ravel(), y.ravel()], axis=1) * stride + grid.centres[kind]
    return np.concatenate([centres - grid.sizes[kind] / 2, centres + grid.sizes[kind] / 2], axis=1)


@given(boxes_on_chips(), grids())
def test_iou_is_the_best_over_all_cells(chip, grid):
    boxes, extent = chip
    found = grid.iou(boxes, np.tile(extent, (len(boxes), 1)))
    for kind in range(len(grid.sizes)):
        anchors = torch.tensor(every_anchor(grid, kind, extent))
        best = bbox_overlaps(torch.tensor(boxes), anchors).amax(dim=1)
        np.testing.assert_allclose(found[:, kind], best.numpy(), atol=1e-6)


def test_iou_of_anchors_that_can_be_worked_out():
    # Cells of 8 pixels, anchors around their upper left corners.
    grid = AnchorGrid(np.array([[10.0, 10.0]]), np.zeros((1, 2)), np.full((1, 2), 8.0))
    boxes = np.array(
        [
            [11.0, 11.0, 21.0, 21.0],  # the anchor itself
            [11.0, 11.0, 21.0, 16.0],  # its upper half; the one above covers as much
            [59.0, 59.0, 64.0, 64.0],  # there is no cell at 64: the one at 56 reaches 61
        ]
    )
    iou = grid.iou(boxes, np.full((3, 2), 64.0))
    assert iou.ravel() == pytest.approx([1.0, 0.5, 4 / 121], abs=1e-12)


def free_family(kinds: int, stride: float = 1e-3) -> AnchorFamily:
    """Anchors whose widths and heights are all free, on a grid so fine that it is none."""
    return AnchorFamily(
        np.zeros((kinds, 2)),
        np.full((kinds, 2), stride),
        np.zeros((kinds, 2)),
        np.eye(2 * kinds).reshape(kinds, 2, -1),
    )


def boxes_of(sizes: np.ndarray, extent: float = 256.0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of some sizes around the middle of a chip, and the chip's size for each."""
    return (
        np.concatenate([extent / 2 - sizes / 2, extent / 2 + sizes / 2], axis=1),
        np.full(sizes.shape, extent),
    )


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=20))
def test_one_free_anchor_moves_to_the_geometric_mean(sizes):
    sizes = np.array(sizes)
    moved = free_family(1).moved(
        np.zeros(2), sizes, np.zeros(len(sizes), int), np.full(len(sizes), 0.5)
    )
    np.testing.assert_allclose(moved, np.log(sizes).mean(axis=0), atol=1e-9)


def test_an_anchor_that_owns_nothing_stays():
    start = np.log([5.0, 6.0, 70.0, 80.0])
    moved = free_family(2).moved(start, np.array([[10.0, 20.0]]), np.zeros(1, int), np.ones(1))
    np.testing.assert_allclose(np.exp(moved), [10.0, 20.0, 70.0, 80.0])


def test_weights_count_like_repetitions():
    sizes = np.array([[10.0, 20.0], [40.0, 10.0]])
    owner, family = np.zeros(2, int), free_family(1)
    weighted = family.moved(np.zeros(2), sizes, owner, np.array([3.0, 1.0]))
    repeated = family.moved(np.zeros(2), sizes[[0, 0, 0, 1]], np.zeros(4, int), np.ones(4))
    np.testing.assert_allclose(weighted, repeated)


def test_clusters_are_found():
    rng = np.random.default_rng(0)
    true = np.array([[8.0, 9.0], [30.0, 20.0], [60.0, 90.0]])
    sizes = np.concatenate([size * rng.uniform(0.95, 1.05, (50, 2)) for size in true])
    start = np.log([[16.0, 16.0], [32.0, 32.0], [64.0, 64.0]]).ravel()
    found = fit_anchors(free_family(3), [start], *boxes_of(sizes), np.ones(len(sizes)), 0.5)
    np.testing.assert_allclose(np.exp(found).reshape(-1, 2), true, rtol=0.04)


def test_on_a_coarse_grid_anchors_are_larger_than_the_objects():
    """Around objects of 6 pixels anywhere in cells of 8, a larger anchor overlaps more often."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 200, (400, 2))
    boxes = np.concatenate([low, low + 6.0], axis=1)
    family = free_family(1, stride=8.0)
    found = fit_anchors(
        family, [np.log([6.0, 6.0])], boxes, np.full((400, 2), 256.0), np.ones(400), 0.5
    )
    assert np.exp(found).prod() > 1.1 * 6.0**2


@given(boxes_on_chips(), grids())
def test_a_fit_is_never_worse_than_its_starts(chip, grid):
    boxes, extent = chip
    extents, weights = np.tile(extent, (len(boxes), 1)), np.ones(len(boxes))
    kinds = len(grid.sizes)
    design = np.zeros((kinds, 2, 2))
    design[:, 0, 0] = design[:, 1, 1] = 1  # all widths and all heights together
    family = AnchorFamily(grid.centres, grid.strides, np.log(grid.sizes), design)

    def score(parameters):
        best = family.grid(parameters).iou(boxes, extents).max(axis=1)
        return (best + 3 * (best >= 0.5)).mean()

    starts = [np.zeros(2), np.array([0.3, -0.3])]
    best = fit_anchors(family, starts, boxes, extents, weights, 0.5)
    assert score(best) >= max(map(score, starts)) - 1e-12


def test_anchors_that_serve_no_object_stay():
    sizes = np.array([[10.0, 20.0]])
    first, larger = np.log([8.0, 8.0, 200.0, 200.0]), np.log([10.0, 20.0, 999.0, 999.0])
    found = fit_anchors(free_family(2), [first, larger], *boxes_of(sizes), np.ones(1), 0.5)
    np.testing.assert_allclose(np.exp(found), [10.0, 20.0, 200.0, 200.0])
