import math

import numpy as np
import pytest
from affine import Affine
from PIL import Image, ImageFont
from rasterio.crs import CRS

from geo_mm.raster import Grid
from geo_mm.visualization.map_frame import Entry, bar_length, font_for, framed, north, wrapped


def grid(transform, epsg=32617, size=100):
    return Grid(transform, size, size, CRS.from_epsg(epsg))


CENTRE = Affine(1, 0, 500_000, 0, -1, 4_000_000)  # on the central meridian


@pytest.mark.parametrize(
    ('transform', 'expected'),
    [
        (CENTRE, (0, -1)),
        (CENTRE @ Affine.rotation(90), (-1, 0)),
        (CENTRE @ Affine.scale(1, -1), (0, 1)),
        # 166 km west of it, north is to the right of up: -1.84 degrees * sin(36.1).
        (Affine(1, 0, 334_000, 0, -1, 4_000_000), (0.019, -1)),
    ],
)
def test_north_is_true_north(transform, expected):
    assert north(grid(transform)) == pytest.approx(expected, abs=1e-3)


def test_north_in_the_southern_hemisphere_and_nowhere():
    assert north(grid(CENTRE, 32717)) == pytest.approx((0, -1), abs=1e-3)
    assert north(Grid(Affine.identity(), 9, 9)) is None


@pytest.mark.parametrize(('metres', 'expected'), [(49, 20), (50, 50), (1999, 1000), (0.7, 0.5)])
def test_scale_bars_have_round_lengths(metres, expected):
    assert bar_length(metres) == expected


def test_the_scale_bar_is_as_long_as_it_says():
    """0.5 m pixels, 1200 of them: 200 m are 400 pixels."""
    image = Image.new('RGB', (1200, 10))
    flat = Grid(CENTRE @ Affine.scale(0.5), 1200, 10, CRS.from_epsg(32617))
    found = np.array(framed(image, flat, 'town', []).convert('L'))[10:]
    ends = np.diff(np.pad(found < 60, ((0, 0), (1, 1))).astype(int).ravel())
    longest = (np.flatnonzero(ends < 0) - np.flatnonzero(ends > 0)).max()
    assert longest == pytest.approx(401, abs=3)


def test_the_picture_stays_in_its_corner():
    picture = Image.effect_noise((60, 40), 50).convert('RGB')
    found = framed(picture, Grid(Affine.identity(), 60, 40), 'x', [Entry('a', (1, 2, 3))])
    np.testing.assert_array_equal(np.array(found)[:40, :60], np.array(picture))
    assert (1, 2, 3) in {colour for _, colour in found.getcolors(10**6)}


def test_long_names_take_several_lines_and_no_letter_is_lost():
    font = font_for('a', 14)
    name = 'a_scene_whose_name_' * 9 + 'ends here'
    lines = wrapped(name, font, 200)
    assert len(lines) > 3 and max(map(font.getlength, lines)) <= 200
    assert ''.join(lines).replace(' ', '') == name.replace(' ', '')


@pytest.mark.parametrize('text', ['ñandú Straße', 'δάσος', 'лес и вода'])
def test_letters_are_letters(text):
    """Pillow's own font shows a box for each."""
    font = font_for(text, 20)
    boxes = [bytes(font.getmask(letter)) for letter in text.replace(' ', '')]
    assert bytes(font.getmask('\U0010fffd')) not in boxes
    assert isinstance(font, ImageFont.FreeTypeFont) and math.isclose(font.size, 20)
