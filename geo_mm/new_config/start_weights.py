"""Weights that a new config starts from."""

import typing
from dataclasses import replace
from pathlib import Path

import torch

from geo_mm.errors import ConfigError, listed
from geo_mm.models.adapted_pretrained import registered
from geo_mm.models.checkpoints import load_weights
from geo_mm.models.pretrained import PretrainedSet
from geo_mm.new_config.plan import ConfigPlan, merged
from geo_mm.new_config.python_text import Code
from geo_mm.new_config.recipes import RECIPES, Size
from geo_mm.new_config.weights import published_statistics


def with_weights(plan: ConfigPlan, weights: str | None) -> ConfigPlan:
    """Starting from a file that is given, or from one that was downloaded before."""
    name = plan.variant.pretrained
    if weights is not None:
        if published := registered(weights):
            return _with_published(plan, published)
        if not Path(weights).is_file():
            raise ConfigError(
                f'--weights {weights}: no such file', 'a checkpoint, or a name of geo-mm weights'
            )
        path = str(Path(weights).absolute())
        if _is_whole_model(path):
            return replace(plan, load_from=path, why=plan.because(load_from='given'))
        return _with_backbone(plan, path, 'given')
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    found = sorted(folder.glob(f'{name}-*.pth')) if name and folder.is_dir() else []
    names = [str(band).lower() for band in plan.bands.bands]
    if found and all(names.count(colour) == 1 for colour in ('red', 'green', 'blue')):
        return _with_backbone(plan, f'torchvision://{name}', 'at hand from ImageNet')
    return replace(plan, why=plan.because(model='from random weights: no others were given'))


def _with_published(plan: ConfigPlan, chosen: PretrainedSet) -> ConfigPlan:
    """Starting from published weights, normalised as they want it if the values are theirs."""
    name, fits = chosen.name, plan.variant.pretrained
    if chosen.arch != fits:
        takes = [
            f'{model} of --size {size}'
            for model, each in RECIPES.items()
            for size in typing.get_args(Size)
            if each.kind == plan.recipe.kind and each.variant(size).pretrained == chosen.arch
        ]
        raise ConfigError(
            f'--weights {name}: weights of a {chosen.arch}, and {plan.variant.what} takes '
            + (f'those of a {fits}' if fits else 'no published ones'),
            'a model and a size that take them' + (f': {listed(takes, 6)}' if takes else ''),
            '' if takes else 'other weights, see geo-mm weights',
        )
    plan = _with_backbone(plan, name, f'{name}, {chosen.licence}; cite {chosen.citation}')
    statistics = plan.profile.statistics
    bands = [str(band) for band in plan.bands.bands]
    wanted = published_statistics(chosen, bands, statistics.mean, statistics.std)
    if wanted is None:
        why = f'{plan.why["mean"]}; the values are not those of {name} ({chosen.values})'
    else:
        why = f'what {name} wants; of the images where it lacks a band'
    return replace(plan, normalisation=wanted, why=plan.because(mean=why))


def _is_whole_model(path: str) -> bool:
    return any(key.startswith('backbone.') for key in load_weights(path))


def _with_backbone(plan: ConfigPlan, checkpoint: str, whence: str) -> ConfigPlan:
    init = {
        'type': 'geo_mm.AdaptedPretrained',
        'checkpoint': checkpoint,
        'bands': Code('bands'),
    }
    model = merged(plan.model, {'backbone': {'init_cfg': init}})
    return replace(plan, model=model, why=plan.because(model=f'weights of the backbone: {whence}'))
