"""A folder to publish: what programs and people find in it."""

import json

import pystac
import pytest
import torch
import yaml

import geo_mm
from geo_mm.deploy import ModelExportOptions
from geo_mm.deploy.card import write_card
from geo_mm.inference import TrainedModel
from tests.data.models import object_files, pixel_files, spec_of
from tests.test_formats.test_stac import validate


@pytest.fixture
def folder(tmp_path):
    """A model of a training run with a picture, as a folder to publish."""
    spec = spec_of('pixels', ('background', 'water'), ('B1', 'B2'), gsd=10.0)
    checkpoint = pixel_files(tmp_path, spec, [[1, 0], [0, 1]])[1]
    data = torch.load(checkpoint, weights_only=True)
    torch.save(data | {'metrics': {'mIoU': 66.8}}, checkpoint)
    pictures = tmp_path / '20260101_101010' / 'vis_data' / 'vis_image'
    pictures.mkdir(parents=True)
    (pictures / 'validation_20.png').write_bytes(b'png')
    model = TrainedModel(checkpoint, device='cpu', trust_checkpoint=True)
    return write_card(model, tmp_path / 'lakes', ModelExportOptions(license='Apache-2.0'))


def test_files(folder):
    assert {path.name for path in folder.iterdir()} == {
        'README.md',
        'config.json',
        'config.py',
        'model.safetensors',
        'preview.png',
        'stac-item.json',
    }
    config = json.loads((folder / 'config.json').read_text())
    assert config['id2label'] == {'0': 'background', '1': 'water'} and config['num_channels'] == 2
    assert geo_mm.describe(folder / 'model.safetensors').needs == '10 m, 2 bands B1, B2, uint8'


def test_front_matter(folder):
    _, head, body = (folder / 'README.md').read_text().split('---\n', 2)
    fields = yaml.safe_load(head)
    assert (fields['license'], fields['library_name']) == ('Apache-2.0', 'geo_mm')
    assert fields['tags'][2] == 'semantic-segmentation'
    (result,) = fields['model-index'][0]['results']
    assert result['metrics'] == [{'type': 'miou', 'name': 'mIoU', 'value': 66.8}]
    assert '](preview.png)' in body and '| 1 | water | #56b4e9 |' in body


def test_licence_and_citation_of_pretrained_weights(tmp_path):
    spec = spec_of('pixels', ('background', 'water'), ('B1', 'B2'))
    checkpoint = pixel_files(tmp_path, spec, [[1, 0], [0, 1]])[1]
    data = torch.load(checkpoint, weights_only=True)
    started = [
        {'checkpoint': '/home/me/lakes.pth', 'stem': torch.ones(1)},
        'anything',
        {'checkpoint': 'ssl4eo-r50', 'licence': 'CC-BY-4.0', 'citation': 'https://arxiv.org/abs/1'},
    ]
    torch.save(data | {'pretrained': started}, checkpoint)
    model = TrainedModel(checkpoint, device='cpu', trust_checkpoint=True)
    folder = write_card(model, tmp_path / 'lakes', ModelExportOptions())
    text = (folder / 'README.md').read_text()
    assert 'from lakes.pth, ssl4eo-r50, whose licence applies to these weights, too: CC-BY' in text
    assert 'To cite: https://arxiv.org/abs/1.' in text and '/home' not in text
    # What is exported again says the same.
    again = TrainedModel(folder / 'model.safetensors', device='cpu', trust_checkpoint=True)
    assert again.about() == model.about()


def test_what_stands_in_a_checkpoint_is_text_alone(tmp_path):
    spec = spec_of('pixels', ('background', 'a|b <img src=x>'), ('B1', 'B2'))
    checkpoint = pixel_files(tmp_path, spec, [[1, 0], [0, 1]])[1]
    model = TrainedModel(checkpoint, device='cpu', trust_checkpoint=True)
    text = (write_card(model, tmp_path / 'lakes', ModelExportOptions()) / 'README.md').read_text()
    assert r'| 1 | a\|b \<img src=x\> |' in text


def test_the_model_item_is_valid_by_all_schemas(folder):
    found = json.loads((folder / 'stac-item.json').read_text())
    validate(found)
    item = pystac.Item.from_file(folder / 'stac-item.json')
    weights = item.assets['model']
    assert weights.extra_fields['mlm:artifact_type'] == 'safetensors.torch.save_file'
    assert weights.href.endswith('/model.safetensors') and 'mlm:model' in weights.roles
    assert weights.ext.file.size == (folder / 'model.safetensors').stat().st_size
    assert found['properties']['mlm:tasks'] == ['semantic-segmentation']
    assert found['properties']['license'] == 'Apache-2.0' and found['geometry'] is None


def test_a_model_for_outlines_without_more(tmp_path):
    files = object_files(tmp_path, spec_of('objects', ('tree',)), with_masks=True)
    model = TrainedModel(files[1], device='cpu', trust_checkpoint=True)
    folder = write_card(model, tmp_path / 'trees', ModelExportOptions())
    text = (folder / 'README.md').read_text()
    assert 'license: unknown' in text and 'model-index' not in text and 'preview' not in text
    found = json.loads((folder / 'stac-item.json').read_text())
    validate(found)
    assert found['properties']['mlm:tasks'] == ['instance-segmentation']


def test_a_page_that_was_edited_stays(tmp_path, caplog):
    files = object_files(tmp_path, spec_of('objects', ('tree',)))
    model = TrainedModel(files[1], device='cpu', trust_checkpoint=True)
    for licence in ('MIT', 'Apache-2.0'):  # as it was written, it is replaced
        page = write_card(model, tmp_path / 'm', ModelExportOptions(license=licence)) / 'README.md'
        assert f'license: {licence}' in page.read_text()
    page.write_text('mine')
    for _ in range(2):
        write_card(model, tmp_path / 'm', ModelExportOptions())
        assert page.read_text() == 'mine'
        assert 'license: unknown' in (tmp_path / 'm' / 'README.new.md').read_text()
        assert 'README.md was edited' in caplog.text
    assert 'README.md' not in json.loads((tmp_path / 'm' / 'stac-item.json').read_text())['assets']
