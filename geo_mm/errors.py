"""The exceptions a user of geo_mm can cause, and how they are worded.

Every message says what was found, what was expected and what to do about it.
Tools catch :class:`GeoMMError` in one place (:func:`report_errors`), print the
message without a traceback and leave with exit status 2.
"""

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path


class GeoMMError(Exception):
    """A mistake in the user's data, config or environment.

    Args:
        found: What was found, naming the file and the band, layer, column or
            feature it concerns.
        expected: What would have been right.
        fix: What the user can do about it.
    """

    def __init__(self, found: str, expected: str = '', fix: str = '') -> None:
        # One positional string is enough to rebuild the exception, which is
        # what pickle and torch's DataLoader workers do.
        lines = [found]
        if expected:
            lines.append(f'  expected: {expected}')
        if fix:
            lines.append(f'  to do: {fix}')
        super().__init__('\n'.join(lines))
        self.found, self.expected, self.fix = found, expected, fix


class SceneError(GeoMMError):
    """A scene cannot be opened, read or fitted to what is asked of it."""


class LabelError(GeoMMError):
    """A label layer or label raster is missing, unusable or does not fit."""


class CatalogError(GeoMMError):
    """The list of scenes, labels and splits is inconsistent."""


class ConfigError(GeoMMError):
    """A config asks for something that does not exist or cannot work."""


class SpecError(GeoMMError):
    """A scene does not fit the input specification of a model."""


class OutputError(GeoMMError):
    """A result cannot be written where or how it was asked for."""


class SetupError(GeoMMError):
    """The installation cannot run geo_mm."""


def listed(items: Sequence[str], shown: int, total: int | None = None) -> str:
    """Such as ``a, b and 3 more``.

    Args:
        items: All items, or the first ones.
        shown: How many to name at most.
        total: How many there are, if not all are given.
    """
    more = (len(items) if total is None else total) - shown
    return ', '.join(items[:shown]) + (f' and {more} more' if more > 0 else '')


def counted(number: int, noun: str) -> str:
    """Such as ``1 box`` and ``2,000 boxes``."""
    end = '' if number == 1 else 'es' if noun.endswith(('s', 'x')) else 's'
    return f'{number:,} {noun}{end}'


NOTHING_TRAINED = 'stopped before the first iteration: nothing was trained, and nothing is lost'


class Interrupt(KeyboardInterrupt):
    """A signal to stop that came when there is something to say about it.

    Args:
        number: The signal.
        message: What the user should know.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + number


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Print a :class:`GeoMMError` to stderr and exit with status 2.

    Wraps every command. Other exceptions are bugs of ours and keep their
    traceback. One of several processes leaves the message to what started it
    (:func:`collected_errors`), which prints that of all of them once.
    """
    # Names of files that are no UTF-8 can be printed at all.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stand-in for the terminal
            stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
    try:
        yield
    except GeoMMError as error:
        _say(f'error: {_message(error)}')
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        _say(str(error) or 'interrupted')
        raise SystemExit(getattr(error, 'status', 130)) from None


@contextlib.contextmanager
def interrupts(message: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM raise an :class:`Interrupt` with this message."""

    def stop(number: int, frame: object) -> None:
        raise Interrupt(number, message)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_COLLECTED = 'GEO_MM_ERRORS'  # the folder in which processes leave their messages


@contextlib.contextmanager
def collected_errors(parent: str | os.PathLike | None = None) -> Iterator[None]:
    """Print what processes say that are started within, each message once, when they have ended.

    Args:
        parent: Where to make a folder that all of them see; None takes that for temporary files.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix='.geo_mm_errors_', dir=parent)
    except OSError:  # each prints its own
        yield
        return
    with folder as path:
        os.environ[_COLLECTED] = os.path.abspath(path)
        try:
            yield
        finally:
            del os.environ[_COLLECTED]
            said = [file.read_text('utf-8') for file in sorted(Path(path).iterdir())]
            for message in dict.fromkeys(said):
                print(message, file=sys.stderr)


def _say(message: str) -> None:
    """Leave a message for what started this process, else print it."""
    folder = os.environ.get(_COLLECTED)
    if folder:
        file = Path(folder, f'{time.time_ns()}_{os.getpid()}')
        with contextlib.suppress(OSError):
            file.write_text(message, 'utf-8', 'backslashreplace')
            return
    print(message, file=sys.stderr)


def _message(error: GeoMMError) -> str:
    """The user's message alone, without the traceback that a DataLoader worker
    sends along."""
    text = re.split(r'^geo_mm\.errors\.\w+: ', str(error), flags=re.MULTILINE)[-1].rstrip()
    return printable(text)


def printable(text: str) -> str:
    """A text for the terminal, whose control characters but line breaks are written out.

    Names in files of others could move the cursor and write over what was said.
    """
    return re.sub(r'[\x00-\x09\x0b-\x1f\x7f-\x9f]', lambda sign: repr(sign[0])[1:-1], text)
