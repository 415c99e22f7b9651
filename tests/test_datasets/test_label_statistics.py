"""Frequencies of pixel classes: each labelled, valid pixel once."""

import numpy as np
import pytest

from geo_mm.datasets import ClassFrequencies, class_frequencies, object_counts, object_sizes
from geo_mm.errors import CatalogError, ConfigError
from tests.data.chips import DET_PIPELINE, build_dataset, build_loader, dataset_cfg
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
    # The building is in one chip of 32 x 32.
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


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """64 x 32 pixels; buildings of 10 x 20 and 6 x 4, a tree of 8 x 8, a sliver at the edge."""
    folder = tmp_path_factory.mktemp('sizes')
    write_raster(folder / 'a.tif', noise((1, 32, 64), 'uint8'))
    shapes = [box(2, 4, 12, 24), box(20, 6, 26, 10), box(40, 8, 48, 16), box(31, 20, 37, 26)]
    write_labels(folder / 'a.gpkg', shapes, ['building', 'building', 'tree', 'tree'])
    return folder


def loader(folder, label_cfg=None, **dataset):
    config = dataset_cfg(
        'det',
        [dict(image='a.tif', labels='a.gpkg')],
        classes=('building', 'tree'),
        data_root=str(folder),
        label_cfg=label_cfg or dict(class_column='class'),
        stride=32,
        **dataset,
    )
    return build_loader('det', config, dict(type='geo_mm.GridChipSampler'))


def test_sizes_in_pixels_and_metres(folder):
    found = object_sizes(loader(folder), 2)
    assert found.names == ('building', 'tree')
    order = np.lexsort((found.pixels[:, 0], found.labels))
    # The sliver of 1 pixel in the left chip is ignored there.
    assert found.labels[order].tolist() == [0, 0, 1, 1]
    assert found.pixels[order].tolist() == [[6, 4], [10, 20], [5, 6], [8, 8]]
    gsd = loader(folder).dataset.labelled[0].scene.gsd
    np.testing.assert_allclose(found.metres, found.pixels * gsd, rtol=1e-6)
    assert (found.extents == 32).all()
    assert (found.chips, found.empty) == (2, 0)


def test_resizing_changes_pixels_and_not_metres(folder):
    steps = list(DET_PIPELINE)
    steps.insert(2, dict(type='Resize', scale=(64, 64), keep_ratio=True))
    steps[-1] = dict(steps[-1], meta_keys=(*steps[-1]['meta_keys'], 'scale_factor'))
    before, after = object_sizes(loader(folder), 2), object_sizes(loader(folder, pipeline=steps), 2)
    np.testing.assert_allclose(after.pixels, 2 * before.pixels)
    np.testing.assert_allclose(after.metres, before.metres)
    assert (after.extents == 64).all()


def test_repeated_and_joined_datasets(folder):
    single = loader(folder)
    part = dataset_cfg(
        'det',
        [dict(image='a.tif', labels='a.gpkg')],
        classes=('building', 'tree'),
        data_root=str(folder),
        label_cfg=dict(class_column='class'),
        stride=32,
    )
    twice = dict(
        type='ConcatDataset', datasets=[part, dict(type='RepeatDataset', dataset=part, times=2)]
    )
    joined = build_loader('det', twice, dict(type='DefaultSampler', shuffle=False))
    found, once = object_sizes(joined, 6), object_sizes(single, 2)
    assert found.chips == 6
    np.testing.assert_array_equal(found.metres, np.tile(once.metres, (3, 1)))


def test_classes_weigh_alike(folder):
    found = object_sizes(loader(folder), 1)
    assert found.labels.tolist() == [0, 0]
    assert found.weights.tolist() == [0.5, 0.5]
    found = object_sizes(loader(folder), 2)
    for label in (0, 1):
        assert found.weights[found.labels == label].sum() == pytest.approx(0.5)


def test_some_draws_from_every_class(folder):
    some = object_sizes(loader(folder), 2).some(1, np.random.default_rng(0))
    assert sorted(some.labels) == [0, 1]
    assert len(some.boxes) == len(some.extents) == len(some.metres) == 2


def test_chips_without_objects_are_told(folder):
    with pytest.raises(CatalogError, match='no object in 2 training chips'):
        object_sizes(loader(folder, dict(class_column='class', where="class = 'x'")), 2)


def test_pixels_have_no_objects(folder):
    config = dataset_cfg(
        'seg',
        [dict(image='a.tif', labels='a.gpkg')],
        data_root=str(folder),
        stride=32,
        label_cfg=dict(class_column='class', class_map=dict(tree=None)),
    )
    with pytest.raises(ConfigError, match='GeoSegDataset'):
        object_sizes(build_loader('seg', config, dict(type='geo_mm.GridChipSampler')), 2)
