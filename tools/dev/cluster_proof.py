"""Kills workers and schedulers of a Dask cluster while it predicts, and compares all results.

Small and large scenes are predicted by one process, and then with --dask by workers that
are processes of their own. Workers are killed (SIGKILL) and started again, and so is the
scheduler, as the work goes on. Meanwhile geo-mm status is asked again and again: its counts
must add up, no scene that is done may be anything else later, and no file of it may be
written again. In the end the SHA-256 of every file must be that of the one process.

Without kills it measures what the cluster costs: --small 0 --kills 0 --restarts 0 --workers 1

Exits with 1 if something is wrong.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from resume_proof import CONFIGS, free_port, write_checkpoint

from geo_mm import export_model, prediction_status
from geo_mm.errors import interrupts
from geo_mm.paths import file_sha256
from geo_mm.synthetic import make_town

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    'SOURCE_DATE_EPOCH': '1700000000',
    'OMP_NUM_THREADS': '1',
    'PYTHONPATH': str(ROOT),
}


class Machines:
    """A scheduler and workers, which may be killed and are then started again.

    Args:
        count: Of workers.
        log: What they say.
    """

    def __init__(self, count: int, log: Path) -> None:
        self._port, self._log = free_port(), log
        self.address = f'tcp://127.0.0.1:{self._port}'
        self._scheduler = self._start('scheduler', '--host', '127.0.0.1', '--port', self._port)
        self._workers = [self._worker() for _ in range(count)]

    def keep(self) -> None:
        """Starts again what has ended. Workers end with their scheduler."""
        if self._scheduler.poll() is not None:
            words = ('--host', '127.0.0.1', '--port', self._port)
            self._scheduler = self._start('scheduler', *words)
        self._workers = [
            worker if worker.poll() is None else self._worker() for worker in self._workers
        ]

    def kill_scheduler(self) -> None:
        self._scheduler.kill()
        self._scheduler.wait()

    def kill_worker(self, number: int) -> None:
        self._workers[number].kill()
        self._workers[number].wait()

    def end(self) -> None:
        for process in (*self._workers, self._scheduler):
            process.kill()
            process.wait()

    def _worker(self) -> subprocess.Popen:
        return self._start('worker', self.address, '--nthreads', 1, '--no-nanny')

    def _start(self, *words: object) -> subprocess.Popen:
        dask = [sys.executable, '-m', 'dask', *map(str, words), '--no-dashboard']
        with self._log.open('a') as log:
            return subprocess.Popen(dask, env=ENVIRONMENT, stdout=log, stderr=log)


class Watch:
    """What geo-mm status said of a folder, and what was wrong with it.

    Args:
        folder: That of the results.
        total: Scenes.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self._folder, self._total = folder, total
        self._done: dict[str, tuple[int, int]] = {}
        self.looks = 0
        self.wrong: list[str] = []

    def look(self) -> int:
        """Scenes that are done."""
        if not (self._folder / '.runs').exists():
            return len(self._done)
        status = prediction_status(self._folder)
        if not status.total:  # before it begins, or when it has just ended
            return len(self._done)
        self.looks += 1
        done = {scene.name for scene in status.scenes if scene.state == 'done'}
        if not sum(status.counts.values()) == status.total == self._total:
            self.wrong.append(f'{status.counts} are not {self._total} scenes')
        if status.counts['failed']:
            self.wrong.append(f'failed: {[s for s in status.scenes if s.state == "failed"]}')
        if status.tiles_done > status.tiles:
            self.wrong.append(f'{status.tiles_done} of {status.tiles} tiles')
        if gone := self._done.keys() - done:
            self.wrong.append(f'no longer done: {sorted(gone)}')
        for name in done:
            record = (self._folder / f'{name}.json').stat()
            stamp = (record.st_ino, record.st_mtime_ns)
            if self._done.setdefault(name, stamp) != stamp:
                self.wrong.append(f'{name} was written again')
        return len(done)


