"""Checkpoints that are read, and that they belong to the model at hand."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.fileio import get_local_path
from mmengine.runner import CheckpointLoader
from mmengine.utils import import_modules_from_strings

from geo_mm.engine import plain_config, plain_pickle
from geo_mm.errors import ConfigError
from geo_mm.models.weights import read_safely

_SCHEMES = ('', 'http://', 'https://', 'torchvision://', 'open-mmlab://', 'openmmlab://')


def existing_checkpoint(path: str) -> str:
    """The path of a checkpoint, which may be remote.

    Raises:
        ConfigError: If it is a local path and there is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise ConfigError(
            f'{path}: no such checkpoint',
            'a .pth file written by tools/train.py',
            'look into work_dirs/; last_checkpoint there names the newest',
        )
    return path


def read_checkpoint(path: str | os.PathLike) -> dict:
    """What predicting needs of a checkpoint: tensors, on the CPU, and plain data.

    Other objects in it, such as MMEngine's log buffers, come as empty place
    holders: nothing that the file brings along is run.

    Raises:
        ConfigError: If it is missing, not readable or without weights.
    """
    existing_checkpoint(os.fspath(path))
    try:
        with get_local_path(os.fspath(path)) as local:
            data = torch.load(
                local, map_location='cpu', pickle_module=plain_pickle, weights_only=False
            )
    except Exception as error:  # there is nothing that a damaged pickle cannot raise
        raise ConfigError(
            f'{path}: not a readable checkpoint: {_first_lines(str(error))}',
            'a complete .pth file written by tools/train.py',
        ) from error
    if not isinstance(data, dict) or 'state_dict' not in data:
        raise ConfigError(f'{path}: no weights in it', 'a checkpoint written by tools/train.py')
    return data


def config_of(data: Mapping, checkpoint: str | os.PathLike) -> Config:
    """The config with which MMEngine wrote a checkpoint.

    Its text is read as data and not run (:mod:`geo_mm.engine.plain_config`);
    modules that it names in ``custom_imports`` are imported from this machine.

    Args:
        data: What :func:`read_checkpoint` gave.
        checkpoint: Its file, for messages.

    Raises:
        ConfigError: If there is none in it, it is not plain data, or needs
            modules that are not there.
    """
    text = (data.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        raise ConfigError(
            f'{checkpoint} does not hold the config that it was trained with',
            'a checkpoint written by tools/train.py',
            'give the config, too: tools/predict.py CONFIG CHECKPOINT ...',
        )
    try:
        config = Config(plain_config.parse(text))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f'{checkpoint}: the config in it is not plain data: {error}',
            'names, numbers, texts, lists and dicts',
            'give the config, too: tools/predict.py CONFIG CHECKPOINT ...',
        ) from error
    if 'custom_imports' in config:
        try:
            import_modules_from_strings(**config.custom_imports)
        except ImportError as error:
            raise ConfigError(
                f'{checkpoint}: its config needs a module that is not here: {error}',
                f'custom_imports={list(config.custom_imports.imports)} to be importable',
                'install it, or set PYTHONPATH to where it lies',
            ) from error
    return config


def use_safe_loading() -> None:
    """Makes MMEngine read checkpoints with ``weights_only=True`` and nothing else.

    For ``load_from``, resuming, testing and ``init_cfg``. Its own loader warns
    at length about what it saved itself, and then runs whatever is in the file.
    """
    CheckpointLoader.register_scheme(_SCHEMES, _load_from_geo_mm, force=True)


def _load_from_geo_mm(filename: str, map_location: object = None) -> dict:
    """A loader as MMEngine calls it; loading into a model moves weights to its device."""
    data = read_safely(filename)
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
    weights = (data or read_checkpoint(checkpoint))['state_dict']
    own = {key: tuple(v.shape) for key, v in getattr(model, 'module', model).state_dict().items()}
    given = {key.removeprefix('module.'): tuple(v.shape) for key, v in weights.items()}
    if own == given:
        return
    differing = [
        f'{key} is {given.get(key, "missing")} instead of {own.get(key, "absent")}'
        for key in [*own, *(given.keys() - own.keys())]
        if own.get(key) != given.get(key)
    ]
    raise ConfigError(
        f'{checkpoint} does not fit the model of this config: {len(differing)} weights differ; '
        f'the first: {differing[0]}',
        'the config that it was trained with',
        'a copy of that config lies beside the checkpoint',
    )


def _first_lines(text: str, count: int = 4) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ' '.join(lines[:count])
