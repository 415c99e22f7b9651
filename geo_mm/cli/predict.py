"""``geo-mm predict``."""

import argparse
import contextlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from geo_mm import env
from geo_mm.cli.arguments import add_dask, add_launcher, add_overrides, add_trust, overrides
from geo_mm.errors import ConfigError, GeoMMError, SceneError, interrupts
from geo_mm.inference.options import NETWORKS, PredictOptions
from geo_mm.options import add_options, given
from geo_mm.stores import folder_path, in_store, url, workplace
from geo_mm.work_dirs import model_file

if TYPE_CHECKING:
    from geo_mm.inference import Prediction, Predictor
    from geo_mm.inference.cluster import ModelFiles
    from geo_mm.inference.scenes import SceneToPredict

USAGE = '[CONFIG] CHECKPOINT [CHECKPOINT ...] SCENE [SCENE ...] -o OUT [options]'
CONFIGS = ('.py', '.json', '.yml', '.yaml')
RESUMABLE = 'interrupted: repeat the command to resume'
MODELS = ('.pth', '.safetensors', *NETWORKS)
MODEL = 'the checkpoint, or the work dir of a training for its best one'


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f'%(prog)s {USAGE}'
    add = parser.add_argument
    add(
        'paths',
        nargs='+',
        metavar='PATH',
        help=f'{MODEL}, or its export to onnx or dlpk, or several; then scene files, patterns, '
        'STAC items or catalog tables; a config before them only to replace the one in the '
        'checkpoint',
    )
    add(
        '-o',
        '--out',
        required=True,
        help='folder for the results, also in an object store: s3://BUCKET/FOLDER',
    )
    add(
        '--image',
        action='append',
        metavar='ROLE=FILE',
        help='a file of one scene and its role, such as before=a.tif; once for each file',
    )
    add('--stack', action='store_true', help='the files are bands of one scene, in this order')
    add('--split', help='of a catalog table: only the scenes of this split')
    add(
        '--shard',
        default='',
        metavar='I/N',
        help='only the I-th of N parts of the scenes, from 0 to N - 1: for job arrays, whose jobs '
        'may write into one folder',
    )
    add_dask(parser, 'predict scenes')
    add('--aoi', help='vector file with polygons; nothing outside them is predicted')
    add(
        '--window',
        nargs=4,
        type=float,
        metavar=('X_MIN', 'Y_MIN', 'X_MAX', 'Y_MAX'),
        help="only this part, in units of the scene's CRS (metres, or degrees), in which "
        'geo-mm describe SCENE prints its extent',
    )
    add(
        '--bands',
        nargs='+',
        metavar='BAND',
        help="bands of the scene, by name or number, that are the model's, in its order",
    )
    add('--gsd', type=float, help='metres per pixel of scenes without georeference')
    add('--device', help='torch device (default: first GPU, else CPU)')
    add_trust(parser)
    add(
        '--restart',
        action='store_true',
        help='discard unfinished runs, and predict again what is complete',
    )
    add_overrides(parser)
    add_launcher(parser)
    add_options(parser, PredictOptions)


def split_paths(paths: list[str]) -> tuple[str | None, list[str], list[str]]:
    """The config, if any, the checkpoints, and the rest, by their endings.

    A work dir among the checkpoints stands for its best one, which is printed.

    Raises:
        ConfigError: If there is no checkpoint.
    """
    rest = list(paths)
    config = rest.pop(0) if rest[0].endswith(CONFIGS) else None
    checkpoints = []
    while rest and (path := model_file(rest[0])).endswith(MODELS):
        checkpoints.append(path)
        if rest.pop(0) != path:
            print(f'best checkpoint: {path}', file=sys.stderr)
    if not checkpoints:
        raise ConfigError(
            f'{" ".join(paths[:2])}: no checkpoint among the first arguments',
            f'a file of {" or ".join(MODELS)}, or the work dir of a training',
            '[CONFIG] CHECKPOINT ...',
        )
    return config, checkpoints, rest