def make_scenes(folder: Path, small: int, large: int, sizes: tuple[int, int]) -> None:
    """Cuts scenes from a town; a large one among as many small ones each time."""
    size = 2 * sizes[1]
    make_town(folder / 'town', scenes=1, size=size)
    rng, step = np.random.default_rng(0), max(1, (small + large) // max(large, 1))
    (folder / 'in').mkdir()
    with rasterio.open(folder / 'town' / 'images' / 'town_0.tif') as town:
        for number in range(small + large):
            side = sizes[1] if number % step == 0 and number // step < large else sizes[0]
            window = Window(*rng.integers(0, size - side, 2).tolist(), side, side)
            profile = {**town.profile, 'width': side, 'height': side, 'tiled': False}
            profile |= {'transform': town.window_transform(window), 'compress': None}
            for key in ('blockxsize', 'blockysize', 'predictor'):
                profile.pop(key, None)
            with rasterio.open(folder / 'in' / f's{number:05}.tif', 'w', **profile) as scene:
                scene.write(town.read(window=window))
                scene.descriptions = town.descriptions


def command(model: Path, folder: Path, *options: object) -> list[str]:
    words = [sys.executable, '-m', 'geo_mm.cli', 'predict', model, f'{folder}/in/*.tif']
    words += ['-o', folder / 'out', '--tile', 256, '--overlap', 64, *options]
    return list(map(str, words))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


def measured(what: str, work: Callable[[], int]) -> int:
    """Does something with processes, and says what they took."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    status = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = time.monotonic() - began
    print(f'{what}: {computed:.1f} s of CPU, {seconds:.0f} s, exit status {status}', flush=True)
    return status


def disturbed(
    args: argparse.Namespace, words: list[str], machines: Machines, watch: Watch, total: int
) -> int:
    """Runs a command to its end, and kills what does its work on the way."""
    rng = np.random.default_rng(args.seed)
    kills = sorted(rng.uniform(0.02, 0.95, args.kills) * total)
    restarts = [(n + 1) / (args.restarts + 1) * total for n in range(args.restarts)]
    client = subprocess.Popen(words, env=ENVIRONMENT)
    try:
        while client.poll() is None:
            done = watch.look()
            if kills and kills[0] <= done:
                del kills[0]
                machines.kill_worker(int(rng.integers(args.workers)))
            if restarts and restarts[0] <= done:
                del restarts[0]
                machines.kill_scheduler()
            machines.keep()
            time.sleep(args.pause)
    finally:
        client.kill()
    if kills or restarts:
        watch.wrong.append(f'{len(kills)} kills and {len(restarts)} restarts came too late')
    return client.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--small', type=int, default=2000, help='scenes')
    parser.add_argument('--large', type=int, default=20, help='scenes')
    parser.add_argument('--sizes', type=int, nargs=2, default=[96, 1500], help='pixels of a side')
    parser.add_argument('--kills', type=int, default=20, help='of workers')
    parser.add_argument('--restarts', type=int, default=3, help='of the scheduler')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--pause', type=float, default=1.0, help='seconds between looks')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--model', type=Path, help='an ONNX file; None makes one')
    parser.add_argument('--options', default='--no-quicklook', help='further ones, of predict')
    args = parser.parse_args()
    total = args.small + args.large
    with interrupts('stopped'), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scenes(folder, args.small, args.large, tuple(args.sizes))
        model = args.model
        if model is None:
            checkpoint = write_checkpoint(CONFIGS['pixels'], folder / 'town', folder / 'model.pth')
            [model] = export_model(checkpoint, folder / 'onnx', formats='onnx', tile=256)
        words = command(model, folder, *args.options.split())
        measured('one process', lambda: subprocess.run(words, env=ENVIRONMENT).returncode)
        expected = hashes(folder / 'out')
        shutil.rmtree(folder / 'out')
        watch = Watch(folder / 'out', total)

        def on_cluster() -> int:
            machines = Machines(args.workers, folder / 'log.txt')
            try:
                words.extend(['--dask', machines.address])
                return disturbed(args, words, machines, watch, total)
            finally:
                machines.end()

        if measured(f'{args.workers} workers', on_cluster):
            watch.wrong.append('the command failed')
            print((folder / 'log.txt').read_text()[-5000:])
        found = hashes(folder / 'out')
    differ = {name for name in expected | found if expected.get(name) != found.get(name)}
    print(f'{len(expected)} files of {total} scenes; differ: {sorted(differ)[:10] or "none"}')
    print(f'{args.kills} kills of workers, {args.restarts} of the scheduler')
    print(f'status asked {watch.looks} times; wrong: {watch.wrong[:10] or "nothing"}')
    return int(bool(differ or watch.wrong))


if __name__ == '__main__':
    sys.exit(main())
