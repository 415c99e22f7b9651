"""Programs of torch.export give what the model gives, and say what they need."""

import resource

import numpy as np
import pytest
import torch

import geo_mm
from geo_mm.deploy import export_model
from geo_mm.errors import ConfigError, OutputError
from geo_mm.inference import TrainedModel
from geo_mm.raster import Scene, Window
from tests.data.narrow import narrow_files


def test_probabilities_are_those_of_the_model(tmp_path):
    checkpoint = narrow_files(tmp_path, 'unet', gsd=0.5)[1]
    (path,) = export_model(checkpoint, tmp_path, formats='pt2')
    program = torch.export.load(path).module()
    model = TrainedModel(checkpoint, device='cpu')
    for height, width in ((64, 64), (96, 160)):
        pixels = np.random.default_rng(0).integers(1, 200, (4, height, width), np.uint8)
        valid = np.ones((height, width), bool)
        valid[10:20, 5:30] = False
        prepared = model.prepare(
            Scene.from_array(pixels), Window(0, 0, width, height), pixels, valid
        )
        expected = model.predict([prepared])[0].seg_logits.data.softmax(0)
        image = torch.from_numpy(pixels.astype('float32'))
        image[:, ~torch.from_numpy(valid)] = torch.nan
        found = program(image[None])[0]
        assert found.std() > 0.01
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    described = geo_mm.describe(path)
    assert described.needs == '0.5 m, 4 bands B1, B2, B3, B4, uint8'
    assert 'for images of any size' in described.about[0]


@pytest.mark.parametrize(
    ('name', 'reason'), [('retinanet_r50_fpn', 'suppression'), ('unet_r18_point-rend', 'PointRend')]
)
def test_what_cannot_be_followed_is_refused(tmp_path, name, reason):
    checkpoint = narrow_files(tmp_path, name)[1]
    with pytest.raises(ConfigError, match=rf'{reason}[^$]*--to onnx'):
        export_model(checkpoint, tmp_path, formats='pt2')


@pytest.mark.slow
def test_a_full_disk(tmp_path):
    checkpoint = narrow_files(tmp_path, 'unet')[1]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r'pt2: cannot be written: File too large'):
            export_model(checkpoint, tmp_path, formats='pt2', name='m')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob('*m.pt2*'))


@pytest.mark.parametrize('content', [b'', b'PK\x05\x06' + bytes(18)])
def test_files_of_others_are_refused(tmp_path, content):
    (tmp_path / 'a.pt2').write_bytes(content)
    with pytest.raises(ConfigError, match=r'a\.pt2: (not a readable|does not say)'):
        geo_mm.describe(tmp_path / 'a.pt2')
