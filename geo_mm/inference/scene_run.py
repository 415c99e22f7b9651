"""One scene from its tiles to its result, in memory or in a folder."""

import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from geo_mm.errors import GeoMMError, OutputError, counted
from geo_mm.inference.ensemble import Ensemble
from geo_mm.inference.executors import Serial, StoppedError
from geo_mm.inference.fingerprint import how_called, run_notes
from geo_mm.inference.journal import Journal, journal_name
from geo_mm.inference.prediction import (
    Job,
    Prediction,
    check_replaced,
    found_complete,
    written_together,
)
from geo_mm.inference.runner import RowRunner, Strip
from geo_mm.paths import reported
from geo_mm.raster import handles
from geo_mm.stores import in_store, workplace, write_empty

logger = logging.getLogger(__name__)


def predict_in_memory(
    ensemble: Ensemble, job: Job, progress: Callable[[int, int], None] | None = None
) -> Prediction:
    """Predicts a scene; nothing is written."""
    runner = _runner(ensemble, job, progress)
    with closing(runner.strips()) as strips:
        prediction = ensemble.task.collect(job, strips)
    job.area.check_unchanged()
    return prediction


def journal_of(job: Job, folder: Path) -> Journal:
    """What is kept of a scene until its result is complete, on a disk of this machine."""
    return Journal(workplace(folder, job.options.staging) / journal_name(job.name))


def is_unfinished(job: Job, folder: Path) -> bool:
    """Whether there is an interrupted run to resume."""
    return (journal_of(job, folder).folder / 'run.json').exists()


def complete(job: Job, folder: Path, journal: Journal) -> Prediction | None:
    """The result of a scene, if it need not be predicted."""
    return found_complete(job, folder) if journal.empty else None


