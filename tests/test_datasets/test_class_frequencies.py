"""Frequencies of pixel classes: each labelled, valid pixel once."""

import numpy as np
import pytest

from geo_mm.datasets import ClassFrequencies, class_frequencies, object_counts
from geo_mm.errors import ConfigError
from tests.data.chips import build_dataset
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


@pytest.fixture
def scene(tmp_path):
    """One entry: 100 x 80 pixels, the last 10 columns without data, 20 x 10 of a building."""
    pixels = np.maximum(noise((3, 80, 100)), 1)
    pixels[:, :, 90:] = 0
    image = write_raster(tmp_path / 'a.tif', pixels, nodata=0)
    labels = write_labels(tmp_path / 'a.gpkg', [box(2, 2, 22, 12)], ['building'])
    return dict(image=str(image), labels=str(labels))


@pytest.mark.parametrize('stride', [1, 32, 50])
def test_each_valid_pixel_counts_once(scene, stride):
    found = class_frequencies(
        build_dataset('seg', [scene], label_cfg=dict(class_column='class'), stride=stride)
    )
    assert found.names == ('background', 'building')
    assert found.pixels.tolist() == [90 * 80 - 200, 200]
    # The building lies in one chip of 32 x 32.
    assert found.around.tolist() == [90 * 80, 32 * 32]


def test_median_frequency_weights():
    found = ClassFrequencies(
        ('a', 'b', 'c', 'never'), np.array([60, 30, 10, 0]), np.array([100, 100, 50, 0])
    )
    # shares 0.6, 0.3 and 0.2
    np.testing.assert_allclose(found.weights(), [0.5, 1.0, 1.5, 1.0])


def test_no_labelled_pixel_at_all():
    found = ClassFrequencies(('a', 'b'), np.zeros(2, int), np.zeros(2, int))
    assert found.weights().tolist() == [1, 1]


def test_objects_have_no_pixels(scene):
    with pytest.raises(ConfigError, match='classes of pixels'):
        class_frequencies(build_dataset('det', [scene]))


def test_a_scene_without_labels(scene):
    dataset = build_dataset('seg', [dict(image=scene['image'])])
    with pytest.raises(ConfigError, match='a has no labels'):
        class_frequencies(dataset)


def test_objects_are_counted_once(scene, tmp_path):
    shapes = [box(2, 2, 22, 12), box(30, 30, 95, 70), box(40, 2, 44, 6)]
    write_labels(tmp_path / 'a.gpkg', shapes, ['building', 'tree', 'tree'])
    dataset = build_dataset(
        'det', [scene], ('building', 'tree', 'car'), label_cfg=dict(class_column='class'), stride=1
    )
    assert object_counts(dataset) == {'building': 1, 'tree': 2, 'car': 0}


def test_pixels_are_no_objects(scene):
    with pytest.raises(ConfigError, match=r'objects of a GeoSegDataset'):
        object_counts(build_dataset('seg', [scene]))
