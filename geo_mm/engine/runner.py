"""A Runner for long runs: stops on request, saves whole files, is alone in its folder."""

import ast
import contextlib
import copy
import ctypes
import fcntl
import functools
import io
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from geo_mm.engine.acceleration import keep_freed_memory
from geo_mm.engine.notebook import ProgressLineHook, in_notebook
from geo_mm.errors import NOTHING_TRAINED, ConfigError, GeoMMError, Interrupt, OutputError

LOCK = '.training.lock'
"""Held by the process that trains into a folder, with its id in it."""

_PRELOADED = ['geo_mm.datasets', 'mmdet.datasets', 'mmseg.datasets']
_PR_SET_PDEATHSIG = 1

# A config that inherits a copy with a work_dir would write its checkpoints
# over the original's.
_OF_THE_RUN = ('work_dir', 'resume', 'launcher')

_SCORING = re.compile(r'Iter\((?:val|test)\) \[ *(\d+)/\d+\] +eta:')
_SCORING_EVERY = 20  # batches between messages while chips are scored
_PROGRESS = ('Iter(train)', 'Exp name:', 'Saving checkpoint at', 'The previous best checkpoint')
_UNTOLD = (
    '\n' + '-' * 60,  # the system environment
    'Config:',
    'Hooks will be executed',
    'Distributed training is not used',
    'Checkpoints will be saved to',
    'Loads checkpoint by',  # the name of a function
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'The prefix is not set in metric class',
    # What COCO's scores are computed from; a table and one line tell them.
    'Converting ground truth to coco format',
    'Evaluating bbox',
    'Evaluating segm',
    'bbox_mAP_copypaste',
    'segm_mAP_copypaste',
)


class Runner(MMEngineRunner):
    """``mmengine.Runner`` for long runs on shared machines.

    - Ctrl-C and SIGTERM end training after the iteration in progress;
      ``geo_mm.CheckpointHook`` saves before. A second Ctrl-C ends it at once,
      and so does either before the first iteration.
    - A checkpoint has its name only once it is complete.
    - Two runs cannot write into one folder.
    - Loader processes end with the run, however that ends.
    - The copy of the config is without what belongs to the run and not to the
      experiment, and testing leaves the one that training has made.
    """

    announcement: str | None = None
    """What begins, if it is no training."""

    stop_signal: signal.Signals | None = None
    """What asked to stop, if anything did."""

    scores: dict[str, float]
    """Of the last test."""

    _begun = False  # whether there is something to save

    def __init__(self, *args, cfg: Config | None = None, **kwargs) -> None:
        if isinstance(cfg, Config):
            cfg = copy.deepcopy(cfg)
            for name in _OF_THE_RUN:
                cfg.pop(name, None)
        super().__init__(*args, cfg=cfg, **kwargs)

    def dump_config(self) -> None:
        """Writes nothing: called while the Runner is made, before it is known what for."""

    @staticmethod
    def build_dataloader(dataloader, *args, **kwargs) -> DataLoader:
        """As in the base class; workers leave signals to the main process."""
        loader = MMEngineRunner.build_dataloader(dataloader, *args, **kwargs)
        if multiprocessing.get_start_method(allow_none=True) == 'forkserver':
            # Imported once, by the server, and not by each worker.
            multiprocessing.set_forkserver_preload(_PRELOADED)
        loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)
        return loader

    def build_visualizer(self, visualizer: Any = None) -> Visualizer:
        """As in the base class, but anew for each run: one of an earlier run of the same
        process would write into the folder of that run."""
        if isinstance(visualizer, dict):
            visualizer = {**visualizer, 'name': self._experiment_name}
        return super().build_visualizer(visualizer)

    def build_train_loop(self, loop) -> BaseLoop:
        """As in the base class; says in one line what begins, since the first scores take long."""
        built = super().build_train_loop(loop)
        model = type(getattr(self.model, 'module', self.model)).__name__
        begins = self.announcement or f'training {model} for {built.max_iters:,} iterations'
        self.logger.info(
            f'{begins} of {built.dataloader.batch_size} chips on {get_device()}; '
            f'log and checkpoints in {self.work_dir}'
        )
        return built

    def train(self) -> nn.Module:
        """Trains.

        Raises:
            OutputError: If another process trains into the same folder.
            GeoMMError: If a process that loads chips was killed.
            ConfigError: If a transform of the libraries fails on the chips.
            KeyboardInterrupt: If it was stopped by Ctrl-C.
            Interrupt: If it was stopped before the first iteration.
            SystemExit: If it was stopped by SIGTERM, with status 143.
        """
        if 'TORCHELASTIC_RUN_ID' in os.environ:
            end_with_parent()
        self._begun = False
        with _lock(self.work_dir, self.rank), explained_chip_errors(), self._stoppable():
            super().dump_config()
            return super().train()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """As in the base class; notes that the first iteration begins."""
        self._begun = self._begun or fn_name == 'before_train_iter'
        super().call_hook(fn_name, **kwargs)

    def test(self) -> dict[str, float]:
        """Tests.

        Raises:
            GeoMMError: If a process that loads chips was killed.
            ConfigError: If a transform of the libraries fails on the chips.
        """
        with explained_chip_errors():
            self.scores = super().test()
        return self.scores

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Notes signals, for the hook to act on after the iteration."""
        self.stop_signal = None
        # Of several processes the first saves and leaves, and takes the others along.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: object) -> None:
            if not self._begun:
                raise Interrupt(number, NOTHING_TRAINED)
            if self.stop_signal is not None:
                raise KeyboardInterrupt
            self.stop_signal = signal.Signals(number)
            if self.rank == 0:
                print('\nstopping after this iteration', file=sys.stderr)

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        except Exception:
            if self.stop_signal is None or self.rank == 0:
                raise
            raise SystemExit(128 + self.stop_signal) from None  # rank 0 has left
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """As in the base class, but under its name only once it is on the disk.

        Raises:
            OutputError: If it cannot be written.
        """
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        final = Path(out_dir, filename)
        partial = final.with_name(f'.{final.name}.part')
        try:
            super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
            with partial.open('rb') as file:
                os.fsync(file.fileno())
            partial.replace(final)
        except OSError as error:
            raise OutputError(
                f'{final}: the checkpoint cannot be written: {error.strerror or error}',
                'a writable folder with enough free space',
                'free some space, then resume from the previous checkpoint with --resume',
            ) from error
        finally:
            partial.unlink(missing_ok=True)


class QuietRunner(Runner):
    """A Runner that prints progress, scores and warnings; its log file holds the rest, too."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_told)
                if in_notebook():
                    handler.addFilter(_is_news)
        return logger

    def train(self) -> nn.Module:
        """As in the base class; in a notebook with a line that shows how far it is."""
        if in_notebook():
            self.register_hook(ProgressLineHook())
        return super().train()

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        built = super().build_evaluator(evaluator)
        vars(built)['evaluate'] = _without_prints(built.evaluate)
        return built

    def load_checkpoint(self, *args, **kwargs) -> dict:
        return _without_prints(super().load_checkpoint)(*args, **kwargs)


