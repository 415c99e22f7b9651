"""Starting from a trained model for other classes or other bands."""

import copy
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
from geo_mm.engine.launch import build_model
from geo_mm.inputspec import InputSpec, unnamed
from geo_mm.models.checkpoints import mismatches, read_checkpoint
from geo_mm.models.stems import PIXELS
from geo_mm.paths import atomic_write, make_folder, reported


@dataclass(frozen=True)
class StartWeights:
    """Weights of a trained model, made to fit another one.

    Attributes:
        path: Checkpoint to load.
        dropped: Layers that are not in it, since they belong to other classes.
        notes: What was done, in words; empty if all weights are taken as they are.
    """

    path: Path
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fit_weights(checkpoint: str | os.PathLike, config: Config, path: Path) -> StartWeights:
    """Makes the weights of a checkpoint fit a model of other classes or bands.

    Layers whose shape depends on the number of classes are left out where the classes
    are others. Filters on the image are kept for bands of the same name; other bands
    get the mean of all, damped so that the sum stays what it was, as in
    :func:`geo_mm.models.inflation.inflate`.

    Args:
        checkpoint: Of the trained model.
        config: Of the model to train.
        path: Where to write weights that had to be changed.

    Returns:
        What to load. Layers that differ for other reasons are in it as they are, for
        :class:`geo_mm.engine.StartWeightsHook` to name.

    Raises:
        ConfigError: If it is no checkpoint of geo_mm.
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
    if _names(before.classes) != _names(after.classes):
        layers = _layers_of_classes(config, model)
        dropped = tuple(dict.fromkeys(key.rpartition('.')[0] for key in layers))
        notes.append(
            f'other classes: {", ".join(after.classes.names)} instead of '
            f'{", ".join(before.classes.names)}; randomly initialised: {", ".join(dropped)}'
        )
    if before.bands != after.bands:
        changed = _adapt_stems(model, weights, before.bands, after.bands)
        if changed:
            notes.append(_about_bands(before.bands, after.bands, changed))
            make_folder(path.parent)
            with reported(path), atomic_write(path) as partial:
                torch.save({'state_dict': weights, 'meta': {}}, partial)
            return StartWeights(path, dropped, tuple(notes))
    return StartWeights(Path(checkpoint), dropped, tuple(notes))


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
    model: torch.nn.Module,
    weights: dict[str, torch.Tensor],
    before: Sequence[str],
    after: Sequence[str],
) -> list[str]:
    """Changes the filters on the image, in place; returns their names."""
    own = model.state_dict()
    changed = []
    for key, value in weights.items():
        if key not in own or value.ndim != 4 or not key.startswith('backbone.'):
            continue
        for pixels in PIXELS:
            if (value.shape[1], own[key].shape[1]) == (len(before) * pixels, len(after) * pixels):
                parts = value.split(len(before), dim=1)
                weights[key] = torch.cat([_adapted(p, before, after) for p in parts], dim=1)
                changed.append(key)
                break
        if changed:  # further layers may happen to have as many channels
            break
    return changed


def _go_in_order(before: Sequence[str], after: Sequence[str]) -> bool:
    return len(before) == len(after) and (unnamed(tuple(before)) or unnamed(tuple(after)))


def _adapted(stem: torch.Tensor, before: Sequence[str], after: Sequence[str]) -> torch.Tensor:
    """Filters ``(features, len(after), height, width)``; bands without names go in order."""
    if _go_in_order(before, after):
        return stem
    known = [name.lower() for name in before]
    places = [known.index(name.lower()) if name.lower() in known else None for name in after]
    lost = len(before) - len({place for place in places if place is not None})
    damped = stem.mean(dim=1) * (1 / len(before) + lost) / max(places.count(None), 1)
    return torch.stack([damped if place is None else stem[:, place] for place in places], dim=1)


def _about_bands(before: Sequence[str], after: Sequence[str], changed: Sequence[str]) -> str:
    if _go_in_order(before, after):
        return f'bands {", ".join(after)} in the order of {", ".join(before)}'
    known = {name.lower() for name in before}
    new = [name for name in after if name.lower() not in known]
    text = f'other bands: {", ".join(after)} instead of {", ".join(before)}; adapted: '
    text += ', '.join(changed)
    return f'{text} ({", ".join(new)} from the mean of the filters)' if new else text
