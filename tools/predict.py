"""Predict scenes of any size with a trained model; results lie on the map.

Pixel models write a GeoTIFF of classes, object models a GeoPackage; both a
picture to look at and a JSON file that says what was done.
The model is in the checkpoint; several checkpoints are asked together. A run
that was interrupted goes on where it stopped if it is started again.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from geo_mm import env
from geo_mm.errors import ConfigError, GeoMMError, SceneError, report_errors

USAGE = '%(prog)s [CONFIG] CHECKPOINT [CHECKPOINT ...] SCENE [SCENE ...] -o OUT [options]'
CONFIGS = ('.py', '.json', '.yml', '.yaml')


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__, usage=USAGE)
    add = parser.add_argument
    add(
        'paths',
        nargs='+',
        metavar='PATH',
        help='the .pth file that tools/train.py wrote, or several; then scene files, patterns, '
        'STAC items or catalog tables; a config before them only to replace the one in the '
        'checkpoint',
    )
    add('-o', '--out', required=True, help='folder for the results')
    add('--stack', action='store_true', help='the files are bands of one scene, in this order')
    add('--split', help='of a catalog table: only the scenes of this split')

    what = parser.add_argument_group('what is predicted')
    what.add_argument('--aoi', help='vector file with polygons; nothing outside them is predicted')
    what.add_argument(
        '--window',
        nargs=4,
        type=float,
        metavar=('X_MIN', 'Y_MIN', 'X_MAX', 'Y_MAX'),
        help="only this part, in units of the scene's CRS",
    )
    what.add_argument(
        '--bands',
        nargs='+',
        metavar='BAND',
        help="bands of the scene, by name or number, that are the model's, in its order",
    )
    what.add_argument('--gsd', type=float, help='metres per pixel of scenes that do not say')
    what.add_argument('--nodata', type=float, help='value of pixels without data')
    what.add_argument(
        '--force', action='store_true', help='take scenes of an unsuitable GSD or data type'
    )

    kept = parser.add_argument_group('what is kept')
    kept.add_argument('--score', type=float, help='least confidence of an object (default: 0.3)')
    kept.add_argument(
        '--suppress',
        choices=('nms', 'soft-nms', 'nmm', 'none'),
        help='what is done with overlapping objects of a class (default: nms)',
    )
    kept.add_argument('--iou', type=float, help='from which overlap on (default: 0.5)')
    kept.add_argument(
        '--confidence', action='store_true', help='write the probability of the class that won'
    )
    kept.add_argument(
        '--probabilities',
        nargs='?',
        const='uint8',
        choices=('uint8', 'float32'),
        help='write those of all classes (default: uint8)',
    )
    kept.add_argument(
        '--grid',
        choices=('scene', 'model'),
        help="pixels of class rasters: the scene's (default), or those of the model's GSD",
    )

    written = parser.add_argument_group('what is written')
    written.add_argument(
        '--polygons', action='store_true', help='write the outlines of the classes, too (pixels)'
    )
    written.add_argument(
        '--min-area',
        type=float,
        metavar='M2',
        help='smallest polygon; in pixels if the scene has no place on Earth',
    )
    written.add_argument(
        '--simplify',
        nargs='?',
        type=float,
        const=1.5,
        metavar='PIXELS',
        help='straighten the stairs of polygons (default: 1.5); needs memory for all of them',
    )
    written.add_argument(
        '--regularise',
        nargs='+',
        metavar='CLASS',
        help='straight walls at right angles for polygons of these classes, such as buildings',
    )
    written.add_argument(
        '--format',
        nargs='+',
        choices=('gpkg', 'geojson', 'parquet', 'fgb'),
        dest='formats',
        help='of polygons and objects, one or several (default: gpkg)',
    )
    written.add_argument(
        '--stac', action='store_true', help='describe the files as a STAC item, NAME.stac.json'
    )
    written.add_argument(
        '--no-quicklook', action='store_false', dest='quicklook', help='write no picture, NAME.png'
    )

    how = parser.add_argument_group('how it is computed')
    how.add_argument('--tile', type=int, help='side of a tile in pixels (default: 512 or more)')
    how.add_argument(
        '--overlap',
        type=float,
        help='what tiles share: pixels, or a share below 1 (default: up to 0.25)',
    )
    how.add_argument('--blend', choices=('window', 'crop'), help='fade tiles, or cut them (pixels)')
    how.add_argument('--tta', choices=('none', 'flip', 'd4'), help='test-time augmentation')
    how.add_argument('--merge', choices=('mean', 'max'), help='of views and models')
    how.add_argument('--batch-size', type=int, help='tiles per forward pass (default: 2)')
    how.add_argument(
        '--readers', type=int, help='threads that read ahead (default: half of the cores, 2 to 8)'
    )
    how.add_argument('--device', help='torch device (default: first GPU, else CPU)')
    how.add_argument('--amp', action='store_true', help='16-bit floats where that is safe')
    how.add_argument('--compile', action='store_true', help='compile the backbone')
    how.add_argument(
        '--restart', action='store_true', help='forget what an unfinished run has done'
    )
    how.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='of many processes'
    )
    how.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='let the config in a checkpoint import and run anything; for files of people you '
        'trust, with parts of their own',
    )
    how.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings: key=value'
    )
    args = parser.parse_intermixed_args()
    args.config, args.checkpoints, args.scenes = told_apart(args.paths)
    return args


def told_apart(paths: list[str]) -> tuple[str | None, list[str], list[str]]:
    """The config, if any, the checkpoints and the scenes, by their endings.

    Raises:
        ConfigError: If there is no checkpoint.
        SceneError: If there is no scene.
    """
    rest = list(paths)
    config = rest.pop(0) if rest[0].endswith(CONFIGS) else None
    checkpoints = []
    while rest and rest[0].endswith('.pth'):
        checkpoints.append(rest.pop(0))
    if not checkpoints:
        raise ConfigError(
            f'{" ".join(paths[:2])}: no checkpoint before the scenes', 'a .pth file', USAGE[8:]
        )
    if not rest:
        raise SceneError('no scene to predict', 'at least one file after the checkpoint')
    return config, checkpoints, rest


def main() -> None:
    env.require()
    from geo_mm.engine.checkpoints import config_of, read_checkpoint
    from geo_mm.engine.launch import load_config
    from geo_mm.inference import Predictor
    from geo_mm.inference.executors import join
    from geo_mm.inference.scenes import find_scenes

    args = parse_args()
    ranks = join(args.launcher)
    found = find_scenes(args.scenes, stack=args.stack, split=args.split)
    window = None if args.window is None else tuple(args.window)
    scenes = [
        replace(
            scene, window=window, aoi=args.aoi or scene.aoi, gsd=args.gsd, bands=bands(args.bands)
        )
        for scene in found
    ]
    config = None
    if args.config is not None:
        config = load_config(args.config, args.cfg_options)
    elif args.cfg_options:
        path = args.checkpoints[0]
        config = config_of(read_checkpoint(path), path, args.trust_checkpoint)
        config.merge_from_dict(args.cfg_options)
    given = {name: value for name, value in options_of(args).items() if value is not None}
    predictor = Predictor(
        args.checkpoints,
        config,
        device=args.device,
        trust_checkpoint=args.trust_checkpoint,
        **given,
    )
    try:
        predict_with_progress(predictor, scenes, args, quiet=ranks.rank > 0)
    except KeyboardInterrupt:
        print('interrupted: the same command goes on where this one stopped', file=sys.stderr)
        raise SystemExit(130) from None
    except GeoMMError:
        if ranks.rank > 0:
            raise SystemExit(2) from None  # the first process says it
        raise


def bands(given: list[str] | None) -> list[int | str] | None:
    """Names of bands, and numbers of those that are."""
    return given and [int(band) if band.isdigit() else band for band in given]


def options_of(args: argparse.Namespace) -> dict:
    """Fields of PredictOptions; None where nothing was said."""
    names = ('tile', 'overlap', 'blend', 'tta', 'merge', 'batch_size', 'score', 'nodata')
    names += (
        'readers',
        'quicklook',
        'suppress',
        'iou',
        'min_area',
        'simplify',
        'regularise',
        'formats',
    )
    flags = ('amp', 'confidence', 'force', 'probabilities', 'grid', 'polygons', 'stac')
    return {name: getattr(args, name) for name in names + flags} | {'compiled': args.compile}


@contextlib.contextmanager
def shown(console, quiet: bool) -> Iterator[None]:
    """Shows what the engine tells, such as a change of GSD, above the progress bar."""
    from rich.logging import RichHandler

    logger = logging.getLogger('geo_mm')
    handler = RichHandler(
        logging.WARNING if quiet else logging.INFO,
        console,
        show_time=False,
        show_level=False,
        show_path=False,
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def predict_with_progress(predictor, scenes, args: argparse.Namespace, quiet: bool) -> None:
    """Predicts scenes under progress bars and says what came out."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from geo_mm.inference.scenes import check_outcomes, predict_scenes

    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('tiles'),
        TextColumn('{task.fields[rate]}'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    # Names of files and classes may hold [brackets] and :colons:.
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    tasks = {}
    with Progress(*columns, console=console, disable=quiet) as bar, shown(console, quiet):

        def progress(scene, done: int, total: int) -> None:
            if scene.title not in tasks:
                tasks[scene.title] = bar.add_task(Path(scene.title).name, total=total, rate='')
            task = tasks[scene.title]
            speed = bar.tasks[bar.task_ids.index(task)].speed
            bar.update(task, advance=done, total=total, rate=f'{speed:.1f}/s' if speed else '')

        def report(outcome) -> None:
            bar.refresh()
            if (task := tasks.pop(outcome.scene.title, None)) is not None and len(scenes) > 9:
                bar.remove_task(task)
            if quiet:
                return
            if outcome.error is None:
                tell(outcome.prediction, predictor.ensemble.task.unit, console)
            elif len(scenes) > 1:  # else it is raised
                print(f'error: {outcome.error}', file=sys.stderr)

        outcomes = predict_scenes(
            predictor, scenes, args.out, restart=args.restart, progress=progress, report=report
        )
    check_outcomes(outcomes)


def tell(prediction, unit: str, console) -> None:
    """Prints what a scene gave."""
    counts = ', '.join(f'{name} {count:,}' for name, count in prediction.counts.items())
    for line in (f'{unit}: {counts}', *prediction.files):
        console.print(f'  {line}')


if __name__ == '__main__':
    with report_errors():
        main()
