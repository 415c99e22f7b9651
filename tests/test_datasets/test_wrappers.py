"""Chip datasets in the libraries' wrappers, with chip samplers."""

import random

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DATASETS
from torch.utils.data import Subset

from geo_mm.datasets import GridChipSampler, RandomChipSampler, chip_datasets
from geo_mm.engine.runner import explained_chip_errors
from geo_mm.errors import ConfigError
from tests.data.chips import DET_PIPELINE, build_dataset, build_loader, dataset_cfg, scope
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

MIX_STEPS = [dict(type='geo_mm.LoadChip'), dict(type='geo_mm.LoadChipObjects')]


@pytest.fixture
def scenes(tmp_path):
    """Scenes whose pixels have the value 10 and 20, with one building each."""
    found = []
    for name, value, shape in (('a', 10, (64, 96)), ('b', 20, (64, 64))):
        image = write_raster(tmp_path / f'{name}.tif', np.full((3, *shape), value, 'uint8'))
        labels = write_labels(tmp_path / f'{name}.gpkg', [box(8, 8, 24, 24)])
        found.append(dict(image=str(image), labels=str(labels)))
    return found


@pytest.mark.parametrize('task', ['det', 'seg'])
def test_concatenated(scenes, task):
    parts = [dataset_cfg(task, [scene], stride=32) for scene in scenes]
    config = dict(type='ConcatDataset', datasets=parts)
    loader = build_loader(task, config, dict(type='geo_mm.GridChipSampler'), batch=1)
    values = [int(batch['inputs'][0][0, 0, 0]) for batch in loader]
    assert values == [10] * 6 + [20] * 4
    loader = build_loader(task, config, dict(type='geo_mm.RandomChipSampler', num_chips=200))
    values = np.array([int(x[0, 0, 0]) for batch in loader for x in batch['inputs']])
    assert (values == 10).mean() == pytest.approx(0.6, abs=0.1)


def test_concatenated_label_draws_reach_both_parts(scenes):
    parts = [dataset_cfg('det', [scene]) for scene in scenes]
    with scope('det'):
        dataset = DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    sampler = RandomChipSampler(dataset, 40, positive_share=1.0, seed=0)
    samples = [dataset[index]['data_samples'] for index in sampler]
    assert all(len(sample.gt_instances) == 1 for sample in samples)
    assert {sample.scene_id for sample in samples} == {'a', 'b'}


def test_repeated(scenes):
    inner = dataset_cfg('det', scenes, stride=32)
    with scope('det'):
        dataset = DATASETS.build(dict(type='RepeatDataset', dataset=inner, times=3))
    assert len(dataset) == 30
    assert len(GridChipSampler(dataset)) == 10
    assert [offset for offset, _ in chip_datasets(dataset)] == [0]


def test_repeated_inside_concatenated_keeps_count(scenes):
    parts = [dataset_cfg('det', [scene], stride=32) for scene in scenes]
    repeated = dict(type='RepeatDataset', dataset=parts[0], times=2)
    with scope('det'):
        dataset = DATASETS.build(dict(type='ConcatDataset', datasets=[repeated, parts[1]]))
    assert [offset for offset, _ in chip_datasets(dataset)] == [0, 12]
    ids = [dataset[i]['data_samples'].scene_id for i in GridChipSampler(dataset)]
    assert ids == ['a'] * 6 + ['b'] * 4


def test_wrappers_that_renumber_chips_are_refused(scenes):
    dataset = build_dataset('det', scenes, stride=32)
    for wrapper in (ClassBalancedDataset(dataset, 1e-3), Subset(dataset, [3, 4])):
        with pytest.raises(ConfigError, match=r'(?s)geo_mm dataset, got .*positive_share'):
            RandomChipSampler(wrapper, seed=0)


def mosaic_cfg(scenes, kind='geo_mm.Mosaic', **kwargs):
    return dict(
        type='MultiImageMixDataset',
        dataset=dataset_cfg('det', scenes, **{'pipeline': MIX_STEPS, **kwargs}),
        pipeline=[dict(type=kind, img_scale=(32, 32), pad_val=0.0), DET_PIPELINE[-1]],
    )


