"""Weights of other people's models for ArcGIS, as a checkpoint of this package.

Loaded are those of torchvision's Faster and Mask R-CNN, and those that MMDetection or
MMSegmentation has written with the config inside. Of all others is said what they are.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from geo_mm.classes import ClassSet
from geo_mm.datasets.transforms import META_KEYS
from geo_mm.engine.embedded_config import config_of
from geo_mm.errors import ConfigError
from geo_mm.inference.arcgis_package import ArcgisModel, read_arcgis_model, read_weights
from geo_mm.inputspec import InputSpec
from geo_mm.models import torchvision_detectors as torchvision

_OTHERS = {
    'roi_heads.': "a variant of torchvision's detectors",
    'head.classification_head.': "torchvision's RetinaNet or SSD",
    'decode_head.': 'MMSegmentation, without its config',
    'bbox_head.': 'MMDetection, without its config',
    'roi_head.': 'MMDetection, without its config',
    'layers.': "fastai's U-Net or another of its networks",
    'sam.': 'Segment Anything',
}
"""Beginnings of names of weights, and whose they are."""


def checkpoint_of_package(path: str | os.PathLike) -> dict:
    """What :func:`geo_mm.models.checkpoints.read_checkpoint` would give for a model.

    Args:
        path: ``.emd`` or ``.dlpk`` file.

    Raises:
        ConfigError: If it is unsafe, or not of a kind that is loaded here.
    """
    model = read_arcgis_model(path)
    data = read_weights(Path(path), model)
    meta = data.get('meta') if isinstance(data, Mapping) else None
    weights = torchvision.as_tensors(_weights_in(data))
    try:
        if torchvision.is_torchvision_detector(weights):
            return _of_torchvision(model, weights)
        if isinstance(data, Mapping) and isinstance(meta, Mapping) and 'cfg' in meta:
            return _of_mm(model, data, path)
    except ConfigError as error:
        raise _not_loaded(path, error.found.removeprefix(f'{path}: '), error.expected) from error
    whose = next((text for start, text in _OTHERS.items() if _starts(weights, start)), '')
    raise _not_loaded(path, f'weights of {whose or "a network that is not known here"}')


def _weights_in(data: object) -> dict[str, Tensor]:
    if not isinstance(data, Mapping):
        return {}
    held = (data.get(key) for key in ('state_dict', 'model', 'model_state_dict'))
    data = next((each for each in held if isinstance(each, Mapping)), data)
    return {key: v for key, v in data.items() if isinstance(key, str) and isinstance(v, Tensor)}


def _starts(weights: Mapping[str, Tensor], start: str) -> bool:
    return any(name.removeprefix('module.').startswith(start) for name in weights)


def _not_loaded(path: str | os.PathLike, found: str, expected: str = '') -> ConfigError:
    return ConfigError(
        f'{path}: {found}; they are not loaded',
        expected
        or "torchvision's Faster or Mask R-CNN on a ResNet, or a checkpoint of MMDetection 3 or "
        'MMSegmentation 1 with its config inside',
        'predict with it in ArcGIS; or train a model here, or ask its author for an ONNX file '
        'for Deepness in QGIS',
    )


def _of_torchvision(model: ArcgisModel, weights: dict[str, Tensor]) -> dict:
    chip = _check_rgb(model)
    count = torchvision.count_classes(weights)
    if count != len(model.classes):
        raise ConfigError(f'weights for {count} classes', f'{len(model.classes)}, as the .emd has')
    scale = model.resized or torchvision.scale_of(chip)
    config = torchvision.model_config(weights, scale)
    pre = config['data_preprocessor']
    spec = _spec(model, 'objects', model.classes, (pre['mean'], pre['std']))
    return _checkpoint(spec, config, 'mmdet', torchvision.converted(weights))


def _of_mm(model: ArcgisModel, data: Mapping, path: str | os.PathLike) -> dict:
    chip = _check_rgb(model)
    given = config_of(data, path)
    scope, config = given.get('default_scope'), given.model.to_dict()
    pre = config.get('data_preprocessor') or {}
    if scope not in ('mmdet', 'mmseg') or not pre.get('bgr_to_rgb'):
        raise ConfigError(
            f'a config with default_scope={scope!r} and bgr_to_rgb={pre.get("bgr_to_rgb")}',
            "default_scope='mmdet' or 'mmseg', and bgr_to_rgb=True",
        )
    mean, std = pre.get('mean') or [0.0] * 3, pre.get('std') or [1.0] * 3
    kind = 'Det' if scope == 'mmdet' else 'Seg'
    config['data_preprocessor'] = {
        'type': f'geo_mm.Geo{kind}DataPreprocessor',
        'mean': list(mean),
        'std': list(std),
        'scale': _scale(given, chip),
        'pad_size_divisor' if kind == 'Det' else 'size_divisor': 32,
    }
    config.setdefault('train_cfg', None)
    classes, count = model.classes, _count(config)
    if kind == 'Seg' and count == len(classes) + 1:
        names = ('background', *classes.names)
        classes = ClassSet(names, ((0, 0, 0), *classes.colours), background='background')
    if count != len(classes):
        raise ConfigError(f'weights for {count} classes', f'{len(classes)}, as the .emd has')
    spec = _spec(model, 'objects' if kind == 'Det' else 'pixels', classes, (mean, std))
    return _checkpoint(spec, config, scope, _weights_in(data))


def _count(config: Mapping) -> int | None:
    """Of classes, as the heads of a model say."""
    heads = [config.get(key) for key in ('decode_head', 'bbox_head')]
    heads.append((config.get('roi_head') or {}).get('bbox_head'))
    found = [head[-1] if isinstance(head, list | tuple) else head for head in heads if head]
    return found[0].get('num_classes') if found else None


def _scale(config: Mapping, chip: tuple[int, int]) -> float:
    """How much larger the test pipeline of a config makes a chip."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    steps = [step for step in dataset.get('pipeline') or () if step.get('type') == 'Resize']
    if not steps:
        return 1.0
    sides = steps[0].get('scale')
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise ConfigError(f'a test pipeline that resizes by {dict(steps[0])}', 'scale=(w, h)')
    return torchvision.scale_of(chip, min(sides), max(sides))


