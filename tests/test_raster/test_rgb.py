import numpy as np
import pytest

from geo_mm.raster.rgb import display_bands, to_rgb


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (('Red', 'Green', 'Blue', 'NIR'), (0, 1, 2)),
        (('NIR', 'Blue', 'Green', 'Red'), (3, 2, 1)),
        (('B01', 'B02', 'B03', 'B04', 'B08'), (3, 2, 1)),
        (tuple(f'B{i}' for i in range(1, 14)), (3, 2, 1)),
        (('B1', 'B2', 'B3', 'B4'), (0, 1, 2)),  # no names at all: most likely red first
        (('B2', 'B3', 'B4', 'B8'), (2, 1, 0)),
        (('nir', 'red', 'green'), (0, 1, 2)),
        (('VV', 'VH'), (0, 0, 0)),
        (('height',), (0, 0, 0)),
    ],
)
def test_bands_to_show(names, expected):
    assert display_bands(names) == expected


def test_stretch_is_between_the_percentiles_of_valid_pixels():
    values = np.arange(101, dtype='uint16')[None, None] * 100
    data = np.concatenate([values, values + 5, values * 2])
    data = np.concatenate([data, np.full((3, 1, 20), 60_000, 'uint16')], axis=2)
    valid = np.arange(121)[None] < 101
    picture = to_rgb(data, valid, ('r', 'g', 'b'))
    assert picture.shape == (1, 121, 3)
    # The 2nd and 98th percentiles are 200 and 9800 of the first band.
    np.testing.assert_array_equal(picture[0, [0, 2, 50, 98, 100], 0], [0, 0, 127, 255, 255])
    np.testing.assert_array_equal(picture[0, :101, 0], picture[0, :101, 2])
    assert (picture[0, 101:] == (255, 0, 255)).all()


def test_pixels_of_one_value_and_no_valid_pixel_at_all():
    data = np.full((1, 2, 2), 7.0)
    assert not to_rgb(data, np.ones((2, 2), bool), ['a']).any()
    assert (to_rgb(data, np.zeros((2, 2), bool), ['a']) == (255, 0, 255)).all()
