"""Rows of tiles, computed one after the other and recorded in a journal."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
import torch

from geo_mm.errors import ConfigError
from geo_mm.inference.journal import Journal
from geo_mm.inference.ranks import StoppedError
from geo_mm.inference.tiles import Predicted, TileModel, predicted_rows, rows_of
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Tile

logger = logging.getLogger(__name__)


class RowWork(Protocol):
    """What is made of the predicted tiles of a row."""

    def first_needed(self, row: int) -> int:
        """The row to begin with for ``row`` to be right if nothing is carried over."""

    def start(self, row: int, carry: Mapping[str, np.ndarray] | None) -> None:
        """Begins at a row, with what :meth:`carry` gave after the one above."""

    def finish(self, tiles: Iterable[Predicted]) -> dict[str, np.ndarray]:
        """What is to be kept of the next row."""

    def carry(self) -> dict[str, np.ndarray] | None:
        """What the row after that needs; None for nothing."""


class RowRun:
    """Computes rows of tiles that a journal lacks.

    If the device runs out of memory, the batch is halved, which is noted in
    the journal, and the row begun again.

    Args:
        model: Reads and predicts tiles.
        work: What is made of them.
        scene: The scene as the model must see it.
        plan: Tiles that cover it.
        journal: Where finished rows are recorded.
        batch_size: Tiles per forward pass.
        aoi: Polygons; what lies outside is not valid.
        progress: Called with the number of tiles done since the last call, and
            of all that this run will do.
    """

    def __init__(
        self,
        model: TileModel,
        work: RowWork,
        scene: Scene,
        plan: Sequence[Tile],
        journal: Journal,
        *,
        batch_size: int,
        aoi: SceneLabels | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._model = model
        self._work = work
        self._scene = scene
        self._rows = rows_of(plan)
        self._journal = journal
        self._batch_size = batch_size
        self._aoi = aoi
        self._progress = progress
        self._next = 0

    def run(self, rows: Sequence[int]) -> None:
        """Computes these rows, ascending.

        Raises:
            StoppedError: If another process has failed meanwhile.
        """
        blocks = list(_neighbours(rows))
        starts = [self._start_of(first) for first, _ in blocks]
        total = sum(
            len(tiles)
            for start, (_, last) in zip(starts, blocks, strict=True)
            for tiles in self._rows[start : last + 1]
        )
        progress = self._progress
        counted = None if progress is None else lambda done: progress(done, total)
        for first, last in blocks:
            while first <= last:
                self._next, trouble = first, None
                try:
                    self._compute(first, last, counted)
                except torch.OutOfMemoryError as error:
                    # Not handled here: the error holds on to what fills the memory.
                    trouble = str(error).splitlines()[0]
                if trouble is not None:
                    self._halve_batch(trouble)
                first = self._next

    def _start_of(self, row: int) -> int:
        """Where to begin for ``row``: there, if what is carried over to it is known."""
        known = self._journal.has_carry(row)
        return row if known else self._work.first_needed(row)

    def _compute(self, first: int, last: int, progress: Callable[[int], None] | None) -> None:
        """Computes rows ``first`` to ``last``; ``_next`` is the one that is not finished."""
        start = self._start_of(first)
        self._work.start(start, self._journal.carry(first) if start == first else None)
        tiles = predicted_rows(
            self._model,
            self._scene,
            self._rows[start : last + 1],
            self._batch_size,
            aoi=self._aoi,
            progress=progress,
        )
        with closing(tiles):
            for row, predicted in enumerate(tiles, start):
                if self._journal.failed:
                    raise StoppedError('stopped, because another process has failed')
                arrays = self._work.finish(predicted)
                if row >= first:
                    carry = self._work.carry() if row + 1 < len(self._rows) else None
                    self._journal.write(row, arrays, carry)
                    self._next = row + 1

    def _halve_batch(self, trouble: str) -> None:
        if self._batch_size == 1:
            raise ConfigError(
                f'out of memory with a single tile: {trouble}',
                'a tile that fits',
                'choose a smaller --tile, or --amp, or --device cpu',
            )
        self._batch_size //= 2
        self._journal.note(batch_size=self._batch_size)
        logger.warning(
            'out of memory: going on with %d tiles per forward pass; '
            '--batch-size %d would have spared the attempt',
            self._batch_size,
            self._batch_size,
        )
        torch.cuda.empty_cache()


def _neighbours(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    first = last = None
    for row in rows:
        if last is not None and row == last + 1:
            last = row
            continue
        if first is not None:
            yield first, last
        first = last = row
    if first is not None:
        yield first, last