def _check_rgb(model: ArcgisModel) -> tuple[int, int]:
    """The size of chips, if their values are known to be those of photographs."""
    if model.count != 3 or not model.byte_values:
        raise ConfigError(
            f'a model for {model.count} bands'
            + ('' if model.byte_values else ', of other than 8-bit values')
            + ', whose normalisation is not known',
            '3 bands of 8-bit values',
        )
    if model.chip_size is None:
        raise ConfigError('an .emd without ImageHeight and ImageWidth', 'the size of chips')
    return model.chip_size


def _spec(model: ArcgisModel, task: str, classes: ClassSet, stats: tuple) -> InputSpec:
    mean, std = (tuple(np.asarray(each, np.float32).astype(float).tolist()) for each in stats)
    sizes = model.cell_sizes
    return InputSpec(
        task=task,
        classes=classes,
        bands=model.bands or tuple(f'B{number + 1}' for number in model.positions),
        # Between the smallest and the largest cell that it was trained with.
        gsd=None if sizes is None else float(np.sqrt(sizes[0] * sizes[1])),
        dtype='uint8',
        nodata='auto',
        mean=mean,
        std=std,
        chip_size=model.chip_size or (0, 0),
    )


def _checkpoint(spec: InputSpec, model: dict, scope: str, weights: dict[str, Tensor]) -> dict:
    from mmengine.config import Config

    pack = 'PackDetInputs' if scope == 'mmdet' else 'PackSegInputs'
    steps = [{'type': 'geo_mm.LoadChip'}, {'type': pack, 'meta_keys': META_KEYS}]
    loader = {'dataset': {'type': 'none', 'pipeline': steps}}
    config = Config({'default_scope': scope, 'model': model, 'test_dataloader': loader})
    return {
        'state_dict': weights,
        'meta': {'cfg': config.pretty_text},
        'input_spec': spec.to_dict(),
    }
