"""What is fitted in a generator's config is what MMDetection then builds."""

import numpy as np
import pytest

from geo_mm.errors import ConfigError
from geo_mm.models import anchor_grid, anchor_search

GENERATORS = {
    'rpn': dict(type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16]),
    'rpn with base sizes': dict(
        type='mmdet.AnchorGenerator',
        scales=[1.0],
        ratios=[1.0, 3.0],
        strides=[(8, 4), (16, 8)],
        base_sizes=[10, 25],
        center_offset=0.5,
        scale_major=False,
    ),
    'retina': dict(
        type='AnchorGenerator',
        octave_base_scale=2,
        scales_per_octave=3,
        ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32],
    ),
    'ssd': dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[8, 16, 32],
        ratios=[[2], [2, 3], [2]],
        min_sizes=[12, 24, 48],
        max_sizes=[24, 48, 96],
    ),
    'ssd of a size': dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        basesize_ratio_range=(0.15, 0.9),
        input_size=300,
    ),
    'yolo': dict(
        type='YOLOAnchorGenerator',
        strides=[32, 16, 8],
        base_sizes=[[(64, 64), (110, 60)], [(20, 20), (28, 33)], [(5, 5), (10, 10)]],
    ),
}
every_generator = pytest.mark.parametrize('generator', GENERATORS.values(), ids=GENERATORS)


@every_generator
def test_parameters_give_the_generators_own_anchors(generator):
    search = anchor_search(generator)
    grid = anchor_grid(generator)
    np.testing.assert_allclose(search.family.grid(search.parameters).sizes, grid.sizes, rtol=1e-6)


@every_generator
def test_scale_makes_all_anchors_larger(generator):
    search = anchor_search(generator)
    doubled = search.family.grid(search.parameters + np.log(2) * search.scale)
    np.testing.assert_allclose(doubled.sizes, 2 * anchor_grid(generator).sizes, rtol=1e-6)


@every_generator
def test_settings_build_the_anchors_of_the_parameters(generator):
    """Also where every parameter has moved by an amount of its own."""
    search = anchor_search(generator)
    moved = search.parameters + np.linspace(0.05, 0.3, len(search.parameters))
    built = anchor_grid({**generator, **search.settings(moved)})
    # Three digits of each setting.
    np.testing.assert_allclose(built.sizes, search.family.grid(moved).sizes, rtol=0.02)


@every_generator
def test_the_number_of_anchors_stays(generator):
    boxes = np.array([[10.0, 10.0, 19.0, 31.0], [40.0, 50.0, 66.0, 64.0]])
    settings = anchor_search(generator).fit(boxes, np.full((2, 2), 96.0), np.ones(2), 0.5)
    before, after = anchor_grid(generator), anchor_grid({**generator, **settings})
    np.testing.assert_array_equal(after.strides, before.strides)
    np.testing.assert_allclose(after.centres, before.centres, atol=1e-4)


def test_objects_of_one_shape_get_anchors_of_that_shape():
    """80 x 40 pixels: twice the scale and half the ratio of the config's only anchor."""
    generator = dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8])
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 400, (200, 2))
    boxes = np.concatenate([low, low + np.array([80.0, 40.0])], axis=1)
    settings = anchor_search(generator).fit(boxes, np.full((200, 2), 512.0), np.ones(200), 0.5)
    assert settings['scales'] == [pytest.approx(np.sqrt(80 * 40) / 8, rel=0.05)]
    assert settings['ratios'] == [pytest.approx(0.5, rel=0.05)]


def test_other_generators_are_refused():
    with pytest.raises(ConfigError, match='MlvlPointGenerator'):
        anchor_search(dict(type='MlvlPointGenerator', strides=[8]))
