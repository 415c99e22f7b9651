"""What determines a result, and the record of how it came to be."""

import contextlib
import datetime
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import geo_mm
from geo_mm.errors import SetupError
from geo_mm.formats.provenance import (
    FileRecord,
    Provenance,
    file_records,
    library_versions,
)
from geo_mm.inference.area import Area, SceneToPredict
from geo_mm.inference.options import WRITING, PredictOptions
from geo_mm.paths import absolute, file_sha256, is_local

if TYPE_CHECKING:
    from geo_mm.inference.ensemble import Ensemble

_WHO = ('--launcher', '--dask', '--shard')
_called: ContextVar[Mapping | None] = ContextVar('called', default=None)

_WITHOUT_EFFECT = ('readers', 'staging')


class Fingerprint:
    """Everything that determines the bytes of results, as plain data.

    What is the same for all scenes is computed once.

    Args:
        ensemble: The models.
        options: How to predict.
    """

    def __init__(self, ensemble: 'Ensemble', options: PredictOptions) -> None:
        models, task = ensemble.members, ensemble.task
        self._models = [(absolute(m.checkpoint), _file_sha256(m.checkpoint)) for m in models]
        self._networks = models
        self._spec, self._config = models[0].spec, models[0].config_name
        self._versions = library_versions()
        self._about = models[0].about()
        settings = task.settings(options)
        self._options = {k: v for k, v in settings.items() if k not in _WITHOUT_EFFECT}
        self._facts = {
            'geo_mm': geo_mm.__version__,
            'checkpoints': [digest for _, digest in self._models],
            'networks': [model.identity() for model in models],
            'input_spec': self._spec.to_dict(),
        }

    def _settings(self, request: SceneToPredict, area: Area) -> dict:
        settings = {**self._options, 'window': request.window, 'aoi': area.aoi_file}
        if request.gsd is not None:
            settings['gsd'] = request.gsd
        if area.native.roles:
            settings['files'] = area.native.files
        if request.bands is not None and not request.is_array:
            settings['bands'] = list(request.bands)
        return settings

    def of(self, request: SceneToPredict, area: Area) -> dict:
        """What determines the rows of a scene.

        The device and the number of threads are in it, because sums in another
        order are not the same to the last bit. Options that concern only the
        writing of files are left out: they may change from an interrupted run
        to the one that finishes it.
        """
        scene = area.native
        settings = self._settings(request, area)
        return {
            **self._facts,
            'threads': [model.threads for model in self._networks],
            'scene': area.files,
            'bands of the scene': scene.band_names,
            'pixels': [scene.width, scene.height, *tuple(scene.transform)[:6]],
            **{key: value for key, value in settings.items() if key not in WRITING},
        }

    def identity(self, request: SceneToPredict, area: Area) -> str:
        """What the files depend on, but for the machine: the same, and they are there already."""
        facts = self.of(request, area)
        known = {'threads', *self._facts, *self._options}
        return f'{self.settings}-{_digest({k: v for k, v in facts.items() if k not in known})}'

    @cached_property
    def settings(self) -> str:
        """The part of :meth:`identity` that is the same for all scenes: model and options."""
        facts = {**self._facts, 'options': self._options}
        del facts['networks']
        return _digest(facts)

    def provenance(self, request: SceneToPredict, area: Area, notes: Mapping) -> Provenance:
        """What is written into every result.

        Args:
            request: What was to be predicted.
            area: What was predicted.
            notes: As of :func:`run_notes`.
        """
        return Provenance(
            checkpoints=tuple(FileRecord(path, sha256=digest) for path, digest in self._models),
            spec=self._spec,
            config=self._config,
            inputs=file_records(area.native.sources),
            options=self._settings(request, area),
            command=tuple(notes['command']),
            folder=notes['folder'],
            started=notes['time'],
            versions=self._versions,
            model=self._about,
        )


def _digest(facts: Mapping) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def called_as(called: Mapping) -> Iterator[None]:
    """Within it, :func:`how_called` gives this: a process that works for another."""
    token = _called.set(called)
    try:
        yield
    finally:
        _called.reset(token)


def run_notes() -> dict:
    """When and how a run was started.

    The time is that of ``SOURCE_DATE_EPOCH`` where it is set, as
    https://reproducible-builds.org/specs/source-date-epoch/ has it.
    """
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    utc = datetime.timezone.utc
    try:
        now = datetime.datetime.now(utc)
        now = now if epoch is None else datetime.datetime.fromtimestamp(int(epoch), utc)
    except (ValueError, OverflowError, OSError) as error:
        raise SetupError(
            f'the environment variable SOURCE_DATE_EPOCH is {epoch!r}',
            'seconds since 1970, such as 1700000000',
            'unset it, or set it to a time',
        ) from error
    return {'time': now.isoformat(timespec='seconds'), **how_called()}


def how_called() -> dict:
    """The command and the folder that it was given in.

    Who does the work is left out, since the result does not depend on it.
    """
    if (called := _called.get()) is not None:
        return dict(called)
    words = iter(sys.argv)
    command = [word for word in words if word not in _WHO or not next(words, '')]
    program = Path(command[0])
    # The script pip has made, wherever it is, or `python -m geo_mm.cli`.
    if program.stem == 'geo-mm' or program.parts[-3:] == ('geo_mm', 'cli', '__main__.py'):
        command[0] = 'geo-mm'
    elif program.parts[-2:] == ('tools', 'predict.py'):  # which is the same command
        command[:1] = ['geo-mm', 'predict']
    return {'command': command, 'folder': os.getcwd()}


def _file_sha256(path: str) -> str:
    """SHA-256 of a file, which may be remote."""
    if is_local(path):
        return file_sha256(path)
    from mmengine.fileio import get_local_path

    with get_local_path(path) as local:
        return file_sha256(local)
