"""What overlapping tiles report of objects, without a model: pieces are cut here as tiles do."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.detections import Detections, join_tiles
from geo_mm.raster import tile_plan

SIDE = 200
"""Of the square scene in pixels."""


def tiling(tile, overlap):
    """Windows, infinite where the scene ends, and cores."""
    plan = tile_plan(SIDE, SIDE, tile, overlap)
    cores = np.array([[c.col_off, c.row_off, c.col_end, c.row_end] for c in (t.core for t in plan)])
    windows = np.array(
        [[w.col_off, w.row_off, w.col_end, w.row_end] for w in (t.window for t in plan)], float
    )
    windows[windows <= 0] = -np.inf
    windows[windows >= SIDE] = np.inf
    return windows, cores


def reported(objects, windows):
    """The part of each object, a box or a polygon, in each tile; surer the more is seen."""
    masks = isinstance(objects[0], shapely.Geometry)
    outlines = objects if masks else [shapely.box(*item) for item in objects]
    rows = []
    for number, window in enumerate(np.clip(windows, 0, SIDE)):
        for outline in outlines:
            part = shapely.intersection(outline, shapely.box(*window))
            if part.area > 0:
                rows.append((part, 0.3 + 0.6 * part.area / outline.area, number))
    parts, scores, tiles = zip(*rows, strict=True)
    found = Detections.from_outlines(parts, np.zeros(len(parts)), scores, tiles=np.array(tiles))
    return found if masks else replace(found, outlines=None)


def boxes_of(joined):
    return sorted(map(tuple, joined.boxes.tolist()))


sizes = st.one_of(st.integers(1, 12), st.integers(60, SIDE))


@st.composite
def disjoint_boxes(draw):
    """Boxes of any length that may touch but share no pixel."""
    taken, boxes = np.zeros((SIDE, SIDE), bool), []
    for _ in range(draw(st.integers(1, 25))):
        width, height = draw(sizes), draw(st.integers(1, 12))
        if draw(st.booleans()):
            width, height = height, width
        left, top = draw(st.integers(0, SIDE - width)), draw(st.integers(0, SIDE - height))
        there = taken[top : top + height, left : left + width]
        if not there.any():
            there[:] = True
            boxes.append((left, top, left + width, top + height))
    return boxes


tiles = st.integers(30, 120).flatmap(lambda t: st.tuples(st.just(t), st.integers(8, t * 3 // 4)))


@given(disjoint_boxes(), tiles)
@settings(deadline=None, max_examples=200)
def test_boxes_do_not_depend_on_the_tiling(boxes, tile):
    windows, cores = tiling(*tile)
    assert boxes_of(join_tiles(reported(boxes, windows), windows, cores)) == sorted(boxes)


@given(disjoint_boxes(), tiles)
@settings(deadline=None, max_examples=50)
def test_nor_do_polygons(boxes, tile):
    windows, cores = tiling(*tile)
    polygons = [shapely.box(*box) for box in boxes]
    joined = join_tiles(reported(polygons, windows), windows, cores)
    assert boxes_of(joined) == sorted(boxes)
    assert (shapely.get_num_coordinates(joined.outlines) == 5).all()
    assert shapely.equals(joined.outlines, shapely.box(*joined.boxes.T)).all()


TILINGS = [(64, 8), (64, 16), (64, 32), (50, 37), (100, 75), (128, 30)]


@pytest.mark.parametrize('tiling_', TILINGS)
def test_row_of_houses_wall_to_wall(tiling_):
    boxes = [(x, y, x + 7, y + 9) for y in range(0, 198, 9) for x in range(0, 196, 7)]
    windows, cores = tiling(*tiling_)
    assert boxes_of(join_tiles(reported(boxes, windows), windows, cores)) == sorted(boxes)


@pytest.mark.parametrize('tiling_', TILINGS)
def test_crooked_polygons_with_holes(tiling_):
    """A ring, a hook round a small one, and a slanted strip, all longer than a tile."""
    ring = shapely.box(10, 10, 150, 120) - shapely.box(30, 25, 130, 100)
    inside = shapely.box(60, 40, 80, 60)
    hook = shapely.Polygon([(5, 130), (15, 130), (15, 180), (190, 180), (190, 190), (5, 190)])
    strip = shapely.Polygon([(155, 5), (162, 5), (195, 170), (188, 170)])
    objects = [ring, inside, hook, strip]
    windows, cores = tiling(*tiling_)
    joined = join_tiles(reported(objects, windows), windows, cores)
    assert len(joined.outlines) == len(objects)
    for item in objects:
        apart = shapely.area(shapely.symmetric_difference(joined.outlines, item))
        assert apart.min() < 1e-6


@pytest.mark.parametrize('tiling_', TILINGS)
def test_small_box_in_the_bend_of_a_large_one(tiling_):
    """Where boxes stand for crooked outlines, they overlap; the detector says they are two."""
    boxes = [(x, y, x + 18, y + 18) for y in range(0, 180, 20) for x in range(0, 180, 20)]
    boxes += [(x + 8, y + 2, x + 15, y + 9) for x, y, *_ in boxes]
    windows, cores = tiling(*tiling_)
    assert boxes_of(join_tiles(reported(boxes, windows), windows, cores)) == sorted(boxes)


@pytest.mark.parametrize('overlap', [16, 32, 48])
def test_reports_that_are_a_little_off(overlap):
    """Sides wrong by up to a pixel each: the number stays, and long ones stay in one."""
    rng = np.random.default_rng(0)
    boxes = [(x, y, x + 10, y + 12) for y in range(0, 190, 13) for x in range(0, 140, 11)]
    boxes += [(150 + x, 3, 158 + x, 195) for x in (0, 10, 20, 30)]
    windows, cores = tiling(64, overlap)
    pieces = reported(boxes, windows)
    shaken = pieces.boxes + rng.uniform(-1, 1, pieces.boxes.shape)
    inside = np.clip(windows, 0, SIDE)[pieces.tiles]
    shaken = np.hstack(
        [np.maximum(shaken[:, :2], inside[:, :2]), np.minimum(shaken[:, 2:], inside[:, 2:])]
    )
    solid = (shaken[:, :2] < shaken[:, 2:]).all(axis=1)
    joined = join_tiles(replace(pieces, boxes=shaken)[solid], windows, cores)
    assert len(joined.boxes) == len(boxes)
    for box in boxes:
        assert np.abs(joined.boxes - box).max(axis=1).min() <= 1


def two_tiles():
    """Windows 0-60 and 40-100, cores that meet at 50."""
    windows = np.array([[-np.inf, -np.inf, 60, np.inf], [40, -np.inf, np.inf, np.inf]])
    return windows, np.array([[0, 0, 50, 30], [50, 0, 100, 30]])


def pieces_of(*rows):
    """``(box, score, tile)`` each."""
    boxes, scores, tiles_ = zip(*rows, strict=True)
    number = {'number': np.arange(len(rows))}
    return Detections(boxes, np.zeros(len(rows)), scores, tiles=tiles_, data=number)


def test_whole_one_is_believed_not_its_surer_part():
    joined = join_tiles(
        pieces_of(((20, 5, 54, 15), 0.6, 0), ((40, 5, 54, 15), 0.9, 1)), *two_tiles()
    )
    assert joined.boxes.tolist() == [[20, 5, 54, 15]]
    assert joined.confidences.tolist() == [0.6]
    assert joined.data['number'].tolist() == [0]


def test_of_two_whole_ones_the_deeper_is_believed():
    first, second = ((44, 5, 53, 15), 0.6, 0), ((44, 5, 54, 15), 0.9, 1)
    assert join_tiles(pieces_of(first, second), *two_tiles()).data['number'].tolist() == [0]
    first, second = ((47, 5, 57, 15), 0.9, 0), ((47, 5, 56, 15), 0.6, 1)
    assert join_tiles(pieces_of(first, second), *two_tiles()).data['number'].tolist() == [1]


def test_score_of_a_joined_one_is_weighted_by_area():
    joined = join_tiles(
        pieces_of(((10, 5, 60, 15), 0.9, 0), ((40, 5, 50 + 40, 15), 0.6, 1)), *two_tiles()
    )
    assert joined.boxes.tolist() == [[10, 5, 90, 15]]
    assert joined.confidences.tolist() == pytest.approx([0.75])


def test_what_a_tile_alone_sees_counts_in_its_core_only():
    inside, outside = ((40, 5, 48, 15), 0.6, 0), ((52, 5, 58, 15), 0.9, 0)
    assert join_tiles(pieces_of(inside, outside), *two_tiles()).data['number'].tolist() == [0]


def test_fragments_of_what_goes_on_beyond_the_window_belong_to_it():
    """The left tile sees the arms of a U as two; the right one all of it."""
    arms = ((45, 5, 60, 9), 0.8, 0), ((45, 14, 60, 19), 0.8, 0)
    whole = ((45, 5, 80, 19), 0.7, 1)
    joined = join_tiles(pieces_of(*arms, whole), *two_tiles())
    assert joined.boxes.tolist() == [[45, 5, 80, 19]]


def test_one_of_its_own_inside_what_goes_on_beyond_the_window():
    large, small = (30, 5, 80, 25), (48, 10, 56, 20)
    rows = [((30, 5, 60, 25), 0.8, 0), ((40, 5, 80, 25), 0.8, 1), (small, 0.7, 0), (small, 0.7, 1)]
    joined = join_tiles(pieces_of(*rows), *two_tiles())
    assert boxes_of(joined) == [large, small]


def test_neighbours_that_another_tile_takes_for_one_stay_two():
    """Three tiles that share all of it; the third blurs the border that the first sees."""
    windows = np.array([[-np.inf, -np.inf, 70, np.inf], [20, -np.inf, 90, np.inf]])
    windows = np.vstack([windows, [[30, -np.inf, np.inf, np.inf]]])
    cores = np.array([[0, 0, 45, 30], [45, 0, 55, 30], [55, 0, 100, 30]])
    left, right, blurred = (42, 5, 50, 15), (50, 5, 58, 15), (43, 5, 58, 15)
    rows = [(left, 0.9, 0), (right, 0.9, 0), (left, 0.8, 1), (blurred, 0.7, 2)]
    assert boxes_of(join_tiles(pieces_of(*rows), windows, cores)) == [left, blurred]


@pytest.mark.parametrize('tiling_', [(100, 8), (100, 64), (160, 64)])
def test_tile_that_sees_two_parts_of_a_ring_reports_two(tiling_):
    """Both are cut by its edge, so others may know that they belong together."""
    ring = shapely.box(2, 60, 198, 140) - shapely.box(12, 70, 188, 130)
    objects = [ring, shapely.box(40, 90, 60, 110), shapely.box(40, 72, 60, 84)]
    windows, cores = tiling(*tiling_)
    seen = reported(objects, windows)
    parts, number = shapely.get_parts(seen.outlines, return_index=True)
    pieces = replace(seen[number], boxes=shapely.bounds(parts), outlines=parts)
    joined = join_tiles(pieces, windows, cores)
    assert boxes_of(joined) == sorted(item.bounds for item in objects)
    assert joined.outlines[joined.boxes[:, 0] == 2][0].equals(ring)


def test_other_class_is_another_object():
    pieces = pieces_of(((42, 5, 48, 15), 0.6, 0), ((42, 5, 58, 15), 0.9, 1))
    pieces = replace(pieces, class_ids=np.array([0, 1]))
    assert join_tiles(pieces, *two_tiles()).class_ids.tolist() == [0, 1]


def agreeing(share):
    """What two tiles report of the ground that both see: the right one a part of the left one's.

    Both see x from 40 to 60. The left tile reports 20 x 10 of it, the right one
    ``share`` of that, so this is their intersection over union there. Both go
    on beyond what the other sees, so that neither is a fragment of the other.
    """
    return pieces_of(((10, 5, 60, 15), 0.9, 0), ((40, 5, 90, 5 + 10 * share), 0.6, 1))


@pytest.mark.parametrize(('share', 'objects'), [(0.401, 1), (0.4, 1), (0.399, 2)])
def test_two_reports_that_agree_by_two_fifths_are_one_object(share, objects):
    assert len(join_tiles(agreeing(share), *two_tiles())) == objects


def within(share):
    """A part in the left tile, ``share`` of which is in an object that extends beyond its window.

    It is wholly inside the core of its tile, and agrees with the other by
    less than two fifths: 2 x 10 pixels against 20 x 10.
    """
    top = 15 - 10 * share
    return pieces_of(((44, top, 46, top + 10), 0.9, 0), ((40, 5, 80, 15), 0.6, 1))


@pytest.mark.parametrize(('share', 'objects'), [(0.801, 1), (0.8, 1), (0.799, 2)])
def test_what_lies_in_a_larger_object_by_four_fifths_is_a_fragment(share, objects):
    joined = join_tiles(within(share), *two_tiles())
    assert len(joined) == objects
    assert [40, 5, 80, 15] in joined.boxes.tolist()


def test_nothing_reported():
    none = Detections(np.empty((0, 4)), [], [], tiles=[])
    assert len(join_tiles(none, *two_tiles())) == 0
    none = replace(none, outlines=np.empty(0, object))
    assert len(join_tiles(none, *two_tiles()).outlines) == 0
