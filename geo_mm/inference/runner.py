"""Rows of tiles, computed one after the other; with a journal, each only once."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
import torch

from geo_mm.errors import ConfigError
from geo_mm.inference.area import Area
from geo_mm.inference.executors import StoppedError
from geo_mm.inference.journal import Journal
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prefetch import Predicted, TileModel, TileSource, predicted_rows, rows_of
from geo_mm.raster import Tile

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


class Runner:
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

    def strips(self, rows: Sequence[int] | None = None) -> Iterator[Strip]:
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
                except torch.OutOfMemoryError as error:
                    # Not handled here: the error holds on to what fills the memory.
                    trouble = str(error).splitlines()[0]
                if trouble is not None:
                    self._halve_batch(trouble)

    def all_strips(self, finished: set[int]) -> Iterator[Strip]:
        """All rows from the top down: those of the journal, and the others as they are computed."""
        computed = self.strips([row for row in range(len(self._rows)) if row not in finished])
        with closing(computed):
            for row in range(len(self._rows)):
                yield self._journal.read(row) if row in finished else next(computed)

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
            self._model, rows, self._batch_size, readers=self._readers, progress=progress
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
        torch.cuda.empty_cache()


def _neighbours(rows: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    known = set(rows)
    starts = [row for row in rows if row - 1 not in known]
    ends = [row for row in rows if row + 1 not in known]
    return list(zip(starts, ends, strict=True))
