"""Exported networks give what PyTorch gives, for images of any number and size."""

import numpy as np
import pytest
import torch

from geo_mm.deploy import export_model
from geo_mm.deploy.onnx_graphs import matrix_interpolation
from geo_mm.inference import TrainedModel
from geo_mm.inference.onnx_network import OnnxNetwork
from geo_mm.raster import Scene, Window
from tests.data.narrow import NARROW, PIXELS, narrow_files

onnxruntime = pytest.importorskip('onnxruntime')

SIDE = 64
SIZES = (SIDE, SIDE), (SIDE, 128)


def exported(folder, name, **changes):
    """The model in PyTorch, and a session of its ONNX file."""
    _, checkpoint = narrow_files(folder, name, **changes)
    (path,) = export_model(checkpoint, folder / 'out', tile=SIDE)
    model = TrainedModel(checkpoint, device='cpu', tile=SIDE)
    return model, onnxruntime.InferenceSession(str(path))


def images(size, count=2, bands=4):
    return np.random.default_rng(sum(size)).uniform(0, 200, (count, bands, *size)).astype('float32')


def with_torch(model, batch):
    """What PyTorch predicts for digital numbers."""
    height, width = batch.shape[2:]
    window, valid = Window(0, 0, width, height), np.ones((height, width), bool)
    return model.predict(
        [model.prepare(Scene.from_array(image), window, image, valid) for image in batch]
    )


@pytest.mark.parametrize('name', PIXELS)
def test_probabilities_are_those_of_torch(tmp_path, name):
    model, session = exported(tmp_path, name)
    for size in SIZES:
        batch = images(size)
        (found,) = session.run(None, {'image': batch})
        for ours, sample in zip(found, with_torch(model, batch), strict=True):
            expected = sample.seg_logits.data.softmax(0).numpy()
            assert expected.std() > 0.01
            near = np.abs(ours - expected) <= 1e-4
            # Which of two pixels PointRend refines may hang on the last digit.
            assert near.all() or ('point-rend' in name and near.mean() > 0.9999)


# Detectors of timm are in tests/test_tools/test_timm_matrix.py.
DETECTORS = [name for name in NARROW if name not in PIXELS and 'timm' not in name]
QUICK = ('faster-rcnn_r50_fpn', 'retinanet_r50_fpn', 'yolov3_d53')


def marked(names):
    """Some quickly, all with the slow tests."""
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize('name', marked(DETECTORS))
def test_objects_are_those_of_torch(tmp_path, name):
    model, session = exported(tmp_path, name)
    fixed = session.get_inputs()[0].shape[0] == 1
    assert fixed == ('point-rend' in name)
    for size in SIZES:
        batch = images(size, count=1 if fixed else 2)
        found = session.run(None, {'image': batch})[0]
        assert found.shape == (len(batch), 4 + len(model.spec.classes), 20)
        for ours, sample in zip(found, with_torch(model, batch), strict=True):
            expected = sample.pred_instances
            assert len(expected) > 5
            middles, sides, scores = ours[:2].T, ours[2:4].T, ours[4:].max(0)
            assert (scores > 0).sum() == len(expected)
            boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
            rows = np.column_stack([boxes, scores, ours[4:].argmax(0)])
            for box, score, label in zip(
                expected.bboxes.numpy(), expected.scores, expected.labels, strict=True
            ):
                nearest = np.abs(rows - [*box, score, label]).max(axis=1).min()
                assert nearest <= 1e-4


@pytest.mark.parametrize('name', [name for name in DETECTORS if name.startswith('mask-rcnn')])
def test_masks_are_those_of_torch(tmp_path, name):
    _, checkpoint = narrow_files(tmp_path, name)
    (path,) = export_model(checkpoint, tmp_path / 'out', tile=SIDE)
    ours, theirs = OnnxNetwork(str(path)), TrainedModel(checkpoint, device='cpu', tile=SIDE)
    for size in SIZES:
        (image,), valid = images(size, count=1), np.ones(size, bool)
        what = Scene.from_array(image), Window(0, 0, size[1], size[0]), image, valid
        found, expected = (
            network.predict_view([network.prepare(*what)], (False, 0))[0]
            for network in (ours, theirs)
        )
        np.testing.assert_allclose(found.bboxes, expected.bboxes, atol=1e-3)
        assert expected.masks.any((1, 2)).sum() > 5
        differ = (found.masks != expected.masks).sum()
        assert differ <= 0.01 * expected.masks.sum()


@pytest.mark.parametrize('size', [(9, 13), (4, 6), (20, 31), (1, 13)])
def test_antialiased_interpolation_as_products_is_that_of_torch(size):
    image = torch.randn(2, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    how = dict(size=size, mode='bicubic', antialias=True)
    expected = torch.nn.functional.interpolate(image, **how)
    with matrix_interpolation():
        found = torch.nn.functional.interpolate(image, **how)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert size != (20, 31) or not torch.equal(found, expected)  # the context was in use
