"""Names of files and folders: which are local, and how files are written."""

import contextlib
import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from geo_mm.errors import OutputError

# What GDAL, fsspec and the mm libraries open without a file of that name: URLs,
# GDAL's virtual file systems, inline XML, and names with a driver's or
# connection's prefix, such as NETCDF:"file.nc":red or PG:dbname=gis. A single
# letter before the colon is a drive of Windows.
_VIRTUAL = re.compile(r'\s*<|/vsi|\w[\w+.-]*://|[A-Za-z][A-Za-z0-9_]+:')

_LONGEST = 150
"""Bytes of a scene's name in file names: systems take 255 with all suffixes."""

_BESIDE = ('.aux.xml', '.ovr', '.ovr.tmp', '.msk.ovr.tmp', '-journal', '-wal', '-shm')
"""Suffixes of what GDAL and SQLite put beside a file, also while they are at work."""


def is_local(path: str | os.PathLike) -> bool:
    """Whether a name stands for a file or folder of this machine, existing or not.

    It does not where it is a URL, one of GDAL's virtual file systems
    (``/vsizip/...``), a subdataset or connection (``PREFIX:...``) or inline XML.
    """
    text = os.fspath(path)
    return _VIRTUAL.match(text) is None or os.path.exists(text)


def is_missing(path: str | os.PathLike) -> bool:
    """Whether a name stands for a local file or folder that does not exist.

    Of names that are not local, only an attempt to open them can tell.
    """
    return is_local(path) and not os.path.exists(path)


def absolute(path: str | os.PathLike, root: str | os.PathLike = '') -> str:
    """Local names become absolute, starting from ``root`` or the current folder.

    Others are returned as they are. ``~`` stands for the home folder.
    """
    text = os.fspath(path)
    if not is_local(text):
        return text
    return os.path.abspath(os.path.join(root, os.path.expanduser(text)))


def file_name(name: str) -> str:
    """A name of a scene as a name of files, the same on every system.

    What separates folders, what no system or only some take in names, and
    control characters become ``_``, as do leading dots, which hide files. A
    name too long to be followed by a suffix ends in a part of its hash.
    """
    safe = re.sub(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\<>:"|?*]', '_', name)
    safe = re.sub(r'^\.+', lambda dots: '_' * len(dots[0]), safe.strip()).rstrip('. ')
    if len(safe.encode()) > _LONGEST:
        digest = hashlib.sha256(safe.encode()).hexdigest()[:8]
        safe = safe.encode()[: _LONGEST - 9].decode(errors='ignore') + f'-{digest}'
    return safe or '_'


def same_file_name(names: Iterable[str]) -> tuple[int, int] | None:
    """Positions of the first two names whose files would be the same on some system.

    Windows and macOS do not tell upper from lower case.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        key = unicodedata.normalize('NFC', file_name(name)).casefold()
        if (first := seen.setdefault(key, number)) != number:
            return first, number
    return None


@contextlib.contextmanager
def reported(
    path: str | os.PathLike,
    *,
    expected: str = 'a folder you may write to, with enough free space',
    fix: str = 'choose another output folder or free some space',
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn trouble with writing to ``path`` into one message.

    Args:
        path: The file or folder that is written.
        expected: What would have been right.
        fix: What the user can do about it.
        also: Exceptions of a library that mean the same as an OSError.

    Raises:
        OutputError: In place of an OSError or one of ``also``.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except kinds as error:
        raise OutputError(
            f'{os.fspath(path)}: cannot be written: {reason(error)}', expected, fix
        ) from error


def reason(error: BaseException) -> str:
    """The innermost message of an error: the system's or GDAL's own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, 'strerror', None) or error).strip()


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder and those above it, if missing.

    Raises:
        OutputError: If that is not possible.
    """
    with reported(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def hidden_beside(path: str | os.PathLike) -> Path:
    """A free name in the same folder, for a file while it grows.

    The folder is the same, so that the file can be renamed; so is the suffix,
    because GDAL chooses formats and names of sidecar files by it.
    """
    path = Path(path)
    return path.with_name(f'.{path.stem[:50]}-{uuid.uuid4().hex[:8]}{path.suffix}')


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike, *, sidecars: Sequence[str] = (), sync: bool = True
) -> Iterator[Path]:
    """Write a file that appears under its name when it is complete, or not at all.

    Args:
        path: The file to make, replacing an earlier one. Its folder must exist.
        sidecars: Suffixes of files that belong to it and move with it, such as
            '.aux.xml'. Those of an earlier file go, if they are not made again.
        sync: Whether the contents must be on the disk before the file appears,
            so that they are complete even after a power failure. It takes some
            milliseconds.

    Yields:
        The name to write to, in the same folder. It is removed, as is what
        GDAL and SQLite put beside it, if an exception is raised.
    """
    path = Path(path)
    partial = hidden_beside(path)
    try:
        yield partial
        if sync:
            with partial.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
        for suffix in sidecars:
            made, sidecar = Path(f'{partial}{suffix}'), Path(f'{path}{suffix}')
            if made.exists():
                os.replace(made, sidecar)
            else:
                sidecar.unlink(missing_ok=True)
    finally:
        discard(partial)


def discard(path: str | os.PathLike) -> None:
    """Remove a temporary file and what GDAL and SQLite put beside it."""
    for suffix in ('', *_BESIDE):
        with contextlib.suppress(OSError):
            os.unlink(f'{os.fspath(path)}{suffix}')


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file, UTF-8, complete or not at all.

    Returns:
        The path.

    Raises:
        OutputError: If it cannot be written.
    """
    with reported(path), atomic_write(path, sync=False) as partial:
        partial.write_text(text, encoding='utf-8', newline='')
    return Path(path)


def file_sha256(path: str | os.PathLike) -> str:
    """The checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
