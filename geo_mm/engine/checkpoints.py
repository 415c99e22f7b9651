"""Checkpoints of models: what is in them, and that they belong to the model at hand."""

import os
from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmengine.utils import import_modules_from_strings

from geo_mm.engine import embedded_config
from geo_mm.errors import ConfigError
from geo_mm.models.checkpoint_file import read_checkpoint_file
from geo_mm.models.weights import local_copy, mismatches
from geo_mm.paths import is_missing

_SCHEMES = ('', 'http://', 'https://', 'torchvision://', 'open-mmlab://', 'openmmlab://')


def existing_checkpoint(path: str) -> str:
    """The path of a checkpoint, which may be remote.

    Raises:
        ConfigError: If it is a local path and there is no such file.
    """
    if is_missing(path):
        raise ConfigError(
            f'{path}: no such checkpoint',
            'a .pth file written by geo-mm train',
            'look into work_dirs/; last_checkpoint there names the newest',
        )
    return path


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Weights, which are tensors on the CPU, and what was saved beside them, plain data.

    Raises:
        ConfigError: If it is missing, not readable without running what is in
            it (:mod:`geo_mm.models.checkpoint_file`), or without weights.
    """
    data = read_checkpoint_file(local_copy(os.fspath(path)))
    weights = data.get('state_dict') if isinstance(data, dict) else None
    named = isinstance(weights, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    )
    if not (isinstance(data, dict) and named):
        raise ConfigError(f'{path}: no weights in it', 'a checkpoint written by geo-mm train')
    return data


def config_of(data: Mapping, checkpoint: str | os.PathLike, trust: bool = False) -> Config:
    """The config with which MMEngine wrote a checkpoint.

    Its text is read as data and not run (:func:`geo_mm.engine.embedded_config.parse`),
    and it may name only what is registered (:mod:`geo_mm.engine.embedded_config`).

    Args:
        data: What :func:`read_checkpoint` gave.
        checkpoint: Its file, for messages.
        trust: Lets the config name anything to import and to call, modules of
            ``custom_imports`` included, so that the file can run any program.

    Raises:
        ConfigError: If there is none in it, it is not plain data, names what
            is not registered, or needs modules that are not there.
    """
    config = unchecked_config_of(data, checkpoint)
    if not trust:
        try:
            embedded_config.check(config, checkpoint)
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
            raise _not_plain(checkpoint, error) from error
    elif 'custom_imports' in config:
        _import(config, checkpoint)
    return config


def unchecked_config_of(data: Mapping, checkpoint: str | os.PathLike) -> Config:
    """The same, to be read and not to be built: it may name anything.

    Raises:
        ConfigError: If there is none in it, or it is not plain data.
    """
    meta = data.get('meta')
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        raise ConfigError(
            f'{checkpoint} does not hold the config that it was trained with',
            'a checkpoint written by geo-mm train',
            'give the config, too: geo-mm predict CONFIG CHECKPOINT ...',
        )
    try:
        return Config(embedded_config.parse(text))
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise _not_plain(checkpoint, error) from error


def _not_plain(checkpoint: str | os.PathLike, error: Exception) -> ConfigError:
    return ConfigError(
        f'{checkpoint}: the config in it is not plain data: {error}',
        'names, numbers, texts, lists and dicts',
        'give the config, too: geo-mm predict CONFIG CHECKPOINT ...',
    )


def _import(config: Config, checkpoint: str | os.PathLike) -> None:
    try:
        import_modules_from_strings(**config.custom_imports)
    except ImportError as error:
        raise ConfigError(
            f'{checkpoint}: its config needs a module that is not here: {error}',
            f'custom_imports={list(config.custom_imports.imports)} to be importable',
            'install it, or set PYTHONPATH to where it is',
        ) from error


def use_safe_loading() -> None:
    """Makes MMEngine read checkpoints as this package does and not otherwise.

    For ``load_from``, resuming, testing and ``init_cfg``. Its own loader warns
    at length about what it saved itself, and then runs whatever is in the file.
    """
    CheckpointLoader.register_scheme(_SCHEMES, _load_from_geo_mm, force=True)


def _load_from_geo_mm(filename: str, map_location: object = None) -> object:
    """A loader as MMEngine calls it; loading into a model moves weights to its device."""
    data = read_checkpoint_file(local_copy(filename), legacy=True)
    # Resuming would run a config of this key, which MMEngine itself never writes.
    if isinstance(data, dict) and isinstance(data.get('meta'), dict):
        data['meta'].pop('config', None)
    return data


def check_weights(
    model: torch.nn.Module, checkpoint: str | os.PathLike, data: Mapping | None = None
) -> None:
    """Makes sure that a checkpoint's weights are a model's: all of them, of its shapes.

    MMEngine itself loads what fits and merely logs the rest.

    Args:
        model: May be wrapped for distributed training.
        checkpoint: Its file.
        data: What :func:`read_checkpoint` gave, if it was read already.

    Raises:
        ConfigError: If anything is missing, too much or of another shape.
    """
    differing = mismatches(model, (data or read_checkpoint(checkpoint))['state_dict'])
    if not differing:
        return
    key, (own, given) = next(iter(differing.items()))
    raise ConfigError(
        f'{checkpoint} does not fit the model of this config: {len(differing)} weights differ; '
        f'the first: {key} is {"missing" if given is None else given} instead of '
        f'{"absent" if own is None else own}',
        'the config that it was trained with',
        'a copy of that config is next to the checkpoint',
    )
