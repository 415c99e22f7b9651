import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.inference.tile_merge import FinishedPart, StripRegrid
from geo_mm.raster import Grid, Window
from geo_mm.raster.resample import resample


def grid(width, height):
    return Grid(Affine.identity(), width, height)


def whole(values, valid, width, height):
    """The resampled array, without strips."""
    rows = np.arange(height + 1) * (values.shape[1] / height)
    cols = np.arange(width + 1) * (values.shape[2] / width)
    found, known = resample(np.where(valid, values, 0), valid, rows, cols)
    return found, known


def strips_of(values, valid, ends):
    for top, end in zip([0, *ends], [*ends, len(valid)], strict=True):
        window = Window(0, top, valid.shape[1], end - top)
        yield FinishedPart(window, values[:, top:end], valid[top:end])


def halves(strip):
    """A strip in two parts, one beside the other."""
    middle = strip.window.width // 2
    for left, end in ((0, middle), (middle, strip.window.width)):
        if left < end:
            window = strip.window._replace(col_off=left, width=end - left)
            yield FinishedPart(window, strip.values[..., left:end], strip.valid[:, left:end])


@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 60)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 140)),
    data=st.data(),
)
@settings(max_examples=150)
def test_equals_resampling_at_once(source, target, data):
    (width, height), (to_width, to_height) = source, target
    ends = sorted(data.draw(st.sets(st.integers(1, max(height - 1, 1)), max_size=4)))
    ends = [end for end in ends if end < height]
    rng = np.random.default_rng(0)
    values = rng.random((2, height, width), np.float32)
    valid = rng.random((height, width)) > 0.2
    regrid = StripRegrid(grid(width, height), grid(to_width, to_height))
    found, known = [], []
    for strip in strips_of(values, valid, ends):
        done = regrid.completed(strip.window)
        assert done._replace(height=0) == Window(0, sum(map(len, known)), to_width, 0)
        band = np.full((2, done.height, to_width), np.nan), np.zeros((done.height, to_width), bool)
        for window, part, part_valid in regrid.parts(halves(strip)):
            here = window.slices(done)
            band[0][(slice(None), *here)], band[1][here] = part, part_valid
        found.append(band[0])
        known.append(band[1])
    found, known = np.concatenate(found, axis=1), np.concatenate(known)
    assert known.shape == (to_height, to_width)
    if (width, height) == (to_width, to_height):
        np.testing.assert_array_equal(known, valid)
        np.testing.assert_array_equal(found, values)
        return
    expected, expected_known = whole(values, valid, to_width, to_height)
    np.testing.assert_array_equal(known, expected_known)
    np.testing.assert_allclose(found[:, known], expected[:, known], atol=1e-5)


@pytest.mark.parametrize('target', [(10, 77), (30, 50), (13, 19)])
@pytest.mark.parametrize('begin', [10, 20, 30])
def test_begins_anywhere(target, begin):
    """With what was carried over, or with the rows of the margin again."""
    rng = np.random.default_rng(0)
    values, valid = rng.random((1, 40, 15), np.float32), rng.random((40, 15)) > 0.1

    def made():
        return StripRegrid(grid(15, 40), grid(*target))

    def rows(regrid, strips):
        return [
            b''.join(v.tobytes() + known.tobytes() for _, v, known in regrid.parts([strip]))
            for strip in strips
        ]

    first = made()
    above = rows(first, strips_of(values[:, :begin], valid[:begin], list(range(5, begin, 5))))
    carried = first.carry()
    rest = [*strips_of(values, valid, list(range(5, 40, 5)))][begin // 5 :]
    expected = rows(first, rest)
    assert len(above) == begin // 5

    second = made()
    second.start(begin, carried)
    assert rows(second, rest) == expected

    third = made()
    margin = third.margin(begin)
    top = (begin - margin) // 5 * 5
    third.start(top)
    again = [*strips_of(values, valid, list(range(5, 40, 5)))][top // 5 :]
    assert rows(third, again)[-len(rest) :] == expected
