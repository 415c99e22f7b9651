"""From a config file to a Runner: what the training and testing tools share."""

import contextlib
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, RUNNERS, DefaultScope
from mmengine.runner import Runner

from geo_mm.errors import ConfigError


def load_config(path: str | os.PathLike, options: Mapping | None = None) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: A config file, ``.py``, ``.json`` or ``.yml``.
        options: ``--cfg-options``: dotted key to value.

    Raises:
        ConfigError: If the file is missing or not a config.
    """
    if not Path(path).is_file():
        raise ConfigError(
            f'{path}: no such config file', 'a file as under configs/', 'check the path'
        )
    try:
        config = Config.fromfile(path)
        config.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, ValueError, SyntaxError, NameError, OSError) as error:
        raise ConfigError(f'{path}: {error}', 'a valid config') from error
    return config


def set_work_dir(config: Config, work_dir: str | None, config_path: str) -> None:
    """``--work-dir``, else the config's own, else ``work_dirs/<config name>``."""
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = os.path.join('work_dirs', Path(config_path).stem)


def use_amp(config: Config) -> None:
    """Switches automatic mixed precision on.

    Raises:
        ConfigError: Without an accelerator, which the library's AMP needs.
    """
    if not torch.cuda.is_available():
        raise ConfigError('--amp needs a CUDA device, and none was found', fix='leave it out')
    config.optim_wrapper.type = 'AmpOptimWrapper'
    config.optim_wrapper.setdefault('loss_scale', 'dynamic')


def use_scaled_lr(config: Config) -> None:
    """Scales the learning rate with the batch size over all ranks.

    Raises:
        ConfigError: If the config does not say for which batch its rate is.
    """
    if 'base_batch_size' not in config.get('auto_scale_lr', {}):
        raise ConfigError(
            '--auto-scale-lr, but the config has no auto_scale_lr',
            'auto_scale_lr=dict(base_batch_size=...)',
        )
    config.auto_scale_lr.enable = True


def use_resume(config: Config, resume: str | None) -> None:
    """``--resume`` alone takes the newest checkpoint, ``--resume FILE`` that one."""
    if resume is None:
        return
    config.resume = True
    config.load_from = None if resume == 'auto' else existing_checkpoint(resume)


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


def build_model(config: Config) -> torch.nn.Module:
    """The config's model with fresh weights, in the config's scope."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        return MODELS.build(config.model)


def build_runner(config: Config, launcher: str = 'none') -> Runner:
    """A Runner for a config, on whatever device there is."""
    config.launcher = launcher
    if not torch.cuda.is_available():
        # NCCL is for GPUs only.
        config.env_cfg.dist_cfg.backend = 'gloo'
    if 'runner_type' in config:
        return RUNNERS.build(config)
    return Runner.from_cfg(config)


@contextlib.contextmanager
def explained_config_errors() -> Iterator[None]:
    """Turns what MMEngine says of a mistyped config into a :class:`ConfigError`."""
    try:
        yield
    except TypeError as error:
        match = re.search(
            r"(\S+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)
        )
        if match is None:
            raise
        raise ConfigError(
            f'{match[1]} has no argument {match[2]!r}',
            fix=f'correct `{match[2]}` in the config of {match[1]}',
        ) from error
    except KeyError as error:
        match = re.search(r'(\S+) is not in the (\S+)::(.+) registry', str(error))
        if match is None:
            raise
        raise ConfigError(
            f'there is no {match[3]} called {match[1].strip(chr(39) + chr(34))!r}',
            'a registered type: those of geo_mm are written geo_mm.Name',
            _similar_types(match[1].strip('\'"'), match[3]),
        ) from error


def _similar_types(name: str, kind: str) -> str:
    from geo_mm import registry

    nodes = [node for node in vars(registry).values() if getattr(node, 'name', None) == kind]
    known = [
        f'geo_mm.{key}' for node in nodes if node.scope == 'geo_mm' for key in node.module_dict
    ]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f'did you mean {" or ".join(close)}?' if close else 'check the spelling of `type`'
