"""Progress in notebooks: one line that changes, where a terminal has a bar or a log."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich import progress
from rich.console import Console

Item = TypeVar('Item')

_EVERY = 0.5  # seconds between changes of the line
_WIDTH = 30  # of the bar, in characters


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook."""
    shell = sys.modules['IPython'].get_ipython() if 'IPython' in sys.modules else None
    return hasattr(shell, 'kernel')


class ProgressLine:
    """A line of output that is written over, not more often than twice a second.

    Args:
        total: How many there are to do.
        what: They are called.
    """

    def __init__(self, total: int, what: str) -> None:
        from IPython.display import display

        self._total, self._what = total, what
        self._handle = display({'text/plain': what}, raw=True, display_id=True)
        self._began = self._shown = time.monotonic()
        self._first: int | None = None

    def due(self, done: int) -> bool:
        """Whether the line is to be written for so many that are done."""
        if self._first is None:
            self._first = done - 1  # a run that is resumed begins later
        return done >= self._total or time.monotonic() - self._shown >= _EVERY

    def show(self, done: int, more: str = '') -> None:
        """Writes the line.

        Args:
            done: How many are done.
            more: What else to say.
        """
        self._shown = now = time.monotonic()
        each = (now - self._began) / max(done - (self._first or 0), 1)
        left = timedelta(seconds=round(each * (self._total - done)))
        full = round(_WIDTH * done / max(self._total, 1))
        bar = '█' * full + '░' * (_WIDTH - full)
        text = f'{bar} {done:,} of {self._total:,} {self._what}{more}, {left} left'
        self._handle.update({'text/plain': text}, raw=True)


def track(
    items: Sequence[Item], description: str, *, disable: bool = False, transient: bool = False
) -> Iterator[Item]:
    """``rich.progress.track``, which in a notebook is a :class:`ProgressLine`."""
    if disable or not in_notebook():
        yield from progress.track(items, description, disable=disable, transient=transient)
        return
    line = ProgressLine(len(items), description)
    for done, item in enumerate(items, 1):
        yield item
        if line.due(done):
            line.show(done)


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """What shows what is being done until it is done; rich's needs a widget in a notebook."""
    if not in_notebook():
        with Console().status('') as shown:
            yield shown.update
        return
    from IPython.display import display

    handle = display({'text/plain': ''}, raw=True, display_id=True)
    try:
        yield lambda text: handle.update({'text/plain': text}, raw=True)
    finally:
        handle.update({'text/plain': ''}, raw=True)


class ProgressLineHook(Hook):
    """Shows a training as a :class:`ProgressLine`."""

    priority = 'VERY_LOW'
    _line: ProgressLine | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if runner.rank > 0:
            return
        if self._line is None:
            self._line = ProgressLine(runner.max_iters, 'iterations')
        done = runner.iter + 1
        if self._line.due(done):
            loss = outputs.get('loss') if isinstance(outputs, dict) else None
            text = '' if loss is None else f', loss {float(torch.as_tensor(loss).detach()):.3g}'
            self._line.show(done, text)
