import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_mm.raster import Window, tile_plan, tile_starts

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 25)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[1] - 1))
)


@pytest.mark.parametrize(
    ('length', 'tile', 'overlap', 'starts'),
    [
        (10, 4, 1, [0, 3, 6]),
        (11, 4, 1, [0, 2, 4, 7]),
        (10, 10, 3, [0]),
        (3, 10, 3, [0]),
        (11, 10, 9, [0, 1]),
        (8, 4, 0, [0, 4]),
        (9, 4, 0, [0, 2, 5]),
        (963, 512, 80, [0, 225, 451]),
    ],
)
def test_starts(length, tile, overlap, starts):
    assert tile_starts(length, tile, overlap) == starts


@given(SIZES)
def test_starts_cover_with_the_overlap_and_evenly(sizes):
    length, tile, overlap = sizes
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    if length <= tile:
        assert starts == [0]
        return
    assert starts[-1] == length - tile
    steps = np.diff(starts)
    assert steps.min() >= 1 and steps.max() <= tile - overlap
    assert steps.max() - steps.min() <= 1
    # One tile fewer would not do.
    assert tile + (len(starts) - 2) * (tile - overlap) < length


@given(SIZES, st.integers(0, 5))
def test_starts_are_multiples_of_a_stride(sizes, power):
    length, tile, overlap = sizes
    starts = tile_starts(length, tile, overlap, 2**power)
    stride = min(2**power, 2 ** int(np.log2(tile - overlap)))
    assert starts[0] == 0 and not np.any(np.array(starts) % stride)
    assert max(np.diff(starts), default=0) <= tile - overlap
    if length > tile:
        assert length <= starts[-1] + tile < length + stride  # it hangs over by less than one


@given(SIZES, st.integers(1, 60), st.sampled_from([1, 2, 4, 8]))
def test_cores_partition_the_scene(sizes, height, stride):
    width, tile, overlap = sizes
    owners = np.zeros((height, width), int)
    for item in tile_plan(width, height, tile, overlap, stride=stride):
        assert item.core.intersection(item.window) == item.core
        assert (item.window.width, item.window.height) == (tile, tile)
        owners[item.core.slices()] += 1
    assert (owners == 1).all()


@given(SIZES)
def test_cores_keep_half_the_overlap_from_inner_window_edges(sizes):
    width, tile, overlap = sizes
    for item in tile_plan(width, tile, tile, overlap):
        if item.core.col_off > 0:
            assert item.core.col_off - item.window.col_off >= overlap // 2
        if item.core.col_end < width:
            assert item.window.col_end - item.core.col_end >= overlap // 2


def test_plan_is_row_by_row():
    plan = tile_plan(7, 10, 5, 2)
    assert [(t.row, t.col) for t in plan] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert plan[3].window == Window(2, 2, 5, 5)
    assert plan[3].core == Window(3, 3, 4, 3)


@pytest.mark.parametrize(
    ('length', 'tile', 'overlap'), [(0, 4, 1), (5, 0, 0), (5, 4, 4), (5, 4, -1)]
)
def test_impossible_arguments(length, tile, overlap):
    with pytest.raises(ValueError, match='must be'):
        tile_starts(length, tile, overlap)
