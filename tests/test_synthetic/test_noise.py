"""The random fields of the synthetic town."""

import numpy as np
import pytest

from geo_mm.synthetic.noise import fractal_noise, smooth_noise, white_noise


def centres(start: int, count: int, step: float = 0.5) -> np.ndarray:
    return (np.arange(start, start + count) + 0.5) * step


@pytest.mark.parametrize('scale', [0.7, 3.0, 40.0])
def test_value_depends_on_the_place_not_on_the_window(scale):
    whole = smooth_noise(centres(-30, 100), centres(-20, 80), scale, seed=5)
    part = smooth_noise(centres(7, 31), centres(-3, 22), scale, seed=5)
    np.testing.assert_array_equal(part, whole[17:39, 37:68])


def test_white_noise_depends_on_the_place_not_on_the_window():
    whole = white_noise(centres(-9, 60), centres(0, 50), 0.5, seed=1)
    part = white_noise(centres(11, 8), centres(30, 9), 0.5, seed=1)
    np.testing.assert_array_equal(part, whole[30:39, 20:28])


def test_white_noise_has_unit_variance_and_no_correlation():
    noise = white_noise(centres(0, 400), centres(0, 400), 0.5, seed=3)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.01


def test_fractal_noise_is_standardised():
    noise = fractal_noise(centres(0, 600), centres(0, 600), (9.0, 4.0, 1.5), seed=2)
    assert abs(noise.mean()) < 0.1
    assert 0.8 < noise.std() < 1.25


def test_seeds_give_unrelated_fields():
    xs = centres(0, 500)
    one, two = (smooth_noise(xs, xs, 3.0, seed) for seed in (1, 2))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.05
