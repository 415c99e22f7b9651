"""From data to a config, a model and its scores: ``new train lr-find test show report``."""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from geo_mm import env
from geo_mm.cli.arguments import add_config, add_launcher, add_overrides, add_trust, overrides
from geo_mm.cli.predict import MODEL, split_paths
from geo_mm.errors import NOTHING_TRAINED, ConfigError, interrupts
from geo_mm.learn.options import ReportOptions, ShowOptions
from geo_mm.new_config.plan import NewOptions
from geo_mm.new_config.recipes import RECIPES
from geo_mm.options import add_options, given
from geo_mm.paths import atomic_write, reported
from geo_mm.work_dirs import best_checkpoint

_SECONDS = 5.0
"""Between two lines that say what is being looked at."""


def new_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help=f'one of {", ".join(RECIPES)}')
    parser.add_argument('-o', '--out', type=Path, help='the config (default: MODEL.py)')
    add_options(parser, NewOptions)


def new(args: argparse.Namespace) -> None:
    """Write a config for your data: it looks at images and labels and chooses every setting.

    geo-mm new mask-rcnn --images 'ortho/*.tif' --labels roofs.gpkg -o roofs.py
    geo-mm new unet --catalog scenes.csv
    geo-mm new faster-rcnn --arcgis export/

    The config trains at once, with geo-mm train. What was chosen, and why, is printed and
    stands in it, and may be changed.
    """
    env.require()
    from geo_mm.new_config.choosing import new_config
    from geo_mm.new_config.writing import scenes_table

    path = args.out or Path(f'{args.model}.py')
    with looking() as tell:
        plan = new_config(args.model, NewOptions(**given(args, NewOptions)), path, tell)
    for name, text in plan.chosen().items():
        print(f'{name:13} {text}')
    table = scenes_table(plan, path)
    beside = '' if table is None else f', with the scenes and their splits in {table}'
    print(f'\nwritten to {path}{beside}; train it with:\n  geo-mm train {path}')


@contextlib.contextmanager
def looking() -> Iterator[Callable[[str], None]]:
    """Shows what is being looked at: in one line of a terminal, elsewhere once in a while."""
    from rich.console import Console

    console, last = Console(highlight=False, markup=False, stderr=True), time.monotonic()
    with console.status('') as status:

        def tell(what: str) -> None:
            nonlocal last
            if console.is_terminal:
                status.update(f'looking at {what}')
            elif time.monotonic() - last > _SECONDS:
                last = time.monotonic()
                console.print(f'looking at {what}')

        yield tell


def train_arguments(parser: argparse.ArgumentParser) -> None:
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


def train(args: argparse.Namespace) -> None:
    """Train a model from a config file, or from an image and its labels.

    geo-mm train configs/mine/roofs.py
    geo-mm train image.tif roofs.gpkg --model unet
    bash tools/dist_train.sh configs/mine/roofs.py 8
    """
    with interrupts(NOTHING_TRAINED):  # until the Runner has something to save
        env.require()
        config = _config(args)
        from geo_mm import engine

        runner = engine.train(
            config,
            engine.TrainOptions(
                args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.launcher
            ),
            overrides(args.cfg_options),
            verbose=args.verbose,
        )
    if runner.rank == 0:
        with contextlib.suppress(ConfigError):  # a config may keep no checkpoint
            print(f'test it with:\n  geo-mm test {best_checkpoint(runner.work_dir)}')


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
    with looking() as tell:
        new_config(model, NewOptions(images=(image,), labels=labels), path, tell)
    print(f'written to {path}; change it there and train it with geo-mm train {path}', flush=True)
    return str(path)


def lr_find_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add = parser.add_argument
    add('--start', type=float, default=1e-7, help='first learning rate (default: 1e-7)')
    add('--end', type=float, default=10.0, help='last learning rate (default: 10)')
    add('--iterations', type=int, default=100, help='of the range test (default: 100)')
    add(
        '--trials',
        metavar='ITERATIONS',
        type=int,
        default=200,
        help='of each of some three to five trials (default: 200); 0 for the range test alone',
    )
    add(
        '-o',
        '--out',
        metavar='FOLDER',
        type=Path,
        help='for lr_find.json and lr_find.png (default: work_dirs/CONFIG/lr_find)',
    )
    add_launcher(parser)


def lr_find(args: argparse.Namespace) -> None:
    """Find a learning rate: a short training while the rate grows, then some at one rate each.

    geo-mm lr-find configs/mine/roofs.py
    geo-mm train configs/mine/roofs.py --cfg-options optim_wrapper.optimizer.lr=0.002

    Nothing is kept of the trainings; losses are written as JSON and drawn as PNG.
    """
    env.require()
    from mmengine.dist import is_main_process

    from geo_mm import engine
    from geo_mm.visualization.training_plots import draw_lr_curve

    folder = args.out or Path('work_dirs', Path(args.config).stem, 'lr_find')
    curve = engine.lr_find(
        args.config,
        engine.LrFindOptions(args.start, args.end, args.iterations, args.trials),
        overrides(args.cfg_options),
        work_dir=folder,
        launcher=args.launcher,
    )
    if not is_main_process():
        return
    draw_lr_curve(curve, folder / 'lr_find.png')
    for rule, rate in curve.suggestions.items():
        print(f'{rule:8}  {rate:.2g}')
    print(
        f'drawn in {folder}/lr_find.png; train with the first:\n'
        f'  geo-mm train {args.config} --cfg-options '
        f'optim_wrapper.optimizer.lr={curve.suggestion():.2g}'
    )


