"""Writes the input specification of a model into its checkpoints."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor

from geo_mm.datasets import ChipDataset, GeoDetDataset, chip_datasets
from geo_mm.errors import ConfigError
from geo_mm.inputspec import InputSpec
from geo_mm.models.receptive_field import receptive_radius
from geo_mm.registry import HOOKS


@HOOKS.register_module()
class InputSpecHook(Hook):
    """Saves an :class:`geo_mm.inputspec.InputSpec` in checkpoints and work_dir.

    The spec is read off the training dataset and the model's preprocessor, so
    nothing has to be written twice in the config.

    Raises:
        ConfigError: If a head of the model has another number of classes than
            the dataset.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Runner) -> None:
        self._spec = input_spec_of(runner.train_dataloader.dataset, runner.model)
        _check_heads(runner.model, self._spec.classes.names)
        if runner.rank == 0:
            _write(runner, self._spec)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        radius = _radius(runner.model, self._spec)
        spec = replace(self._spec, receptive_radius=radius)
        checkpoint['input_spec'] = spec.to_dict()
        _write(runner, spec)  # the first process alone saves


def _write(runner: Runner, spec: InputSpec) -> None:
    Path(runner.work_dir, 'input_spec.json').write_text(spec.to_json() + '\n')


def input_spec_of(dataset: object, model: Any) -> InputSpec:
    """The spec of a model trained on ``dataset``.

    Args:
        dataset: A geo_mm dataset, or wrappers around some.
        model: Model with a geo_mm ``data_preprocessor``; may be wrapped for
            distributed training.
    """
    chips: ChipDataset = chip_datasets(dataset)[0][1]
    preprocessor = getattr(model, 'module', model).data_preprocessor
    if getattr(preprocessor, 'mean', None) is None:
        raise ConfigError(
            f'the data_preprocessor {type(preprocessor).__name__} has no mean and std',
            'geo_mm.GeoSegDataPreprocessor or geo_mm.GeoDetDataPreprocessor',
        )
    scenes = [item.scene for item in chips.labelled]
    task = 'objects' if isinstance(chips, GeoDetDataset) else 'pixels'
    return InputSpec(
        task=task,
        classes=chips.classes,
        bands=scenes[0].band_names,
        gsd=_trained_gsd(chips),
        dtype=str(np.result_type(*(scene.dtype for scene in scenes))),
        nodata=chips.scene_options.nodata,
        mean=tuple(preprocessor.mean.flatten().tolist()),
        std=tuple(preprocessor.std.flatten().tolist()),
        chip_size=chips.chip_size,
        roles=tuple(dict.fromkeys(scenes[0].roles)),
        wavelengths=scenes[0].wavelengths if any(scenes[0].wavelengths) else None,
    )


def _radius(model: torch.nn.Module, spec: InputSpec) -> int | None:
    """Measured on images of the size of a chip, in multiples of 64 pixels."""
    model = getattr(model, 'module', model)
    if not isinstance(model, BaseSegmentor):
        return None
    side = max(64, max(spec.chip_size) // 64 * 64)
    training = {module: module.training for module in model.modules()}
    try:
        return receptive_radius(model.eval(), len(spec.bands), side)
    finally:
        for module, mode in training.items():
            module.training = mode


def _check_heads(model: torch.nn.Module, classes: Sequence[str]) -> None:
    for name, module in getattr(model, 'module', model).named_modules():
        own = getattr(module, 'num_classes', None)
        # Region proposals tell objects from background, whatever their class.
        if own is None or not type(module).__name__.endswith('Head') or 'rpn' in name:
            continue
        if own != len(classes):
            raise ConfigError(
                f'{name} of the model has num_classes={own}, the dataset has {len(classes)} '
                f'classes: {", ".join(classes)}',
                'as many in both',
                f'set num_classes={len(classes)} in model.{name}, or correct metainfo.classes',
            )


def _trained_gsd(chips: ChipDataset) -> float | None:
    """The GSD that was asked for, else the median of the scenes' own."""
    if chips.scene_options.gsd is not None:
        return float(chips.scene_options.gsd)
    own = [sum(item.scene.gsd) / 2 for item in chips.labelled if item.scene.gsd]
    return float(np.median(own)) if own else None
