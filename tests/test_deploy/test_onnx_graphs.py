"""Exported networks give what PyTorch gives, for images of any number and size."""

import numpy as np
import pytest

from geo_mm.deploy import export_model
from geo_mm.inference import TrainedModel
from geo_mm.raster import Scene, Window
from tests.data.narrow import PIXELS, narrow_files

onnxruntime = pytest.importorskip('onnxruntime')

SIZES = (64, 64), (96, 128)


def exported(folder, name, **changes):
    """The model in PyTorch, and a session of its ONNX file."""
    _, checkpoint = narrow_files(folder, name, **changes)
    (path,) = export_model(checkpoint, folder / 'out')
    return TrainedModel(checkpoint, device='cpu'), onnxruntime.InferenceSession(str(path))


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
