"""Train a model from a config file.

geo-mm train configs/mine/roofs.py
bash tools/dist_train.sh configs/mine/roofs.py 8
"""

import argparse

from geo_mm.cli.arguments import add_config, add_launcher, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add = parser.add_argument
    add('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    add('--amp', action='store_true', help='train in mixed precision')
    add(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the batch size over all processes',
    )
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or without value from the newest in the work dir',
    )
    add('--verbose', action='store_true', help='print the full log, which its file always has')
    add_launcher(parser, 'mpi')


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from geo_mm.engine import TrainOptions, train

    train(
        args.config,
        TrainOptions(args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.launcher),
        overrides(args.cfg_options),
        verbose=args.verbose,
    )
