import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.inference.tile_merge import StripBlender, blend_weights
from geo_mm.raster import Window, tile_plan, tile_starts


def full_array_blend(plan, width, height, tiles):
    """Weighted mean of all tiles over arrays of the whole scene, in float64: the reference."""
    side = plan[0].window.width
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    weight = np.outer(fade, fade)
    channels = next(iter(tiles.values())).shape[0]
    total = np.zeros((height + side, width + side))
    values = np.zeros((channels, height + side, width + side))
    for number, tile in enumerate(plan):
        if number in tiles:
            place = tile.window.slices()
            total[place] += weight
            values[(slice(None), *place)] += weight * tiles[number]
    return (values / np.where(total > 0, total, 1))[:, :height, :width]


def rows_of(numbered):
    return [list(row) for _, row in itertools.groupby(numbered, key=lambda item: item[1].row)]


def strip_blend(plan, width, height, channels, tiles, valid, blend='window'):
    """The blender's parts put together, and checked to come in order without a gap."""
    blender = StripBlender(plan, width, height, channels, blend)
    values = np.full((channels, height, width), np.nan)
    known = np.zeros((height, width), bool)
    rows = 0
    for row in rows_of(list(enumerate(plan))):
        strip, cols = blender.strip, 0
        present = [(tile, tiles[n], valid[n]) for n, tile in row if n in tiles]
        for window, part, part_valid in blender.row(present):
            assert window == strip._replace(col_off=cols, row_off=rows, width=window.width)
            values[(slice(None), *window.slices())] = part
            known[window.slices()] = part_valid
            cols += window.width
        assert cols == width
        rows += strip.height
    assert rows == height
    return values, known


def padded_tile(image, window):
    padded = np.pad(image, ((0, window.height), (0, window.width)))
    return padded[window.slices()]


@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    side=st.integers(1, 33),
    share=st.floats(0, 0.75),
    seed=st.integers(0, 99),
    holes=st.floats(0, 1),
    stride=st.sampled_from([1, 4, 16]),
)
@settings(max_examples=150)
def test_equals_the_blend_over_full_arrays(width, height, side, share, seed, holes, stride):
    rng = np.random.default_rng(seed)
    plan = tile_plan(width, height, side, int(share * side), stride=stride)
    # Whole tiles without data, which are left out, and scattered invalid pixels.
    scene_valid = rng.random((height, width)) > 0.1
    for tile in plan:
        if rng.random() < holes:
            scene_valid[tile.window.slices()] = False
    valid = {n: padded_tile(scene_valid, tile.window) for n, tile in enumerate(plan)}
    tiles = {n: rng.random((2, side, side), np.float32) for n in valid if valid[n].any()}
    values, known = strip_blend(plan, width, height, 2, tiles, valid)
    np.testing.assert_array_equal(known, scene_valid)
    if tiles:
        expected = full_array_blend(plan, width, height, tiles)
        np.testing.assert_allclose(values[:, known], expected[:, known], rtol=0, atol=1e-6)


@given(
    length=st.integers(1, 200),
    side=st.integers(1, 64),
    share=st.floats(0, 0.75, exclude_max=True),
    stride=st.sampled_from([1, 16]),
)
def test_weights_sum_to_one_at_every_pixel(length, side, share, stride):
    starts = tile_starts(length, side, int(share * side), stride)
    weights = blend_weights(starts, side, length)
    total = np.zeros(max(length, starts[-1] + side))
    for row, start in zip(weights, starts, strict=True):
        total[start : start + side] += row
    np.testing.assert_allclose(total[:length], 1, atol=1e-6)
    assert not total[length:].any()


def test_outermost_pixels_are_as_complete_as_inner_ones():
    plan = tile_plan(23, 17, 8, 3)
    ones = {n: np.ones((1, 8, 8), np.float32) for n in range(len(plan))}
    valid = {n: np.ones((8, 8), bool) for n in range(len(plan))}
    values, known = strip_blend(plan, 23, 17, 1, ones, valid)
    assert known.all()
    np.testing.assert_allclose(values, 1, atol=1e-6)


