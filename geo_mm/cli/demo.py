"""``geo-mm demo``, ``synthetic`` and ``env``: what needs no data of one's own."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from geo_mm.env import report, require
from geo_mm.errors import GeoMMError

CONFIG = 'geo_mm::unet/unet-s5-d16-c16_adamw-2k_town-256x256.py'


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('-o', '--out', type=Path, default=Path('work_dirs/demo'), help='folder for everything')
    add('--iters', type=int, default=320, help='training iterations (default: 320)')
    add('--size', type=int, default=1024, help='side of a scene in pixels (default: 1024)')


def demo(args: argparse.Namespace) -> None:
    """Train and predict on a synthetic town: data, training, scores, prediction on the map.

    It takes a few minutes on two cores and needs no data. `make demo` runs it, too.
    """
    require()
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    start = time.monotonic()
    town, work_dir, maps = (args.out / name for name in ('town', 'model', 'prediction'))

    console.rule('1/4  a synthetic town')
    command('synthetic', town, '--scenes', 6, '--size', args.size, '--gsd', 0.5, '--seed', 0)

    console.rule('2/4  training a U-Net')
    options = [
        *(f'{split}_dataloader.dataset.data_root={town}' for split in ('train', 'val', 'test')),
        f'train_cfg.max_iters={args.iters}',
        f'train_cfg.val_interval={args.iters}',
    ]
    command('train', CONFIG, '--work-dir', work_dir, '--cfg-options', *options)
    checkpoint = work_dir / f'iter_{args.iters}.pth'

    console.rule('3/4  scoring on a scene it never saw')
    command('test', checkpoint)
    measured = json.loads(max((work_dir / 'test').glob('*/*.json')).read_text())

    console.rule('4/4  predicting that scene')
    command('predict', checkpoint, town / 'images' / 'town_5.tif', '-o', maps)

    minutes = (time.monotonic() - start) / 60
    console.rule('done')
    console.print(
        f'mIoU on the unseen scene: {measured["mIoU"] / 100:.3f}   ({minutes:.1f} minutes)'
    )
    console.print('Where to look:')
    for path, what in (
        (maps / 'town_5_quicklook.png', 'quick look: the classes over the image'),
        (maps / 'town_5.tif', 'the classes as a GeoTIFF, for QGIS or ArcGIS'),
        (maps / 'town_5.json', 'what was done: model, input specification, versions'),
        (town / 'catalog.csv', 'the scenes and labels that it was trained on'),
        (checkpoint, 'the model, for geo-mm predict'),
    ):
        console.print(f'  {path}\n      {what}')


def command(name: str, *args: object) -> None:
    """Run a subcommand as a user would, with a bar for its iterations.

    Raises:
        GeoMMError: If it fails; its output stands above.
    """
    words = [name, *map(str, args)]
    print(f'$ geo-mm {" ".join(words)}', flush=True)
    process = [sys.executable, '-m', 'geo_mm.cli', *words]
    if name in ('train', 'test'):
        status = _run_with_bar(process)
    else:
        status = subprocess.run(process, check=False).returncode
    if status:
        raise GeoMMError(f'geo-mm {name} ended with exit status {status}; see its output above')


def _run_with_bar(process: list[str]) -> int:
    """A bar instead of the lines of MMEngine's log; the last of them if it fails."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn('{task.description:32}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    console = Console(highlight=False, markup=False)
    running = subprocess.Popen(process, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last: deque[str] = deque(maxlen=40)
    with Progress(*columns, console=console) as bar, running:
        task = bar.add_task('starting', total=None)
        assert running.stdout is not None  # it is a pipe
        for line in running.stdout:
            last.append(line)
            if match := re.search(r'(?:Iter|Epoch)\((\w+)\) +\[ *(\d+)/(\d+)\]', line):
                step, total = int(match[2]), int(match[3])
                loss = re.search(r' loss: ([\d.]+)', line)
                what = f'{match[1]}, loss {loss[1]}' if loss else match[1]
                bar.update(task, description=what, completed=step, total=total)
                if not console.is_terminal:  # a log file shows no bars
                    left = re.search(r'eta: ([\d:]+)', line)
                    console.print(f'{what} {step}/{total}{f", left {left[1]}" if left else ""}')
    if running.returncode:
        console.print(''.join(last), style='red')
    return running.returncode


def synthetic_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('out', help='folder to write to')
    add('--scenes', type=int, default=4, help='how many scenes (default: 4)')
    add(
        '--size',
        type=int,
        nargs='+',
        default=[1024],
        metavar='PIXELS',
        help='side of a scene, or columns and rows (default: 1024)',
    )
    add('--gsd', type=float, default=0.5, help='pixel size in metres (default: 0.5)')
    add('--seed', type=int, default=0, help='same seed, same scenes (default: 0)')
    add(
        '--embeddings',
        action='store_true',
        help='also write 64 bands of features per scene, stored as embeddings of AlphaEarth',
    )


def synthetic(args: argparse.Namespace) -> None:
    """Write synthetic aerial scenes of a town with vector labels.

    geo-mm synthetic data/town --scenes 6 --size 1024
    """
    if len(args.size) > 2:
        raise GeoMMError(f'--size {" ".join(map(str, args.size))}', 'one or two numbers')
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from geo_mm.synthetic import make_town
    from geo_mm.synthetic.embeddings import make_embeddings

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task('synthetic town', total=None)

        def progress(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        try:
            catalog = make_town(
                args.out,
                scenes=args.scenes,
                size=args.size[0] if len(args.size) == 1 else tuple(args.size),
                gsd=args.gsd,
                seed=args.seed,
                progress=progress,
            )
        except ValueError as error:
            raise GeoMMError(str(error)) from None
        written = [catalog]
        if args.embeddings:
            written.append(
                make_embeddings(catalog, lambda name: bar.update(task, description=name))
            )
        bar.update(task, description='synthetic town')
    for path in written:
        print(f'wrote {path}')


def env_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def env(args: argparse.Namespace) -> int:
    """Print versions and devices, and what is wrong with this installation, if anything."""
    return report()