def predict(args: argparse.Namespace) -> None:
    """Predict scenes of any size with a trained model; results are georeferenced.

        geo-mm predict work_dirs/roofs city.tif -o out

    Segmentation models write a GeoTIFF of classes, detectors a GeoPackage; both a
    picture to look at and a JSON file that says what was done. Several checkpoints
    are an ensemble. A run that was interrupted resumes where it stopped if it is
    started again.
    """
    config_path, checkpoints, scenes = split_paths(args.paths)
    if bool(scenes) == bool(args.image):
        wrong = 'scenes as well as --image' if scenes else 'no scene to predict'
        raise SceneError(wrong, 'files after the checkpoint, or --image ROLE=FILE of one scene')
    if not all(path.endswith(NETWORKS) for path in checkpoints):
        env.require()
    from geo_mm.inference.cluster import ModelFiles
    from geo_mm.inference.executors import join
    from geo_mm.inference.scene_lists import SceneToPredict, find_scenes, shard
    from geo_mm.raster.stack import files_of_roles

    if args.dask and (args.shard or args.launcher != 'none'):
        raise ConfigError('--dask with --shard or --launcher', 'one of them')
    ranks = join(args.launcher)
    window = None if args.window is None else tuple(args.window)
    if args.image:
        requests = [SceneToPredict(files_of_roles(args.image))]
    else:
        requests = find_scenes(scenes, stack=args.stack, split=args.split)
    if args.shard:
        count = len(shard(requests, args.shard))
        print(f'shard {args.shard}: {count} of {len(requests)} scenes')
        if not count:
            return
    found = [
        replace(scene, window=window, aoi=args.aoi or scene.aoi, gsd=args.gsd, bands=_bands(args))
        for scene in requests
    ]
    model = ModelFiles(
        tuple(checkpoints),
        config_path,
        overrides(args.cfg_options),
        args.device,
        args.trust_checkpoint,
        PredictOptions(**given(args, PredictOptions)),
    )
    if in_store(args.out) and ranks.rank == 0:
        local = workplace(folder_path(args.out), model.options.staging)
        print(f'files are made in {local}, and uploaded to {args.out} as scenes are complete')
    try:
        if args.dask:
            with interrupts(RESUMABLE):
                _predict_on_cluster(model, found, args)
        else:
            _predict_with_progress(model.load(), found, args, quiet=ranks.rank > 0)
    except KeyboardInterrupt as error:
        print(RESUMABLE, file=sys.stderr)
        raise SystemExit(getattr(error, 'status', 130)) from None
    except GeoMMError:
        if ranks.rank > 0:
            raise SystemExit(2) from None  # the first process says it
        raise


def _bands(args: argparse.Namespace) -> list[int | str] | None:
    """Names of bands, and numbers of those that are."""
    return args.bands and [int(band) if band.isdigit() else band for band in args.bands]


@contextlib.contextmanager
def _shown(console, quiet: bool) -> Iterator[None]:
    """Show messages, such as a change of GSD, above the progress bar."""
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


def _predict_on_cluster(
    model: 'ModelFiles', scenes: list['SceneToPredict'], args: argparse.Namespace
) -> None:
    """Predict scenes on the workers of a cluster under a bar of scenes."""
    from rich.console import Console
    from rich.progress import Progress

    from geo_mm.inference.cluster import predict_on_cluster
    from geo_mm.inference.scenes import check_outcomes

    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    tell_error, there = _error_teller(args.out), 0
    columns = Progress.get_default_columns()
    with Progress(*columns, console=console) as bar, _shown(console, quiet=False):
        task = bar.add_task('scenes', total=len(scenes))

        def report(outcome) -> None:
            nonlocal there
            bar.advance(task)
            there += outcome.was_there
            if outcome.error is not None:
                tell_error(outcome.error)

        outcomes = predict_on_cluster(
            model, scenes, args.out, args.dask, restart=args.restart, report=report
        )
    done = sum(outcome.error is None for outcome in outcomes)
    console.print(f'{done:,} scenes in {args.out}, {there:,} of them there already')
    check_outcomes(outcomes)


def _predict_with_progress(
    predictor: 'Predictor', scenes: list['SceneToPredict'], args: argparse.Namespace, quiet: bool
) -> None:
    """Predict scenes under progress bars and say what came out."""
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
    tell_error = _error_teller(args.out)
    tasks: dict = {}
    with Progress(*columns, console=console, disable=quiet) as bar, _shown(console, quiet):

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
                _tell(outcome.prediction, predictor.ensemble.task.unit, console, outcome.was_there)
            elif len(scenes) > 1:  # else it is raised
                tell_error(outcome.error)

        outcomes = predict_scenes(
            predictor,
            scenes,
            args.out,
            restart=args.restart,
            shard=args.shard,
            progress=progress,
            report=report,
        )
    check_outcomes(outcomes)


def _error_teller(out: str) -> Callable[[Exception], None]:
    """What prints the errors of scenes, but no more than can be read."""
    from geo_mm.inference.scenes import MOST_ERRORS

    numbers = itertools.count(1)

    def tell(error: Exception) -> None:
        number = next(numbers)
        if number <= MOST_ERRORS:
            print(f'error: {error}', file=sys.stderr)
        elif number == MOST_ERRORS + 1:
            print(f'further errors are not shown: geo-mm status {out} lists all', file=sys.stderr)

    return tell


def _tell(prediction: 'Prediction', unit: str, console, was_there: bool) -> None:
    """Print what a scene gave."""
    from geo_mm.inference.prediction import result_files

    if was_there:
        console.print(f'  {url(prediction.files[0])}: there already; --restart predicts it again')
        return
    counts = ', '.join(f'{name} {count:,}' for name, count in prediction.counts.items())
    for line in (f'{unit}: {counts}', *map(url, prediction.files)):
        console.print(f'  {line}')
    if in_store(prediction.files[0]):
        return
    everything = result_files(prediction.files[0].parent, prediction.job.name)
    rest = [path.name for path in everything if path not in prediction.files and path.exists()]
    console.print(f'  beside them: {", ".join(rest)}')
