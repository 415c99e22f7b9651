"""Finished rows of tiles on disk, so that a killed run resumes where it stopped."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from geo_mm.errors import OutputError, listed
from geo_mm.paths import reported

_TRIES = 5
"""Attempts, as others do the same: who asks whether a lock is held holds it for a moment."""

_LONGEST_OWNER = 1000  # bytes; what a process writes about itself is shorter

_LEVEL = 1  # of zlib; more makes class rasters little smaller and the writing much slower


def journal_name(name: str) -> str:
    """What the journal of a scene is called; ``name`` is that of its results."""
    return f'.{name}.unfinished'


class BusyError(OutputError):
    """Another process works on the same prediction."""


class Journal:
    """A folder with what is finished of one scene's prediction.

    ``run.json`` holds the facts that determine the result, ``row-N.npz`` what
    the finished row of tiles N gave, and ``carry-N.npz`` what row N needs of
    those above it. A file appears under its name when it is complete and on
    the disk, and the carry of the next row before the row itself, so at any
    moment the folder says no more than what is true.

    Many processes may write to one journal, each its own rows. One of them
    has to :meth:`open` it first, and to :meth:`close` it. Or it is left, and
    others :meth:`join` it, until one opens it again.

    Args:
        folder: Made when it is opened.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._lock: BinaryIO | None = None

    def open(self, facts: Mapping, notes: Mapping | None = None, *, restart: bool = False) -> None:
        """Starts the journal, or resumes it if the facts are the same.

        Args:
            facts: What determines the result; plain data.
            notes: What else is kept from the first start on, such as the time.
            restart: Discard the contents of the folder.

        Raises:
            OutputError: If the folder belongs to a run with other facts, or
                another process works on it.
        """
        if self._lock is None:
            self.lock()
        try:
            self._begin(json.loads(json.dumps(facts)), notes or {}, restart)
        except BaseException:
            self.leave()
            raise

    def _begin(self, facts: Mapping, notes: Mapping, restart: bool) -> None:
        known = None if restart else self._run()
        if known is None:
            self._clear()
            self._write_run(facts, notes)
        elif _text(known['facts']) != _text(facts):
            raise OutputError(
                f'{self.folder} is an unfinished run with other settings: '
                f'{_differences(known["facts"], facts)}',
                'the command with which it was started',
                'run that command again to finish it, delete the folder, or add --restart',
            )
        (self.folder / 'failed').unlink(missing_ok=True)

    def join(self, facts: Mapping) -> bool:
        """Takes part in a run that has been opened and left.

        Args:
            facts: As for :meth:`open`.

        Returns:
            Whether there is one with the same facts; else it is complete, or was started over.

        Raises:
            BusyError: If a process works on it alone.
        """
        if self._run() is None:
            return False
        self.lock(shared=True)
        known = self._run()
        if known is None or _text(known['facts']) != _text(json.loads(json.dumps(facts))):
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Lets others have the journal, and keeps all that is in it."""
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def lock(self, shared: bool = False) -> None:
        """Makes the folder, if missing, and keeps other runs out of it.

        Args:
            shared: Those that do the same may be in it.

        Raises:
            BusyError: If another process works on it.
        """
        shutil.rmtree(self._done, ignore_errors=True)
        for _ in range(_TRIES):
            if self._took_lock(fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                return
            time.sleep(0.02)
        raise BusyError(
            f'{self.folder}: another process ({lock_owner(self.folder)}) works on this prediction',
            'one run at a time',
            'wait for it, or end it; what it has finished is kept',
        )

    def _took_lock(self, kind: int) -> bool:
        path = self.folder / 'lock'
        # All that is in the folder may be deleted: it must not be one somewhere else.
        if self.folder.is_symlink() or path.is_symlink():
            raise OutputError(
                f'{path if path.is_symlink() else self.folder} is a symbolic link',
                'a folder and a file that geo-mm predict has made',
                'delete the link',
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = path.open('ab')
            # The system lets go of it when the process ends, however it does.
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
            # Who had it may have removed the folder since the file was opened.
            if os.fstat(self._lock.fileno()).st_ino == path.stat().st_ino:
                self._lock.truncate(0)
                self._lock.write(f'process {os.getpid()} on {socket.gethostname()}'.encode())
                self._lock.flush()
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        self.leave()
        return False

    @property
    def notes(self) -> dict:
        """What was noted: at the start, and with :meth:`note` since."""
        return self._started()['notes']

    def note(self, **changes: object) -> None:
        """Changes notes, for this run and for those that resume it."""
        run = self._started()
        self._write_run(run['facts'], run['notes'] | changes)

    def finished(self) -> set[int]:
        """The rows that need not be computed again."""
        numbers = (path.stem.partition('-')[2] for path in self.folder.glob('row-*.npz'))
        return {int(number) for number in numbers if number.isdecimal()}

    @property
    def empty(self) -> bool:
        """Whether the folder holds nothing, or is not there."""
        try:
            return set(os.listdir(self.folder)) <= {'lock'}
        except (FileNotFoundError, NotADirectoryError):
            return True

    def write(
        self,
        row: int,
        arrays: Mapping[str, np.ndarray],
        carry: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Makes a row finished.

        Args:
            row: Its number.
            arrays: What it gave.
            carry: What the next row needs of it and of those above.
        """
        with self._reported():
            if carry is not None:
                self._save(f'carry-{row + 1:06}.npz', carry, zipfile.ZIP_STORED)
            self._save(f'row-{row:06}.npz', arrays, zipfile.ZIP_DEFLATED)
            (self.folder / f'carry-{row:06}.npz').unlink(missing_ok=True)

    def read(self, row: int) -> dict[str, np.ndarray]:
        """What a finished row gave.

        Raises:
            OutputError: If the file is damaged.
        """
        return self._load(f'row-{row:06}.npz')

    def has_carry(self, row: int) -> bool:
        """Whether :meth:`carry` has something to return."""
        return (self.folder / f'carry-{row:06}.npz').exists()

    def carry(self, row: int) -> dict[str, np.ndarray] | None:
        """What ``row`` needs of those above it, if that is known."""
        return self._load(f'carry-{row:06}.npz') if self.has_carry(row) else None

    def report_failure(self) -> None:
        """Signals the other processes to stop."""
        with contextlib.suppress(OSError):
            (self.folder / 'failed').touch()

    @property
    def failed(self) -> bool:
        """Whether a process has failed since the journal was opened."""
        return (self.folder / 'failed').exists()

    def close(self) -> None:
        """Releases the journal; removes it if no row is finished."""
        if self._lock is None:
            return
        if self.folder.exists() and not self.finished():
            self.remove()
        self.leave()

    def remove(self) -> None:
        """Removes the journal at once, never a part of it."""
        with self._reported(), contextlib.suppress(FileNotFoundError):
            for last in range(_TRIES):
                try:
                    os.replace(self.folder, self._done)
                    break
                except OSError as error:
                    # That of a run before, which another process is about to delete.
                    if error.errno != errno.ENOTEMPTY or last == _TRIES - 1:
                        raise
                    shutil.rmtree(self._done, ignore_errors=True)
        shutil.rmtree(self._done, ignore_errors=True)

    @property
    def _done(self) -> Path:
        return self.folder.with_name(self.folder.name + '.done')

    def _started(self) -> dict:
        run = self._run()
        if run is None:
            raise OutputError(
                f'{self.folder}: run.json is gone',
                'the settings of an unfinished run, as they were written',
                'run the command again, and leave the folder alone meanwhile',
            )
        return run

    def _run(self) -> dict | None:
        """What ``run.json`` holds; None if there is none.

        Raises:
            OutputError: If it is not as it was written.
        """
        path = self.folder / 'run.json'
        try:
            run = json.loads(path.read_text(encoding='utf-8'))
            if run.pop('checksum') != _checksum(run):
                raise ValueError('its checksum differs')
            if not all(isinstance(run[key], dict) for key in ('facts', 'notes')):
                raise TypeError('facts or notes of another type')
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise OutputError(
                f'{path}: damaged: {error}',
                'the settings of an unfinished run, as they were written',
                'add --restart, which starts this scene over, or delete the folder',
            ) from error
        return run

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != 'lock':
                path.unlink()

    def _save(self, name: str, arrays: Mapping[str, np.ndarray], method: int) -> None:
        with (
            self._appearing(name) as file,
            zipfile.ZipFile(file, 'w', method, compresslevel=_LEVEL) as archive,
        ):
            archive.comment = _count(arrays)
            for key, array in arrays.items():
                with archive.open(f'{key}.npy', 'w', force_zip64=True) as part:
                    _write_array(part, array)

    def _load(self, name: str) -> dict[str, np.ndarray]:
        path = self.folder / name
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.comment != _count(archive.namelist()):
                    raise ValueError('arrays are missing')
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # there is nothing that a damaged archive cannot raise
            raise OutputError(
                f'{path}: damaged: {error}',
                'a file as it was written',
                'delete it, and the same command computes it again',
            ) from error

    def _write_run(self, facts: Mapping, notes: Mapping) -> None:
        run = json.loads(json.dumps({'facts': facts, 'notes': notes}))
        run['checksum'] = _checksum(run)
        with self._reported(), self._appearing('run.json') as file:
            file.write(json.dumps(run, indent=2).encode())

    @contextlib.contextmanager
    def _appearing(self, name: str) -> Iterator[BinaryIO]:
        """A file that appears under its name when it is complete and on the disk."""
        partial = self.folder / f'{name}.{uuid.uuid4().hex[:8]}'
        try:
            with partial.open('wb') as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _reported(self) -> contextlib.AbstractContextManager[None]:
        fix = 'free some space and run the same command again, or choose another with -o'
        return reported(self.folder, fix=fix)


