from collections import Counter
from itertools import islice

import numpy as np
import pytest
from scipy import stats

from geo_mm.catalog import Coverage
from geo_mm.datasets import GridChipSampler, RandomChipSampler, samplers
from geo_mm.errors import CatalogError, ConfigError
from tests.data.chips import build_dataset
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


def make_scene(folder, name='a', shape=(80, 100), valid=None, shapes=(), classes=None, **entry):
    """An entry of a scene of ``shape`` that is valid inside the pixel box ``valid``."""
    array = noise((3, *shape))
    if valid is not None:
        left, top, right, bottom = valid
        inside = np.zeros(shape, bool)
        inside[top:bottom, left:right] = True
        array[:, ~inside] = 0
    image = write_raster(folder / f'{name}.tif', array, nodata=0)
    found = dict(image=str(image), **entry)
    if shapes:
        found['labels'] = str(write_labels(folder / f'{name}.gpkg', shapes, classes))
    return found


def windows(dataset, indices):
    return [dataset.chip_space.locate(index) for index in indices]


def draws(dataset, count, **kwargs):
    sampler = RandomChipSampler(dataset, seed=1, infinite=True, **kwargs)
    return windows(dataset, islice(iter(sampler), count))


class TestRandomChipSampler:
    def test_every_position_is_equally_likely(self, tmp_path):
        """Chi-square, since a wrong bin at the border would favour the last column."""
        dataset = build_dataset('det', [make_scene(tmp_path)])
        found = draws(dataset, 20_000)
        for axis, count in ((0, 69), (1, 49)):
            seen = np.bincount([window[axis] for _, window in found], minlength=count)
            assert len(seen) == count
            assert stats.chisquare(seen).pvalue > 0.001

    def test_positions_of_a_stride_are_equally_likely(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path)], stride=7)
        found = draws(dataset, 5_000)
        seen = Counter(window[:2] for _, window in found)
        assert len(seen) == len(dataset)
        assert stats.chisquare(list(seen.values())).pvalue > 0.001

    def test_scenes_are_drawn_by_their_valid_ground(self, tmp_path):
        scenes = [
            make_scene(tmp_path, 'a', (64, 64)),
            make_scene(tmp_path, 'b', (64, 192)),
            make_scene(tmp_path, 'c', (64, 128), valid=(0, 0, 64, 64)),
            make_scene(tmp_path, 'd', (32, 32)),  # one position only
        ]
        seen = Counter(scene for scene, _ in draws(build_dataset('det', scenes), 4_000))
        expected = np.array([4, 12, 4, 1]) / 21 * 4_000
        assert stats.chisquare([seen[n] for n in range(4)], expected).pvalue > 0.001

    def test_chips_with_too_little_valid_are_refused(self, tmp_path):
        scene = make_scene(tmp_path, shape=(128, 128), valid=(0, 0, 64, 128))
        dataset = build_dataset('det', [scene])
        for min_valid in (0.2, 0.5, 1.0):
            cols = [window.col_off for _, window in draws(dataset, 500, min_valid=min_valid)]
            # Valid share is (64 - col) / 32, known to within half a cell and half a bin.
            assert 64 - max(cols) == pytest.approx(32 * min_valid, abs=4)
            assert min(cols) < 4

    def test_fully_valid_chips_exist_in_a_scene_without_nodata(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path, shape=(83, 97))])
        assert len(draws(dataset, 10, min_valid=1.0)) == 10

    def test_positive_share(self, tmp_path):
        shapes = [box(10, 10, 14, 14), box(90, 66, 94, 70)]
        dataset = build_dataset('det', [make_scene(tmp_path, shapes=shapes)])

        def positive(window):
            return any(
                window.col_off <= x < window.col_end and window.row_off <= y < window.row_end
                for x, y in dataset.labelled[0].labels.points()[0]
            )

        always = draws(dataset, 400, positive_share=1.0)
        assert all(positive(window) for _, window in always)
        # The object is anywhere in the chip but at its rim, not always in the middle.
        left = [12 - w.col_off for _, w in always if w.col_off < 40]
        assert min(left) <= 5 and max(left) <= 29
        never = sum(positive(window) for _, window in draws(dataset, 1_000)) / 1_000
        half = sum(positive(w) for _, w in draws(dataset, 1_000, positive_share=0.5)) / 1_000
        assert half == pytest.approx(0.5 + 0.5 * never, abs=0.05)

    def test_classes_are_drawn_equally_often_or_by_weight(self, tmp_path):
        shapes = [box(x, 10, x + 2, 12) for x in range(0, 60, 3)] + [box(150, 150, 152, 152)]
        classes = ['building'] * 20 + ['tree']
        scene = make_scene(tmp_path, shape=(192, 192), shapes=shapes, classes=classes)
        dataset = build_dataset(
            'det', [scene], ('building', 'tree'), label_cfg=dict(class_column='class')
        )

        def share_of_trees(**kwargs):
            found = draws(dataset, 1_000, positive_share=1.0, **kwargs)
            return sum(window.row_end > 150 for _, window in found) / 1_000

        assert share_of_trees() == pytest.approx(0.5, abs=0.05)
        weights = dict(building=1, tree=3)
        assert share_of_trees(class_weights=weights) == pytest.approx(0.75, abs=0.05)
        assert share_of_trees(class_weights=dict(tree=1)) == 1
        assert share_of_trees(class_weights=dict(tree=0, building=2)) == 0

    def test_pixels_are_drawn_around_classes_of_label_rasters(self, tmp_path):
        values = np.zeros((80, 100), 'uint8')
        values[60, 90] = 1
        labels = write_raster(tmp_path / 'labels.tif', values)
        dataset = build_dataset('seg', [make_scene(tmp_path, labels=str(labels))])
        found = draws(dataset, 500, positive_share=1.0, class_weights=dict(building=1))
        assert all(w.col_end > 90 and w.row_off <= 60 < w.row_end for _, w in found)

    def test_of_many_labels_only_some_stay_in_memory(self, tmp_path, monkeypatch):
        """Scenes are drawn by the number of all their labels."""
        monkeypatch.setattr(samplers, '_ANCHORS', 100)
        monkeypatch.setattr(samplers, '_LEAST_ANCHORS', 20)
        scenes = []
        for name, rows in (('a', 60), ('b', 20)):
            values = np.zeros((80, 100), 'uint8')
            values[:rows] = 1
            labels = str(write_raster(tmp_path / f'{name}_labels.tif', values))
            scenes.append(make_scene(tmp_path, name, labels=labels))
        dataset = build_dataset('seg', scenes)
        options = dict(positive_share=1.0, class_weights=dict(building=1), min_valid=0)
        sampler = RandomChipSampler(dataset, **options)
        (places,) = sampler._labels._places
        assert [len(points) for _, points, _ in places] == [50, 50]
        found = draws(dataset, 2000, **options)
        assert abs(np.mean([scene == 0 for scene, _ in found]) - 0.75) < 0.04
        assert len({window.row_off for scene, window in found if scene == 0}) > 40

    def test_labels_outside_the_aoi_or_without_data_are_not_drawn_around(self, tmp_path):
        shapes = [box(10, 10, 14, 14), box(60, 60, 64, 64), box(100, 10, 104, 14)]
        aoi = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 50, 128), box(90, 0, 128, 128)])
        scene = make_scene(
            tmp_path, shape=(128, 128), valid=(0, 0, 80, 128), shapes=shapes, aoi=str(aoi)
        )
        dataset = build_dataset('det', [scene])
        for _, window in draws(dataset, 300, positive_share=1.0):
            assert window.col_off <= 12 and window.row_off <= 12

    def test_ignored_labels_are_not_drawn_around(self, tmp_path):
        scene = make_scene(
            tmp_path,
            shapes=[box(10, 10, 14, 14), box(80, 60, 84, 64)],
            classes=['building', 'unsure'],
        )
        options = dict(class_column='class', class_map={'unsure': 'ignore'})
        dataset = build_dataset('det', [scene], label_cfg=options)
        found = draws(dataset, 100, positive_share=1.0)
        assert all(window.col_off <= 12 for _, window in found)

    def test_an_epoch_covers_the_valid_ground_once(self, tmp_path):
        scene = make_scene(tmp_path, shape=(128, 128), valid=(0, 0, 64, 128))
        sampler = RandomChipSampler(build_dataset('det', [scene]), seed=0)
        assert len(sampler) == len(list(sampler)) == 64 * 128 / 32**2

    def test_epochs_differ_and_are_repeatable(self, tmp_path):
        sampler = RandomChipSampler(build_dataset('det', [make_scene(tmp_path)]), 50, seed=3)
        first = list(sampler)
        assert list(sampler) == first
        sampler.set_epoch(1)
        assert list(sampler) != first
        sampler.set_epoch(0)
        assert list(sampler) == first

    def test_the_endless_order_is_that_of_the_epochs(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path)])
        endless = RandomChipSampler(dataset, 7, infinite=True, seed=3)
        sampler, expected = RandomChipSampler(dataset, 7, seed=3), []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            expected += list(sampler)
        assert list(islice(iter(endless), 21)) == expected

    def test_skipping_continues_where_training_stopped(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path)])
        whole = list(islice(iter(RandomChipSampler(dataset, 7, infinite=True, seed=3)), 30))
        sampler = RandomChipSampler(dataset, 7, infinite=True, seed=3)
        sampler.skip(17)
        assert list(islice(iter(sampler), 13)) == whole[17:]

    def test_a_finite_epoch_cannot_be_skipped_by_counting_full_batches(self, tmp_path):
        sampler = RandomChipSampler(build_dataset('det', [make_scene(tmp_path)]), 7, seed=3)
        assert not hasattr(sampler, 'skip')

    def test_seeds_differ(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path)])
        orders = {tuple(RandomChipSampler(dataset, 20, seed=seed)) for seed in range(5)}
        assert len(orders) == 5

    def test_indices_are_plain_integers(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path, shapes=[box(10, 10, 14, 14)])])
        sampler = RandomChipSampler(dataset, 20, positive_share=0.5, seed=0)
        assert {type(index) for index in sampler} == {int}

    @pytest.mark.parametrize(
        ('kwargs', 'error', 'message'),
        [
            (dict(positive_share=0.5), CatalogError, '(?s)no labels of class any .*a.tif.*=0'),
            (dict(min_valid=1.5), ConfigError, 'min_valid=1.5'),
            (dict(positive_share=-1), ConfigError, 'positive_share=-1'),
        ],
    )
    def test_mistakes(self, tmp_path, kwargs, error, message):
        dataset = build_dataset('det', [make_scene(tmp_path)])
        with pytest.raises(error, match=message):
            RandomChipSampler(dataset, seed=0, **kwargs)

    @pytest.mark.parametrize(
        ('weights', 'error', 'message'),
        [
            (dict(road=1), CatalogError, '(?s)no labels of class road .*: building'),
            (dict(building=0), ConfigError, 'at least one above 0'),
            (dict(building=-1), ConfigError, 'at least one above 0'),
        ],
    )
    def test_mistaken_weights(self, tmp_path, weights, error, message):
        dataset = build_dataset('det', [make_scene(tmp_path, shapes=[box(10, 10, 14, 14)])])
        with pytest.raises(error, match=message):
            RandomChipSampler(dataset, seed=0, positive_share=1, class_weights=weights)

    def test_no_valid_chip(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path, valid=(0, 0, 0, 0))])
        with pytest.raises(CatalogError, match=r'(?s)no chip of 32 x 32 pixels .*a.tif.*nodata'):
            RandomChipSampler(dataset, seed=0)


