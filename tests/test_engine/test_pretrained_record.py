"""Statistics of pretrained weights beside those of a preprocessor."""

import pytest

from geo_mm.engine.pretrained_record import other_statistics

RECORD = {
    'checkpoint': 'ssl4eo',
    'bands': ['red', 'nir', 'VV'],
    'statistics': [[800.0, 600.0], [2500.0, 1000.0], None],
    'scale': 10000.0,
}


@pytest.mark.parametrize(
    ('mean', 'std'),
    [
        ([900, 1500, -12], [300, 1100, 5]),
        ([250, 2000, -12], [400, 1100, 5]),  # less than a deviation apart
        ([0.09, 0.15, -12], [0.03, 0.11, 5]),  # reflectances from 0 to 1
    ],
)
def test_like_statistics_are_no_news(mean, std):
    assert other_statistics(RECORD, mean, std) == ''


def test_other_deviations_are_named_with_both_numbers():
    text = other_statistics(RECORD, [800, 2500, 0], [600, 150, 1])
    assert 'nir          mean 2500, std 1000; here mean 2500, std 150' in text
    assert 'red' not in text and 'VV' not in text


def test_other_means_are_named():
    assert 'nir' in other_statistics(RECORD, [800, 9000, 0], [600, 1000, 1])


def test_reflectances_are_compared_in_their_own_unit():
    text = other_statistics(RECORD, [0.08, 0.25, 0], [0.06, 0.01, 1])
    assert 'nir          mean 0.25, std 0.1; here mean 0.25, std 0.01' in text


def test_nothing_is_known():
    assert other_statistics({'checkpoint': 'a.pth', 'statistics': []}, [1], [1]) == ''
    assert other_statistics({'checkpoint': 'a.pth'}, [1], [1]) == ''
