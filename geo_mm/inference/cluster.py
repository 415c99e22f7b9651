"""Prediction of many scenes on the workers of a Dask cluster.

A scene is a task. What makes tasks safe to repeat is in the output folder, not
in Dask: the journal of a scene, its lock, and the record of what its result is of.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
from geo_mm.inference.scenes import Outcome, predict_scene
from geo_mm.inference.status import Planned, RunFiles
from geo_mm.paths import absolute, file_name
from geo_mm.stores import folder_path

if TYPE_CHECKING:
    from geo_mm.inference.predictor import Predictor

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
    outcomes: dict[int, Outcome] = {}

    def settled(done: Task, result: Outcome | GeoMMError) -> tuple:
        number = done.about
        scene = requests[number]
        if isinstance(result, GeoMMError):
            files.failed(file_name(scene.stem), str(result))
            result = Outcome(scene, error=result)
        outcomes[number] = replace(result, scene=scene)
        if report:
            report(outcomes[number])
        return ()

    with cluster_of(cluster, 'predict', _local_workers) as workers:
        settings = workers.call('model', _settings, task.model)
        files.begin([Planned(file_name(scene.stem), settings) for scene in requests])
        try:
            workers.run(
                (
                    Task(file_name(scene.stem), _predict, (task, scene), number)
                    for number, scene in enumerate(requests)
                ),
                settled,
            )
        finally:
            complete = len(outcomes) == len(requests)
            files.end(complete and all(found.error is None for found in outcomes.values()))
    return [outcomes[number] for number in range(len(requests))]


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


def _predict(task: _Task, scene: SceneToPredict) -> Outcome:
    """Predicts a scene. Mistakes of the user's are results: they would be the same again."""
    from distributed import Reschedule

    name = file_name(scene.stem)
    files = RunFiles(task.folder, [name], staging=task.model.options.staging)
    wanted = is_wanted()

    def check(*_: object) -> None:
        if not wanted():
            raise StoppedError('stopped, because the command or the worker ends')

    try:
        with called_as(task.called):
            found = predict_scene(
                _predictor(task.model), scene, task.folder, restart=task.restart, progress=check
            )
    except BusyError:
        time.sleep(_PAUSE)
        raise Reschedule from None
    except StoppedError:
        raise Reschedule from None
    except GeoMMError as error:
        files.failed(name, str(error))
        return Outcome(scene, error=error)
    files.succeeded(name)
    return Outcome(scene, was_there=found.was_there)
