"""Rows of tiles: read ahead, predicted in batches, merged; with a journal, each only once."""

import contextlib
import itertools
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np

from geo_mm.errors import ConfigError
from geo_mm.inference.area import Area
from geo_mm.inference.executors import StoppedError
from geo_mm.inference.journal import Journal
from geo_mm.inference.network import memory_errors
from geo_mm.inference.options import PredictOptions
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Tile

Predicted = tuple[Tile, Any, np.ndarray]
"""A tile, what the model says of it, and its valid mask ``(tile, tile)``."""


class TileSource(NamedTuple):
    """A tile and where it is read from.

    Attributes:
        scene: The scene as the model must see it.
        tile: What to read.
        aoi: Polygons in the grid of the scene; pixels outside are invalid.
    """

    scene: Scene
    tile: Tile
    aoi: SceneLabels | None = None


class TileModel(Protocol):
    """What reads tiles, safely in threads, and predicts batches of them."""

    @property
    def on_cpu(self) -> bool:
        """Whether predicting keeps the cores busy that merging needs, too."""

    def load(
        self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None
    ) -> tuple[Any, np.ndarray]:
        """Model input, false if nothing is valid, and valid mask of a tile."""

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """Predictions for a batch of model inputs, in the same order."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_readers() -> int:
    """Half of the cores, at least 2 and at most 8: reading waits, and the rest predict."""
    return min(8, max(2, cores() // 2))


def predicted_rows(
    model: TileModel,
    rows: Sequence[Sequence[TileSource]],
    batch_size: int,
    *,
    readers: int | None = None,
    ahead: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Generator[Iterator[Predicted]]:
    """Predicts tiles row by row; empty ones cost no forward pass.

    A batch never holds tiles of two rows, so what is predicted of a row does
    not depend on where a run begins. At most two batches are read ahead,
    across rows, so memory does not grow with the scene. An error while reading
    ends the iteration and is the one raised. Close the iterator
    (:func:`contextlib.closing`) where it may not be run to its end: that ends
    the reading threads.

    Args:
        model: Reads and predicts.
        rows: Tiles of each row.
        batch_size: Tiles per forward pass.
        readers: Threads that read; None takes :func:`default_readers`.
        ahead: Predict the next batch of a row in a thread while the caller is busy
            with the one before: for models on a device of their own. On the cores
            that the caller needs, too, it would only take turns.
        progress: Called with the number of tiles done since the last call.

    Yields:
        For each row an iterator, to be run to its end before the next, of its
        tiles in order; tiles without valid pixels are left out.
    """
    tiles = [tile for row in rows for tile in row]
    threads = min(readers or default_readers(), len(tiles))
    read = max(2 * batch_size, threads)
    with contextlib.ExitStack() as stack:
        loaded = stack.enter_context(closing(_read_ahead(model, tiles, read, threads)))
        pool = stack.enter_context(ThreadPoolExecutor(1, 'predict-tiles')) if ahead else None
        for row in rows:
            batches = _batches(itertools.islice(loaded, len(row)), batch_size, progress)
            yield _predicted(model, batches, pool, progress)


def rows_of(plan: Sequence[Tile]) -> list[list[Tile]]:
    """The tiles of each row of a plan."""
    return [list(tiles) for _, tiles in itertools.groupby(plan, key=lambda tile: tile.row)]


def _batches(
    loaded: Iterator, batch_size: int, progress: Callable[[int], None] | None
) -> Iterator[list[Predicted]]:
    """Tiles with valid pixels, their inputs and valid masks, as many as go together."""
    pending: list[Predicted] = []
    for tile, inputs, valid in loaded:
        if inputs:
            pending.append((tile, inputs, valid))
        elif progress:
            progress(1)
        if len(pending) == batch_size:
            yield pending
            pending = []
    if pending:
        yield pending


def _predicted(
    model: TileModel,
    batches: Iterator[list[Predicted]],
    pool: ThreadPoolExecutor | None,
    progress: Callable[[int], None] | None,
) -> Iterator[Predicted]:
    waiting: deque[tuple[list[Predicted], Future]] = deque()
    for batch in batches:
        inputs = [each for _, each, _ in batch]
        if pool is None:
            yield from _done(batch, model.predict(inputs), progress)
            continue
        waiting.append((batch, pool.submit(model.predict, inputs)))
        if len(waiting) == 2:
            before, found = waiting.popleft()
            yield from _done(before, found.result(), progress)
    for before, found in waiting:
        yield from _done(before, found.result(), progress)


def _done(
    batch: list[Predicted], predictions: list, progress: Callable[[int], None] | None
) -> Iterator[Predicted]:
    for (tile, _, valid), prediction in zip(batch, predictions, strict=True):
        yield tile, prediction, valid
        if progress:
            progress(1)


def _read_ahead(
    model: TileModel, tiles: Sequence[TileSource], ahead: int, threads: int
) -> Generator[tuple[Tile, Any, np.ndarray]]:
    if len(tiles) == 1:  # nothing to predict meanwhile
        for source in tiles:
            yield source.tile, *model.load(*source)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix='read-tiles')
    try:
        queue: deque = deque()
        for source in tiles:
            queue.append((source.tile, pool.submit(model.load, *source)))
            if len(queue) > ahead:
                yield _ready(queue)
        while queue:
            yield _ready(queue)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ready(queue: deque) -> tuple[Tile, Any, np.ndarray]:
    tile, future = queue.popleft()
    return tile, *future.result()


logger = logging.getLogger(__name__)

Strip = Mapping[str, np.ndarray]
"""What is finished when a row of tiles is, as plain arrays by name."""


class TileMerger(Protocol):
    """Makes strips of predicted tiles."""

    def first_needed(self, row: int) -> int:
        """The row to begin with for ``row`` to be right if nothing is carried over."""

    def start(self, row: int, carry: Mapping[str, np.ndarray] | None) -> None:
        """Begins at a row, with what :meth:`carry` gave after the one above."""

    def finish(self, tiles: Iterable[Predicted]) -> Strip:
        """The strip of the next row."""

    def carry(self) -> dict[str, np.ndarray] | None:
        """What the row after that needs; None for nothing."""


class RowRunner:
    """Computes rows of tiles.

    If the device runs out of memory, the batch is halved, which is noted in
    the journal, and the row begun again.

    Args:
        model: Reads and predicts tiles.
        merger: Makes strips of them.
        area: What is predicted.
        plan: Tiles that cover it.
        options: ``batch_size`` and ``readers``.
        journal: Where finished rows are recorded, if anywhere.
        progress: Called with the number of tiles done since the last call, and
            of all that this run will do.
    """

    def __init__(
        self,
        model: TileModel,
        merger: TileMerger,
        area: Area,
        plan: Sequence[Tile],
        options: PredictOptions,
        journal: Journal | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._model = model
        self._merger = merger
        self._rows = [
            [TileSource(area.scene, tile, area.aoi) for tile in row] for row in rows_of(plan)
        ]
        self._journal = journal
        self._readers = options.readers
        self._batch_size = options.batch_size
        if journal is not None:
            self._batch_size = journal.notes.get('batch_size', options.batch_size)
        self._progress = progress

    def strips(self, rows: Sequence[int] | None = None) -> Generator[Strip]:
        """Computes rows and records them.

        Args:
            rows: Which, ascending; None for all.

        Yields:
            The strip of each.

        Raises:
            StoppedError: If another process has failed meanwhile.
        """
        blocks = list(_neighbours(range(len(self._rows)) if rows is None else rows))
        total = sum(
            len(tiles)
            for first, last in blocks
            for tiles in self._rows[self._start_of(first) : last + 1]
        )
        progress = self._progress
        counted = None if progress is None else lambda done: progress(done, total)
        for first, last in blocks:
            while first <= last:
                trouble = None
                try:
                    for strip in self._compute(first, last, counted):
                        first += 1
                        yield strip
                except memory_errors() as error:
                    # Not handled here: the error holds on to what fills the memory.
                    trouble = str(error).splitlines()[0]
                if trouble is not None:
                    self._halve_batch(trouble)

    def all_strips(self, finished: set[int]) -> Generator[Strip]:
        """All rows from the top down: those of the journal, and the others as they are computed."""
        journal = self._journal
        computed = self.strips([row for row in range(len(self._rows)) if row not in finished])
        with closing(computed):
            for row in range(len(self._rows)):
                if journal is not None and row in finished:
                    yield journal.read(row)
                else:
                    yield next(computed)

    def _start_of(self, row: int) -> int:
        """Where to begin for ``row``: there, if what is carried over to it is known."""
        known = self._journal is not None and self._journal.has_carry(row)
        return row if known else self._merger.first_needed(row)

    def _compute(
        self, first: int, last: int, progress: Callable[[int], None] | None
    ) -> Iterator[Strip]:
        start, journal = self._start_of(first), self._journal
        carried = journal.carry(first) if journal is not None and start == first else None
        self._merger.start(start, carried)
        rows = self._rows[start : last + 1]
        tiles = predicted_rows(
            self._model,
            rows,
            self._batch_size,
            readers=self._readers,
            ahead=not self._model.on_cpu,
            progress=progress,
        )
        with closing(tiles):
            for row, predicted in enumerate(tiles, start):
                if journal is not None and journal.failed:
                    raise StoppedError('stopped, because another process has failed')
                strip = self._merger.finish(predicted)
                if row < first:
                    continue
                if journal is not None:
                    carry = self._merger.carry() if row + 1 < len(self._rows) else None
                    journal.write(row, strip, carry)
                yield strip

    def _halve_batch(self, trouble: str) -> None:
        if self._batch_size == 1:
            raise ConfigError(
                f'out of memory with a single tile: {trouble}',
                'a tile that fits',
                'choose a smaller --tile, or --amp, or --device cpu',
            )
        self._batch_size //= 2
        if self._journal is not None:
            self._journal.note(batch_size=self._batch_size)
        logger.warning(
            'out of memory: continuing with %d tiles per forward pass; --batch-size %d avoids this',
            self._batch_size,
            self._batch_size,
        )
        if torch := sys.modules.get('torch'):
            torch.cuda.empty_cache()


def _neighbours(rows: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    known = set(rows)
    starts = [row for row in rows if row - 1 not in known]
    ends = [row for row in rows if row + 1 not in known]
    return list(zip(starts, ends, strict=True))