def _without_prints(function: Callable) -> Callable:
    """The function without what it prints past the log, as pycocotools and MMEngine do."""

    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return function(*args, **kwargs)

    return quiet


def _is_told(record: logging.LogRecord) -> bool:
    """Whether a message belongs on the screen and not just into the file."""
    text = record.getMessage()
    # A short training logs every other iteration, for its curve.
    step = _SCORING.match(text)
    return not text.startswith(_UNTOLD) and (step is None or int(step[1]) % _SCORING_EVERY == 0)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message says more than the line that shows the progress in a notebook."""
    text = record.getMessage()
    return not text.startswith(_PROGRESS) and not (text.startswith('Iter(') and 'eta:' in text)


@contextlib.contextmanager
def _lock(folder: str, rank: int) -> Iterator[None]:
    """Holds a folder against other runs; the system lets go when the process ends."""
    if rank > 0:
        yield
        return
    path = Path(folder, LOCK)
    with path.open('a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise OutputError(
                f'{folder}: process {file.read().strip() or "of another run"} is training there',
                'a folder for each run',
                'wait, or choose another folder with --work-dir',
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def explained_chip_errors() -> Iterator[None]:
    """One sentence where loading chips fails, instead of a traceback of 40 lines.

    Raises:
        GeoMMError: If a process that loads chips was killed.
        ConfigError: If a transform of the libraries fails on the chips.
    """
    try:
        yield
    except GeoMMError:
        raise
    except Exception as error:
        killed = re.search(
            r'DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.*?)(?:\.|$)', str(error), re.MULTILINE
        )
        if killed is not None or isinstance(error, ConnectionError | EOFError):  # it sent one
            raise GeoMMError(
                f'a process that loads chips ended: {killed[2].strip() if killed else error}',
                'loader processes that end with the run',
                'the usual reason is a lack of memory: set fewer num_workers in the dataloaders, '
                'a smaller batch_size or chip_size, then continue with --resume',
            ) from None
        # Tracebacks of loader processes come as text.
        text = ''.join(traceback.format_exception(error))
        frames = re.findall(r'File "(.*/(mm\w+)/.*transforms/\w+\.py)", line (\d+)', text)
        if not frames:
            raise
        path, library, line = frames[-1]
        raise ConfigError(
            f'{_class_at(path, int(line))} of {library} fails on these chips: '
            f'{_last_message(text)}',
            'transforms that take the bands, the type and the size of the chips',
            'those that change colours or mix images mostly want three bands of 0 to 255 and '
            'chips of one size: leave it out, see Pipelines in docs/en/configs.md',
        ) from error


def _last_message(traceback_text: str) -> str:
    """The first line of the last exception, whose message may have several."""
    lines = traceback_text.strip().splitlines()
    return next((line for line in reversed(lines) if re.match(r'[\w.]+: ', line)), lines[-1])


def _class_at(path: str, line: int) -> str:
    """The class whose code a line is in, else the file's name."""
    for node in ast.parse(Path(path).read_text('utf-8')).body:
        if isinstance(node, ast.ClassDef) and node.lineno <= line <= (node.end_lineno or 0):
            return node.name
    return Path(path).stem


def _start_worker(own: Callable | None, worker_id: int) -> None:
    """Runs in each loader process before it loads anything."""
    # Ctrl-C reaches all processes of a terminal; the main one ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    keep_freed_memory()  # of chips, which are of one size
    # The parent of a worker is the fork server, which waits for the workers in turn.
    threading.Thread(target=_end_with_run, daemon=True).start()
    if own is not None:
        own(worker_id)


def _end_with_run() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def end_with_parent() -> None:
    """Lets this process end when its parent does, however that ends. Linux only."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
