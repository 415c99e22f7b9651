"""The whole way once: a synthetic town, training, scoring, prediction on the map.

`make demo` runs this. It takes a few minutes on two cores and needs no data.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from geo_mm import env
from geo_mm.errors import GeoMMError, report_errors

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs/unet/unet-s5-d16-c16_adamw-2k_town-256x256.py'
console = Console(highlight=False)


def main() -> None:
    env.require()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--out', type=Path, default=ROOT / 'work_dirs/demo')
    parser.add_argument('--iters', type=int, default=320, help='training iterations')
    parser.add_argument('--size', type=int, default=1024, help='side of a scene in pixels')
    args = parser.parse_args()
    start = time.monotonic()
    town, work_dir, maps = (args.out / name for name in ('town', 'model', 'prediction'))

    console.rule('1/4  a synthetic town')
    run('geo_mm.synthetic', town, '--scenes', 6, '--size', args.size, '--gsd', 0.5, '--seed', 0)

    console.rule('2/4  training a U-Net')
    options = [
        f'train_dataloader.dataset.data_root={town}',
        f'val_dataloader.dataset.data_root={town}',
        f'test_dataloader.dataset.data_root={town}',
    ]
    schedule = [
        f'train_cfg.max_iters={args.iters}',
        f'train_cfg.val_interval={args.iters}',
    ]
    run('train.py', CONFIG, '--work-dir', work_dir, '--cfg-options', *options, *schedule)
    checkpoint = work_dir / f'iter_{args.iters}.pth'

    console.rule('3/4  scoring on a scene it never saw')
    scores = work_dir / 'test'
    run('test.py', CONFIG, checkpoint, '--work-dir', scores, '--cfg-options', *options)
    measured = json.loads(max(scores.glob('*/*.json')).read_text())

    console.rule('4/4  predicting that scene')
    scene = town / 'images' / 'town_5.tif'
    run('predict.py', checkpoint, scene, '-o', maps)

    minutes = (time.monotonic() - start) / 60
    console.rule('done')
    console.print(
        f'mIoU on the unseen scene: {measured["mIoU"] / 100:.3f}   ({minutes:.1f} minutes)'
    )
    console.print('Where to look:')
    for path, what in (
        (maps / 'town_5_quicklook.png', 'quick look: the classes over the image'),
        (maps / 'town_5.tif', 'the classes as a GeoTIFF, for QGIS or ArcGIS'),
        (maps / 'town_5.json', 'what was done: model, spec, versions'),
        (town / 'catalog.csv', 'the scenes and labels it learned from'),
        (checkpoint, 'the model, for tools/predict.py'),
    ):
        console.print(f'  {path}\n      {what}', soft_wrap=True)


def run(tool: str, *args: object) -> None:
    """Runs one of our tools as a user would, with a bar for its iterations.

    Raises:
        GeoMMError: With the end of its output, if it fails.
    """
    module = ['-m', tool] if tool.startswith('geo_mm.') else [str(ROOT / 'tools' / tool)]
    command = [sys.executable, *module, *map(str, args)]
    shown = ['python', *module, *map(str, args)]
    console.print(f'[dim]$ {" ".join(shown).replace(str(ROOT) + "/", "")}[/dim]', soft_wrap=True)
    if tool.endswith('.py') and tool != 'predict.py':
        status = _run_with_bar(command)
    else:
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        raise GeoMMError(f'{tool} ended with exit status {status}; its output stands above')


def _run_with_bar(command: list[str]) -> int:
    """MMEngine logs hundreds of lines; the bar shows where it stands in them."""
    columns = (
        TextColumn('{task.description:32}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    last: deque[str] = deque(maxlen=40)
    with Progress(*columns, console=console) as bar, process:
        task = bar.add_task('starting', total=None)
        for line in process.stdout:
            last.append(line)
            if match := re.search(r'(?:Iter|Epoch)\((\w+)\) +\[ *(\d+)/(\d+)\]', line):
                step, total = int(match[2]), int(match[3])
                loss = re.search(r' loss: ([\d.]+)', line)
                what = f'{match[1]}, loss {loss[1]}' if loss else match[1]
                bar.update(task, description=what, completed=step, total=total)
                if not console.is_terminal:  # a log file shows no bars
                    left = re.search(r'eta: ([\d:]+)', line)
                    console.print(f'{what} {step}/{total}{f", left {left[1]}" if left else ""}')
    if process.returncode:
        console.print(''.join(last), style='red', markup=False)
    return process.returncode


if __name__ == '__main__':
    with report_errors():
        main()