def test_a_tile_fades_into_its_neighbour():
    # Two tiles over 12 columns, sharing columns 4 to 7: values 0 and 1.
    plan = tile_plan(12, 1, 8, 4)
    tiles = {0: np.zeros((1, 8, 8), np.float32), 1: np.ones((1, 8, 8), np.float32)}
    values, _ = strip_blend(plan, 12, 1, 1, tiles, dict.fromkeys(tiles, np.ones((8, 8), bool)))
    row = values[0, 0]
    assert not row[:4].any()
    assert (np.diff(row[3:9]) > 0).all()
    # The shares at a pixel and at its mirror image add up to 1.
    np.testing.assert_allclose(row[4:8] + row[4:8][::-1], 1, atol=1e-6)
    np.testing.assert_allclose(row[8:], 1, atol=1e-6)


def test_scene_without_any_tile_is_all_invalid():
    plan = tile_plan(20, 30, 8, 2)
    _, known = strip_blend(plan, 20, 30, 1, {}, {})
    assert not known.any()


@pytest.mark.parametrize('height', [64, 640, 6400])
def test_memory_is_a_tile_and_what_rows_share_however_high_the_scene(height):
    blender = StripBlender(tile_plan(100, height, 64, 16), 100, height, 3)
    assert blender._sum.nbytes == 3 * 64 * 64 * 4
    assert blender._kept.nbytes == 3 * (0 if height == 64 else 16) * 100 * 4


def test_strips_end_where_the_next_row_of_tiles_begins():
    plan = tile_plan(8, 20, 8, 2)  # rows of tiles at 0, 6 and 12
    blender = StripBlender(plan, 8, 20, 1)
    tile, valid = np.ones((1, 8, 8), np.float32), np.ones((8, 8), bool)
    windows = []
    for place in plan:
        windows += [part.window for part in blender.row([(place, tile, valid)])]
    assert windows == [Window(0, 0, 8, 6), Window(0, 6, 8, 6), Window(0, 12, 8, 8)]


def test_tile_of_another_row_is_refused():
    plan = tile_plan(8, 20, 8, 2)
    tile = (plan[1], np.ones((1, 8, 8), np.float32), np.ones((8, 8), bool))
    with pytest.raises(ValueError, match='a tile of row 1 in row 0'):
        list(StripBlender(plan, 8, 20, 1).row([tile]))


def test_crop_takes_each_pixel_from_the_tile_whose_core_it_lies_in():
    plan = tile_plan(30, 20, 8, 3)
    tiles = {n: np.full((1, 8, 8), n, np.float32) for n in range(len(plan))}
    valid = dict.fromkeys(tiles, np.ones((8, 8), bool))
    values, _ = strip_blend(plan, 30, 20, 1, tiles, valid, blend='crop')
    for number, tile in enumerate(plan):
        assert (values[(0, *tile.core.slices())] == number).all()


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 90),
    side=st.integers(1, 33),
    share=st.floats(0, 0.75),
    blend=st.sampled_from(['window', 'crop']),
    stride=st.sampled_from([1, 16]),
    data=st.data(),
)
@settings(max_examples=60)
def test_same_bits_wherever_it_begins(width, height, side, share, blend, stride, data):
    """With what is carried over, and with the halo computed again."""
    plan = tile_plan(width, height, side, int(share * side), stride=stride)
    rng = np.random.default_rng(0)
    values = rng.random((len(plan), 2, side, side), np.float32)
    valid = rng.random((len(plan), side, side)) > 0.1
    rows = rows_of(list(enumerate(plan)))

    def strips(blender, first):
        for number, row in enumerate(rows[first:], first):
            present = [(tile, values[n], valid[n]) for n, tile in row]
            parts = [
                (p.window, p.values.tobytes(), p.valid.tobytes()) for p in blender.row(present)
            ]
            yield number, parts, tuple(part.copy() for part in blender.carry())

    def made():
        return StripBlender(plan, width, height, 2, blend)

    whole = list(strips(made(), 0))
    first = data.draw(st.integers(0, len(rows) - 1))
    carried, halo = made(), made()
    carried.start(first, whole[first - 1][-1] if first else None)
    begin = halo.halo(first)
    halo.start(begin)
    for got in ([*strips(carried, first)], [*strips(halo, begin)][first - begin :]):
        assert len(got) == len(whole) - first
        for mine, theirs in zip(got, whole[first:], strict=True):
            assert mine[:2] == theirs[:2]
