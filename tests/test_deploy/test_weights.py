"""Models as safetensors: the same model, in a file that can hold no program."""

import json
import struct

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from safetensors import safe_open
from safetensors.torch import save_file

import geo_mm
from geo_mm.cli.predict import split_paths
from geo_mm.deploy.weights import metrics_of, write_safetensors
from geo_mm.errors import ConfigError
from geo_mm.inference import Predictor, TrainedModel
from geo_mm.models.checkpoints import read_checkpoint
from tests.data.models import pixel_files, spec_of


@pytest.fixture
def files(tmp_path):
    """A checkpoint, and the same model as safetensors."""
    bands = ('B1', 'B2')
    spec = spec_of('pixels', ('background', 'water'), bands, mean=(3.0, 4.0))
    checkpoint = pixel_files(tmp_path, spec, [[1, 0], [0, 1]])[1]
    data = torch.load(checkpoint, weights_only=True)
    data['meta'] |= {'iter': 20, 'experiment_name': 'town_20260101_101010'}
    torch.save(data, checkpoint)
    # The config of tests imports parts of tests.
    model = TrainedModel(checkpoint, device='cpu', trust_checkpoint=True)
    return checkpoint, write_safetensors(model, tmp_path / 'model')


def test_the_same_model(files):
    one, two = (read_checkpoint(path) for path in files)
    assert two['input_spec'] == json.loads(json.dumps(one['input_spec']))
    assert two['meta']['iter'] == 20 and two['about']['architecture']
    assert one['state_dict'].keys() == two['state_dict'].keys()
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])


def test_others_may_read_it(files, tmp_path):
    (tmp_path / 'any.txt').write_text('')
    assert files[1].stat().st_mode == (tmp_path / 'any.txt').stat().st_mode


def test_the_same_prediction(files):
    pixels = np.random.default_rng(0).integers(0, 9, (2, 40, 50), np.uint8)
    one, two = (
        Predictor(path, device='cpu', trust_checkpoint=True).predict(pixels) for path in files
    )
    np.testing.assert_array_equal(one.classes, two.classes)
    assert len(np.unique(one.classes)) == 2


def test_commands_take_it(files, tmp_path):
    assert split_paths([str(files[1]), 'a.tif']) == (None, [str(files[1])], ['a.tif'])
    assert 'after 20 iterations' in str(geo_mm.describe(files[1]))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        struct.pack('<Q', 1 << 60) + b'{}',
        struct.pack('<Q', 40) + b'{"__metadata__":{"geo_mm":"[1]"}}       ',
        struct.pack('<Q', 40) + b'{"__metadata__":{"geo_mm":"[1"}}        ',
    ],
)
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / 'a.safetensors').write_bytes(content)
    with pytest.raises(ConfigError, match=r'a\.safetensors: not a readable checkpoint'):
        read_checkpoint(tmp_path / 'a.safetensors')


def test_its_config_is_checked_as_that_of_a_checkpoint(files, tmp_path):
    with safe_open(files[1], 'pt') as file:
        facts = file.metadata()['geo_mm'].replace('FCNHead', 'subprocess.Popen')
    save_file({'weight': torch.zeros(1)}, tmp_path / 'evil.safetensors', {'geo_mm': facts})
    with pytest.raises(ConfigError, match='Popen'):
        TrainedModel(tmp_path / 'evil.safetensors', device='cpu')


def test_metrics_are_the_newest_of_validation():
    hub = MessageHub('test_metrics')
    for value in (1.0, 2.0):
        hub.update_scalar('val/mIoU', value)
    hub.update_scalar('val/time', 1.0)
    hub.update_scalar('train/loss', 1.0)
    assert metrics_of({'message_hub': hub.state_dict()}) == {'mIoU': 2.0}
    assert metrics_of({}) == {}
