"""Tiles of a scene, read ahead by threads and predicted in batches."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

import numpy as np

from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene, Tile

_READERS = 2

Predicted = tuple[Tile, Any, np.ndarray]
"""A tile, what the model says of it, and its valid mask ``(tile, tile)``."""


class TileModel(Protocol):
    """What reads tiles, safely in threads, and predicts batches of them."""

    def load(
        self, scene: Scene, tile: Tile, aoi: SceneLabels | None = None
    ) -> tuple[Any, np.ndarray]:
        """Model input, false if nothing is valid, and valid mask of a tile."""

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """Predictions for a batch of model inputs, in the same order."""


def tile_side(wanted: int | None, chip_size: tuple[int, int]) -> int:
    """Side of a tile in pixels: as wanted; None: twice the chips' size, at least 512."""
    return max(512, 2 * max(chip_size)) if wanted is None else wanted


def predicted_rows(
    model: TileModel,
    scene: Scene,
    rows: Sequence[Sequence[Tile]],
    batch_size: int,
    *,
    aoi: SceneLabels | None = None,
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
        scene: The scene as the model must see it.
        rows: Tiles of each row.
        batch_size: Tiles per forward pass.
        aoi: Polygons; what lies outside is not valid.
        progress: Called with the number of tiles done since the last call.

    Yields:
        For each row an iterator, to be run to its end before the next, of its
        tiles in order; tiles without valid pixels are left out.
    """
    tiles = [tile for row in rows for tile in row]
    with closing(_read_ahead(model, scene, tiles, aoi, 2 * batch_size)) as loaded:
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
    model: TileModel, scene: Scene, tiles: Sequence[Tile], aoi: SceneLabels | None, ahead: int
) -> Iterator[tuple[Tile, Any, np.ndarray]]:
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix='read-tiles')
    try:
        queue: deque = deque()
        for tile in tiles:
            queue.append((tile, pool.submit(model.load, scene, tile, aoi)))
            if len(queue) > ahead:
                yield _ready(queue)
        while queue:
            yield _ready(queue)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ready(queue: deque) -> tuple[Tile, Any, np.ndarray]:
    tile, future = queue.popleft()
    return tile, *future.result()
