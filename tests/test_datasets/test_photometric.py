"""Photometric changes: any bands, any values, and nothing where there is no data."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from geo_mm.datasets.photometric import (
    RandomBandDropout,
    RandomRadiometry,
    as_type,
    smooth_field,
)
from geo_mm.errors import ConfigError

AMOUNTS = ('gamma', 'contrast', 'band_gain', 'brightness', 'haze', 'noise')
RANGES = {'uint8': (0, 255), 'uint16': (0, 10000), 'int16': (-2500, 500), 'float32': (-25.0, 5.0)}


def chip(bands, dtype='float32', seed=0):
    low, high = RANGES[dtype]
    rng = np.random.default_rng(seed)
    values = rng.uniform(low, high, (21, 34, bands))
    return as_type(values, np.dtype(dtype))


def apply(transform, image, seed=0, **keys):
    np.random.seed(seed)
    return transform({'img': image, **keys})['img']


def only(name, amount=0.3, dtype='float32', **kwargs):
    amounts = dict.fromkeys(AMOUNTS, 0.0) | {name: amount}
    return RandomRadiometry(RANGES[dtype], prob=1.0, **amounts, **kwargs)


def scaled(image, dtype='float32'):
    low, high = RANGES[dtype]
    return (image.astype(np.float64) - low) / (high - low)


@pytest.mark.parametrize('bands', [1, 4, 13])
@pytest.mark.parametrize('dtype', RANGES)
def test_type_shape_and_original_stay(bands, dtype):
    image = chip(bands, dtype)
    before = image.copy()
    changed = apply(RandomRadiometry(RANGES[dtype], prob=1.0), image)
    assert changed.dtype == image.dtype
    assert changed.shape == image.shape
    assert np.array_equal(image, before)
    # Every band changes, and stays recognisable.
    for band in range(bands):
        assert not np.array_equal(changed[..., band], image[..., band])
        assert np.corrcoef(changed[..., band].ravel(), image[..., band].ravel())[0, 1] > 0.9


@pytest.mark.parametrize('dtype', RANGES)
def test_the_same_change_in_any_units(dtype):
    transform = RandomRadiometry(RANGES[dtype], prob=1.0, noise=0.0)
    reference = RandomRadiometry((0, 1), prob=1.0, noise=0.0)
    image = chip(4, dtype)
    theirs = apply(reference, scaled(image, dtype).astype(np.float32))
    ours = scaled(apply(transform, image), dtype)
    inside = (ours > 0.01) & (ours < 0.99)  # integers end at their type's range
    assert inside.mean() > 0.8
    assert np.abs(ours - theirs)[inside].max() < 0.003  # half a step of uint8


@pytest.mark.parametrize('name', AMOUNTS)
def test_the_seed_decides(name):
    image, transform = chip(4), only(name)
    assert np.array_equal(apply(transform, image, 3), apply(transform, image, 3))
    assert not np.array_equal(apply(transform, image, 3), apply(transform, image, 4))


@pytest.mark.parametrize('name', AMOUNTS)
def test_pixels_without_data_stay(name):
    image = chip(4)
    valid = np.ones(image.shape[:2], bool)
    valid[:5, :7] = False
    image[~valid] = 999.0
    changed = apply(only(name), image, valid=valid)
    assert (changed[~valid] == 999).all()
    assert (changed[valid] != image[valid]).mean() > 0.9
    # What is there has no influence on the rest.
    image[~valid] = -5e4
    assert np.array_equal(apply(only(name), image, valid=valid)[valid], changed[valid])


def test_a_chip_without_data_stays():
    image = chip(4)
    valid = np.zeros(image.shape[:2], bool)
    changed = apply(RandomRadiometry((-25, 5), prob=1.0), image, valid=valid)
    assert np.array_equal(changed, image)


def test_nothing_happens_at_probability_0():
    image = chip(4)
    assert apply(RandomRadiometry((-25, 5), prob=0.0), image) is image


def test_brightness_shifts_all_bands_by_the_same():
    image = chip(4)
    shifts = [apply(only('brightness', 0.1), image, seed) - image for seed in range(200)]
    spread = [np.ptp(shift) for shift in shifts]
    assert max(spread) < 1e-4
    means = np.array([shift.mean() for shift in shifts])
    assert -3 < means.min() < -2.5  # 0.1 of 30
    assert 2.5 < means.max() < 3


def test_contrast_keeps_each_bands_mean():
    image = chip(4)
    changed = apply(only('contrast', 0.5), image)
    np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=1e-4)
    ratios = changed.std((0, 1)) / image.std((0, 1))
    assert np.ptp(ratios) < 1e-5
    assert 0.5 <= ratios[0] <= 1.5


def test_band_gain_is_another_for_each_band():
    image = chip(4)
    gains = (scaled(apply(only('band_gain', 0.1), image)) / scaled(image)).reshape(-1, 4)
    middle = np.median(gains, axis=0)
    assert len(np.unique(middle.round(4))) == 4
    assert np.abs(middle - 1).max() <= 0.1
    assert np.ptp(gains[scaled(image).reshape(-1, 4).min(1) > 0.1], axis=0).max() < 1e-3


def test_gamma_keeps_the_ends_of_the_range_and_what_lies_below():
    image = np.array([-30.0, -25.0, 5.0, -10.0], np.float32).reshape(1, 4, 1)
    changed = apply(only('gamma', 0.5), image)[0, :, 0]
    assert changed[:3].tolist() == pytest.approx([-30, -25, 5])
    assert changed[3] != -10


def test_haze_moves_towards_the_airlight_by_band():
    image = chip(3)
    transform = only('haze', 0.5, haze_spectrum=(1.0, 0.5, 0.0), airlight=1.0)
    shares = (apply(transform, image) - image) / (5 - image + 1e-9)
    assert np.abs(shares[..., 2]).max() < 1e-4
    assert -1e-4 < shares[..., 0].min() < shares[..., 0].max() < 0.5
    near = image[..., :2].max(axis=-1) < 0  # where the quotient is accurate
    np.testing.assert_allclose(shares[near, 1], shares[near, 0] / 2, atol=1e-4)


def test_noise_is_independent_in_each_band():
    image = np.zeros((100, 100, 4), np.float32)
    noise = apply(only('noise', 0.2), image).reshape(-1, 4)
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.05
    assert noise.std() < 0.2 * 30
    assert abs(noise.mean()) < 0.05 * noise.std()


def test_integers_are_kept_in_their_range():
    image = np.array([0, 128, 255], np.uint8).reshape(1, 3, 1)
    for seed in range(20):
        changed = apply(only('brightness', 0.9, 'uint8'), image, seed)[0, :, 0].astype(int)
        assert changed[0] <= changed[1] <= changed[2]  # nothing wraps round


def test_each_change_happens_as_often_as_asked():
    image = chip(1)
    transform = RandomRadiometry((-25, 5), prob=0.3, **dict.fromkeys(AMOUNTS[:-1], 0.0))
    happened = [apply(transform, image, seed) is not image for seed in range(400)]
    assert 0.23 < np.mean(happened) < 0.37


def test_smooth_field_spans_its_corners():
    field = smooth_field((5, 9), np.random.default_rng(0))
    corners = np.random.default_rng(0).random((2, 2), np.float32)
    np.testing.assert_allclose(field[::4, ::8], corners, atol=1e-6)
    np.testing.assert_allclose(field[2, 4], corners.mean(), atol=1e-6)


@pytest.mark.parametrize(
    'arguments',
    [
        {'value_range': (5, 5)},
        {'value_range': (0, 1, 2)},
        {'value_range': (0, 1), 'prob': 1.5},
        {'value_range': (0, 1), 'gamma': -0.1},
        {'value_range': (0, 1), 'noise': 1.0},
        {'value_range': (0, 1), 'haze_spectrum': (1, 2)},
    ],
)
def test_senseless_arguments(arguments):
    with pytest.raises(ConfigError, match='RandomRadiometry'):
        RandomRadiometry(**arguments)


def test_haze_spectrum_of_other_bands():
    with pytest.raises(ConfigError, match='haze_spectrum has 3 values, the chip 4 bands'):
        apply(RandomRadiometry((0, 1), haze_spectrum=(1, 1, 1)), chip(4))


def blank_bands(image, **kwargs):
    fill = [-1.0, -2.0, -3.0, -4.0]
    found = []
    for seed in range(100):
        changed = apply(RandomBandDropout(**kwargs), image, seed, fill=fill)
        blank = [band for band in range(4) if (changed[..., band] == fill[band]).all()]
        kept = [band for band in range(4) if band not in blank]
        assert np.array_equal(changed[..., kept], image[..., kept])
        found.append(tuple(blank))
    return found


def test_bands_are_blanked_with_their_fill():
    image = chip(4)
    found = blank_bands(image, prob=1.0)
    assert set(found) == {(0,), (1,), (2,), (3,)}
    assert np.array_equal(image, chip(4))


def test_one_band_always_stays_and_kept_ones_too():
    image = chip(4)
    assert {len(bands) for bands in blank_bands(image, prob=1.0, max_bands=9)} == {1, 2, 3}
    assert set(blank_bands(image, prob=1.0, keep=(0, 1, 2))) == {(3,)}
    assert apply(RandomBandDropout(prob=1.0), chip(1), fill=0) is not None


def test_a_single_band_is_never_blanked():
    image = chip(1)
    assert apply(RandomBandDropout(prob=1.0), image, fill=0.0) is image


def test_dropout_happens_as_often_as_asked():
    happened = [bool(bands) for bands in blank_bands(chip(4), prob=0.3)]
    assert 0.2 < np.mean(happened) < 0.4


def test_dropout_of_integers():
    image = chip(4, 'uint8')
    changed = apply(RandomBandDropout(prob=1.0), image, fill=111.6)
    blank = [band for band in range(4) if not np.array_equal(changed[..., band], image[..., band])]
    assert changed.dtype == np.uint8
    assert (changed[..., blank] == 112).all()


@pytest.mark.parametrize('arguments', [{'prob': -1}, {'max_bands': 0}])
def test_senseless_dropout(arguments):
    with pytest.raises(ConfigError, match='RandomBandDropout'):
        RandomBandDropout(**arguments)


def test_found_by_name():
    transform = TRANSFORMS.build({'type': 'geo_mm.RandomRadiometry', 'value_range': (0, 255)})
    assert 'value_range=(0.0, 255.0)' in repr(transform)
