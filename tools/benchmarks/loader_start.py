"""How long loader processes take to start, by Python's start methods.

Each figure is a process of its own: seconds from the first use of a loader of
chips to its first batch, with 1 and with 2 workers, on a synthetic town. Run it
on a machine with nothing else to do; the times are on the clock.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from geo_mm.engine.launch import load_config
from geo_mm.engine.runner import Runner
from geo_mm.synthetic import make_town

CONFIG = Path(__file__).parents[2] / 'configs/unet/unet-s5-d16-c16_adamw-2k_town-256x256.py'
METHODS = ('fork', 'forkserver', 'spawn')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--one', nargs=3, metavar=('METHOD', 'WORKERS', 'FOLDER'))
    args = parser.parse_args()
    if args.one:
        method, workers, folder = args.one
        print(first_batch(method, int(workers), folder))
        return
    table = Table('start method', '1 worker, s', '2 workers, s')
    with tempfile.TemporaryDirectory() as folder:
        make_town(folder, scenes=3, size=512)
        for method in METHODS:
            table.add_row(
                method, *(best(method, workers, folder, args.repeats) for workers in (1, 2))
            )
    Console().print(table)


def best(method: str, workers: int, folder: str, repeats: int) -> str:
    """The fastest of some runs, each in a process of its own."""
    command = [sys.executable, __file__, '--one', method, str(workers), folder]
    done = [
        subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repeats)
    ]
    return f'{min(float(run.stdout.splitlines()[-1]) for run in done):.1f}'


def first_batch(method: str, workers: int, folder: str) -> float:
    """Seconds until a loader of training chips gives its first batch."""
    config = load_config(str(CONFIG))
    init_default_scope(config.default_scope)
    multiprocessing.set_start_method(method, force=True)
    loader = config.train_dataloader
    loader.num_workers, loader.dataset.data_root = workers, f'{folder}/'
    built = Runner.build_dataloader(loader, seed=0)
    began = time.perf_counter()
    next(iter(built))
    return time.perf_counter() - began


if __name__ == '__main__':
    main()
