"""Sun, slopes and shadows."""

import numpy as np
import pytest

from geo_mm.synthetic.radiometry import Sun, cast_shadows


def test_direction_of_a_southern_sun_points_down_the_image():
    x, y, z = Sun(np.pi, np.pi / 6).direction
    assert (x, y, z) == pytest.approx((0, np.cos(np.pi / 6), 0.5), abs=1e-12)


def test_flat_ground_gets_unit_light():
    assert Sun(2.0, 0.8).incidence(np.float64(0), np.float64(0)) == pytest.approx(1)


def test_slope_facing_the_sun_gets_more_light_and_its_back_less():
    sun = Sun(np.pi, np.pi / 4)  # in the south, 45 degrees high
    # A roof that falls towards the sun (south, +y) rises towards -y.
    assert sun.incidence(np.float64(0), np.float64(-1)) == pytest.approx(np.sqrt(2))
    assert sun.incidence(np.float64(0), np.float64(1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ('azimuth', 'shaded', 'sunny'),
    [
        (180, (slice(20, 30), slice(30, 40)), (slice(40, 60), slice(30, 40))),
        (90, (slice(30, 40), slice(20, 30)), (slice(30, 40), slice(40, 60))),
    ],
)
def test_a_wall_shades_as_far_as_it_is_high_under_a_45_degree_sun(azimuth, shaded, sunny):
    height = np.zeros((70, 70), np.float32)
    height[30:40, 30:40] = (
        5.2  # metres; pixels of 0.5 m: the centres of 10 pixels are in the shadow
    )
    sun = Sun(np.radians(azimuth), np.radians(45))
    light = cast_shadows(height, 0.5, sun, highest=20.0, soft=0.01)
    assert light[shaded].max() == 0
    assert light[sunny].min() == 1
    assert light[30:40, 30:40].min() == 1, 'a flat roof must not shade itself'
    assert (light == 0).sum() == 100


def test_shadow_falls_on_a_lower_roof_but_not_on_a_higher_one():
    height = np.zeros((60, 30), np.float32)
    height[40:45] = 6.2
    height[30:40] = 3.0
    sun = Sun(np.pi, np.radians(45))
    light = cast_shadows(height, 1.0, sun, highest=10.0, soft=0.01)
    np.testing.assert_array_equal(light[30:40, 15], [1] * 7 + [0] * 3)