@pytest.mark.parametrize('kind', ['geo_mm.Mosaic', 'Mosaic'])
def test_mosaic(scenes, kind):
    loader = build_loader(
        'det',
        mosaic_cfg(scenes, kind),
        dict(type='geo_mm.RandomChipSampler', num_chips=6, positive_share=1.0),
        batch=2,
    )
    random.seed(0)
    np.random.seed(0)  # MMDetection draws the middle of a mosaic with numpy
    samples = [sample for batch in loader for sample in batch['data_samples']]
    images = [image for batch in loader for image in batch['inputs']]
    assert {tuple(image.shape) for image in images} == {(3, 64, 64)}
    # The first chip is the sampler's, but the mosaic may cut its building off.
    assert any(len(sample.gt_instances) for sample in samples)
    if kind == 'geo_mm.Mosaic':
        assert not any('gt_sem_seg' in sample for sample in samples)


def test_mosaic_boxes_lie_on_their_objects(tmp_path):
    """A building is brighter than its surroundings, wherever the mosaic puts it."""
    array = np.full((3, 64, 64), 10, 'uint8')
    array[:, 20:30, 16:36] = 200
    image = write_raster(tmp_path / 'a.tif', array)
    labels = write_labels(tmp_path / 'a.gpkg', [box(16, 20, 36, 30)])
    with scope('det'):
        dataset = DATASETS.build(mosaic_cfg([dict(image=str(image), labels=str(labels))]))
    random.seed(1)
    for index in (0, 500, 1000):
        item = dataset[index]
        bright = (item['inputs'][0] > 100).numpy()
        covered = np.zeros_like(bright)
        for part in (item['data_samples'].gt_instances, item['data_samples'].ignored_instances):
            for left, top, right, bottom in part.bboxes.tensor.round().int().tolist():
                covered[top:bottom, left:right] = True
        np.testing.assert_array_equal(covered & bright, bright)


def test_mosaic_never_asks_for_a_chip_too_many(scenes):
    """The library's own does: one more than there are."""
    from geo_mm.datasets import Mosaic

    random.seed(0)
    drawn = {i for _ in range(200) for i in Mosaic(img_scale=(32, 32)).get_indexes(range(3))}
    assert drawn == {0, 1, 2}


def test_mosaic_of_four_bands(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((4, 64, 64)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(8, 8, 24, 24)])
    with scope('det'):
        dataset = DATASETS.build(mosaic_cfg([dict(image=str(image), labels=str(labels))]))
    with pytest.raises(ConfigError, match=r'(?s)Mosaic of chips with 4 bands.*choose three'):
        dataset[0]


@pytest.mark.parametrize(
    ('step', 'expected'),
    [
        (dict(type='MixUp', img_scale=(32, 32)), r'MixUp of mmdet fails .*ValueError: could not'),
        (dict(type='YOLOXHSVRandomAug'), r'YOLOXHSVRandomAug of mmdet fails .*cv2\.error: OpenCV'),
    ],
)
def test_what_cannot_mix_four_bands_is_named(tmp_path, step, expected):
    image = write_raster(tmp_path / 'a.tif', noise((4, 64, 64)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(8, 8, 24, 24)])
    config = mosaic_cfg([dict(image=str(image), labels=str(labels))])
    config['pipeline'][0] = step
    with scope('det'):
        dataset = DATASETS.build(config)
    with pytest.raises(ConfigError, match=expected), explained_chip_errors():
        dataset[0]


def test_copy_paste_of_four_bands(tmp_path):
    """The masks of both chips are of one size."""
    image = write_raster(tmp_path / 'a.tif', noise((4, 64, 64)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(8, 8, 24, 24), box(30, 30, 40, 40)])
    steps = [MIX_STEPS[0], MIX_STEPS[1] | {'with_mask': True}]
    config = mosaic_cfg([dict(image=str(image), labels=str(labels))], pipeline=steps)
    config['pipeline'][0] = dict(type='CopyPaste')
    with scope('det'):
        dataset = DATASETS.build(config)
    assert dataset[500]['inputs'].shape == (4, 32, 32)


def test_copy_paste_of_chips_of_different_sizes_is_named(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 64, 64)))
    labels = write_labels(tmp_path / 'a.gpkg', [box(8, 8, 24, 24), box(30, 30, 40, 40)])
    resize = dict(type='RandomResize', scale=(32, 32), ratio_range=(0.5, 2), keep_ratio=True)
    steps = [MIX_STEPS[0], MIX_STEPS[1] | {'with_mask': True}, resize]
    config = mosaic_cfg([dict(image=str(image), labels=str(labels))], pipeline=steps)
    config['pipeline'][0] = dict(type='CopyPaste')
    with scope('det'):
        dataset = DATASETS.build(config)
    with (
        pytest.raises(ConfigError, match=r'CopyPaste of mmdet fails .*different size'),
        explained_chip_errors(),
    ):
        for index in range(20):
            dataset[index]
