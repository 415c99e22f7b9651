"""What a config makes of its data: datasets, loaders, statistics, anchors, memory of a chip."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from geo_mm.catalog.audit import AuditedScene, picture_part
from geo_mm.catalog.ground import scene_ground
from geo_mm.datasets import (
    ChipDataset,
    ClassFrequencies,
    ObjectSizes,
    chip_datasets,
    class_frequencies,
    object_counts,
    object_sizes,
)
from geo_mm.engine.launch import build_model, explained_config_errors
from geo_mm.errors import ConfigError
from geo_mm.models.anchors import AnchorGrid, anchor_grid, fit_anchors


def build_dataset(config: Config, split: str = 'train') -> Dataset:
    """The dataset of a split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        ConfigError: If the config has none, or it cannot be built.
    """
    loader = _loader_config(config, split)
    with explained_config_errors(), _scope(config):
        return DATASETS.build(loader['dataset'])


def described_datasets(config: Config) -> list[tuple[str, ChipDataset]]:
    """The chip datasets of each split, whose scenes are not opened: there may be faults in them.

    Raises:
        ConfigError: If there are none, or a part of one cannot be built.
    """
    found = []
    for split in ('train', 'val', 'test'):
        if not config.get(f'{split}_dataloader'):
            continue
        with explained_config_errors(), _scope(config):
            for settings in _innermost(_loader_config(config, split)['dataset']):
                dataset = DATASETS.build({**settings, 'lazy_init': True})
                if isinstance(dataset, ChipDataset):
                    found.append((split, dataset))
    if not found:
        raise ConfigError(
            f'{config.filename or "the config"} has no dataset of chips',
            'geo_mm.GeoDetDataset or geo_mm.GeoSegDataset in train_dataloader',
        )
    return found


def _innermost(dataset: dict) -> list[dict]:
    """The settings of the datasets inside wrappers."""
    if 'datasets' in dataset:
        return [inner for part in dataset['datasets'] for inner in _innermost(part)]
    return _innermost(dataset['dataset']) if 'dataset' in dataset else [dataset]


def build_loader(config: Config, split: str = 'train') -> DataLoader:
    """The DataLoader of a split, as training has it but without worker processes.

    Raises:
        ConfigError: If the config has none, or it cannot be built.
    """
    loader = dict(_loader_config(config, split), num_workers=0)
    loader.pop('persistent_workers', None)
    with explained_config_errors(), _scope(config):
        return Runner.build_dataloader(loader, seed=config.get('randomness', {}).get('seed', 0))


def train_frequencies(
    config: Config, progress: Callable = iter
) -> ClassFrequencies | dict[str, int]:
    """How often classes occur in training: pixels of its chips, or numbers of objects.

    Args:
        config: Any config of chips.
        progress: Wraps the chips as they are read, to show how far it is.

    Returns:
        The pixels, for semantic segmentation; else the number of objects by class.
    """
    dataset = build_dataset(config)
    if chip_datasets(dataset)[0][1].objects:
        return object_counts(dataset)
    return class_frequencies(dataset, progress)


def audited_scenes(config: Config) -> tuple[dict[str, list[AuditedScene]], float]:
    """The scenes of each split of a config, and the side of a chip in metres.

    Raises:
        ConfigError: If the config has only one split, or one cannot be built.
    """
    splits: dict[str, list[AuditedScene]] = {}
    chip = 0.0
    for split in ('train', 'val', 'test'):
        if not config.get(f'{split}_dataloader'):
            continue
        splits[split] = []
        for _, chips in chip_datasets(build_dataset(config, split)):
            for labelled in chips.labelled:
                scene, ground = labelled.scene, scene_ground(labelled.scene, labelled.aoi)
                chip = max(chip, max(chips.chip_size) * (ground.gsd or 0))
                _, numbers = labelled.points()
                counts = np.bincount(numbers[numbers >= 0], minlength=len(chips.classes)).tolist()
                classes = dict(zip(chips.classes.names, counts, strict=True))
                part = picture_part(scene, ground)
                splits[split].append(
                    AuditedScene(scene.name, scene.sources[0], ground, part, classes)
                )
    if len(splits) < 2:
        raise ConfigError(f'the config has only {", ".join(splits)}', 'train and val or test')
    return splits, chip


def _scope(config: Config):
    return DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine'))


def _loader_config(config: Config, split: str) -> dict:
    loader = config.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(
            f'{config.filename or "the config"} has no {split}_dataloader', fix='choose --split'
        )
    return loader


MOST = 2000
"""Objects of a class that anchors are fitted to: more take longer and change little."""


@dataclass(frozen=True)
class AnchorReport:
    """What :func:`fit_config_anchors` finds.

    Attributes:
        head: Key of the part of the model that has the anchors.
        settings: Of its anchor generator: those that were fitted.
        objects: The objects of the chips that were read.
        good_iou: From which IoU the config takes an anchor for a positive.
        before: The anchors of the config.
        after: The fitted ones.
    """

    head: str
    settings: dict
    objects: ObjectSizes
    good_iou: float
    before: AnchorGrid
    after: AnchorGrid


def fit_config_anchors(config: Config, chips: int = 400, progress: Callable = iter) -> AnchorReport:
    """Fit the anchors of a detector to the objects of its training chips.

    Args:
        config: Of a detector with anchors.
        chips: How many chips are read, as training sees them.
        progress: Wraps the chips as they are read, to show how far it is.

    Raises:
        ConfigError: If the model has no anchors.
    """
    head = head_with_anchors(config.model)
    if head is None:
        raise ConfigError(
            f'{config.model["type"]} has no anchors', 'a detector with an anchor_generator'
        )
    objects = object_sizes(build_loader(config), chips, progress)
    divisor = config.model.data_preprocessor.get('pad_size_divisor', 1)
    objects = replace(objects, extents=np.ceil(objects.extents / divisor) * divisor)
    generator = config.model[head].anchor_generator
    some = objects.some(MOST, np.random.default_rng(0))
    good = _good_iou(config.model.train_cfg)
    settings = fit_anchors(generator, some.boxes, some.extents, some.weights, good)
    after = anchor_grid({**generator, **settings})
    return AnchorReport(head, settings, objects, good, anchor_grid(generator), after)


def head_with_anchors(model: dict) -> str | None:
    """The part of a model that has an anchor generator, None if none has."""
    heads = ('rpn_head', 'bbox_head')
    return next((head for head in heads if 'anchor_generator' in model.get(head, {})), None)


def _good_iou(train_cfg: dict) -> float:
    """From which IoU the config takes an anchor for a positive; 0.5 if it does not say."""
    return train_cfg.get('rpn', train_cfg)['assigner'].get('pos_iou_thr', 0.5)


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def chip_memory(config: Config) -> tuple[float, float]:
    """Memory that one iteration takes, measured on a batch of two chips.

    Returns:
        Bytes for each chip, of what is kept for the backward pass; and bytes
        for the model, its gradients and the moments of AdamW.

    Raises:
        ConfigError: If the loss of the batch is not finite.
    """
    config.train_dataloader.batch_size = 2
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model: Any = build_model(config)
        with _without_messages():  # each layer would be named
            model.init_weights()  # SSD's neck holds whatever was in memory before
        model.train()
        batch = next(iter(build_loader(config)))
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            data = model.data_preprocessor(batch, True)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
    if not torch.isfinite(loss):
        raise ConfigError(
            f'the loss of two training chips is {loss.item()}',
            'a finite number',
            'look at them with geo-mm browse',
        )
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return sum(kept.values()) / 2, 4.0 * parameters


def free_memory() -> tuple[float, str]:
    """Bytes that are free on the device that trains, and what that is."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]), 'GPU'
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        free = next(line for line in lines if line.startswith('MemAvailable'))
        return 1024.0 * int(free.split()[1]), 'CPU'
    except (OSError, StopIteration):  # not Linux
        return float(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')) / 2, 'CPU'
