"""The command ``geo-mm``: parses arguments and calls one function of the package.

A subcommand ``NAME`` is a function ``NAME(args)``, whose docstring is the help
text, with ``NAME_arguments(parser)`` beside it. Only the module of the one that
is asked for is imported, and no module of this package imports a library at its
top, so that help and mistakes in the arguments cost no more than a moment.
"""

import argparse
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from geo_mm import __version__
from geo_mm.errors import report_errors

COMMANDS = {
    'new': ('training', 'write a config for your data, by looking at it'),
    'weights': ('weights', 'list published weights to start from, for your bands'),
    'train': ('training', 'train a model from a config file'),
    'lr-find': ('training', 'find a learning rate for a config, by a short mock training'),
    'test': ('training', 'score a checkpoint on the test split of its config'),
    'show': ('training', 'draw chips with ground truth, prediction and errors'),
    'report': ('training', 'write a page on a trained model: scores, errors, training, data'),
    'predict': ('predict', 'predict scenes of any size'),
    'status': ('status', 'say how far the predictions into a folder are'),
    'mosaic': ('mosaic', 'make one map of the results of many scenes'),
    'evaluate': ('evaluate', 'compare results with ground truth, on the map'),
    'describe': (
        'describe',
        'say what a model, a result or a training set is, and whether an image suits the model',
    ),
    'export': ('export', 'write a trained model in the formats of other programs'),
    'view': ('view', 'show a scene with its result and ground truth in the browser'),
    'catalog': ('scenes', 'make a table, and a map, of the scenes that one has'),
    'split': ('scenes', 'divide scenes among train, val and test without shared ground'),
    'doctor': ('scenes', 'say what is wrong with data, before training'),
    'audit': ('scenes', 'measure what train, val and test of a config share'),
    'browse': ('config', 'draw chips of a config with their labels'),
    'statistics': ('config', 'bands, classes and sizes of objects of a config or folder'),
    'class-weights': ('config', 'how often classes occur in training, and weights for the loss'),
    'anchors': ('config', 'sizes of objects, and anchors that fit them'),
    'export-chips': ('scenes', 'cut labelled scenes into chips for ArcGIS, COCO, VOC or YOLO'),
    'print-config': ('config', 'print a config with its bases merged, or that of a checkpoint'),
    'synthetic': ('demo', 'write synthetic scenes with labels'),
    'demo': ('demo', 'train and predict on a synthetic town'),
    'env': ('demo', 'versions, devices, and what is wrong with this installation'),
}
"""The module of each subcommand, and what it does, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The subcommand and its arguments; those of the process if None.

    Returns:
        The exit status. Mistakes of the user's leave with status 2.
    """
    # MMDetection says so on import, and that scores are not computed; CocoMetric does.
    warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
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
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    parser.parse_args(words)
    raise AssertionError('argparse leaves before')  # no known command among the words


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one subcommand."""
    command, add_arguments = _functions(name)
    parser = argparse.ArgumentParser(
        prog=f'geo-mm {name}',
        description=inspect.getdoc(command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return parser


def _run(name: str, words: list[str]) -> int:
    with report_errors():
        # Paths, options and scenes may alternate.
        args = command_parser(name).parse_intermixed_args(words)
        # torch.distributed.launch of old says it on the command line.
        if getattr(args, 'local_rank', None) is not None:
            os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
        return _functions(name)[0](args) or 0


def _functions(name: str) -> tuple[Callable, Callable]:
    """What runs a subcommand, and what adds its arguments to a parser."""
    module = importlib.import_module(f'geo_mm.cli.{COMMANDS[name][0]}')
    function = name.replace('-', '_')
    return getattr(module, function), getattr(module, f'{function}_arguments')