class TestGridChipSampler:
    def test_each_pixel_is_seen_once(self, tmp_path):
        scenes = [make_scene(tmp_path, 'a', (80, 100)), make_scene(tmp_path, 'b', (20, 33))]
        dataset = build_dataset('det', scenes, stride=32)
        seen = [np.zeros((80, 100), int), np.zeros((20, 33), int)]
        for scene, window in windows(dataset, GridChipSampler(dataset)):
            seen[scene][window.slices()] += 1
        assert all((count == 1).all() for count in seen)

    def test_empty_chips_are_left_out_and_no_valid_pixel_with_them(self, tmp_path):
        scene = make_scene(tmp_path, shape=(200, 200), valid=(70, 40, 131, 90))
        dataset = build_dataset('det', [scene], stride=32)
        sampler = GridChipSampler(dataset)
        seen = np.zeros((200, 200), bool)
        for _, window in windows(dataset, sampler):
            seen[window.slices()] = True
        assert seen[40:90, 70:131].all()
        assert len(sampler) < 20 < len(dataset)

    def test_chips_outside_the_aoi_are_left_out(self, tmp_path):
        aoi = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 64, 32)])
        scene = make_scene(tmp_path, shape=(128, 128), aoi=str(aoi))
        dataset = build_dataset('det', [scene], stride=32)
        assert [w[:2] for _, w in windows(dataset, GridChipSampler(dataset))] == [(0, 0), (32, 0)]

    def test_least_valid_share(self, tmp_path):
        scene = make_scene(tmp_path, shape=(64, 128), valid=(0, 0, 80, 64))
        dataset = build_dataset('det', [scene], stride=32)
        full = windows(dataset, GridChipSampler(dataset, min_valid=1.0))
        assert sorted(w[:2] for _, w in full) == [(0, 0), (0, 32), (32, 0), (32, 32)]
        assert len(GridChipSampler(dataset, min_valid=0.4)) == 6

    def test_stride_one_is_a_mistake_unless_scenes_are_chips(self, tmp_path):
        dataset = build_dataset('det', [make_scene(tmp_path)])
        with pytest.raises(ConfigError, match=r'(?s)stride 1: 3381 chips.*test_mode=True'):
            GridChipSampler(dataset)
        scenes = [make_scene(tmp_path, name, (32, 32)) for name in 'ab']
        assert list(GridChipSampler(build_dataset('det', scenes))) == [0, 1]

    def test_no_valid_chip(self, tmp_path):
        scene = make_scene(tmp_path, valid=(0, 0, 0, 0))
        with pytest.raises(CatalogError, match=r'(?s)no chip has a valid share .*a.tif'):
            GridChipSampler(build_dataset('det', [scene], stride=32))


def test_coverage_and_sampler_agree(tmp_path):
    scene = make_scene(tmp_path, shape=(150, 170), valid=(33, 20, 140, 111))
    dataset = build_dataset('det', [scene])
    coverage = Coverage(dataset.labelled[0], (32, 32))
    for _, window in draws(dataset, 300, min_valid=0.6):
        assert coverage.share(window) > 0.45
