"""Tiles read ahead by threads and predicted in batches."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np

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

    def load(
        self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None
    ) -> tuple[Any, np.ndarray]:
        """Model input, false if nothing is valid, and valid mask of a tile."""

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """Predictions for a batch of model inputs, in the same order."""


def default_readers() -> int:
    """Half of the cores, at least 2 and at most 8: reading waits, and the rest predict."""
    return min(8, max(2, len(os.sched_getaffinity(0)) // 2))


def predicted_rows(
    model: TileModel,
    rows: Sequence[Sequence[TileSource]],
    batch_size: int,
    *,
    readers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Iterator[Predicted]]:
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
        progress: Called with the number of tiles done since the last call.

    Yields:
        For each row an iterator, to be run to its end before the next, of its
        tiles in order; tiles without valid pixels are left out.
    """
    tiles = [tile for row in rows for tile in row]
    threads = min(readers or default_readers(), len(tiles))
    ahead = max(2 * batch_size, threads)
    with closing(_read_ahead(model, tiles, ahead, threads)) as loaded:
        for row in rows:
            yield _predicted(model, itertools.islice(loaded, len(row)), batch_size, progress)


def rows_of(plan: Sequence[Tile]) -> list[list[Tile]]:
    """The tiles of each row of a plan."""
    return [list(tiles) for _, tiles in itertools.groupby(plan, key=lambda tile: tile.row)]


def _predicted(
    model: TileModel, loaded: Iterator, batch_size: int, progress: Callable[[int], None] | None
) -> Iterator[Predicted]:
    pending: list[tuple[Tile, Any, np.ndarray]] = []
    for tile, inputs, valid in loaded:
        if inputs:
            pending.append((tile, inputs, valid))
        elif progress:
            progress(1)
        if len(pending) == batch_size:
            yield from _batch(model, pending, progress)
            pending = []
    if pending:
        yield from _batch(model, pending, progress)


def _batch(model: TileModel, pending: list, progress) -> Iterator[Predicted]:
    predictions = model.predict([inputs for _, inputs, _ in pending])
    for (tile, _, valid), prediction in zip(pending, predictions, strict=True):
        yield tile, prediction, valid
        if progress:
            progress(1)


def _read_ahead(
    model: TileModel, tiles: Sequence[TileSource], ahead: int, threads: int
) -> Iterator[tuple[Tile, Any, np.ndarray]]:
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
