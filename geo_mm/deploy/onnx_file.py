"""ONNX files of models, with what applies them needs to know.

Deepness' keys are those that version 0.6.5 of the plug-in reads:
https://github.com/PUTvision/qgis-plugin-deepness, ``processing/models/model_base.py``.
"""

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from geo_mm.deploy.onnx_detectors import DetectorGraph
from geo_mm.deploy.onnx_graphs import Graph, PixelGraph, matrix_interpolation
from geo_mm.deploy.options import ModelExportOptions
from geo_mm.errors import ConfigError, SetupError
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.onnx_network import FACTS
from geo_mm.inference.options import tile_side
from geo_mm.paths import atomic_write, reported
from geo_mm.raster.tiling import rounded_up

OPSET = 17
"""onnxruntime reads it from 1.12 on; the file format that comes with it is version 8."""

_PACKING = ('PackDetInputs', 'PackSegInputs')
_MOST = 1000
"""Objects of an image for Deepness, which goes through them one by one in Python."""

_TRACED = 128
"""Least side in pixels of the image that the graph is recorded with."""


def write_onnx(model: TrainedModel, path: Path, options: ModelExportOptions) -> Path:
    """Writes ``<path>.onnx``, for images of any number and size.

    Args:
        model: The trained model.
        path: Of the file, without suffix.
        options: ``tile``.

    Raises:
        SetupError: If onnx is not installed.
        ConfigError: If the model has parts that cannot be exported.
    """
    return _save(_onnx(model, options), path.with_name(f'{path.name}.onnx'))


def write_deepness(model: TrainedModel, path: Path, options: ModelExportOptions) -> Path:
    """Writes ``<path>.deepness.onnx``, for any number of square images of the side of a tile.

    Deepness takes the side from the shape of the input, and cannot load a model without.
    Arguments and errors are those of :func:`write_onnx`.
    """
    proto = _onnx(model, options, _MOST)
    side = rounded_up(tile_side(options.tile, model.spec.chip_size), model.divisor)
    for value in [*proto.graph.input, *proto.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in ('height', 'width'):
                dimension.dim_value = side
    return _save(proto, path.with_name(f'{path.name}.deepness.onnx'))


def _onnx(model: TrainedModel, options: ModelExportOptions, most: int | None = None) -> Any:
    """The model as a protocol buffer of ONNX."""
    try:
        import onnx
    except ImportError as error:
        raise SetupError(
            'onnx is not installed', 'onnx, to write ONNX files', "pip install 'geo_mm[onnx]'"
        ) from error

    graph: Graph = PixelGraph(model) if model.spec.of_pixels else DetectorGraph(model, most)
    _check_pipeline(model)
    proto = onnx.load_from_string(_recorded(graph, model))
    for value in proto.graph.output:
        for number, length in graph.lengths.get(value.name, {}).items():
            # The exporter does not see that these are the same for all images.
            value.type.tensor_type.shape.dim[number].dim_value = length
    side = rounded_up(tile_side(options.tile, model.spec.chip_size), model.divisor)
    texts = {FACTS: _facts(model), **_of_deepness(model, side)}
    proto.producer_name, proto.doc_string = 'geo_mm', model.about()['architecture']
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in texts.items()})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _check_pipeline(model: TrainedModel) -> None:
    """Raises ConfigError if pixels are changed before they get to the network."""
    steps = model.pipeline.transforms[1:]
    others = [type(step).__name__ for step in steps if type(step).__name__ not in _PACKING]
    if others:
        raise ConfigError(
            f'{model.checkpoint}: the test pipeline has {", ".join(others)}',
            'nothing between reading a chip and packing it, which an ONNX file could not do',
            'leave them out of the pipeline of test_dataloader, and train and test without',
        )


def _recorded(graph: Graph, model: TrainedModel) -> bytes:
    """What the exporter that follows the operations of one forward pass makes."""
    multiple = model.divisor
    side = rounded_up(_TRACED, multiple)
    number = 2 if 0 in graph.dynamic['image'] else 1
    # Not square, so that no side is taken for the other.
    image = torch.zeros(number, len(model.spec.bands), side, side + multiple)
    file = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings(), matrix_interpolation():
        warnings.simplefilter('ignore')  # of what is constant, which tests hold against torch
        torch.onnx.export(
            graph,
            (image,),
            file,  # type: ignore[arg-type]  # a path, says torch
            opset_version=OPSET,
            input_names=['image'],
            output_names=list(graph.outputs),
            dynamic_axes=graph.dynamic,
            dynamo=False,
        )
    return file.getvalue()


def _facts(model: TrainedModel) -> dict:
    """What :class:`geo_mm.inference.onnx_network.OnnxNetwork` needs to know."""
    spec = model.spec
    facts = {
        'about': model.about(),
        'divisor': model.divisor,
        'stride': model.stride,
        'config': model.config_name,
    }
    if spec.of_pixels:
        # What the engine asks for, of the largest tile in which it could be measured.
        radius = model.receptive_radius(tile_side(None, spec.chip_size) // 2)
        spec = replace(spec, receptive_radius=radius)
        facts['threshold'] = model.threshold
    else:
        facts['limit'] = model.limit
        facts['mask_threshold'] = mask_threshold(model)
    return {'input_spec': spec.to_dict(), **facts}


def mask_threshold(model: TrainedModel) -> float:
    """Probability from which a pixel belongs to an object, as the config of the model says."""
    cfg = model.config.model.get('test_cfg') or {}
    return (cfg.get('rcnn') or cfg).get('mask_thr_binary', 0.5)


def _of_deepness(model: TrainedModel, side: int) -> dict:
    spec = model.spec
    bands = len(spec.bands)
    return {
        'model_type': 'Segmentor' if spec.of_pixels else 'Detector',
        'class_names': {str(number): name for number, name in enumerate(spec.classes.names)},
        # It divides pixels by 255, then by this: the graph takes them as they are in the file.
        'standardization_mean': [0.0] * bands,
        'standardization_std': [1 / 255] * bands,
        'tile_size': side,
        'tiles_size': side,  # as its documentation calls it
        'tiles_overlap': 25,
        **({} if spec.gsd is None else {'resolution': spec.gsd * 100}),
        **(
            {'seg_thresh': 0.0, 'seg_small_segment': 0}
            if spec.of_pixels
            else {'det_conf': 0.3, 'det_iou_thresh': 0.5, 'det_type': 'YOLO_v9'}
        ),
    }


def _save(proto: Any, path: Path) -> Path:
    with reported(path), atomic_write(path) as partial:
        partial.write_bytes(proto.SerializeToString())
    return path
