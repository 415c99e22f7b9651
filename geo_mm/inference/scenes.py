"""Prediction of many scenes, and evaluation of a model on them."""

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path

from geo_mm.catalog import read_catalog
from geo_mm.errors import GeoMMError
from geo_mm.evaluation import ObjectEvaluation, PixelEvaluation
from geo_mm.evaluation.scenes import CatalogScene, evaluate_catalog
from geo_mm.inference.area import SceneToPredict, Source
from geo_mm.inference.executors import current
from geo_mm.inference.journal import BusyError
from geo_mm.inference.network import memory_errors
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prediction import Job, Prediction, check_replaced
from geo_mm.inference.predictor import Predictor, scene_closed
from geo_mm.inference.runner import default_readers
from geo_mm.inference.scene_lists import check_names
from geo_mm.inference.scene_lists import shard as scenes_of_shard
from geo_mm.inference.scene_run import (
    complete,
    failed,
    is_unfinished,
    journal_of,
    predict_small,
    succeeded,
)
from geo_mm.inference.status import Planned, RunFiles
from geo_mm.paths import file_name, reported
from geo_mm.raster.handles import is_remote
from geo_mm.stores import folder_path, in_store

logger = logging.getLogger(__name__)

_LOOKS = 32
"""Scenes that are opened at a time if they, or the results, are on a server."""

_PAUSE = 1.0
"""Seconds between looks at a scene that another process works on."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a scene.

    Attributes:
        scene: What was to be predicted.
        prediction: The result, or None, as always of a cluster. Objects are in it only while
            it is reported.
        error: Why there is none, or None.
        was_there: Whether the same result was in the folder already.
        shares: Rows of tiles that are to be computed first, see :func:`predict_scene`.
    """

    scene: SceneToPredict
    prediction: Prediction | None = None
    error: GeoMMError | None = None
    was_there: bool = False
    shares: tuple[list[int], ...] = ()


def predict_scenes(
    predictor: Predictor,
    scenes: Iterable[SceneToPredict | Source],
    folder: str | Path,
    *,
    restart: bool = False,
    shard: str = '',
    progress: Callable[[SceneToPredict, int, int], None] | None = None,
    report: Callable[[Outcome], None] | None = None,
    **part: object,
) -> list[Outcome]:
    """Predicts scenes into a folder. One that fails leaves the others alone.

    All are opened, and compared with what the model takes and what is in the
    folder, before the first tile is predicted: what cannot work is reported at
    once. A scene whose result is in the folder already, of the same model,
    options and files, is not predicted again. One that another process is
    working on is left until the others are done; then it is waited for, and
    taken over if that process ends without a result. So several runs may have
    scenes in common, and the same call resumes a run that was ended.

    Args:
        predictor: The model.
        scenes: Files, scenes or requests.
        folder: Where to write; made if missing. One of an object store, such as
            ``s3://bucket/folder``, too: files are made in a local folder, see
            :func:`geo_mm.stores.workplace`, and uploaded as scenes are complete.
        restart: Predict all again, and discard what interrupted runs have finished.
        shard: ``'I/N'``: only these scenes, see :func:`geo_mm.inference.scene_lists.shard`.
        progress: Called with the scene, the number of tiles done since the last
            call, and of all that this process has to do for it.
        report: Called with each outcome as soon as it is known.
        **part: Fields of :class:`SceneToPredict` that all scenes get.

    Returns:
        The outcomes in the order of the scenes; see :func:`check_outcomes`.

    Raises:
        SceneError: If the results of two scenes would have the same names.
    """
    folder = folder_path(folder)
    everything = [SceneToPredict.of(scene, **part) for scene in scenes]
    check_names(everything)
    requests = scenes_of_shard(everything, shard) if shard else everything
    names = [file_name(scene.stem) for scene in everything]
    # Of a single scene its own files say enough.
    files = None
    if len(names) > 1 and current().rank == 0:
        files = RunFiles(folder, names, shard, predictor.options.staging)
    ledger = _Ledger(requests, files, report)
    jobs = _opened(predictor, requests, folder, restart, ledger)
    threads = predictor.options.readers or default_readers()
    with (
        ledger.at_work(),
        scene_closed(),
        ThreadPoolExecutor(threads) as readers,
        ThreadPoolExecutor(threads) as writers,
    ):
        run = _Run(predictor, folder, restart, progress, readers, writers)
        written: list[tuple[int, Future[Prediction]]] = []
        for batch in run.batches(jobs):
            found = run.predict([jobs.pop(number) for number in batch])
            # Small scenes are written while the next ones are predicted.
            while written:
                ledger.settle(*written.pop(0))
            written = list(zip(batch, found, strict=True))
            while written and written[0][1].done():
                ledger.settle(*written.pop(0))
        while written:
            ledger.settle(*written.pop(0))
        while ledger.busy:
            number = ledger.busy.popleft()
            late = run.taken_over(requests[number])
            ledger.settle(number, late)
            if isinstance(late.exception(), BusyError):
                time.sleep(_PAUSE)
    return ledger.outcomes


