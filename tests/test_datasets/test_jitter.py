"""Chips at another GSD and in another direction: pixels, labels and places agree."""

import numpy as np
import pytest
import shapely
from affine import Affine
from mmengine.dataset import ConcatDataset

from geo_mm.datasets import BlockChipSampler, GridChipSampler, RandomChipSampler
from geo_mm.errors import ConfigError
from geo_mm.labels.scene_labels import filled_blocks
from geo_mm.raster import Window
from tests.data.chips import build_dataset
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster

SHAPES = [box(20, 30, 60, 50), box(70, 60, 110, 120), box(15, 80, 40, 130)]
JITTER = dict(gsd_jitter=(0.8, 1.25), rotation=180)


@pytest.fixture(scope='module')
def painted(tmp_path_factory):
    """A scene whose pixels are 200 where there is a building, as an entry with a layer,
    and one with a label raster."""
    folder = tmp_path_factory.mktemp('jitter')
    image = np.full((1, 160, 160), 10, np.uint8)
    for _, rows, cols, block in filled_blocks(np.array(SHAPES), Window(0, 0, 160, 160)):
        image[0, rows, cols][block] = 200
    path = write_raster(folder / 'a.tif', image)
    layer = write_labels(folder / 'a.gpkg', SHAPES)
    raster = write_raster(folder / 'a_classes.tif', (image > 100).astype(np.uint8))
    return [dict(image=str(path), labels=str(found)) for found in (layer, raster)]


def drawn(dataset, count=12):
    sampler = RandomChipSampler(dataset, num_chips=count, seed=3)
    return list(sampler)


@pytest.mark.parametrize('labels', [0, 1])
def test_classes_of_pixels_turn_with_the_image(painted, labels):
    options = dict(chip_size=64, **JITTER)
    if labels:
        options['label_cfg'] = dict(class_map={0: 'background', 1: 'building'})
    dataset = build_dataset('seg', painted[labels : labels + 1], **options)
    for index in drawn(dataset):
        item = dataset[index]
        seen = item['inputs'][0].numpy()
        classes = item['data_samples'].gt_sem_seg.data[0].numpy()
        known = classes != 255
        assert known.mean() > 0.3
        assert (((seen > 105) == (classes == 1)) | ~known).mean() > 0.985  # but for edges


def test_objects_turn_with_the_image_and_their_place_is_known(painted):
    dataset = build_dataset('det', painted[:1], chip_size=64, **JITTER)
    found = 0
    for index in drawn(dataset, 30):
        sample = dataset[index]['data_samples']
        to_pixels = ~Affine(*sample.transform) @ TRANSFORM
        chip = shapely.box(0, 0, 64, 64)
        boxes = []
        for shape in SHAPES:
            outline = shapely.affinity.affine_transform(shape, to_pixels.to_shapely())
            part = outline & chip
            if not part.is_empty and part.area / outline.area > 0.3:
                boxes.append(part.bounds)
        got = sample.gt_instances.bboxes.tensor.numpy() if len(sample.gt_instances) else []
        np.testing.assert_allclose(sorted(map(tuple, got)), sorted(boxes), atol=0.01)
        found += len(boxes)
    assert found > 15


def test_the_gsd_is_drawn_between_the_factors(painted):
    dataset = build_dataset('det', painted[:1], gsd_jitter=(0.5, 2.0))
    sides = [abs(dataset.get_data_info(index)['transform'][0]) for index in drawn(dataset, 400)]
    assert 0.25 <= min(sides) < 0.27 and 0.93 < max(sides) <= 1.0
    assert np.median(sides) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize('kind', [RandomChipSampler, BlockChipSampler])
def test_the_jitter_of_a_chip_is_part_of_the_order(painted, kind):
    datasets = [build_dataset('seg', painted[:1], **JITTER) for _ in range(2)]
    both = [kind(dataset, seed=1, num_chips=40) for dataset in datasets]
    assert list(both[0]) == list(both[1])
    index = list(both[0])[7]
    infos = [dataset.get_data_info(index) for dataset in datasets]
    assert infos[0]['transform'] == infos[1]['transform']
    both[0].set_epoch(1)
    assert list(both[0]) != list(both[1])


def test_jittered_datasets_are_concatenated(painted):
    one = build_dataset('seg', painted[:1], **JITTER)
    both = ConcatDataset([one, build_dataset('seg', painted[:1], **JITTER)])
    places = {int(index >= len(one)) for index in drawn(both, 40)}
    assert places == {0, 1}
    assert all(both[index]['inputs'].shape == (1, 32, 32) for index in drawn(both, 10))


def test_a_grid_of_chips_is_upright(painted):
    dataset = build_dataset('seg', painted[:1], stride=32, **JITTER)
    chips = list(GridChipSampler(dataset))
    assert len(chips) == 25
    assert dataset.get_data_info(chips[3])['transform'][1] == 0


@pytest.mark.parametrize('options', [dict(gsd_jitter=(0, 1)), dict(rotation=200)])
def test_unusable_numbers(painted, options):
    with pytest.raises(ConfigError, match='gsd_jitter='):
        build_dataset('seg', painted[:1], **options)


def test_scores_are_of_upright_chips(painted):
    with pytest.raises(ConfigError, match='test_mode'):
        build_dataset('seg', painted[:1], test_mode=True, rotation=10)


def test_an_aoi_turns_too(painted, tmp_path):
    area = write_labels(tmp_path / 'aoi.gpkg', [box(0, 0, 80, 160)])
    dataset = build_dataset('seg', [dict(painted[0], aoi=str(area))], chip_size=64, rotation=180)
    at_edge = dataset.chip_space.index(0, 48, 48) + 17 * dataset.chip_space.positions
    sample = dataset[at_edge]['data_samples']
    known = sample.gt_sem_seg.data[0].numpy() != 255
    x = (Affine(*sample.transform) @ np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5))[0]
    np.testing.assert_array_equal(known, x < (TRANSFORM @ (80, 0))[0])


def test_noise_is_read_by_area_at_a_coarser_gsd(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((1, 300, 300)))
    plain = build_dataset('seg', [str(image)], pipeline=[dict(type='geo_mm.LoadChip')])
    coarse = build_dataset(
        'seg', [str(image)], gsd_jitter=(4, 4), pipeline=[dict(type='geo_mm.LoadChip')]
    )
    spread = [
        chips[chips.chip_space.index(0, 130, 130) + number]['img'].std()
        for chips, number in ((plain, 0), (coarse, coarse.chip_space.positions))
    ]
    assert spread[1] < spread[0] / 3
