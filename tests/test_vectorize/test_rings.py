import numpy as np

from geo_mm.vectorize.rings import canonical, follow, ring_areas, split_at_touches

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2]]  # to the right of its outline, y down
HOLE = [[5, 5], [5, 6], [6, 6], [6, 5]]


def test_areas_have_the_sign_of_the_direction():
    xy = np.array([*SQUARE, *HOLE], np.int32)
    assert ring_areas(xy, np.array([0, 4])).tolist() == [4, -1]


def test_areas_of_large_rasters_are_exact():
    far = 2**31 - 1
    xy = np.array([[0, 0], [far, 0], [far, far], [0, far]], np.int64)
    assert ring_areas(xy, np.array([0])).tolist() == [far * far]


def test_rings_begin_at_their_upper_left_vertex():
    turned = SQUARE[2:] + SQUARE[:2]
    xy = np.array([*turned, *HOLE[1:], HOLE[0]], np.int32)
    assert canonical(xy, np.array([0, 4])).tolist() == [*SQUARE, *HOLE]


def test_a_ring_through_one_vertex_twice_becomes_two():
    """An L around a pixel that it touches in a corner only."""
    ring = [[1, 0], [3, 0], [3, 3], [0, 3], [0, 1], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]
    xy, starts, origin = split_at_touches(np.array([*SQUARE, *ring], np.int32), np.array([0, 4]))
    assert origin.tolist() == [0, 1, 1]
    assert ring_areas(xy, starts).tolist() == [4, 8, -1]


def test_rings_that_touch_each_other_stay():
    xy = np.array([*SQUARE, [2, 2], [3, 2], [3, 3], [2, 3]], np.int32)
    same, starts, origin = split_at_touches(xy, np.array([0, 4]))
    assert same is xy and starts.tolist() == [0, 4] and origin.tolist() == [0, 1]


def test_paths_end_and_loops_close():
    after = np.array([2, 4, -1, 3, 1])
    nodes, starts = follow(after, np.array([0, 1, 2, 3, 4]))
    assert nodes.tolist() == [0, 2, 1, 4, 3]
    assert starts.tolist() == [0, 2, 4]
