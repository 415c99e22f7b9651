import os
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from geo_mm.engine.launch import load_config
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference import TrainedModel
from geo_mm.raster import Scene, tile_plan
from tests.data.models import pixel_files, spec_of, trained
from tests.data.narrow import narrow_files
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], ['Red'], mean=(7.0,), std=(2.0,), gsd=0.3, nodata=-9999.0)


@pytest.fixture
def files(tmp_path):
    return pixel_files(tmp_path, SPEC, [[0.0], [1.0]])


def test_spec_survives_the_checkpoint(files):
    assert trained(files).spec == SPEC


def changed(checkpoint, **changes):
    data = torch.load(checkpoint, weights_only=True) | changes
    torch.save({key: value for key, value in data.items() if value is not None}, checkpoint)


def test_what_mmengine_puts_beside_the_weights_does_no_harm(files):
    changed(
        files[1],
        message_hub={'log_scalars': {'loss': HistoryBuffer([1.0, 2.0], [1, 1])}},
        optimizer={'state': {0: {'step': torch.tensor(1.0)}}, 'lr': np.float64(0.1)},
        param_schedulers=[{'milestones': Counter([3]), 'last_step': 5}],
        meta={'palette': np.zeros((2, 3), 'uint8'), 'cfg': files[0].read_text()},
    )
    assert trained(files).spec == SPEC


class Burglar:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_a_program_is_refused(tmp_path, files):
    meta = {'note': Burglar(tmp_path / 'broken in'), 'cfg': files[0].read_text()}
    changed(files[1], meta=meta)
    with pytest.raises(ConfigError, match=r'it holds posix\.mkdir'):
        trained(files)
    assert not (tmp_path / 'broken in').exists()
    torch.load(files[1], weights_only=False)  # which does run it
    assert (tmp_path / 'broken in').exists()


def test_checkpoint_without_spec(files):
    changed(files[1], input_spec=None)
    with pytest.raises(SpecError, match='InputSpecHook'):
        trained(files)


def test_checkpoint_of_another_model(tmp_path, files):
    other = pixel_files(tmp_path / 'other', SPEC, [[0.0], [1.0], [2.0]])
    with pytest.raises(ConfigError, match='does not fit'):
        TrainedModel(other[1], load_config(files[0]), 'cpu')


@pytest.mark.parametrize('content', [b'', b'nonsense', pickle.dumps([1, 2])])
def test_file_that_is_no_checkpoint(files, content):
    files[1].write_bytes(content)
    with pytest.raises(ConfigError, match=r'model\.pth'):
        trained(files)


def test_truncated_checkpoint(files):
    files[1].write_bytes(files[1].read_bytes()[:-500])
    with pytest.raises(ConfigError, match='not a readable checkpoint'):
        trained(files)


def test_missing_checkpoint(files):
    files[1].unlink()
    with pytest.raises(ConfigError, match='no such checkpoint'):
        trained(files)


@pytest.mark.parametrize(('key', 'value'), [('mean', [8.0]), ('std', [3.0])])
def test_config_that_normalises_otherwise_is_refused(files, key, value):
    config = load_config(files[0], {f'model.data_preprocessor.{key}': value})
    with pytest.raises(ConfigError, match=f'{key}=(.|\n)*trained'):
        TrainedModel(files[1], config, 'cpu')


def test_pipeline_that_reads_no_chips_is_refused(files):
    config = load_config(files[0])
    config.test_dataloader.dataset.pipeline[0].type = 'LoadImageFromFile'
    with pytest.raises(ConfigError, match=r'geo_mm\.LoadChip'):
        TrainedModel(files[1], config, 'cpu')


@pytest.mark.parametrize('device', ['gpu', 'cuda:99', 'cpu:x'])
def test_device_that_does_not_exist(files, device):
    with pytest.raises(ConfigError, match=f"device '{device}'"):
        TrainedModel(files[1], device=device)


def test_wrapped_test_dataset(files):
    config = load_config(files[0])
    config.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[config.test_dataloader.dataset]
    )
    assert TrainedModel(files[1], config, 'cpu').pipeline.transforms


def test_label_steps_are_left_out_of_the_pipeline(files):
    names = [type(step).__name__ for step in trained(files).pipeline.transforms]
    assert names == ['LoadChip', 'PackSegInputs']


@pytest.mark.parametrize(
    ('name', 'stride'),
    [('unet', 16), ('faster-rcnn_r50_fpn', 64), ('retinanet_r50_fpn', 128), ('yolov3_d53', 32)],
)
def test_the_stride_is_that_of_the_coarsest_level(tmp_path, name, stride):
    model = TrainedModel(narrow_files(tmp_path, name)[1], device='cpu')
    assert model.stride == stride and not stride % model.divisor


def test_predictions_come_in_the_order_of_the_inputs(tmp_path, files):
    model = trained(files)
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 20, 60))))
    windows = [tile.window for tile in tile_plan(60, 20, 20, 0)]
    inputs = [model.prepare(scene, window, *scene.read(window)) for window in windows]
    together = model.predict(inputs)
    for item, prediction in zip(inputs, together, strict=True):
        [alone] = model.predict([item])
        assert torch.equal(alone.seg_logits.data, prediction.seg_logits.data)
