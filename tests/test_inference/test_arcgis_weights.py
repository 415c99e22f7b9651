"""Weights of other people's models for ArcGIS: loaded if they fit, else said what they are."""

import json
import math
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config

import geo_mm
from geo_mm.engine.launch import build_model
from geo_mm.errors import ConfigError
from geo_mm.inference import Predictor
from geo_mm.models import torchvision_detectors as torchvision

EMD = {
    'Framework': 'arcgis.learn.models._inferencing',
    'ModelConfiguration': '_frcnn',
    'ModelType': 'ObjectDetection',
    'ModelFile': 'm.pth',
    'ExtractBands': [0, 1, 2],
    'ImageHeight': 320,
    'ImageWidth': 320,
    'IsMultispectral': False,
    'Classes': [{'Value': 4, 'Name': 'Palm'}, {'Value': 9, 'Name': 'Roof'}],
}
BACK = (
    (r'^backbone\.', 'backbone.body.'),
    (r'^neck\.lateral_convs\.(\d)\.conv', r'backbone.fpn.inner_blocks.\1.0'),
    (r'^neck\.fpn_convs\.(\d)\.conv', r'backbone.fpn.layer_blocks.\1.0'),
    (r'^rpn_head\.rpn_conv', 'rpn.head.conv.0.0'),
    (r'^rpn_head\.rpn_cls', 'rpn.head.cls_logits'),
    (r'^rpn_head\.rpn_reg', 'rpn.head.bbox_pred'),
    (r'^roi_head\.bbox_head\.shared_fcs\.0', 'roi_heads.box_head.fc6'),
    (r'^roi_head\.bbox_head\.shared_fcs\.1', 'roi_heads.box_head.fc7'),
    (r'^roi_head\.bbox_head\.fc_cls', 'roi_heads.box_predictor.cls_score'),
    (r'^roi_head\.bbox_head\.fc_reg', 'roi_heads.box_predictor.bbox_pred'),
)
"""MMDetection's names, and those of torchvision."""


@pytest.fixture(scope='module')
def weights():
    """Of a Faster R-CNN on ResNet-18, as torchvision names them and orders classes."""
    torch.manual_seed(0)
    needed = {f'backbone.body.layer3.{n}.conv1.weight': torch.zeros(1) for n in range(2)}
    needed |= {'rpn.head.cls_logits.weight': torch.zeros(3)}
    needed |= {'roi_heads.box_predictor.cls_score.weight': torch.zeros(3)}
    config = torchvision.model_config(needed, 1.0)
    network = build_model(Config({'default_scope': 'mmdet', 'model': config}))
    found = {}
    for key, value in network.state_dict().items():
        for old, new in BACK:
            key = re.sub(old, new, key) if re.match(old, key) else key
            if key.startswith(new.partition('\\')[0]):
                break
        if 'cls_score' in key:
            value = value.roll(1, 0)
        if 'roi_heads.box_predictor.bbox_pred' in key:
            value = torch.cat([torch.full_like(value[:4], 7), value])
        found[key] = value
    return {key: value for key, value in found.items() if 'num_batches' not in key}


def definition(folder, weights, **changes):
    torch.save(weights, folder / 'm.pth')
    path = folder / 'm.emd'
    path.write_text(json.dumps(EMD | changes))
    return path


def test_torchvisions_detector_predicts(tmp_path, weights):
    path = definition(tmp_path, {'model': weights})
    text = str(geo_mm.describe(path))
    assert 'geo-mm predict takes it; images are made 2.5 times as large' in text
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    predictor = Predictor(path, device='cpu', score=0.0)
    assert predictor.spec.classes.names == ('Palm', 'Roof')
    model = predictor.models[0]
    head = model.model.roi_head.bbox_head
    rows = weights['roi_heads.box_predictor.cls_score.weight']
    torch.testing.assert_close(head.fc_cls.weight, rows[[1, 2, 0]])
    assert not (head.fc_reg.weight == 7).any()
    found = predictor.predict(pixels)
    # Scaled back to the scene, whose rows count downwards.
    left, bottom, right, top = found.objects.total_bounds
    assert 0 <= left < right <= 64 and -64 <= bottom < top <= 0


def test_anchors_are_in_whole_pixels_and_fill_the_image():
    made = torchvision.RoundedAnchorGenerator(
        base_sizes=[32, 64], scales=[1], ratios=[0.5, 1.0], strides=[4, 8]
    )
    assert made.base_anchors[0].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16]]
    first, second = made.grid_priors([(25, 50), (13, 25)], device='cpu')
    assert first[-1].tolist() == [180, 80, 212, 112]
    assert second[-1].tolist() == [24 * 8 - 32, 12 * 7 - 32, 24 * 8 + 32, 12 * 7 + 32]


