"""Anchors on their grid against brute force, and settings that fit objects."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures.bbox import bbox_overlaps

from geo_mm.errors import ConfigError
from geo_mm.models.anchors import AnchorGrid, anchor_grid, fit_anchors

GENERATORS = {
    'rpn': dict(type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16]),
    'rpn with base sizes': dict(
        type='mmdet.AnchorGenerator',
        scales=[1.0],
        ratios=[1.0, 3.0],
        strides=[(8, 4), (16, 8)],
        base_sizes=[10, 25],
        center_offset=0.5,
        scale_major=False,
    ),
    'retina': dict(
        type='AnchorGenerator',
        octave_base_scale=2,
        scales_per_octave=3,
        ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32],
    ),
    'ssd': dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[8, 16, 32],
        ratios=[[2], [2, 3], [2]],
        min_sizes=[12, 24, 48],
        max_sizes=[24, 48, 96],
    ),
    'ssd of a size': dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        basesize_ratio_range=(0.15, 0.9),
        input_size=300,
    ),
    'yolo': dict(
        type='YOLOAnchorGenerator',
        strides=[32, 16, 8],
        base_sizes=[[(64, 64), (110, 60)], [(20, 20), (28, 33)], [(5, 5), (10, 10)]],
    ),
}
every_generator = pytest.mark.parametrize('generator', GENERATORS.values(), ids=GENERATORS)


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


def boxes_of(size, count=200, extent=512.0, seed=0):
    """Boxes of one size anywhere on chips, and the chips' size for each."""
    low = np.random.default_rng(seed).uniform(0, extent - max(size), (count, 2))
    return np.concatenate([low, low + np.array(size)], axis=1), np.full((count, 2), extent)


def share(generator, boxes, extents, good=0.5):
    return (anchor_grid(generator).iou(boxes, extents).max(axis=1) >= good).mean()


@every_generator
def test_more_objects_have_a_good_anchor_and_the_number_of_anchors_stays(generator):
    boxes, extents = boxes_of((34.0, 17.0), extent=160.0)
    good = 0.75
    settings = fit_anchors(generator, boxes, extents, np.ones(len(boxes)), good)
    fitted = {**generator, **settings}
    assert share(fitted, boxes, extents, good) > share(generator, boxes, extents, good)
    before, after = anchor_grid(generator), anchor_grid(fitted)
    np.testing.assert_array_equal(after.strides, before.strides)
    np.testing.assert_allclose(after.centres, before.centres, atol=1e-4)


def test_objects_of_one_shape_get_anchors_of_that_shape():
    """80 x 40 pixels: twice the scale and half the ratio of the config's only anchor."""
    generator = dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8])
    boxes, extents = boxes_of((80.0, 40.0))
    settings = fit_anchors(generator, boxes, extents, np.ones(len(boxes)), 0.5)
    assert settings['scales'] == [pytest.approx(np.sqrt(80 * 40) / 8, rel=0.05)]
    assert settings['ratios'] == [pytest.approx(0.5, rel=0.05)]


def test_on_a_coarse_grid_anchors_are_larger_than_the_objects():
    """Around objects of 6 pixels anywhere in cells of 8, a larger anchor overlaps more often."""
    generator = dict(type='AnchorGenerator', scales=[0.75], ratios=[1.0], strides=[8])
    boxes, extents = boxes_of((6.0, 6.0), count=400)
    settings = fit_anchors(generator, boxes, extents, np.ones(len(boxes)), 0.5)
    assert (settings['scales'][0] * 8) ** 2 > 1.1 * 6.0**2


def test_numbers_that_serve_no_object_stay():
    generator = dict(type='YOLOAnchorGenerator', strides=[8], base_sizes=[[(8, 8), (200, 200)]])
    boxes, extents = boxes_of((10.0, 20.0))
    settings = fit_anchors(generator, boxes, extents, np.ones(len(boxes)), 0.5)
    small, large = settings['base_sizes'][0]
    assert small == (pytest.approx(10.0, rel=0.5), pytest.approx(20.0, rel=0.5))
    assert large == (200.0, 200.0)


def test_weights_decide_which_objects_count():
    generator = dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8])
    (small, extents), (large, _) = boxes_of((16.0, 16.0)), boxes_of((64.0, 64.0))
    boxes, extents = np.concatenate([small, large]), np.concatenate([extents, extents])
    for weight, side in ((10.0, 16.0), (0.1, 64.0)):
        weights = np.repeat([weight, 1.0], len(small))
        settings = fit_anchors(generator, boxes, extents, weights, 0.5)
        assert settings['scales'][0] * 8 == pytest.approx(side, rel=0.35)


def test_other_generators_are_refused():
    boxes, extents = boxes_of((8.0, 8.0), count=2)
    with pytest.raises(ConfigError, match='MlvlPointGenerator'):
        fit_anchors(dict(type='MlvlPointGenerator', strides=[8]), boxes, extents, np.ones(2), 0.5)