def predict_scene(
    predictor: Predictor,
    scene: SceneToPredict,
    folder: Path,
    *,
    restart: bool = False,
    rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Predicts a scene as :func:`predict_scenes` does, but waits for no other process.

    Args:
        predictor: The model.
        scene: What is predicted.
        folder: Where to write.
        restart: Predict it again, and discard what an interrupted run has finished.
        rows: A scene that lacks two times as many rows of tiles is only begun. The outcome
            then has shares of it, of so many rows each, for :func:`predict_rows`. When
            they are done, this function makes the result. Processes on other machines
            must see the folder; one in an object store is not seen, and not divided.
        progress: Called as tiles are done.

    Raises:
        BusyError: If one is predicting it.
        GeoMMError: If it cannot be predicted.
    """
    with scene_closed():
        job = _checked(predictor, scene, folder)
        if not restart and (there := _there(job, folder)):
            return Outcome(scene, _light(there), was_there=True)
        if rows and not in_store(folder) and len({tile.row for tile in job.plan}) >= 2 * rows:
            missing = predictor.run(job, folder).begin(restart)
            if len(missing) >= 2 * rows:
                shares = range(0, len(missing), rows)
                return Outcome(scene, shares=tuple(missing[n : n + rows] for n in shares))
            restart = False
        found = predictor.predict_job(job, folder, restart, progress, again=restart)
    return Outcome(scene, _light(found))


def predict_rows(
    predictor: Predictor,
    scene: SceneToPredict,
    folder: Path,
    rows: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Computes rows of tiles of a scene that :func:`predict_scene` has begun.

    Raises:
        BusyError: If a process predicts all of the scene.
        StoppedError: If another has failed with rows of it.
        GeoMMError: If it cannot be predicted.
    """
    with scene_closed():
        predictor.run(_checked(predictor, scene, folder), folder, progress).compute(rows)


class _Ledger:
    """What has become of each scene of a run.

    Attributes:
        busy: Numbers of scenes that other processes work on.
        planned: What is to be predicted.
    """

    def __init__(
        self,
        requests: Sequence[SceneToPredict],
        files: RunFiles | None,
        report: Callable[[Outcome], None] | None,
    ) -> None:
        self._requests, self._files, self._report = requests, files, report
        self._outcomes: dict[int, Outcome] = {}
        self._told: set[int] = set()
        self.busy: deque[int] = deque()
        self.planned: list[Planned] = []

    @property
    def outcomes(self) -> list[Outcome]:
        return [self._outcomes[number] for number in range(len(self._requests))]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Lets others see in the folder what is planned, and that this process is at it."""
        if self._files is None:
            yield
            return
        self._files.begin(self.planned)
        complete = False
        try:
            yield
            complete = all(outcome.error is None for outcome in self.outcomes)
        finally:
            self._files.end(complete)

    def settle(self, number: int, found: Future[Prediction], was_there: bool = False) -> None:
        """Takes note of a result, or of what went wrong."""
        request, light = self._requests[number], None
        name = file_name(request.stem)
        try:
            outcome = Outcome(request, found.result(), was_there=was_there)
        except BusyError as error:
            if number not in self._told:
                logger.info('%s', error.found)
            self._told.add(number)
            self.busy.append(number)
            return
        except GeoMMError as error:
            outcome = Outcome(request, error=error)
            if self._files is not None:
                self._files.failed(name, str(error))
        else:
            # Of many scenes only the names of the files are kept.
            light = _light(found.result())
            if self._files is not None:
                self._files.succeeded(name)
        if self._report:
            self._report(outcome)
        self._outcomes[number] = replace(outcome, prediction=light)


def _opened(
    predictor: Predictor,
    requests: Sequence[SceneToPredict],
    folder: Path,
    restart: bool,
    ledger: _Ledger,
) -> dict[int, Job]:
    """What is to be predicted, by number; the ledger gets the rest."""
    jobs: dict[int, Job] = {}

    def look(request: SceneToPredict) -> tuple[Job, Prediction | None] | GeoMMError:
        try:
            job = current().each(lambda: _checked(predictor, request, folder))
        except GeoMMError as error:
            return error
        return job, None if restart else _there(job, folder)

    with _looks(requests, folder) as looked_at:
        for number, found in enumerate(looked_at(look, requests)):
            if isinstance(found, GeoMMError):
                ledger.settle(number, failed(found))
                continue
            job, there = found
            ledger.planned.append(Planned(job.name, job.identity or '', len(job.plan)))
            if there is not None:
                ledger.settle(number, succeeded(there), was_there=True)
            else:
                jobs[number] = job
    return jobs


@contextlib.contextmanager
def _looks(requests: Sequence[SceneToPredict], folder: Path) -> Iterator[Callable]:
    """Gives a map() that does many at a time, in order, where most of the time is waiting."""
    far = in_store(folder) or any(is_remote(request.title) for request in requests)
    if not far or len(requests) < 2 or current().size > 1:
        yield map
        return
    with scene_closed(), ThreadPoolExecutor(_LOOKS) as pool:
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Run:
    """How the scenes of a list are predicted: large ones alone, small ones together."""

    predictor: Predictor
    folder: Path
    restart: bool
    progress: Callable[[SceneToPredict, int, int], None] | None
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor

    def batches(self, jobs: Mapping[int, Job]) -> list[list[int]]:
        """Numbers of jobs: successive ones whose only tiles are of one size, or one."""
        found: list[list[int]] = []
        for number, job in jobs.items():
            last = jobs[found[-1][0]] if found else None
            together = (
                last is not None
                and current().size == 1
                and len(found[-1]) < self.predictor.options.batch_size
                and len(last.plan) == len(job.plan) == 1
                and last.plan[0].window == job.plan[0].window
                and not (is_unfinished(last, self.folder) or is_unfinished(job, self.folder))
            )
            if together:
                found[-1].append(number)
            else:
                found.append([number])
        return found

    def predict(self, batch: Sequence[Job]) -> list[Future[Prediction]]:
        if len(batch) > 1:
            try:
                found = predict_small(
                    self.predictor.ensemble,
                    batch,
                    self.folder,
                    self.readers,
                    self.writers,
                    again=self.restart,
                )
            except GeoMMError:
                pass  # each says what is wrong with it
            except memory_errors():
                pass  # one by one they may fit
            else:
                if self.progress:
                    for job in batch:
                        self.progress(job.request, 1, 1)
                return found
        return [self._alone(job) for job in batch]

    def _alone(self, job: Job) -> Future[Prediction]:
        progress = partial(self.progress, job.request) if self.progress else None
        try:
            found = self.predictor.predict_job(
                job, self.folder, self.restart, progress, again=self.restart
            )
        except GeoMMError as error:
            return failed(error)
        return succeeded(found)

    def taken_over(self, request: SceneToPredict) -> Future[Prediction]:
        """A scene that another process has worked on."""
        try:
            return self._alone(
                current().each(lambda: _checked(self.predictor, request, self.folder))
            )
        except GeoMMError as error:
            return failed(error)


def _light(found: Prediction) -> Prediction:
    """A prediction without what it holds in memory."""
    return replace(found, objects=None, detections=None)


MOST_ERRORS = 20
"""Of scenes that are told one by one; thousands may fail for one reason."""


def check_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Makes one error of those of all scenes.

    Raises:
        GeoMMError: If scenes failed: that of the scene, or a list of the first of them.
    """
    failed = [outcome for outcome in outcomes if outcome.error]
    if len(outcomes) == 1 and outcomes[0].error:
        raise outcomes[0].error
    if failed:
        lines = [f'{len(failed)} of {len(outcomes)} scenes failed:']
        for outcome in failed[:MOST_ERRORS]:
            title, message = outcome.scene.title, str(outcome.error).splitlines()[0]
            lines.append(f'  {message}' if title in message else f'  {title}: {message}')
        if len(failed) > MOST_ERRORS:
            lines.append(f'  and {len(failed) - MOST_ERRORS} more: geo-mm status lists all')
        raise GeoMMError('\n'.join(lines))


def _there(job: Job, folder: Path) -> Prediction | None:
    """The result of a scene, if it need not be predicted."""

    def look() -> tuple | None:
        found = complete(job, folder, journal_of(job, folder))
        return None if found is None else (found.counts, found.files)

    found = current().first(look)
    return None if found is None else Prediction(job, *found)


def _checked(predictor: Predictor, request: SceneToPredict, folder: Path) -> Job:
    job = predictor.job(request)
    with reported(folder):
        check_replaced(folder, job.name, job.area.native)
    return job


def scenes_of(dataset: Sized) -> list[CatalogScene]:
    """The scenes that the chips of a dataset are cut from, each with a name of its own."""
    from geo_mm.datasets.wrappers import chip_datasets  # which imports torch

    found = [
        (entry, chips.classes.names, chips.label_options)
        for _, chips in chip_datasets(dataset)
        for entry in read_catalog(chips.scenes, root=chips.data_root or '', split=chips.split)
    ]
    names = [entry.name or '' for entry, *_ in found]
    times = Counter(file_name(name).casefold() for name in names)
    return [
        CatalogScene(_alone(name, number, times), entry, classes, options)
        for number, (name, (entry, classes, options)) in enumerate(zip(names, found, strict=True))
    ]


def _alone(name: str, number: int, times: Counter) -> str:
    return name if times[file_name(name).casefold()] == 1 else f'{name}_{number}'


def score_scenes(
    dataset: Sized,
    predictor: Predictor,
    folder: str | PathLike,
    progress: Callable[[str], None] | None = None,
) -> ObjectEvaluation | PixelEvaluation:
    """Predicts the scenes of a dataset and compares the results with its labels.

    Whole scenes are predicted, each within its AOI, and scored in its area:
    the same as geo-mm predict and then geo-mm evaluate with that area.
    Objects are compared by their bounding boxes if the model gives no masks.

    Args:
        dataset: What a config tests on.
        predictor: The model. To know its average precision on objects, let it
            keep those of any score.
        folder: For the predictions.
        progress: Called with the name of each scene.

    Raises:
        GeoMMError: As :meth:`Predictor.predict` and
            :func:`geo_mm.evaluation.scenes.evaluate_catalog`.
    """
    scenes, predictions = scenes_of(dataset), {}
    for scene in scenes:
        if progress:
            progress(scene.name)
        entry = scene.entry
        result = predictor.predict(entry.image, Path(folder), name=scene.name, aoi=entry.aoi)
        predictions[scene.name] = result.files[0]
    with_outlines = predictor.models[0].about()['masks']
    return evaluate_catalog(
        scenes,
        predictions,
        predictor.spec.of_pixels,
        min_score=PredictOptions.score,
        boxes=not with_outlines,
    )
