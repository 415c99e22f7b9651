"""Prediction of many scenes on the workers of a Dask cluster.

A scene is a task. What makes tasks safe to repeat is in the output folder, not
in Dask: the journal of a scene, its lock, and the record of what its result is of.
"""

import contextlib
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geo_mm.errors import ConfigError, GeoMMError, OutputError, SetupError
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.fingerprint import called_as, how_called
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.scene_lists import check_names
from geo_mm.inference.scenes import Outcome, predict_scenes
from geo_mm.inference.status import Planned, RunFiles
from geo_mm.paths import absolute, file_name
from geo_mm.stores import folder_path

if TYPE_CHECKING:
    from distributed import Client, Future

    from geo_mm.inference.predictor import Predictor

_AHEAD = 4
"""Tasks per worker that the scheduler holds. It takes no more memory for more scenes."""

_LEAST_AHEAD = 64
_RETRIES = 2
_NEWS = 2.0
"""Seconds between looks at which workers there are."""

_PATIENCE = 60.0
"""Seconds in which a scheduler that was lost may come back."""


@dataclass(frozen=True)
class ModelFiles:
    """What :class:`geo_mm.inference.Predictor` is made of, for processes to make it each.

    Attributes:
        checkpoints: The model's files; all workers must see them.
        config: Replaces the one in the checkpoint.
        overrides: Settings of the config by their dotted keys.
        device: Of torch; None: the first GPU that a worker sees, else the CPU.
        trust_checkpoint: As of the predictor.
        options: How to predict.
    """

    checkpoints: tuple[str, ...]
    config: str | None = None
    overrides: Mapping[str, Any] | None = None
    device: str | None = None
    trust_checkpoint: bool = False
    options: PredictOptions = field(default_factory=PredictOptions)

    def load(self) -> 'Predictor':
        """The predictor."""
        from geo_mm.inference.predictor import Predictor

        config = None
        if self.config is not None or self.overrides:
            from geo_mm.engine import config_for

            config = config_for(
                self.checkpoints[0],
                self.config,
                dict(self.overrides or {}),
                trust=self.trust_checkpoint,
            )
        return Predictor(
            self.checkpoints,
            config,
            device=self.device,
            options=self.options,
            trust_checkpoint=self.trust_checkpoint,
        )

    def anywhere(self) -> 'ModelFiles':
        """The same with absolute paths."""
        config = None if self.config is None else absolute(self.config)
        return replace(self, checkpoints=tuple(map(absolute, self.checkpoints)), config=config)


@dataclass(frozen=True)
class _Task:
    """What all tasks of a run have in common."""

    model: ModelFiles
    folder: Path
    restart: bool
    called: Mapping[str, Any]


