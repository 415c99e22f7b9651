"""Kills predictions at random moments, runs them again, and compares all results byte by byte.

What a user runs, in processes of its own: geo-mm predict for pixels (with
confidence and probabilities) and for objects with masks, and
tools/dist_predict.sh with two and four processes. Scenes of the synthetic town,
models of shipped configs with random weights; both are made here.

A run is killed (SIGKILL, with all processes that it has started) at a moment
while its journal is there, by the time that an undisturbed run takes; then the
same command is given again, and the SHA-256 of every file must be those of
the undisturbed run of one process. SOURCE_DATE_EPOCH stands for the time of
the start, which is in the results.

Exits with 1 if a file differs.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import DATASETS, init_default_scope
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geo_mm.engine.hooks import input_spec_of
from geo_mm.engine.launch import build_model, load_config
from geo_mm.synthetic import make_town

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'pixels': 'configs/unet/unet-s5-d16-c16_adamw-2k_town-256x256.py',
    'objects': 'configs/mask_rcnn/mask-rcnn_r18-c128_fpn_adamw-2k_town-256x256.py',
}
OPTIONS = {
    'pixels': ['--confidence', '--probabilities', 'float32'],
    'objects': ['--score', '0.05'],
}
TILES = ['--tile', '256', '--overlap', '96']
GSD = 0.4
"""Metres per pixel of the scenes; models want 0.5, so results are resampled."""


@dataclass(frozen=True)
class Case:
    """A prediction that is always given with the same words, up to the number of processes."""

    task: str
    ranks: int
    checkpoint: Path
    scene: Path
    out: Path

    @property
    def name(self) -> str:
        return f'{self.task}, {self.ranks} process{"es" if self.ranks > 1 else ""}'

    @property
    def errors(self) -> Path:
        """Error messages of its processes."""
        return self.out.with_name('errors.txt')

    def start(self) -> subprocess.Popen:
        options = ['-o', self.out, *OPTIONS[self.task], *TILES]
        if self.ranks == 1:
            command = [sys.executable, ROOT / 'tools' / 'predict.py', self.checkpoint, self.scene]
        else:
            command = ['bash', ROOT / 'tools' / 'dist_predict.sh', self.checkpoint, self.scene]
            options.insert(0, self.ranks)
        with self.errors.open('w') as errors:
            return subprocess.Popen(
                list(map(str, command + options)),
                env={**os.environ, 'SOURCE_DATE_EPOCH': '1700000000', 'OMP_NUM_THREADS': '1'}
                | {'PYTHON': sys.executable, 'PORT': str(free_port()), 'PYTHONPATH': str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def finish(self) -> float:
        """Runs it to its end; seconds for which there was a journal.

        Raises:
            RuntimeError: If it fails.
        """
        process = self.start()
        self.wait(process, alive=True)
        start = time.monotonic()
        self.wait(process, alive=False)
        seconds = time.monotonic() - start
        if process.wait():
            text = self.errors.read_text()
            raise RuntimeError(f'{self.name} ended with {process.returncode}:\n{text}')
        return seconds

    def interrupt(self, after: float) -> int | None:
        """Kills it so many seconds after its journal has appeared.

        Returns:
            Rows of tiles that it leaves in the journal; None if it was done with it.
        """
        process = self.start()
        self.wait(process, alive=True)
        time.sleep(after)
        kill_tree(process.pid)
        process.wait()
        return len(list(self.out.glob('.*.unfinished/row-*.npz'))) if self.alive else None

    @property
    def alive(self) -> bool:
        """Whether there is a journal."""
        return any(self.out.glob('.*.unfinished'))

    def wait(self, process: subprocess.Popen, *, alive: bool) -> None:
        """Until there is a journal, or is no more; or the process has ended."""
        while process.poll() is None and self.alive != alive:
            time.sleep(0.005)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file, none of which may be hidden; the folder is then removed."""
        found = {
            str(path.relative_to(self.out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.out.rglob('*'))
            if path.is_file()
        }
        shutil.rmtree(self.out)
        return found


def kill_tree(pid: int) -> None:
    """Kills a process and all that it has started, and they in turn."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # it starts no more
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split():
            kill_tree(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def write_checkpoint(config_path: str, town: Path, path: Path) -> Path:
    """As geo-mm train writes it, with random weights."""
    config = load_config(ROOT / config_path, {'train_dataloader.dataset.data_root': f'{town}/'})
    if 'roi_head' in config.model:
        config.model.test_cfg.rcnn.max_per_img = 20  # of the many things that it sees
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = build_model(config)
    spec = input_spec_of(DATASETS.build(config.train_dataloader.dataset), model)
    meta = {'cfg': config.pretty_text}
    torch.save({'meta': meta, 'state_dict': model.state_dict(), 'input_spec': spec.to_dict()}, path)
    return path


class Proof:
    """What came out of the cases.

    Args:
        cases: The first of each task is run by one process.
    """

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self.expected: dict[str, dict[str, str]] = {}
        self.seconds: dict[Case, float] = {}
        self.wrong: dict[Case, set[str]] = {case: set() for case in cases}
        self.kept: dict[Case, list[int]] = {case: [] for case in cases}

    def run_undisturbed(self, case: Case) -> None:
        self.seconds[case] = case.finish()
        found = case.hashes()
        self._compare(case, found, self.expected.setdefault(case.task, found))

    def run_killed(self, case: Case, rng: np.random.Generator) -> None:
        """Kills it until that comes before its end, and runs it again."""
        while (rows := case.interrupt(rng.uniform(0, self.seconds[case]))) is None:
            case.hashes()
        Console().print(f'{case.name}: killed with {rows} rows finished')
        self.kept[case].append(rows)
        case.finish()
        self._compare(case, case.hashes(), self.expected[case.task])

    def _compare(self, case: Case, found: dict[str, str], expected: dict[str, str]) -> None:
        names = found.keys() | expected.keys()
        self.wrong[case] |= {name for name in names if found.get(name) != expected.get(name)}

    def table(self) -> Table:
        table = Table('', 'undisturbed, s', 'kills', 'rows then finished', 'files', 'that differ')
        for case in self.cases:
            table.add_row(
                case.name,
                f'{self.seconds[case]:.0f}',
                str(len(self.kept[case])),
                ' '.join(map(str, self.kept[case])),
                str(len(self.expected[case.task])),
                ', '.join(sorted(self.wrong[case])) or '0',
            )
        return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20, help='of all cases together')
    parser.add_argument(
        '--ranks',
        type=int,
        nargs='+',
        default=[2, 4],
        help='besides 1; killed are runs of 1 and the first',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--size', type=int, default=800, help='of the scene in pixels')
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_town(folder / 'town', scenes=1, size=args.size, gsd=GSD)
        scene = folder / 'town' / 'images' / 'town_0.tif'
        models = {
            task: write_checkpoint(config, folder / 'town', folder / f'{task}.pth')
            for task, config in CONFIGS.items()
        }
        proof = Proof(
            [
                Case(task, ranks, models[task], scene, folder / 'out')
                for ranks in (1, *args.ranks)
                for task in CONFIGS
            ]
        )
        killed = [case for case in proof.cases if case.ranks <= args.ranks[0]]
        for case in track(proof.cases, description='undisturbed'):
            proof.run_undisturbed(case)
        for number in track(range(args.kills), description='killed'):
            proof.run_killed(killed[number % len(killed)], rng)
        Console().print(proof.table())
    return int(any(proof.wrong.values()))


if __name__ == '__main__':
    sys.exit(main())