def test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add = parser.add_argument
    add('paths', nargs='+', metavar='PATH', help=f'{MODEL}; a config before it')
    add('--work-dir', help='folder for the log and the scores as JSON (default: test/ beside it)')
    add(
        '--scenes',
        metavar='OUT',
        help='also predict the scenes as a whole and score them on the map; folder for the results',
    )
    add('--verbose', action='store_true', help='print the full log, which its file always has')
    add_trust(parser)
    add_overrides(parser)
    add_launcher(parser, 'mpi')


def test(args: argparse.Namespace) -> None:
    """Score a trained model on the test split of its config.

        geo-mm test work_dirs/roofs

    The config is that of the checkpoint, with the changes that it was trained
    with; one before it replaces it. Scored are the chips, with the library's
    metrics, and with --scenes also whole scenes on the map, as `geo-mm predict`
    and `geo-mm evaluate` do it.
    """
    config, checkpoint = _config_and_checkpoint('test', args.paths)
    if args.scenes and args.launcher != 'none':
        raise ConfigError(
            f'--scenes with --launcher {args.launcher}',
            'one process',
            'share the work with tools/dist_predict.sh, then score with geo-mm evaluate',
        )
    env.require()
    from geo_mm import engine

    options = engine.TestOptions(args.work_dir, args.launcher, args.trust_checkpoint)
    runner = engine.test(
        checkpoint, config, options, overrides(args.cfg_options), verbose=args.verbose
    )
    if args.scenes:
        _score_scenes(runner, checkpoint, args.scenes)


def _config_and_checkpoint(command: str, paths: list[str]) -> tuple[str | None, str]:
    """The two files of ``[CONFIG] CHECKPOINT``."""
    config, checkpoints, rest = split_paths(paths)
    if len(checkpoints) != 1 or rest:
        raise ConfigError(
            f'geo-mm {command} {" ".join(paths)}', 'one checkpoint', '[CONFIG] CHECKPOINT'
        )
    return config, checkpoints[0]


def _score_scenes(runner, checkpoint: str, out: str) -> None:
    """Predict and score the scenes that the chips come from."""
    import os

    from geo_mm.evaluation.report import write_report
    from geo_mm.evaluation.tables import show
    from geo_mm.inference import PredictOptions, Predictor
    from geo_mm.inference.scenes import score_scenes

    # Average precision needs the objects of low confidence, too.
    kept = PredictOptions(score=0.0) if runner.cfg.default_scope == 'mmdet' else None
    predictor = Predictor(checkpoint, runner.cfg, options=kept)
    result = score_scenes(
        runner.test_dataloader.dataset,
        predictor,
        out,
        progress=lambda name: print(f'{name} ...'),
    )
    show(result)
    title = f'{checkpoint} on the test scenes of its config'
    for path in write_report(result, os.path.join(out, 'evaluation'), title=title):
        print(f'  {path}')


def show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add = parser.add_argument
    add('paths', nargs='+', metavar='PATH', help=f'{MODEL}; a config before it')
    add('-o', '--out', type=Path, help='the PNG (default: results_SPLIT.png beside the checkpoint)')
    add_options(parser, ShowOptions)
    add_trust(parser)


def show(args: argparse.Namespace) -> None:
    """Draw chips side by side: image, ground truth, prediction, errors; the worst first.

    geo-mm show work_dirs/roofs
    geo-mm show configs/mine/roofs.py work_dirs/roofs/best.pth --split val --order random

    The chips are those of the test split of the config in the checkpoint, or of
    any split of a config that is given.
    """
    env.require()
    from geo_mm.learn import show_results

    config, checkpoint = _config_and_checkpoint('show', args.paths)
    options = ShowOptions(**given(args, ShowOptions))
    sheet = show_results(checkpoint, config, options, trust_checkpoint=args.trust_checkpoint)
    path = args.out or Path(checkpoint).with_name(f'results_{options.split}.png')
    with reported(path), atomic_write(path) as partial:
        sheet.save(partial, format='PNG')
    print(f'{len(sheet.info["shares"])} chips of {options.split}: {path}')


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add = parser.add_argument
    add(
        'paths',
        nargs='+',
        metavar='PATH',
        help=f'{MODEL}; a config before it',
    )
    add(
        '-o',
        '--out',
        type=Path,
        help='the page (default: report_SPLIT.html beside the checkpoint)',
    )
    add_options(parser, ReportOptions)
    add_trust(parser)


def report(args: argparse.Namespace) -> None:
    """Write a page on a trained model, and its numbers as JSON beside it.

        geo-mm report work_dirs/roofs -o roofs.html
        geo-mm report configs/mine/roofs.py work_dirs/roofs/best.pth --split val

    It has scores of each class, the confusion matrix, curves over the thresholds of
    confidence, sizes of objects found and missed, chips with each kind of error, the
    curves of the training, the config and what the model was made with. The chips are
    those of the test split of the config in the checkpoint, or of any split of a config
    that is given, which is also needed for the map of the splits.
    """
    env.require()
    from geo_mm.learn.model_report import report

    named, checkpoint = _config_and_checkpoint('report', args.paths)
    options = ReportOptions(**given(args, ReportOptions))
    path = report(checkpoint, named, options, args.out, trust_checkpoint=args.trust_checkpoint)
    print(f'{path}\n{path.with_suffix(".json")}')
