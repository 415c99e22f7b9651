"""What a model needs, in words, and whether an image is that."""

import json

import numpy as np
import pytest
import torch
from affine import Affine

import geo_mm
from geo_mm.cli import main
from geo_mm.deploy.description import describe
from geo_mm.deploy.weights import metrics_of
from geo_mm.errors import GeoMMError
from tests.data.models import pixel_files, spec_of
from tests.data.rasters import TRANSFORM, noise, write_raster

BANDS = ('B2', 'B3', 'B4', 'B8')


@pytest.fixture
def checkpoint(tmp_path):
    spec = spec_of('pixels', ('background', 'water'), BANDS, gsd=10.0, dtype='uint16')
    return pixel_files(tmp_path, spec, np.ones((2, 4)).tolist())[1]


def image(path, bands, gsd, dtype='uint16'):
    return write_raster(
        path,
        noise((len(bands), 9, 9), dtype),
        transform=TRANSFORM @ Affine.scale(gsd / 0.5),
        descriptions=bands,
    )


def test_a_checkpoint(checkpoint):
    found = geo_mm.describe(checkpoint)
    assert found.needs == '10 m, 4 bands B2, B3, B4, B8, uint16' and found.image is None
    text = str(found)
    assert 'output: classes of pixels' in text and '1 water: #56b4e9' in text


def test_an_image_that_fits(tmp_path, checkpoint, capsys):
    path = image(tmp_path / 'a.tif', ('B8', 'B4', 'B3', 'B2', 'B1'), 20.0)
    assert main(['describe', str(checkpoint), '--image', str(path)]) == 0
    printed = capsys.readouterr().out
    assert 'B1, uint16: it fits\n  it is resampled to 10 m' in printed


def test_all_that_does_not_fit_is_said(tmp_path, checkpoint, capsys):
    path = image(tmp_path / 'a.tif', ('red', 'green', 'blue'), 0.3, 'uint8')
    assert main(['describe', str(checkpoint), '--image', str(path)]) == 1
    printed = capsys.readouterr().out
    assert (
        'needs 10 m, 4 bands B2, B3, B4, B8, uint16; '
        'this has 0.3 m, 3 bands red, green, blue, uint8: it does not fit'
    ) in printed
    for reason in ('missing: B2, B3, B4, B8', 'has uint8 pixels', 'has 0.3 m per pixel'):
        assert reason in printed


def test_roles(tmp_path):
    bands = ('before:red', 'after:red')
    spec = spec_of('pixels', ('background', 'new'), bands, roles=('before', 'after'))
    model = pixel_files(tmp_path, spec, [[1, 0], [0, 1]])[1]
    path = str(image(tmp_path / 'a.tif', ('red',), 1, 'uint8'))
    words = ['describe', str(model), '--image', f'before={path}']
    assert main(words) == 1
    assert main([*words, '--image', f'after={path}']) == 0


def test_json(checkpoint, capsys):
    assert main(['describe', str(checkpoint), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['bands'] == list(BANDS)


def test_a_result_is_not_compared_with_an_image(tmp_path):
    path = image(tmp_path / 'a.tif', ('red',), 1)
    with pytest.raises(GeoMMError, match='a model file to compare'):
        geo_mm.describe(path, path)


@pytest.mark.parametrize(
    'data',
    [
        {'metrics': {'IoU': 'high', '\x1b[2J': 1.0, 3: 1.0, 'mIoU': 10**400, 'loss': float('nan')}},
        {'message_hub': [1]},
        {'message_hub': {'log_scalars': [1]}},
        {'message_hub': {'log_scalars': {'val/mIoU': 3, 4: 5}}},
    ],
)
def test_what_is_no_score_in_a_checkpoint_is_left_out(data):
    assert metrics_of(data) == {}


@pytest.mark.parametrize(('key', 'value'), [('meta', [1]), ('version', '\x1b[2J')])
def test_a_checkpoint_of_a_stranger_is_refused_in_words(checkpoint, key, value):
    data = torch.load(checkpoint, weights_only=True)
    (data['input_spec'] if key == 'version' else data)[key] = value
    torch.save(data, checkpoint)
    with pytest.raises(GeoMMError, match=key):
        describe(checkpoint)
