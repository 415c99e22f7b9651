"""How far the predictions into a folder are, from the files in it alone.

Runs of many scenes say in ``OUT/.runs`` what they are going to do and what failed;
what is done is in the records of results, and what is being done in the journals.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Literal, NamedTuple

from geo_mm.errors import OutputError, printable
from geo_mm.inference.journal import Journal, is_locked, journal_name, lock_owner
from geo_mm.paths import make_folder, reported, write_text
from geo_mm.stores import (
    download,
    folder_path,
    in_store,
    listed,
    remove,
    upload,
    url,
    workplace,
)

State = Literal['done', 'running', 'interrupted', 'failed', 'waiting']
STATES: tuple[State, ...] = ('done', 'running', 'interrupted', 'failed', 'waiting')

_RUNS = '.runs'
_FAILED = '.failed.json'


@dataclass(frozen=True)
class Planned:
    """A scene that a run is going to predict.

    Attributes:
        name: Of the results.
        identity: What the files will depend on, or how that begins, as in their record.
        tiles: Their number, if the scene has been opened.
    """

    name: str
    identity: str
    tiles: int | None = None


class RunFiles:
    """What a run of many scenes says of itself, for :func:`prediction_status`.

    Args:
        folder: For the results.
        shard: Which part of a list of scenes, ``'I/N'``; '' for all.
        names: Of all scenes of the list.
        staging: See :func:`geo_mm.stores.workplace`.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], shard: str = '', staging: str | None = None
    ) -> None:
        self._home = folder / _RUNS  # where others look
        self._folder = workplace(folder, staging) / _RUNS
        self._shard, self._total = shard, len(names)
        self._list = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()[:16]
        part = shard.replace('/', '-of-')
        self._path = self._folder / f'{self._list}{"-" if part else ""}{part}.json'
        self._lock: IO | None = None

    def begin(self, planned: Sequence[Planned]) -> None:
        """Announces scenes, and that this process is at work until :meth:`end`."""
        make_folder(self._folder)
        with reported(self._folder):
            self._lock = self._path.with_suffix('.lock').open('ab')
        # Several processes may do the same. The system releases it when they end.
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        failures = {path.name for path in (*listed(self._folder), *listed(self._home))}
        for scene in planned:
            if f'{scene.name}{_FAILED}' in failures:
                self._forget(f'{scene.name}{_FAILED}')
        run = {
            'list': self._list,
            'total': self._total,
            'shard': self._shard,
            'started': time.time(),
            'scenes': [[scene.name, scene.identity, scene.tiles] for scene in planned],
        }
        self._write(self._path, run)

    def failed(self, name: str, reason: str) -> None:
        """Records that a scene has no result, and why."""
        make_folder(self._folder)
        self._write(self._folder / f'{name}{_FAILED}', {'reason': reason})

    def succeeded(self, name: str) -> None:
        """Forgets that a scene had no result."""
        if (self._folder / f'{name}{_FAILED}').exists():
            self._forget(f'{name}{_FAILED}')

    def end(self, complete: bool) -> None:
        """Says that this process works no longer.

        Args:
            complete: Whether all scenes have results. Of a whole list nothing
                need be known then any more.
        """
        if self._lock is not None:
            self._lock.close()
        if complete and not self._shard:
            self._forget(self._path.name)
            self._path.with_suffix('.lock').unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there is something of other runs
                self._folder.rmdir()
                if self._is_copied:
                    self._folder.parent.rmdir()

    @property
    def _is_copied(self) -> bool:
        return self._home != self._folder

    def _write(self, path: Path, facts: dict) -> None:
        write_text(path, json.dumps(facts))
        if self._is_copied:
            upload([path], self._home)

    def _forget(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        if self._is_copied:
            remove([self._home / name])


@dataclass(frozen=True)
class SceneStatus:
    """How far a scene is.

    Attributes:
        name: Of its results.
        state: ``'interrupted'`` is begun, and no run that is at work will go on with it.
        tiles: Their number, if known.
        tiles_done: Those that need not be predicted again.
        since: Tiles done since the runs at work began.
        note: Who works on it, or why it failed.
    """

    name: str
    state: State
    tiles: int | None = None
    tiles_done: int = 0
    since: int = 0
    note: str = ''


@dataclass(frozen=True)
class PredictionStatus:
    """How far the predictions into a folder are.

    Attributes:
        folder: The folder.
        scenes: Those that are known, by name.
        not_started: Scenes of shards that have not begun, whose names are not known.
        runs: Processes, or groups of them with the same command, that are at work.
        seconds: Since the first of them began.
    """

    folder: Path
    scenes: tuple[SceneStatus, ...]
    not_started: int = 0
    runs: int = 0
    seconds: float = field(default=0.0, compare=False)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Scenes of each state."""
        found = Counter(scene.state for scene in self.scenes)
        found['waiting'] += self.not_started
        return {state: found[state] for state in STATES}

    @property
    def total(self) -> int:
        """All scenes."""
        return len(self.scenes) + self.not_started

    @property
    def tiles_done(self) -> int:
        return sum(scene.tiles_done for scene in self.scenes)

    @cached_property
    def tiles(self) -> float:
        """All tiles but those of scenes that failed; where not known, as many as others have."""
        known = [scene.tiles for scene in self.scenes if scene.tiles is not None]
        mean = sum(known) / len(known) if known else 1
        wanted = [scene for scene in self.scenes if scene.state != 'failed']
        found = sum(mean if scene.tiles is None else scene.tiles for scene in wanted)
        return found + mean * self.not_started

    @property
    def rate(self) -> float | None:
        """Tiles per second of the runs at work; None if nothing can be said."""
        since = sum(scene.since for scene in self.scenes)
        return since / self.seconds if self.runs and since and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        return None if self.rate is None else max(self.tiles - self.tiles_done, 0) / self.rate

    def to_dict(self) -> dict:
        return {
            'folder': url(self.folder),
            'scenes': self.total,
            **self.counts,
            'tiles': round(self.tiles),
            'tiles_done': self.tiles_done,
            'tiles_per_second': self.rate,
            'seconds_left': self.seconds_left,
            'runs': self.runs,
            'unfinished': [asdict(scene) for scene in self.scenes if scene.state != 'done'],
        }

    def __str__(self) -> str:
        if not self.total:
            return f'no predictions of scenes in {url(self.folder)}'
        counts = ', '.join(f'{state} {count:,}' for state, count in self.counts.items() if count)
        lines = [f'scenes  {self.total:,}: {counts}']
        lines.append(f'tiles   {self.tiles_done:,} of {round(self.tiles):,}')
        local = not in_store(self.folder)
        if self.rate is not None and self.seconds_left is not None:
            lines[-1] += f', {self.rate:.3g} per second, {_duration(self.seconds_left)} left'
        elif not self.runs and self.counts['done'] < self.total:
            who = 'nobody works' if local else 'no process of this machine works'
            lines.append(f'{who} on it: repeat the command to go on')
        for state in ('running', 'interrupted', 'failed'):
            for scene in self.scenes:
                if scene.state == state:
                    lines.append(f'  {state} {scene.name}: {_told(scene)}')
        return printable('\n'.join(lines))


def prediction_status(folder: str | os.PathLike, staging: str | None = None) -> PredictionStatus:
    """Says how far the predictions into a folder are, also while they are made.

    Nothing but the files in it is asked, so it may be called on any machine. Of a
    folder in an object store, only the machine that works on a scene sees more of it
    than that it is not done.

    Args:
        folder: That of the results.
        staging: The local folder of this machine in which files for one in an object
            store are made, if it is not the default.

    Raises:
        OutputError: If there is no such folder, or a store cannot be read.
    """
    folder = folder_path(folder)
    if not in_store(folder):
        if not folder.is_dir():
            raise OutputError(f'{folder}: no such folder', 'the folder of a prediction (-o)')
        return _status(folder, folder)
    with tempfile.TemporaryDirectory() as made:
        copies = Path(made)
        (copies / _RUNS).mkdir()
        # What is planned before what is done, which there may be more of meanwhile.
        download(folder / _RUNS, '.json', copies / _RUNS)
        download(folder, '.json', copies)
        return replace(_status(copies, workplace(folder, staging)), folder=folder)


def _status(folder: Path, work: Path) -> PredictionStatus:
    """The status of a folder whose files are made in another."""
    runs = list(_runs(folder / _RUNS, work / _RUNS))
    started = min((run.started for run in runs if run.at_work), default=time.time())
    planned = {scene.name: scene for run in runs for scene in run.scenes}
    names = dict.fromkeys(planned)
    totals: dict[str, int] = {}
    listed: dict[str, set[str]] = {}
    for run in runs:
        totals[run.names] = run.total
        listed.setdefault(run.names, set()).update(scene.name for scene in run.scenes)
    # What is begun is looked for before what is done: it may become that meanwhile.
    begun = [path.name[1:-11] for path in sorted(work.glob(journal_name('*')))]
    names |= dict.fromkeys(begun)
    failures = {path.name[: -len(_FAILED)] for path in (folder / _RUNS).glob(f'*{_FAILED}')}
    names |= dict.fromkeys(sorted(failures))
    records = (path.name[:-5] for path in folder.glob('*.json'))
    names |= dict.fromkeys(name for name in records if not name.endswith('.stac'))
    expected = {scene.name for run in runs if run.at_work for scene in run.scenes}
    found = [
        _scene(folder, work, planned.get(name, name), started, name in expected)
        for name in sorted(names)
    ]
    # Those that could not be opened are in a list, but were never planned.
    named = len(failures - planned.keys()) + sum(map(len, listed.values()))
    return PredictionStatus(
        folder,
        tuple(scene for scene in found if scene is not None),
        max(0, sum(totals.values()) - named),
        sum(run.at_work for run in runs),
        time.time() - started,
    )


class _Run(NamedTuple):
    """What :class:`RunFiles` has written; ``names`` stands for those of the whole list."""

    names: str
    total: int
    started: float
    scenes: list[Planned]
    at_work: bool


def _runs(folder: Path, locks: Path) -> Iterator[_Run]:
    for path in sorted(folder.glob('*.json')):
        if not path.name.endswith(_FAILED) and (run := _run(path, locks)) is not None:
            yield run


def _run(path: Path, locks: Path) -> _Run | None:
    """What is in a file; None if it is something else."""
    run = _json(path)
    try:
        scenes = [
            Planned(str(name), str(identity), _whole(tiles))
            for name, identity, tiles in run['scenes']
        ]
        total, started = _whole(run['total']), float(run['started'])
        named = all(_is_file_name(scene.name) for scene in scenes)
        if total is None or not named or not math.isfinite(started):
            return None
        at_work = is_locked((locks / path.name).with_suffix('.lock'))
        return _Run(str(run['list']), total, started, scenes, at_work)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _is_file_name(name: str) -> bool:
    return not {'/', '\0'} & set(name) and len(os.fsencode(name)) < 200


def _scene(
    folder: Path, work: Path, scene: Planned | str, started: float, expected: bool
) -> SceneStatus | None:
    """How far a scene is, planned or known by its name; None if that is of something else.

    What is ``expected`` will be predicted by a run at work.
    """
    planned = scene if isinstance(scene, Planned) else None
    name = scene if isinstance(scene, str) else scene.name
    journal = Journal(work / journal_name(name))
    tiles = None if planned is None else planned.tiles
    failure_path, record_path = folder / _RUNS / f'{name}{_FAILED}', folder / f'{name}.json'
    failure = str(_json(failure_path).get('reason', ''))
    if (owner := lock_owner(journal.folder)) is not None or not journal.empty:
        notes = _json(journal.folder / 'run.json').get('notes')
        notes = notes if isinstance(notes, dict) else {}
        rows, tiles = _whole(notes.get('rows')), _whole(notes.get('tiles', tiles))
        files = list(journal.folder.glob('row-*.npz'))
        share = (tiles or 0) / (rows or 1)
        recent = sum(_changed(path) >= started for path in files)
        begun: State = 'waiting' if expected else 'interrupted'
        state: State = 'failed' if failure else begun
        counts = round(share * len(files)), round(share * recent)
        if owner is not None:
            return SceneStatus(name, 'running', tiles, *counts, owner)
        if not journal.empty:  # else it has become complete since it was looked at
            return SceneStatus(name, state, tiles, *counts, failure)
    record, wanted = _json(record_path), '' if planned is None else planned.identity
    changed = _changed(record_path)
    is_newer = not failure or changed > _changed(failure_path)
    done = _whole(record.get('tiles'))
    is_same = 'identity' in record and str(record['identity'] or '').startswith(wanted)
    if done is not None and is_same and is_newer:
        return SceneStatus(name, 'done', done, done, done if changed >= started else 0)
    if failure:
        return SceneStatus(name, 'failed', tiles, note=failure)
    return None if planned is None else SceneStatus(name, 'waiting', tiles)


def _json(path: Path) -> dict:
    """What a file holds; nothing if it is not there, or is something else."""
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    """A count in a file; None if it cannot be one."""
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _told(scene: SceneStatus) -> str:
    if scene.state == 'failed':
        return scene.note
    tiles = '?' if scene.tiles is None else f'{scene.tiles:,}'
    return f'{scene.tiles_done:,} of {tiles} tiles{", " if scene.note else ""}{scene.note}'


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f'{minutes // 60:,} h {minutes % 60} min'
    return f'{minutes} min' if minutes else f'{round(seconds)} s'
