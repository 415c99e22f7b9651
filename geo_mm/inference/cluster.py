"""Prediction of many scenes on the workers of a Dask cluster.

A scene is a task, or several if it is large: shares of its rows of tiles, and then the
result. What makes tasks safe to repeat is in the output folder, not in Dask: the journal
of a scene, its lock, and the record of what its result is of.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geo_mm.cluster import Task, cluster_of, is_wanted
from geo_mm.errors import GeoMMError, OutputError
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.executors import StoppedError
from geo_mm.inference.fingerprint import called_as, how_called
from geo_mm.inference.journal import BusyError
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.scene_lists import check_names
from geo_mm.inference.scenes import Outcome, predict_rows, predict_scene
from geo_mm.inference.status import Planned, RunFiles
from geo_mm.paths import absolute, file_name
from geo_mm.stores import folder_path

if TYPE_CHECKING:
    from geo_mm.inference.predictor import Predictor

_ROWS = 16
"""Rows of tiles of a share. A share may compute one row above it once more."""

_PAUSE = 1.0
"""Seconds between looks at a scene that another process works on."""


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
    run = _Run(task, requests, files, report)
    with cluster_of(cluster, 'predict', _local_workers) as workers:
        settings = workers.call('model', _settings, task.model)
        files.begin([Planned(file_name(scene.stem), settings) for scene in requests])
        try:
            workers.run(map(run.scene, range(len(requests))), run.settle)
        finally:
            complete = len(run.outcomes) == len(requests)
            files.end(complete and all(found.error is None for found in run.outcomes.values()))
    return [run.outcomes[number] for number in range(len(requests))]


class _Run:
    """The tasks of a run, and what came of them.

    Attributes:
        outcomes: Of scenes, by their number.
    """

    def __init__(
        self,
        task: _Task,
        requests: Sequence[SceneToPredict],
        files: RunFiles,
        report: Callable[[Outcome], None] | None,
    ) -> None:
        self._task, self._requests, self._files, self._report = task, requests, files, report
        self._shares: dict[int, int] = {}
        self._errors: dict[int, GeoMMError] = {}
        self.outcomes: dict[int, Outcome] = {}

    def scene(self, number: int) -> Task:
        """The task of a scene."""
        scene = self._requests[number]
        return Task(file_name(scene.stem), _predict, (self._task, scene, _ROWS), number)

    def settle(self, done: Task, result: Outcome | GeoMMError) -> list[Task]:
        """Takes note of what came of a task; gives those that follow from it."""
        number = done.about
        scene = self._requests[number]
        if isinstance(result, GeoMMError):
            result = Outcome(scene, error=result)
        if done.work is _predict_rows:
            return self._joined(number, result.error)
        if result.shares:
            self._shares[number] = len(result.shares)
            return [
                Task(f'{done.name} {rows[0]}', _predict_rows, (self._task, scene, rows), number)
                for rows in result.shares
            ]
        if result.error is not None:
            self._files.failed(file_name(scene.stem), str(result.error))
        self.outcomes[number] = replace(result, scene=scene)
        if self._report:
            self._report(self.outcomes[number])
        return []

    def _joined(self, number: int, error: GeoMMError | None) -> list[Task]:
        """After the last share of a scene: the task that makes its result, if nothing failed."""
        self._shares[number] -= 1
        # Who merely stopped because of another has nothing to say.
        if error is not None and not isinstance(error, StoppedError):
            self._errors.setdefault(number, error)
        if self._shares[number]:
            return []
        task = self.scene(number)
        if number in self._errors:
            return self.settle(task, self._errors[number])
        kept = replace(self._task, restart=False)
        return [replace(task, args=(kept, self._requests[number], None))]


def _local_workers() -> tuple[int, bool]:
    """Processes of this machine, and whether each gets a GPU."""
    from geo_mm.inference.runner import cores

    gpus = _gpus()
    return gpus or cores(), bool(gpus)


def _gpus() -> int:
    try:
        import torch
    except ImportError:  # which ONNX files do not need
        return 0
    return torch.cuda.device_count()


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
    from distributed import get_worker

    count, name = _gpus(), str(get_worker().name)
    return f'cuda:{int(name) % count}' if count > 1 and name.isdecimal() else None


def _settings(model: ModelFiles) -> str | GeoMMError:
    try:
        return _predictor(model).settings
    except GeoMMError as error:
        return error


def _predict(task: _Task, scene: SceneToPredict, rows: int | None) -> Outcome:
    """Predicts a scene, or begins it if it is large."""
    with _safe_to_repeat() as check:
        try:
            with called_as(task.called):
                found = predict_scene(
                    _predictor(task.model),
                    scene,
                    task.folder,
                    restart=task.restart,
                    rows=rows,
                    progress=check,
                )
        except (BusyError, StoppedError):
            raise
        except GeoMMError as error:
            return Outcome(scene, error=error)  # which would be the same again
    if not found.shares:
        name = file_name(scene.stem)
        RunFiles(task.folder, [name], staging=task.model.options.staging).succeeded(name)
    return replace(found, scene=scene, prediction=None)


def _predict_rows(task: _Task, scene: SceneToPredict, rows: Sequence[int]) -> Outcome:
    """Computes some rows of tiles of a scene that was begun."""
    with _safe_to_repeat() as check:
        try:
            predict_rows(_predictor(task.model), scene, task.folder, rows, check)
        except BusyError:
            raise
        except GeoMMError as error:
            check()  # StoppedError may stand for this one, or for a failure of others
            return Outcome(scene, error=error)
    return Outcome(scene)


@contextlib.contextmanager
def _safe_to_repeat() -> Iterator[Callable[..., None]]:
    """Gives what ends a task that is not wanted any more. It and busy ones are done again later."""
    from distributed import Reschedule

    wanted = is_wanted()

    def check(*_: object) -> None:
        if not wanted():
            raise StoppedError('stopped, because the command or the worker ends')

    try:
        yield check
    except BusyError:
        time.sleep(_PAUSE)
        raise Reschedule from None
    except StoppedError:
        raise Reschedule from None
