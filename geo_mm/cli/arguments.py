"""Arguments that several subcommands have, and what they stand for."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

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


def add_dask(parser: argparse.ArgumentParser, work: str) -> None:
    """Add ``--dask``.

    Args:
        parser: Of the command.
        work: What the workers do, such as ``predict scenes``.
    """
    parser.add_argument(
        '--dask',
        metavar='CLUSTER',
        help=f'{work} on the workers of a Dask cluster: the address of its scheduler, or '
        'local, or local:N for N processes',
    )


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
