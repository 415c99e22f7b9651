"""What is written into ONNX files beside the network."""

import json

import pytest

from geo_mm.deploy import export_model
from tests.data.narrow import narrow_files

onnx = pytest.importorskip('onnx')


def exported(folder, name, **changes):
    """What a file for Deepness holds: metadata, shape of the input, shapes of the outputs."""
    _, checkpoint = narrow_files(folder, name, **changes)
    (path,) = export_model(checkpoint, folder / 'out', formats='deepness', tile=64)
    proto = onnx.load(path)
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    ]
    assert proto.ir_version <= 9  # onnxruntime 1.17, which Deepness asks for, takes no later one
    return {item.key: json.loads(item.value) for item in proto.metadata_props}, *shapes


def test_segmentation_for_deepness(tmp_path):
    texts, *shapes = exported(tmp_path, 'unet', gsd=0.3)
    assert texts.pop('geo_mm')['input_spec']['gsd'] == 0.3
    assert texts == {
        'model_type': 'Segmentor',
        'class_names': {'0': 'background', '1': 'roof'},
        'resolution': 30.0,
        'tile_size': 64,
        'tiles_size': 64,
        'tiles_overlap': 25,
        # Pixels are divided by 255 before that.
        'standardization_mean': [0.0] * 4,
        'standardization_std': [1 / 255] * 4,
        'seg_thresh': 0.0,
        'seg_small_segment': 0,
    }
    assert shapes == [['batch', 4, 64, 64], ['batch', 2, 64, 64]]


def test_detection_for_deepness(tmp_path):
    changes = {'model.test_cfg.max_per_img': 3000}
    texts, *shapes = exported(tmp_path, 'ssd_vgg16', changes=changes)
    assert texts['model_type'] == 'Detector'
    # The one that has batches of any number, and as many outputs.
    assert texts['det_type'] == 'YOLO_v9'
    assert shapes == [['batch', 4, 64, 64], ['batch', 4 + 2, 1000]]
    assert 'resolution' not in texts


def test_the_side_of_a_tile_is_one_that_the_network_divides(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    _, checkpoint = narrow_files(tmp_path, 'unet')
    (path,) = export_model(checkpoint, tmp_path / 'out', formats='deepness', tile=100)
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape[2:] == [112, 112]
