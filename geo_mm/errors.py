"""The exceptions a user of geo_mm can cause, and how they are worded.

Every message says what was found, what was expected and what to do about it.
Tools catch :class:`GeoMMError` in one place (:func:`report_errors`), print the
message without a traceback and leave with exit status 2.
"""

import contextlib
import json
import os
import re
import sys
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


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Print a :class:`GeoMMError` to stderr and exit with status 2.

    Wraps every command. Other exceptions are bugs of ours and keep their
    traceback. One of several processes leaves the message to what started it
    (:mod:`geo_mm.cli.processes`), which prints that of all of them once.
    """
    # Names of files that are no UTF-8 can be printed at all.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stand-in for the terminal
            stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
    try:
        yield
    except GeoMMError as error:
        message = _message(error)
        if not _leave_behind(message):
            print(f'error: {message}', file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        raise SystemExit(130) from None


# Where torchrun lets each of its processes say why it failed, and what ours
# sets besides, so that a torchrun of others does not swallow the message.
_ERROR_FILE, _COLLECTED = 'TORCHELASTIC_ERROR_FILE', 'GEO_MM_ERRORS_ARE_COLLECTED'


def _leave_behind(message: str) -> bool:
    path = os.environ.get(_ERROR_FILE)
    if not path or _COLLECTED not in os.environ:
        return False
    left = {'message': message, 'timestamp': int(time.time()), 'geo_mm': True}
    try:
        Path(path).write_text(json.dumps(left), 'utf-8')
    except OSError:
        return False
    return True


def collect_errors() -> None:
    """Let the processes that this one starts leave their messages behind."""
    os.environ[_COLLECTED] = '1'


def _message(error: GeoMMError) -> str:
    """The user's message alone, without the traceback that a DataLoader worker
    sends along."""
    text = re.split(r'^geo_mm\.errors\.\w+: ', str(error), flags=re.MULTILINE)[-1].rstrip()
    # Names in files of others could move the cursor and write over the message.
    return re.sub(r'[\x00-\x09\x0b-\x1f\x7f-\x9f]', lambda sign: repr(sign[0])[1:-1], text)
