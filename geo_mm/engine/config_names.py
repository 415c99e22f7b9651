"""Mistyped names in configs, which MMEngine would take for variables of the user's."""

import difflib
import inspect
from collections.abc import Iterable, Mapping

from mmengine.config import Config
from mmengine.runner import Runner

from geo_mm.errors import ConfigError

# What is read from a config besides the arguments of the Runner.
_OTHERS = (
    'default_scope',
    'env_cfg',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
)
_KNOWN = {*inspect.signature(Runner.__init__).parameters, *_OTHERS} - {'self', 'cfg'}
_ALIKE = 0.85  # share of equal letters; train_cfg and test_cfg have less in common


def check_names(config: Config, options: Mapping, path: str) -> None:
    """Finds settings that nothing would read.

    A config may hold variables of any name; one whose name is nearly that of
    a setting, and which holds settings, is a slip of the keyboard.

    Args:
        config: As the file has it.
        options: ``--cfg-options``: these may change, but not invent.
        path: The file, for the message.

    Raises:
        ConfigError: If there is such a name.
    """
    for name, value in config.items():
        close = _similar(name, _KNOWN) if isinstance(value, dict | list) else None
        if close and name not in _KNOWN:
            raise ConfigError(f'{path}: {name!r} is no setting', fix=f'did you mean {close}?')
    for key in options:
        name = key.partition('.')[0]
        if name not in config and name not in _KNOWN:
            close = _similar(name, _KNOWN | set(config))
            raise ConfigError(
                f'--cfg-options {key}: {path} has no {name!r}',
                'a key of the config, as tools/misc/print_config.py shows',
                f'did you mean {close}?' if close else 'check the spelling',
            )


def _similar(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)), None)
