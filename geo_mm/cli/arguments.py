"""Arguments that several subcommands have, and what they stand for; options from dataclasses."""

import argparse
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Literal

from geo_mm import env
from geo_mm.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


def add_config(parser: argparse.ArgumentParser, help: str = 'config file') -> None:
    """Add ``CONFIG`` and ``--cfg-options``, for :func:`config_of`."""
    parser.add_argument('config', help=help)
    add_overrides(parser)


def add_overrides(parser: argparse._ActionsContainer) -> None:
    """Add ``--cfg-options``, for :func:`overrides`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config: dotted keys, no white space',
    )


def overrides(texts: Sequence[str]) -> dict[str, Any]:
    """The values of ``--cfg-options`` by their dotted keys, as MMEngine reads them.

    Raises:
        ConfigError: If one is not of the form key=value.
    """
    if not texts:
        return {}
    for text in texts:
        if '=' not in text:
            raise ConfigError(f'--cfg-options {text}', 'KEY=VALUE', 'write no space around the =')
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


def config_of(args: argparse.Namespace) -> 'Config':
    """The config that is named, with its overrides.

    Raises:
        ConfigError: If it cannot be read.
        SetupError: If the installation cannot build what is in it.
    """
    env.require()
    from geo_mm.engine.launch import load_config

    return load_config(args.config, overrides(args.cfg_options))


def bar(description: str) -> Callable[[Iterable], Iterable]:
    """Wraps items in a bar that shows how many are done, and is gone when all are."""
    from rich.progress import track

    return lambda items: track(items, description=description, transient=True)


def add_trust(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='let the config in a checkpoint import and run anything: for files of people you '
        'trust, with parts of their own',
    )


def add_launcher(parser: argparse._ActionsContainer, *more: str) -> None:
    """Add ``--launcher``, and what old launchers pass on."""
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', *more),
        default='none',
        help='what started several processes, if any',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Add an option for each field of a dataclass that has a help text.

    The field's type gives the option's: ``bool`` a switch, called ``--no-...`` if
    it is on by default, ``Literal`` choices, a sequence several values. Its metadata may hold

    * ``help``: The text, which is also the documentation of the field.
    * ``flag``: The option, if it is not called as the field.
    * ``group``: Title of the group it stands in.
    * ``metavar``: What stands for the value.
    * ``const``: The value of the option without one.

    Options that are not given leave no trace in the parsed arguments: see :func:`given`.
    """
    groups: dict[str, argparse._ActionsContainer] = {}
    hints = typing.get_type_hints(options)
    for field in fields(options):
        meta = field.metadata
        if 'help' not in meta:
            continue
        title = meta.get('group')
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        flag = meta.get('flag', f'--{field.name.replace("_", "-")}')
        kwargs: dict[str, Any] = _argument(hints[field.name])
        if field.default is True:
            flag, kwargs = f'--no-{flag[2:]}', {'action': 'store_false'}
        if 'const' in meta:
            kwargs |= {'nargs': '?', 'const': meta['const']}
        if 'metavar' in meta:
            kwargs['metavar'] = meta['metavar']
        (groups[title] if title else parser).add_argument(
            flag,
            dest=field.name,
            default=argparse.SUPPRESS,
            help=('do not ' if field.default is True else '')
            + meta['help']
            + _default(field, kwargs),
            **kwargs,
        )


def given(args: argparse.Namespace, options: type) -> dict[str, Any]:
    """Fields of the dataclass that the user gave a value for."""
    return {f.name: getattr(args, f.name) for f in fields(options) if hasattr(args, f.name)}


def _argument(hint: Any) -> dict[str, Any]:
    """Arguments of argparse for a type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if hint is bool:
        return {'action': 'store_true'}
    if typing.get_origin(hint) is Literal:
        return {'choices': typing.get_args(hint)}
    if typing.get_origin(hint) in (tuple, Sequence):
        (item, *_) = typing.get_args(hint)
        return {'nargs': '+', **_argument(item)}
    return {'type': hint}


def _default(field, kwargs: dict) -> str:
    default = field.default
    if (
        default in (MISSING, None, False, True)
        or default == ()
        or 'default' in field.metadata['help']
    ):
        return ''
    text = ' '.join(map(str, default)) if kwargs.get('nargs') == '+' else default
    return f' (default: {text})'
