"""The command ``geo-mm``: parses arguments and calls one function of the package.

Each subcommand is a module here with ``add_arguments(parser)`` and
``run(args)``; its docstring is the help text. Only the module that is asked for
is imported, and no module of this package imports a library at its top, so
that help and mistakes in the arguments cost no more than a moment.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from geo_mm import __version__
from geo_mm.errors import report_errors

COMMANDS = {
    'new': 'write a config for your data, by looking at it',
    'train': 'train a model from a config file',
    'test': 'score a checkpoint on the test split of its config',
    'predict': 'predict scenes of any size',
    'evaluate': 'compare results with ground truth, on the map',
    'describe': 'say what a result is and how it was made',
    'catalog': 'make a table, and a map, of the scenes that one has',
    'split': 'divide scenes among train, val and test without shared ground',
    'audit': 'measure what train, val and test of a config share',
    'browse': 'draw chips of a config with their labels',
    'statistics': 'mean and standard deviation of the bands of a config',
    'class-weights': 'how often classes occur in training, and weights for the loss',
    'anchors': 'sizes of objects, and anchors that fit them',
    'export-chips': 'cut labelled scenes into chips for ArcGIS, COCO, VOC or YOLO',
    'print-config': 'print a config with its bases merged, or that of a checkpoint',
    'synthetic': 'write synthetic scenes with labels',
    'demo': 'train and predict on a synthetic town',
    'env': 'versions, devices, and what is wrong with this installation',
}
"""Subcommands in the order of the help, each in the module of its name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The subcommand and its arguments; those of the process if None.

    Returns:
        The exit status. Mistakes of the user's leave with status 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:])
    parser = argparse.ArgumentParser(
        prog='geo-mm',
        description='Deep learning on georeferenced imagery.',
        epilog='geo-mm COMMAND --help explains a command.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'geo_mm {__version__}')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    parser.parse_args(words)
    raise AssertionError('argparse leaves before')  # no known command among the words


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one subcommand."""
    command = _module(name)
    parser = argparse.ArgumentParser(
        prog=f'geo-mm {name}',
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def _run(name: str, words: list[str]) -> int:
    with report_errors():
        # Paths, options and scenes may alternate.
        args = command_parser(name).parse_intermixed_args(words)
        # torch.distributed.launch of old says it on the command line.
        if getattr(args, 'local_rank', None) is not None:
            os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
        return _module(name).run(args) or 0


def _module(name: str):
    return importlib.import_module(f'geo_mm.cli.{name.replace("-", "_")}')
