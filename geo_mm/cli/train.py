"""Train a model from a config file, or from an image and its labels.

geo-mm train configs/mine/roofs.py
geo-mm train image.tif roofs.gpkg --model unet
bash tools/dist_train.sh configs/mine/roofs.py 8
"""

import argparse
from pathlib import Path

from geo_mm.cli.arguments import add_launcher, add_overrides, overrides
from geo_mm.errors import NOTHING_TRAINED, ConfigError, interrupts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'config',
        nargs='+',
        metavar='CONFIG',
        help='config file; or an image and its labels, for which geo-mm new writes one into '
        'the work dir',
    )
    add_overrides(parser)
    add('--model', help='for an image and its labels (default: mask-rcnn; unet for a label raster)')
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
    with interrupts(NOTHING_TRAINED):  # until the Runner has something to save
        from geo_mm import env

        env.require()
        config = _config(args)
        from geo_mm.engine import TrainOptions, train

        train(
            config,
            TrainOptions(args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.launcher),
            overrides(args.cfg_options),
            verbose=args.verbose,
        )


def _config(args: argparse.Namespace) -> str:
    """The config file: the one that is named, or one that is written for the data.

    Raises:
        ConfigError: If it is neither.
    """
    if len(args.config) == 1:
        if args.model:
            raise ConfigError('--model with a config', 'an image and its labels, or no --model')
        return args.config[0]
    if len(args.config) > 2:
        raise ConfigError(
            f'{len(args.config)} files',
            'a config, or an image and its labels',
            'for several images use geo-mm new --images',
        )
    if args.launcher != 'none':
        raise ConfigError(
            'several processes with an image and its labels',
            'a config',
            'write one with geo-mm new',
        )
    from geo_mm.labels.opening import is_label_raster
    from geo_mm.new_config.choosing import new_config
    from geo_mm.new_config.plan import NewOptions

    image, labels = args.config
    model = args.model or ('unet' if is_label_raster(labels) else 'mask-rcnn')
    name = f'{Path(image).stem}_{model}'
    args.work_dir = args.work_dir or str(Path('work_dirs') / name)
    path = Path(args.work_dir) / f'{name}_new.py'
    if path.exists() and args.resume:
        return str(path)
    print(f'looking at {image} and {labels} for a config of {model}', flush=True)
    new_config(model, NewOptions(images=(image,), labels=labels), path)
    print(f'written to {path}; change it there and train it with geo-mm train {path}', flush=True)
    return str(path)
