"""Tiny models whose answers are known exactly, as configs and checkpoints on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from scipy import ndimage

from geo_mm.classes import ClassSet
from geo_mm.engine.launch import build_model, load_config
from geo_mm.inference import PredictOptions, TrainedModel
from geo_mm.inference.ensemble import Ensemble
from geo_mm.inputspec import InputSpec
from tests.data.chips import dataset_cfg

META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip')
PLACE_KEYS = ('scene_id', 'scene_size', 'window', 'crs', 'transform')
IMPORTS = dict(imports=['tests.data.models'], allow_failed_imports=False)


@MODELS.register_module(force=True)
class BandsAsFeatures(torch.nn.Module):
    """A backbone that gives its input: with a 1x1 head, classes depend on one pixel alone."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x,)


@MODELS.register_module(force=True)
class RegionDetector(BaseModel):
    """Finds the regions of equal value in the pixels it is given; 0 is background.

    The class is the value modulo the number of classes. The smaller the part
    of a region that it sees, the surer it is, which is the worst for merging.
    Regions may interlock: their boxes overlap, they do not.
    """

    def __init__(
        self, num_classes: int = 1, with_masks: bool = False, test_cfg: dict | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.with_masks = with_masks
        self.test_cfg = test_cfg

    def forward(self, inputs, data_samples=None, mode='predict') -> list[DetDataSample]:
        for image, sample in zip(inputs, data_samples, strict=True):
            sample.pred_instances = self._regions(image[0].round().long())
        return data_samples

    def _regions(self, values: torch.Tensor) -> InstanceData:
        values = values.numpy()
        places = enumerate(ndimage.find_objects(values), 1)
        found = {number: place for number, place in places if place is not None}
        numbers = np.fromiter(found, np.int64)
        instances = InstanceData(
            bboxes=torch.tensor(
                [[x.start, y.start, x.stop, y.stop] for y, x in found.values()], dtype=torch.float32
            ).reshape(-1, 4),
            scores=torch.from_numpy(0.9 - np.bincount(values.ravel())[numbers] * 1e-4),
            labels=torch.from_numpy(numbers % self.num_classes),
        )
        if self.with_masks:
            instances.masks = torch.from_numpy(values == numbers[:, None, None])
        return instances


def spec_of(
    task: str, classes: Sequence[str], bands: Sequence[str] = ('B1',), **changes
) -> InputSpec:
    """An input spec for one-to-one normalisation, bound to no GSD."""
    spec = InputSpec(
        task=task,
        classes=ClassSet(
            tuple(classes), background='background' if 'background' in classes else None
        ),
        bands=tuple(bands),
        gsd=None,
        dtype='uint8',
        nodata='auto',
        mean=(0.0,) * len(bands),
        std=(1.0,) * len(bands),
        chip_size=(32, 32),
    )
    return replace(spec, **changes)


def pixel_files(
    folder: Path, spec: InputSpec, weights: Sequence[Sequence[float]], **head
) -> tuple[Path, Path]:
    """Config and checkpoint of a model whose class logits are ``weights @ bands``.

    Args:
        folder: Where to write.
        spec: The input specification of the model; bands arrive as ``(value - mean) / std``.
        weights: ``(classes, bands)``, or one row for a binary model.
        **head: Other settings of the head, such as ``threshold``.
    """
    model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='geo_mm.GeoSegDataPreprocessor',
            mean=list(spec.mean),
            std=list(spec.std),
            size_divisor=1,
        ),
        backbone=dict(type='BandsAsFeatures'),
        decode_head=dict(
            type='FCNHead',
            in_channels=len(spec.bands),
            channels=len(spec.bands),
            num_convs=0,
            concat_input=False,
            dropout_ratio=0,
            num_classes=max(len(weights), 2),
            out_channels=len(weights),
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            **head,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    config = write_config(folder, 'mmseg', model)
    state = build_model(load_config(config)).state_dict()
    state['decode_head.conv_seg.weight'] = torch.tensor(weights)[:, :, None, None].float()
    state['decode_head.conv_seg.bias'] = torch.zeros(len(weights))
    return config, write_checkpoint(folder, spec, state, config)


def object_files(folder: Path, spec: InputSpec, **detector) -> tuple[Path, Path]:
    """Config and checkpoint of a :class:`RegionDetector`."""
    preprocessor = dict(
        type='geo_mm.GeoDetDataPreprocessor', mean=list(spec.mean), std=list(spec.std)
    )
    model = dict(
        type='RegionDetector',
        num_classes=len(spec.classes),
        data_preprocessor=preprocessor,
        **detector,
    )
    config = write_config(folder, 'mmdet', model)
    return config, write_checkpoint(folder, spec, {}, config)


def write_config(folder: Path, scope: str, model: Mapping) -> Path:
    kind = 'Seg' if scope == 'mmseg' else 'Det'
    labels = 'geo_mm.LoadChipClasses' if kind == 'Seg' else 'geo_mm.LoadChipObjects'
    steps = [dict(type='geo_mm.LoadChip'), dict(type=labels)]
    steps.append(dict(type=f'Pack{kind}Inputs', meta_keys=META_KEYS))
    config = Config(
        dict(
            default_scope=scope,
            custom_imports=IMPORTS,
            model=dict(model),
            test_dataloader=dict(dataset=dict(type=f'geo_mm.Geo{kind}Dataset', pipeline=steps)),
        )
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.dump(folder / 'config.py')
    return folder / 'config.py'


def write_checkpoint(
    folder: Path, spec: InputSpec, state: Mapping[str, torch.Tensor], config: Path
) -> Path:
    """A checkpoint as MMEngine's Runner and our hook leave it."""
    path = folder / 'model.pth'
    meta = {'cfg': load_config(config).pretty_text}
    torch.save({'meta': meta, 'state_dict': dict(state), 'input_spec': spec.to_dict()}, path)
    return path


def trained(files: tuple[Path, Path]) -> TrainedModel:
    return TrainedModel(files[1], device='cpu')


def ensemble(*members: TrainedModel, **options) -> Ensemble:
    """Models together, with options of PredictOptions."""
    return Ensemble(members, PredictOptions(**options))


def paint(shape: tuple[int, int], boxes: Sequence[Sequence[int]]) -> np.ndarray:
    """``(h, w)`` uint16: each box ``x_min, y_min, x_max, y_max`` filled with its number from 1."""
    image = np.zeros(shape, np.uint16)
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        image[top:bottom, left:right] = number
    return image


def map_pipeline(task: str, **objects) -> list[dict]:
    """Steps that read chips with labels and their place."""
    keys = (*META_KEYS, *PLACE_KEYS)
    if task == 'seg':
        steps = dict(type='geo_mm.LoadChipClasses'), dict(type='PackSegInputs', meta_keys=keys)
    else:
        load = dict(type='geo_mm.LoadChipObjects', **objects)
        steps = load, dict(type='PackDetInputs', meta_keys=(*keys, 'instances'))
    return [dict(type='geo_mm.LoadChip'), *steps]


def write_test_config(files, folder, task, scenes, classes, *, chip, launcher='none', **options):
    """A config that tests a model on chips with MapMetric."""
    model, checkpoint = Config.fromfile(files[0]), files[1]
    stride = options.pop('stride', chip)
    given = dict(data_root=str(folder), chip_size=chip, stride=stride, test_mode=True)
    given |= dict(pipeline=map_pipeline(task, with_outlines=True), **options.pop('dataset', {}))
    config = Config(
        dict(
            default_scope='mmseg' if task == 'seg' else 'mmdet',
            custom_imports=model.custom_imports,
            model=model.model,
            load_from=str(checkpoint),
            work_dir=str(folder / 'work'),
            launcher=launcher,
            test_cfg=dict(),
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='geo_mm.GridChipSampler'),
                dataset=dataset_cfg(task, scenes, classes, **given),
            ),
            test_evaluator=dict(type='geo_mm.MapMetric', **options),
        )
    )
    config.dump(folder / 'run.py')
    return folder / 'run.py'