class FolderRun:
    """A scene whose results go to a folder.

    The strips of finished rows of tiles are kept in a journal until the result
    is complete. A single process feeds them to the files as well, as they are
    computed; of several the first does so when all rows are there.

    Args:
        ensemble: The models.
        job: What is predicted.
        folder: Where to.
        executor: Who does the work.
        progress: Called as tiles are done.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        job: Job,
        folder: Path,
        executor: Serial,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._ensemble, self._job, self._folder = ensemble, job, folder
        self._executor, self._progress = executor, progress
        self._journal = journal_of(job, folder)
        self._rows = sorted({tile.row for tile in job.plan})

    def run(self, restart: bool = False, again: bool = True) -> Prediction:
        """Predicts what the journal lacks, and writes the result.

        Args:
            restart: Discard the journal.
            again: Also if the same result is complete.
        """
        executor, journal = self._executor, self._journal
        try:
            there = executor.first(lambda: self._locked(again or restart))
            if there is not None:
                return Prediction(self._job, *there)
            notes, finished = executor.first(lambda: self._begin(restart))
            self._job = replace(self._job, notes=notes)
            if executor.size == 1:
                return self._written(self._runner().all_strips(finished))
            missing = [row for row in self._rows if row not in finished]
            executor.each(lambda: self._compute(executor.share(missing)))
            return self._assembled()
        finally:
            if executor.rank == 0:
                journal.close()

    def begin(self, restart: bool = False) -> list[int]:
        """Begins or resumes the run, and leaves it to others.

        Returns:
            The rows of tiles that they are to :meth:`compute` before one can :meth:`run`
            to the end; none if the result is complete.
        """
        try:
            if self._locked(again=restart) is not None:
                return []
            _, finished = self._begin(restart)
        finally:
            self._journal.leave()
        return [row for row in self._rows if row not in finished]

    def compute(self, rows: Sequence[int]) -> None:
        """Computes rows of a run that was begun, unless it has meanwhile ended.

        Raises:
            StoppedError: If another process has failed.
            BusyError: If one works on all that is missing.
        """
        journal = self._journal
        if not journal.join(self._job.facts):
            return
        try:
            if journal.failed:
                raise StoppedError('stopped, because another process has failed')
            finished = journal.finished()
            self._compute([row for row in rows if row not in finished])
        finally:
            journal.leave()

    def _locked(self, again: bool) -> tuple[dict, tuple] | None:
        """Keeps others out; counts and files, if they have been made meanwhile."""
        job = self._job
        with reported(self._journal.folder.parent):
            check_replaced(self._folder, job.name, job.area.native)
            self._journal.lock()
        found = None if again else complete(job, self._folder, self._journal)
        return None if found is None else (found.counts, found.files)

    def _begin(self, restart: bool) -> tuple[dict, set[int]]:
        job, journal = self._job, self._journal
        with reported(journal.folder.parent):
            journal.open(job.facts, run_notes(), restart=restart)
            # The files are those that the last command asks for.
            journal.note(**how_called(), rows=len(self._rows), tiles=len(job.plan))
        if in_store(self._folder):
            # Before the work: whether it can be written to.
            write_empty(self._folder / journal.folder.name)
        finished = journal.finished()
        if finished:
            logger.info(
                '%s: interrupted run resumes: %d of %d rows of tiles done',
                job.name,
                len(finished),
                len(self._rows),
            )
        return journal.notes, finished

    def _runner(self) -> RowRunner:
        return _runner(self._ensemble, self._job, self._progress, self._journal)

    def _compute(self, rows: Sequence[int]) -> None:
        try:
            for _ in self._runner().strips(rows):
                pass
        except StoppedError:
            raise
        except GeoMMError:
            self._journal.report_failure()
            raise

    def _assembled(self) -> Prediction:
        """The result of rows that several processes have computed."""
        made: list[Prediction] = []

        def assemble() -> tuple:
            journal = self._journal
            if missing := set(self._rows) - journal.finished():
                raise OutputError(
                    f'{journal.folder} lacks {counted(len(missing), "row")} that other processes '
                    'computed',
                    'a folder that all machines see',
                    'choose one with -o, or for an object store with --staging',
                )
            made.append(self._written(journal.read(row) for row in self._rows))
            return made[0].counts, made[0].files

        counts, files = self._executor.first(assemble)
        return made[0] if made else Prediction(self._job, counts, files)

    def _written(self, strips: Generator[Strip]) -> Prediction:
        """Makes the files; the journal is then forgotten."""
        job, journal = self._job, self._journal
        with (
            closing(strips),
            written_together(self._folder, journal.folder / 'results', job.name) as workplace,
        ):
            prediction = self._ensemble.task.write(job, strips, workplace).with_rest(self._folder)
            try:
                job.area.check_unchanged()
            except GeoMMError:
                journal.remove()
                raise
        journal.remove()
        return prediction.moved(self._folder)


def predict_small(
    ensemble: Ensemble,
    jobs: Sequence[Job],
    folder: Path,
    readers: ThreadPoolExecutor,
    writers: ThreadPoolExecutor,
    again: bool = True,
) -> list[Future[Prediction]]:
    """Predicts scenes of one tile each in one forward pass.

    There is nothing to resume after an interruption, so no journal is kept.

    Args:
        ensemble: The models.
        jobs: What is predicted; their tiles are of one size.
        folder: Where to.
        readers: Reads the tiles.
        writers: Writes the results, while the caller goes on with other scenes.
        again: Also if the same results have become complete meanwhile.

    Returns:
        The result of each.
    """
    reading = [readers.submit(_loaded, ensemble, job) for job in jobs]
    loaded = [future.exception() or future.result() for future in reading]
    inputs = [item[0] for item in loaded if not isinstance(item, BaseException) and item[0]]
    predicted = iter(ensemble.predict(inputs) if inputs else ())
    found: list[Future[Prediction]] = []
    for job, item in zip(jobs, loaded, strict=True):
        if isinstance(item, BaseException):
            found.append(failed(item))
        else:
            tiles = [(job.plan[0], next(predicted), item[1])] if item[0] else []
            found.append(writers.submit(_write_small, ensemble, job, folder, tiles, again))
    return found


def failed(error: BaseException) -> Future[Prediction]:
    """The result of a scene that has none."""
    future: Future[Prediction] = Future()
    future.set_exception(error)
    return future


def succeeded(prediction: Prediction) -> Future[Prediction]:
    """The result of a scene, without waiting."""
    future: Future[Prediction] = Future()
    future.set_result(prediction)
    return future


def _loaded(ensemble: Ensemble, job: Job) -> tuple[list[dict], np.ndarray]:
    try:
        return ensemble.load(job.area.scene, job.plan[0], job.area.aoi)
    finally:
        handles.close_all()  # nothing more is read of it by this thread


def _write_small(
    ensemble: Ensemble, job: Job, folder: Path, tiles: list, again: bool
) -> Prediction:
    merger = ensemble.task.merger(job.area, job.plan)
    merger.start(0, None)
    strip = merger.finish(tiles)
    journal = journal_of(job, folder)
    try:
        with reported(journal.folder.parent):
            journal.lock()
            check_replaced(folder, job.name, job.area.native)
        if not again and (found := complete(job, folder, journal)):
            return found
        with written_together(folder, journal.folder / 'results', job.name) as workplace:
            prediction = ensemble.task.write(job, iter([strip]), workplace).with_rest(folder)
            job.area.check_unchanged()
        return prediction.moved(folder)
    finally:
        journal.close()
        handles.close_all()  # nothing more is read of it by this thread


def _runner(ensemble: Ensemble, job: Job, progress, journal: Journal | None = None) -> RowRunner:
    merger = ensemble.task.merger(job.area, job.plan)
    return RowRunner(ensemble, merger, job.area, job.plan, job.options, journal, progress)
