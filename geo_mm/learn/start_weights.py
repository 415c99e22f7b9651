"""Starting from a trained model for other classes or other bands."""

import copy
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from geo_mm.classes import ClassSet
from geo_mm.engine import input_spec_of
from geo_mm.engine.config_data import build_dataset
from geo_mm.engine.embedded_config import unchecked_config_of
from geo_mm.engine.launch import build_model
from geo_mm.errors import ConfigError
from geo_mm.inputspec import InputSpec, unnamed
from geo_mm.models.adaptation import adapt_stem
from geo_mm.models.checkpoints import mismatches, read_checkpoint
from geo_mm.models.spectral import Band, resolve_bands
from geo_mm.models.stems import PIXELS
from geo_mm.paths import absolute, atomic_write, make_folder, reported

_OTHER_SPLIT = (
    'it was trained on another split of these images: scores may count ground that it has '
    'learned from. prepare_data with the same val_split_pct and chip_size gives the same split'
)


@dataclass(frozen=True)
class StartWeights:
    """Weights of a trained model, made to fit another one.

    Attributes:
        path: Checkpoint to load.
        dropped: Layers that are not in it, since they belong to other classes.
        notes: What was done, and what to know of scores, in words.
        same: Whether it is the model itself: of these classes and bands, and all layers fit.
    """

    path: Path
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    same: bool = False


def fit_weights(checkpoint: str | os.PathLike, config: Config, path: Path) -> StartWeights:
    """Makes the weights of a checkpoint fit a model of other classes or bands.

    Layers whose shape depends on the number of classes are left out where the classes
    are others. Filters on the image go to bands of the same name or wavelength, those of
    other bands are made as :func:`geo_mm.models.adaptation.adapt_stem` does.

    Args:
        checkpoint: Of the trained model.
        config: Of the model to train.
        path: Where to write weights that had to be changed.

    Returns:
        What to load. Layers that differ for other reasons are in it as they are, for
        :class:`geo_mm.engine.StartWeightsHook` to name.

    Raises:
        ConfigError: If it is no checkpoint of geo_mm, or no band is the same.
        OutputError: If the weights cannot be written.
    """
    data = read_checkpoint(checkpoint)
    if 'input_spec' not in data:
        return StartWeights(Path(checkpoint))
    before = InputSpec.from_dict(data['input_spec'])
    model = build_model(config)
    after = input_spec_of(build_dataset(config), model)
    weights = dict(data['state_dict'])
    dropped: tuple[str, ...] = ()
    notes = []
    remarks = [_OTHER_SPLIT] if _split_otherwise(data, config) else []
    if _names(before.classes) != _names(after.classes):
        layers = _layers_of_classes(config, model)
        dropped = tuple(dict.fromkeys(key.rpartition('.')[0] for key in layers))
        notes.append(
            f'other classes: {", ".join(after.classes.names)} instead of '
            f'{", ".join(before.classes.names)}; randomly initialised: {", ".join(dropped)}'
        )
    if before.bands != after.bands:
        changed = _adapt_stems(model, weights, before, after)
        if changed:
            notes.append(changed)
            # In memory, since PyTorch's errors of writing to disk say nothing of the disk.
            content = io.BytesIO()
            torch.save({'state_dict': weights, 'meta': {}}, content)
            make_folder(path.parent)
            with reported(path), atomic_write(path) as partial:
                partial.write_bytes(content.getbuffer())
            return StartWeights(path, dropped, (*notes, *remarks))
    same = not notes and not mismatches(model, weights)
    return StartWeights(Path(checkpoint), dropped, (*notes, *remarks), same)


def _split_otherwise(checkpoint: Mapping, after: Config) -> bool:
    """Whether a model was trained on the same images, divided among splits in another way."""
    try:
        before = unchecked_config_of(checkpoint, '')
    except ConfigError:  # there is none in it
        return False
    ours, theirs = _parts(after), _parts(before)
    both = {image for image, *_ in ours} & {image for image, *_ in theirs}
    return any(part[0] in both for part in ours - theirs)


def _parts(config: Config) -> set[tuple]:
    """Image, split and area of each scene that a config lists."""
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    scenes = dataset.get('scenes')
    if not isinstance(scenes, list | tuple):  # a table
        return set()
    return {
        (
            absolute(str(scene.get('image')), dataset.get('data_root') or ''),
            repr(scene.get('split')),
            repr(scene.get('area')),
        )
        for scene in scenes
        if isinstance(scene, Mapping)
    }


def _names(classes: ClassSet) -> tuple[str, ...]:
    return tuple(classes.names)


def _layers_of_classes(config: Config, model: torch.nn.Module) -> list[str]:
    """Weights whose shape depends on the number of classes."""
    other = copy.deepcopy(config)
    _count_classes(other.model, 3)
    return [key for key in mismatches(model, build_model(other).state_dict())]


def _count_classes(part: Any, more: int) -> None:
    """Adds classes to all parts of a model that know their number."""
    if isinstance(part, Mapping):
        if isinstance(part.get('num_classes'), int):
            part['num_classes'] += more  # type: ignore[index]
            for loss in (value for value in part.values() if isinstance(value, Mapping)):
                if isinstance(loss.get('class_weight'), Sequence):
                    loss['class_weight'] = None  # type: ignore[index]
        for value in part.values():
            _count_classes(value, more)
    elif isinstance(part, list | tuple):
        for value in part:
            _count_classes(value, more)


def _adapt_stems(
    model: torch.nn.Module, weights: dict[str, torch.Tensor], before: InputSpec, after: InputSpec
) -> str:
    """Changes the filters on the image, in place; returns what was done."""
    own = model.state_dict()
    counts = len(before.bands), len(after.bands)
    for key, value in weights.items():
        if key not in own or value.ndim != 4 or not key.startswith('backbone.'):
            continue
        for pixels in PIXELS:
            if (value.shape[1], own[key].shape[1]) == (counts[0] * pixels, counts[1] * pixels):
                parts = [_adapted(p, before, after) for p in value.split(counts[0], dim=1)]
                weights[key] = torch.cat([part for part, _ in parts], dim=1)
                # Further layers may happen to have as many channels.
                return f'{parts[0][1]} ({key})'
    return ''


def _adapted(stem: torch.Tensor, before: InputSpec, after: InputSpec) -> tuple[torch.Tensor, str]:
    """Filters ``(features, bands of after, ...)``; bands without names go in order."""
    bands = f'{", ".join(after.bands)} instead of {", ".join(before.bands)}'
    if len(before.bands) == len(after.bands) and (unnamed(before.bands) or unnamed(after.bands)):
        return stem, f'bands {bands}, in the order of the others'
    try:
        theirs, ours = (
            resolve_bands(spec.bands, wavelengths=spec.wavelengths) for spec in (before, after)
        )
    except ConfigError:  # numbers of an unknown sensor, which may be the same in both
        theirs, ours = (tuple(Band(name.lower()) for name in s.bands) for s in (before, after))
    adapted, table = adapt_stem(stem, theirs, ours)
    return adapted, f'other bands: {bands}; filters on the image:\n{table}'