def predict_on_cluster(
    model: ModelFiles,
    scenes: Sequence[SceneToPredict],
    folder: str | os.PathLike,
    cluster: str = 'local',
    *,
    restart: bool = False,
    report: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Predicts scenes into a folder on the workers of a Dask cluster.

    The results are those of :func:`geo_mm.inference.scenes.predict_scenes`,
    and so are the rules: what is complete is not predicted again, what was
    interrupted is resumed, a scene that fails leaves the others alone. A
    worker that dies costs the tiles of the row that it was at.

    Args:
        model: The model.
        scenes: Whose files, like the folder, all workers must see.
        folder: Where to write; made if missing.
        cluster: ``'local'``, ``'local:N'`` for N processes, or the address of a
            scheduler.
        restart: Predict all again, and discard what interrupted runs have finished.
        report: Called with each outcome as soon as it is known.

    Returns:
        The outcomes in the order of the scenes. Predictions stay where they were made.

    Raises:
        SceneError: If the results of two scenes would have the same names.
        SetupError: If Dask is not installed, no cluster is there, or its
            scheduler is lost.
        GeoMMError: If a worker cannot load the model.
    """
    check_names(scenes)
    requests = [_anywhere(scene) for scene in scenes]
    folder = folder_path(absolute(folder))
    files = RunFiles(
        folder,
        [file_name(scene.stem) for scene in requests],
        staging=model.options.staging,
    )
    task = _Task(model.anywhere(), folder, restart, how_called())
    with _cluster(cluster) as connect:
        run = _ClusterRun(task, connect, report)
        settings = run.settings()
        files.begin([Planned(file_name(scene.stem), settings) for scene in requests])
        outcomes: dict[int, Outcome] = {}
        try:
            run.predict(dict(enumerate(requests)), outcomes)
        finally:
            complete = len(outcomes) == len(requests)
            files.end(complete and all(found.error is None for found in outcomes.values()))
    return [outcomes[number] for number in range(len(requests))]


class _ClusterRun:
    """Tasks on their way to the workers and back."""

    def __init__(
        self,
        task: _Task,
        connect: Callable[[], 'Client'],
        report: Callable[[Outcome], None] | None,
    ) -> None:
        self._task, self._connect, self._report = task, connect, report
        self._client = connect()
        self._name = f'predict-{uuid.uuid4().hex[:8]}'
        self._asked = -math.inf
        self._resources: list[Mapping[str, float]] = []

    def settings(self) -> str:
        """What results depend on but for the scene, as a worker sees it.

        Raises:
            GeoMMError: If it cannot load the model.
        """
        future = self._submit(_settings, self._task.model, key=(self._name, 'model'))
        found = future.result()
        if isinstance(found, GeoMMError):
            raise found
        return found

    def predict(self, requests: dict[int, SceneToPredict], outcomes: dict[int, Outcome]) -> None:
        """Has all scenes predicted; a scheduler that comes back gets what is left."""
        while missing := {n: scene for n, scene in requests.items() if n not in outcomes}:
            if not self._predict(missing, outcomes):
                self._reconnect(len(missing))

    def _predict(self, requests: dict[int, SceneToPredict], outcomes: dict[int, Outcome]) -> bool:
        """False if the scheduler was lost."""
        from distributed import as_completed

        waiting, numbers = iter(requests.items()), {}

        def next_ones(count: int) -> list['Future']:
            futures = []
            for number, scene in islice(waiting, count):
                key = (self._name, file_name(scene.stem))
                futures.append(self._submit(_predict, self._task, scene, key=key))
                numbers[futures[-1].key] = number
            return futures

        # Results come with their futures: to ask for each takes longer than its task.
        running = as_completed(
            next_ones(self._ahead()),
            loop=self._client.loop,
            with_results=True,
            raise_errors=False,
        )
        for future, result in running:
            if future.status in ('cancelled', 'lost'):
                return False
            number = numbers.pop(future.key)
            outcomes[number] = self._outcome(requests[number], future, result)
            if self._report:
                self._report(outcomes[number])
            wanted = self._ahead() - len(numbers)
            running.update(next_ones(max(wanted, 0)))
        return True

    def _outcome(self, scene: SceneToPredict, future: 'Future', result: Any) -> Outcome:
        if future.status == 'finished':
            return replace(result, scene=scene)
        error = future.exception()
        failed = GeoMMError(
            f'{scene.title}: the worker failed: {type(error).__name__}: {error}',
            'workers with enough memory, and the versions of this machine',
            'look at the log of the worker',
        )
        names = [file_name(scene.stem)]
        RunFiles(self._task.folder, names, staging=self._task.model.options.staging).failed(
            names[0], str(failed)
        )
        return Outcome(scene, error=failed)

    def _submit(self, work: Callable, *args: Any, key: tuple[str, str]) -> 'Future':
        # Where workers say how many GPUs they have, a task takes one.
        has_gpus = any('GPU' in resources for resources in self._workers())
        resources = {'GPU': 1} if has_gpus else None
        return self._client.submit(
            work, *args, key=key, pure=False, retries=_RETRIES, resources=resources
        )

    def _ahead(self) -> int:
        return max(_LEAST_AHEAD, _AHEAD * len(self._workers()))

    def _workers(self) -> list[Mapping[str, float]]:
        """The resources of each worker, as of a moment ago: to ask takes longer than a task."""
        if time.monotonic() - self._asked > _NEWS:
            info = self._client.scheduler_info(n_workers=-1)
            self._resources = [worker.get('resources', {}) for worker in info['workers'].values()]
            self._asked = time.monotonic()
        return self._resources

    def _reconnect(self, missing: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, SetupError):
                self._client.close(timeout=1)
                self._client = self._connect()
                self._name = f'predict-{uuid.uuid4().hex[:8]}'
                return
            time.sleep(1)
        raise SetupError(
            f'the scheduler was lost with {missing} scenes to go, and is not back after '
            f'{_PATIENCE:.0f} s',
            'a scheduler that stays',
            'repeat the command when there is one: finished scenes and rows of tiles are kept',
        )


@contextlib.contextmanager
def _cluster(where: str) -> Iterator[Callable[[], 'Client']]:
    """Gives what connects to a scheduler; a local cluster ends with it."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise SetupError(
            'Dask is not installed', 'distributed', "pip install 'geo_mm[dask]'"
        ) from error
    kind, _, number = where.partition(':')
    is_local = kind == 'local' and (not number or (number.isdecimal() and int(number) > 0))
    if not is_local and '://' not in where:
        raise ConfigError(
            f'the Dask cluster {where!r}',
            "the address of its scheduler, such as tcp://node1:8786, or 'local', or 'local:4' "
            'for four processes',
        )
    clients: list[Client] = []

    def connect_to(address: Any) -> 'Client':
        try:
            clients.append(Client(address, set_as_default=False))
        except OSError as error:
            raise SetupError(
                f'{where}: no Dask scheduler answers: {error}',
                "the address of a scheduler, such as tcp://node1:8786, or 'local'",
                'start one with `dask scheduler`, or see docs/en/scale.md',
            ) from error
        return clients[-1]

    try:
        if not is_local:
            yield lambda: connect_to(where)
            return
        count, gpus = _local_workers(int(number or 0))
        with LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            resources={'GPU': 1} if gpus else None,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster:
            try:
                yield lambda: connect_to(cluster)
            finally:  # before the cluster, whose end would be a loss to them
                while clients:
                    clients.pop().close(timeout=5)
    finally:
        while clients:
            clients.pop().close(timeout=5)