def test_boxes_shrink_without_limit_and_grow_62_fold_at_most():
    """As in torchvision: exp of the deltas over the weights, cut at 1000 / 16 from above alone."""
    coder = torchvision.UnboundedBelowBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    anchors = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    deltas = torch.tensor([[1.0, 0.0, -30.0, 50.0, 0.0, 1.0, 1.0, -50.0]])  # of two classes
    first, second = coder.decode(anchors, deltas).view(2, 4)
    sides = [10 * math.exp(-6), 20 * 1000 / 16, 10 * math.exp(0.2), 20 * math.exp(-10)]
    middles = [6, 10, 5, 12]
    found = [*(first[2:] - first[:2]), *(second[2:] - second[:2])]
    torch.testing.assert_close(torch.stack(found), torch.tensor(sides), atol=1e-5, rtol=1e-5)
    found = torch.cat([(first[2:] + first[:2]) / 2, (second[2:] + second[:2]) / 2])
    torch.testing.assert_close(found, torch.tensor(middles).float())


REFUSED = {
    'other classes': (None, {'Classes': EMD['Classes'][:1]}, 'weights for 2 classes'),
    'many bands': (None, {'IsMultispectral': True}, 'whose normalisation is not known'),
    'fastai': ({'layers.0.0.weight': torch.zeros(1)}, {}, "fastai's U-Net"),
    'mm': ({'decode_head.a': torch.zeros(1)}, {}, 'MMSegmentation, without its config'),
    'unknown': ({'a': torch.zeros(1)}, {}, 'a network that is not known here'),
    'tensorflow': ({}, {'ModelFile': 'm.pb'}, 'm.pb weights'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_others_are_refused_by_name(tmp_path, weights, case):
    given, changes, message = REFUSED[case]
    path = definition(tmp_path, weights if given is None else given, **changes)
    with pytest.raises(ConfigError, match=f'{message}.*; they are not loaded'):
        Predictor(path, device='cpu')
    text = str(geo_mm.describe(path))
    assert 'geo_mm cannot predict with it: ' in text and message in text


MM_CONFIG = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[100.0, 100.0, 100.0], std=[50.0, 50.0, 50.0],
        bgr_to_rgb=True
    ),
    backbone=dict(
        type='UNet', in_channels=3, base_channels=4, num_stages=2, strides=(1, 1),
        enc_num_convs=(1, 1), dec_num_convs=(1,), downsamples=(True,), enc_dilations=(1, 1),
        dec_dilations=(1,), norm_cfg=dict(type='BN'),
    ),
    decode_head=dict(
        type='FCNHead', in_channels=4, channels=4, in_index=1, num_convs=0, concat_input=False,
        num_classes=2, norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
)
"""


def mm_definition(folder, text):
    """A definition beside what MMSegmentation would have saved."""
    config = Config.fromstring(MM_CONFIG, '.py')
    network = build_model(config)
    data = {'state_dict': network.state_dict(), 'meta': {'cfg': text}}
    kind = {'ModelType': 'ImageClassification', 'ImageHeight': 64, 'ImageWidth': 64}
    return definition(folder, data, **kind)


def test_a_checkpoint_of_mmsegmentation_predicts(tmp_path):
    predictor = Predictor(mm_definition(tmp_path, MM_CONFIG), device='cpu')
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    assert predictor.spec.classes.names == ('Palm', 'Roof')
    model = predictor.models[0].model
    assert model.data_preprocessor.mean.flatten().tolist() == [100.0] * 3
    assert predictor.predict(pixels).classes.shape == (64, 64)


HOSTILE = {
    'a call': "import os\nos.system('touch ran')\n" + MM_CONFIG,
    'a call as a value': MM_CONFIG + "\nwork_dir = __import__('os').system('touch ran')",
    'a type': MM_CONFIG.replace(
        "dict(type='CrossEntropyLoss')", "dict(type='os.system', command='touch ran')"
    ),
    'an import': MM_CONFIG + "\ncustom_imports = dict(imports=['evil'])",
}


@pytest.mark.parametrize('attack', HOSTILE)
def test_a_config_in_a_package_runs_nothing(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'evil.py').write_text("open('ran', 'w').close()")
    path = mm_definition(tmp_path, HOSTILE[attack])
    with pytest.raises(ConfigError, match=f'^{path}: (?!.*m.emd).*they are not loaded'):
        Predictor(path, device='cpu')
    assert not (tmp_path / 'ran').exists()
