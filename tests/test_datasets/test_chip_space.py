import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_mm.datasets import ChipSpace
from geo_mm.raster import Window

SIDE = st.integers(1, 40)


@given(
    sizes=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=4),
    chip=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    stride=st.integers(1, 25),
)
def test_every_integer_is_one_chip_and_every_chip_one_integer(sizes, chip, stride):
    space = ChipSpace(sizes, chip, stride)
    places = [space.locate(index) for index in range(len(space))]
    assert len(set(places)) == len(places)
    for index, (scene, window) in enumerate(places):
        assert space.index(scene, window.col_off, window.row_off) == index
        assert (window.height, window.width) == chip
        # No chip is wholly beyond its scene.
        assert window.col_off < sizes[scene][0] and window.row_off < sizes[scene][1]


@given(
    size=st.tuples(SIDE, SIDE),
    chip=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    stride=st.integers(1, 25),
)
def test_chips_cover_every_pixel_if_the_stride_is_not_larger(size, chip, stride):
    stride = min(stride, *chip)
    assert seen(size, chip, stride).min() >= 1


@given(size=st.tuples(SIDE, SIDE), chip=st.integers(1, 45))
def test_stride_of_the_chip_covers_every_pixel_once(size, chip):
    assert (seen(size, (chip, chip), chip) == 1).all()


def seen(size, chip, stride) -> np.ndarray:
    """How many chips hold each pixel of a scene."""
    width, height = size
    space = ChipSpace([size], chip, stride)
    counts = np.zeros((height, width), int)
    for index in range(len(space)):
        window = space.locate(index)[1]
        counts[window.intersection(Window(0, 0, width, height)).slices()] += 1
    return counts


def test_stride_one_holds_every_position_inside_the_scene():
    space = ChipSpace([(10, 7)], (4, 3), 1)
    assert len(space) == (10 - 3 + 1) * (7 - 4 + 1)
    assert space.locate(len(space) - 1) == (0, Window(7, 3, 3, 4))


def test_a_scene_smaller_than_the_chip_has_one_chip():
    space = ChipSpace([(10, 7)], (16, 16), 1)
    assert len(space) == 1
    assert space.locate(0) == (0, Window(0, 0, 16, 16))


def test_scenes_follow_one_another():
    space = ChipSpace([(8, 8), (16, 8)], (8, 8), 8)
    assert [space.locate(i) for i in range(3)] == [
        (0, Window(0, 0, 8, 8)),
        (1, Window(0, 0, 8, 8)),
        (1, Window(8, 0, 8, 8)),
    ]


def test_index_takes_the_nearest_chip_inside_the_scene():
    space = ChipSpace([(100, 100)], (10, 10), 10)
    assert space.locate(space.index(0, 14, 26))[1][:2] == (10, 30)
    assert space.locate(space.index(0, -50, 500))[1][:2] == (0, 90)


@pytest.mark.parametrize('index', [-1, 1])
def test_a_chip_that_does_not_exist(index):
    with pytest.raises(IndexError, match=r'a space of 1 chips'):
        ChipSpace([(8, 8)], (8, 8), 8).locate(index)


def test_no_scenes_no_chips():
    assert len(ChipSpace([], (8, 8), 8)) == 0
