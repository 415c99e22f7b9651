import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_mm.raster.resample import area_taps, linear_taps, resample

EDGES = st.tuples(st.floats(0, 9), st.floats(0.05, 4), st.integers(1, 12)).map(
    lambda v: np.minimum(v[0] + v[1] * np.arange(v[2] + 1), 40.0)
)


def test_area_weights():
    taps = area_taps(np.array([0.5, 2.25, 4.0]), 0, 4)
    assert taps.pixel.tolist() == [[0, 1, 2], [2, 3, 3]]
    np.testing.assert_allclose(taps.weight * 1.75, [[0.5, 1, 0.25], [0.75, 1, 0]])


def test_linear_weights_and_constant_border():
    # Centres at 0.25, 0.75, 1.25 in source pixels of centres 0.5, 1.5.
    taps = linear_taps(np.array([0, 0.5, 1, 1.5]), 0, 2)
    np.testing.assert_allclose(taps.along(np.array([[0.0, 1.0]]), 1), [[0, 0.25, 0.75]])


@given(EDGES)
def test_weights_sum_to_one_and_stay_inside(edges):
    for taps in (area_taps(edges, 0, 40), linear_taps(edges, 0, 40)):
        assert taps.pixel.min() >= 0 and taps.pixel.max() < 40
        sums = taps.weight.sum(axis=1)
        assert (np.isclose(sums, 1) | (np.diff(edges) == 0)).all()


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from(['uint8', 'int16', 'float64']))
def test_whole_factors_are_block_means(rows, cols, dtype):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 250, (2, 4 * rows, 3 * cols)).astype(dtype)
    result, valid = resample(
        data, None, np.arange(0, 4 * rows + 1, 4), np.arange(0, 3 * cols + 1, 3)
    )
    mean = data.reshape(2, rows, 4, cols, 3).mean(axis=(2, 4))
    assert valid is None and result.dtype == data.dtype
    # Rounding may go either way at one half.
    np.testing.assert_allclose(result, mean, atol=1e-9 if dtype == 'float64' else 0.5001)


def test_invalid_pixels_carry_no_weight():
    data = np.array([[[10, 20, 0, 40]]], 'float32')
    valid = np.array([[True, True, False, True]])
    result, mask = resample(data, valid, np.array([0, 1]), np.array([0, 2, 4]))
    assert result.tolist() == [[[15, 40]]] and mask.all()
    result, mask = resample(data, valid, np.array([0, 1]), np.array([1.5, 3.0]))
    assert mask.tolist() == [[False]] and not result.any()


def test_integers_of_32_bits_keep_all_digits():
    data = np.full((1, 4, 4), 2_000_000_001, 'int32')
    result, _ = resample(data, None, np.arange(0, 5, 2), np.arange(0, 5, 2))
    assert (result == 2_000_000_001).all()


@pytest.mark.parametrize(('share', 'kept'), [(0.45, False), (0.5, True), (0.55, True)])
def test_a_pixel_is_valid_if_half_of_its_area_is(share, kept):
    valid = np.arange(20)[None] < 20 * share
    data = np.where(valid, 7, 0).astype('uint8')[None]
    result, mask = resample(data, valid, np.array([0, 1]), np.array([0, 20]))
    assert (True if mask is None else bool(mask[0, 0])) == kept
    assert result.item() == (7 if kept else 0)
