"""Colours of the demo's classes are distinguishable for people who see no green."""

import itertools

import numpy as np
import pytest
from mmengine.config import Config

from tests.data.chips import CONFIGS

# Linear RGB as deuteranopes see it: Machado, Oliveira and Fernandes (2009), table 1.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
# Linear sRGB to CIE XYZ, white = 1 (IEC 61966-2-1).
TO_XYZ = np.array(
    [[0.43395, 0.37622, 0.18983], [0.21267, 0.71515, 0.07218], [0.01776, 0.10947, 0.87276]]
)


def lab(linear):
    x, y, z = np.cbrt(TO_XYZ @ linear)  # dark colours apart, as CIELAB
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize('task', ['seg', 'det', 'ins'])
def test_colours_of_the_town(task):
    palette = Config.fromfile(CONFIGS / f'_base_/datasets/town_{task}.py').palette
    linear = [((np.array(colour) / 255 + 0.055) / 1.055) ** 2.4 for colour in palette]
    seen = [lab((DEUTERANOPIA @ colour).clip(0, 1)) for colour in linear]
    least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert least > 25  # it was 16