def _local_workers(wanted: int) -> tuple[int, int]:
    """Processes, and GPUs of this machine."""
    import torch

    from geo_mm.inference.runner import cores

    gpus = torch.cuda.device_count()
    return wanted or gpus or cores(), gpus


def _anywhere(scene: SceneToPredict) -> SceneToPredict:
    """A request that means the same in another folder."""
    source = scene.source
    if isinstance(source, str | os.PathLike):
        source = absolute(source)
    elif isinstance(source, Mapping):
        source = {role: _absolute_files(files) for role, files in source.items()}
    elif isinstance(source, list | tuple):
        source = _absolute_files(source)
    else:
        raise OutputError(
            f'{scene.title}: an array or an open scene', 'files, which all workers can open'
        )
    aoi = None if scene.aoi is None else absolute(scene.aoi)
    return replace(scene, source=source, aoi=aoi, name=scene.name or scene.stem)


def _absolute_files(files: Any) -> Any:
    if isinstance(files, str | os.PathLike):
        return absolute(files)
    return tuple(map(absolute, files))


# What follows runs on workers.

_loaded: dict[str, 'Predictor'] = {}
_loading = threading.Lock()


def _predictor(model: ModelFiles) -> 'Predictor':
    """The model, which a worker loads once."""
    key = repr(model)
    with _loading:
        if key not in _loaded:
            _loaded.clear()
            _loaded[key] = replace(model, device=model.device or _own_gpu()).load()
        return _loaded[key]


def _own_gpu() -> str | None:
    """Of several GPUs of a machine the one with the number of the worker."""
    import torch
    from distributed import get_worker

    count, name = torch.cuda.device_count(), str(get_worker().name)
    return f'cuda:{int(name) % count}' if count > 1 and name.isdecimal() else None


def _settings(model: ModelFiles) -> str | GeoMMError:
    try:
        return _predictor(model).settings
    except GeoMMError as error:
        return error


def _predict(task: _Task, scene: SceneToPredict) -> Outcome:
    """Predicts a scene. Mistakes of the user's are results: they would be the same again."""
    name = file_name(scene.stem)
    files = RunFiles(task.folder, [name], staging=task.model.options.staging)
    try:
        with called_as(task.called):
            [found] = predict_scenes(
                _predictor(task.model), [scene], task.folder, restart=task.restart
            )
        error, prediction = found.error, found.prediction
    except GeoMMError as failure:
        error, prediction = failure, None
    if prediction is None:
        files.failed(name, str(error))
        return Outcome(scene, error=error)
    files.succeeded(name)
    return Outcome(scene, was_there=found.was_there)
