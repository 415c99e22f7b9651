"""From a file on disk to the tensor that enters the network, nothing replaced."""

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS, DefaultScope

from geo_mm.errors import ConfigError
from tests.data.chips import build_loader, dataset_cfg, scope
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


def model_inputs(task, image, labels, bands, training, workers=0):
    """The network's input for chip (16, 8): dataset, loader, data_preprocessor."""
    mean, std = np.arange(bands) + 50.0, np.arange(bands) + 2.0
    dataset = dataset_cfg(
        task, [dict(image=str(image), labels=str(labels))], stride=8, fill=mean.tolist()
    )
    loader = build_loader(
        task, dataset, dict(type='DefaultSampler', shuffle=False), batch=1, workers=workers
    )
    name = 'Seg' if task == 'seg' else 'Det'
    config = dict(type=f'geo_mm.Geo{name}DataPreprocessor', mean=mean.tolist(), std=std.tolist())
    if task == 'seg':
        config.update(size_divisor=16, test_cfg=dict(size_divisor=16))
    with scope(task):
        preprocessor = MODELS.build(config)
    for batch in loader:
        if batch['data_samples'][0].window[:2] == (16, 8):
            return preprocessor(batch, training)['inputs'], mean, std
    raise LookupError('no chip starts at (16, 8)')


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('bands', [1, 3, 4, 13])
@pytest.mark.parametrize('task', ['seg', 'det'])
def test_the_last_band_reaches_the_network(tmp_path, task, bands, training):
    array = noise((bands, 56, 64), 'uint16')
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 12, 30, 30)])
    write_raster(tmp_path / 'a.tif', array)
    before, mean, std = model_inputs(task, tmp_path / 'a.tif', labels, bands, training)
    array[-1, 8 + 5, 16 + 7] += 100
    write_raster(tmp_path / 'b.tif', array)
    after, *_ = model_inputs(task, tmp_path / 'b.tif', labels, bands, training)
    assert before.shape == (1, bands, 32, 32)
    assert torch.nonzero(before != after).tolist() == [[0, bands - 1, 5, 7]]
    assert float((after - before)[0, -1, 5, 7]) == pytest.approx(100 / std[-1], rel=1e-4)
    chip = array[:, 8:40, 16:48]
    expected = (chip - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(after[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32'])
def test_pixels_without_data_are_zero_in_the_network(tmp_path, dtype):
    array = noise((4, 56, 64), dtype)
    missing = np.nan if dtype == 'float32' else 0
    array[:, 10:14, 20:26] = missing
    nodata = None if dtype == 'float32' else 0
    image = write_raster(tmp_path / 'a.tif', array, nodata=nodata)
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 12, 30, 30)])
    inputs, *_ = model_inputs('seg', image, labels, 4, True)
    empty = (inputs[0] == 0).all(0)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[2:6, 4:10] = True
    assert torch.equal(empty, expected)


def test_workers_deliver_the_same_numbers(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((4, 56, 64), 'uint16'))
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 12, 30, 30)])
    alone, *_ = model_inputs('det', image, labels, 4, True)
    helped, *_ = model_inputs('det', image, labels, 4, True, workers=2)
    assert torch.equal(alone, helped)


@pytest.mark.parametrize('task', ['seg', 'det'])
def test_a_dataset_is_built_outside_a_runner(tmp_path, task):
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 12, 30, 30)])
    image = write_raster(tmp_path / 'a.tif', noise((3, 56, 64)))
    config = dataset_cfg(task, [dict(image=str(image), labels=str(labels))])
    scopes = DefaultScope._instance_dict.copy()
    DefaultScope._instance_dict.clear()
    try:
        dataset = DATASETS.build(config)
    finally:
        DefaultScope._instance_dict.update(scopes)
    assert dataset[0]['inputs'].shape == (3, 32, 32)


def test_a_transform_that_drops_a_band_is_refused(tmp_path):
    labels = write_labels(tmp_path / 'l.gpkg', [box(20, 12, 30, 30)])
    image = write_raster(tmp_path / 'a.tif', noise((4, 56, 64)))
    config = dataset_cfg('det', [dict(image=str(image), labels=str(labels))])
    config['pipeline'].insert(2, dict(type='PhotoMetricDistortion'))
    with scope('det'):
        dataset = DATASETS.build(config)
    with pytest.raises(ConfigError, match=r'(?s)4 bands have 3 after .*RandomRadiometry'):
        dataset[0]
