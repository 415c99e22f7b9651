"""Tiles of a scene, read ahead by threads and predicted in batches."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
from mmengine.structures import BaseDataElement

from geo_mm.inference.model import TrainedModel
from geo_mm.raster import Scene, Tile

_READERS = 2


def predicted_tiles(
    model: TrainedModel,
    scene: Scene,
    plan: Sequence[Tile],
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tile, BaseDataElement, np.ndarray]]:
    """Predicts the tiles of a plan, in its order; empty tiles cost no forward pass.

    At most two batches are read ahead, so memory does not grow with the scene.
    An error while reading ends the iteration and is the one raised. Close the
    iterator (:func:`contextlib.closing`) where it may not be run to its end:
    that ends the reading threads.

    Args:
        model: Model and pipeline.
        scene: The scene as the model must see it.
        plan: Tiles to predict.
        batch_size: Tiles per forward pass.
        progress: Called with the number of tiles done since the last call.

    Yields:
        Tile, prediction, and valid mask ``(tile, tile)``; tiles without valid
        pixels are left out.
    """
    pending: list[tuple[Tile, dict, np.ndarray]] = []
    with closing(_read_ahead(model, scene, plan, 2 * batch_size)) as tiles:
        for tile, inputs, valid in tiles:
            if inputs:
                pending.append((tile, inputs, valid))
            elif progress:
                progress(1)
            if len(pending) == batch_size:
                yield from _predict(model, pending, progress)
                pending = []
    yield from _predict(model, pending, progress)


def _predict(model, pending, progress) -> Iterator[tuple[Tile, BaseDataElement, np.ndarray]]:
    if not pending:
        return
    predictions = model.predict([inputs for _, inputs, _ in pending])
    for (tile, _, valid), prediction in zip(pending, predictions, strict=True):
        yield tile, prediction, valid
        if progress:
            progress(1)


def _read_ahead(
    model: TrainedModel, scene: Scene, plan: Sequence[Tile], ahead: int
) -> Iterator[tuple[Tile, dict, np.ndarray]]:
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix='read-tiles')
    try:
        queue: deque = deque()
        for tile in plan:
            queue.append((tile, pool.submit(model.load, scene, tile)))
            if len(queue) > ahead:
                yield _ready(queue)
        while queue:
            yield _ready(queue)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ready(queue: deque) -> tuple[Tile, dict, np.ndarray]:
    tile, future = queue.popleft()
    return tile, *future.result()