def lock_owner(folder: Path) -> str | None:
    """Who works on the journal in a folder, on whatever machine; None if nobody does."""
    path = folder / 'lock'
    try:
        owner = path.read_bytes()[:_LONGEST_OWNER].decode(errors='replace')
    except OSError:  # there is none, or something that is no lock
        return None
    return (owner or 'a process') if is_locked(path) else None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file, alone or with others."""
    # Over NFS an exclusive lock needs a file that may be written to.
    mine = os.access(path, os.W_OK)
    try:
        with path.open('r+b' if mine else 'rb') as file:
            fcntl.flock(file, (fcntl.LOCK_EX if mine else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or something that is no lock
        pass
    return False


def _count(arrays: Sized) -> bytes:
    return str(len(arrays)).encode()


def _checksum(run: Mapping) -> str:
    return hashlib.sha256(_text(run).encode()).hexdigest()


def _write_array(file: IO[bytes], array: np.ndarray) -> None:
    """As np.save, but a row or plane at a time, which takes no memory for large views."""
    if array.dtype.hasobject:
        raise ValueError(f'an array of {array.dtype} cannot be written as plain data')
    header = np.lib.format.header_data_from_array_1_0(array) | {'fortran_order': False}
    np.lib.format.write_array_header_1_0(file, header)
    array = np.atleast_1d(array)
    for part in array if array.ndim > 1 else [array]:
        file.write(np.ascontiguousarray(part).data)


def _differences(known: object, facts: object) -> str:
    """Such as ``tile was 512 and is 256``."""
    then, now = dict(_flat(known)), dict(_flat(facts))
    keys = [*then, *sorted(now.keys() - then.keys())]
    keys = [key for key in keys if _text(then.get(key)) != _text(now.get(key))]
    shown = [f'{key} was {_brief(then.get(key))} and is {_brief(now.get(key))}' for key in keys]
    return listed(shown, 3)


def _flat(value: object, path: str = '') -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, item in value.items():
        yield from _flat(item, f'{path}.{key}' if path else key)


def _text(value: object) -> str:
    # NaN, which may be nodata, is not equal to itself, but its text is.
    return json.dumps(value, sort_keys=True)


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
