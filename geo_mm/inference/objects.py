"""Objects of a whole scene, as a vector layer."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import geopandas as gpd
import numpy as np
import shapely
import torch
from mmengine.structures import BaseDataElement

from geo_mm.detections import METHODS, Detections, join_tiles, suppress
from geo_mm.detections.joining import EDGE
from geo_mm.errors import ConfigError
from geo_mm.inference.limits import most_objects
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.tiles import Predicted, predicted_rows, rows_of
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene, Tile, Window
from geo_mm.vectorize import mask_to_polygon

LEAST_OVERLAP = 2 * int(EDGE)
"""Pixels that neighbouring tiles must share, so that both see a part of what
lies on their border that is not on the edge of either."""


class ObjectRows:
    """From predicted tiles to what they report, one row of tiles after the other.

    What several tiles report of one object is joined when all rows are there
    (:func:`merge_rows`).

    Args:
        scene: The scene as the model must see it.
        score: Least confidence 0..1 of an object.
        limit: How many objects the model reports of one tile at most.
    """

    def __init__(self, scene: Scene, score: float, limit: int | None = None) -> None:
        self._scene = scene
        self._score = score
        self._limit = limit

    def first_needed(self, row: int) -> int:
        """No row needs another."""
        return row

    def start(self, row: int, carry: Mapping[str, np.ndarray] | None = None) -> None:
        """There is nothing to prepare."""

    def carry(self) -> None:
        """Nothing is carried from row to row."""

    def finish(self, tiles: Iterable[Predicted]) -> dict[str, np.ndarray]:
        """What a row of tiles reports, as plain arrays.

        Masks become polygons tile by tile, so memory does not grow with the scene.

        Returns:
            The reported objects as :meth:`geo_mm.detections.Detections.to_arrays`
            gives them, with ``on_data`` ``(N,)`` bool, whether the middle has
            data. Of ``T`` tiles ``counts`` ``(T,)``, their objects; ``places``
            ``(T, 2)``, row and column; ``windows`` and ``cores`` ``(T, 4)`` as
            for :func:`geo_mm.detections.join_tiles`. ``full``: number of tiles
            that show the most objects that the model reports.
        """
        parts, places, windows, cores, full = [_NOTHING], [], [], [], 0
        for tile, prediction, valid in tiles:
            parts.append(_reported(prediction, tile, valid, self._scene, self._score))
            places.append((tile.row, tile.col))
            windows.append(_sight(tile, self._scene))
            cores.append(_corners(tile.core))
            scores = prediction.pred_instances.scores
            kept = int((scores >= self._score).sum())
            full += self._limit is not None and kept >= self._limit
        return {
            **Detections.concatenate(parts).to_arrays(),
            'counts': np.array([len(part) for part in parts[1:]], np.int64),
            'places': np.array(places, np.int64).reshape(-1, 2),
            'windows': np.array(windows, np.float64).reshape(-1, 4),
            'cores': np.array(cores, np.float64).reshape(-1, 4),
            'full': np.array(full),
        }


def merge_rows(
    rows: Iterable[Mapping[str, np.ndarray]],
    scene: Scene,
    spec: InputSpec,
    *,
    method: str = 'nms',
    iou: float = 0.5,
    score: float = 0.0,
) -> gpd.GeoDataFrame:
    """The objects of a scene, as if one tile had shown all of it.

    What tiles report of one object is joined first, whatever its length
    (:func:`geo_mm.detections.join_tiles`). Then objects of one class that
    overlap much are suppressed as detectors do in a single image.

    Args:
        rows: What :meth:`ObjectRows.finish` gave of every row.
        scene: The scene as the model must see it.
        spec: The classes.
        method: What is done with overlapping objects of a class, one of
            :data:`geo_mm.detections.METHODS`: ``'nms'`` keeps the most
            confident, ``'soft-nms'`` lowers the confidences of the others,
            ``'nmm'`` merges them into it, ``'none'`` keeps all.
        iou: Intersection over union of outlines from which that is done; for
            ``'soft-nms'`` it has no meaning, confidences fall with any overlap.
        score: Least confidence after ``'soft-nms'``.

    Returns:
        One row per object in the scene's CRS, best first: ``class``,
        ``class_id``, ``score`` 0..1, ``area_m2`` (on the ellipsoid; NaN where
        the scene has no place on Earth), ``tile`` (``row/column`` of the one
        that shows it, or most of it), and the outline: of the mask if the
        model gives one, else the box.

    Raises:
        ConfigError: If there is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f'merging {method!r}', f'one of {", ".join(METHODS)}')
    reported, tiles = _stacked(list(rows))
    joined = join_tiles(reported, tiles['windows'], tiles['cores'])
    objects = suppress(joined[joined.data['on_data']], method, iou=iou, score=score)
    places = tiles['places'][objects.tiles].tolist()
    shown = np.array([f'{row}/{col}' for row, col in places], dtype=object)
    return replace(objects, data={'tile': shown}).to_geodataframe(spec.classes, scene.grid)


def warn_of_full_tiles(
    rows: Iterable[Mapping[str, np.ndarray]], scene: Scene, limit: int | None
) -> None:
    """Warns if tiles show the most objects that the model reports of one."""
    rows = list(rows)
    full, tiles = sum(int(arrays['full']) for arrays in rows), sum(len(a['counts']) for a in rows)
    if full:
        warnings.warn(
            f'{scene.name}: {full} of {tiles} tiles show the most objects that the model '
            f'reports at once ({limit}), so some may be missing: raise max_per_img in test_cfg '
            'of the model, which is for the area of a chip; if it has queries, use smaller tiles',
            stacklevel=2,
        )


def check_overlap(plan: Sequence[Tile]) -> None:
    """Makes sure that tiles share enough for objects on their borders to be recognised.

    Raises:
        ConfigError: If they do not.
    """
    starts = {tile.window.col_off for tile in plan}, {tile.window.row_off for tile in plan}
    steps = [b - a for axis in starts for a, b in itertools.pairwise(sorted(axis))]
    side = plan[0].window.width
    if steps and side - max(steps) < LEAST_OVERLAP:
        raise ConfigError(
            f'tiles of {side} pixels that share {side - max(steps)} with their neighbours',
            f'at least {LEAST_OVERLAP}: an object on the border of two tiles is recognised by '
            'what both see of it',
            'set a larger overlap',
        )


def predict_objects(
    model: TrainedModel,
    scene: Scene,
    plan: Sequence[Tile],
    *,
    batch_size: int,
    score: float,
    method: str = 'nms',
    iou: float = 0.5,
    progress: Callable[[int], None] | None = None,
) -> gpd.GeoDataFrame:
    """Detects the objects of a scene in one go, without a journal.

    Args:
        model: A model for ``'objects'``.
        scene: The scene as the model must see it.
        plan: Tiles that cover it.
        batch_size: Tiles per forward pass.
        score: Least confidence 0..1 of an object.
        method: As for :func:`merge_rows`.
        iou: As for :func:`merge_rows`.
        progress: Called with the number of tiles done since the last call.

    Returns:
        As :func:`merge_rows`.

    Raises:
        ConfigError: If the tiles share too little, or there is no such method.
    """
    check_overlap(plan)
    limit = most_objects(model.config)
    work = ObjectRows(scene, score, limit)
    tiles = predicted_rows(model, scene, rows_of(plan), batch_size, progress=progress)
    with closing(tiles):
        rows = [work.finish(row) for row in tiles]
    warn_of_full_tiles(rows, scene, limit)
    return merge_rows(rows, scene, model.spec, method=method, iou=iou, score=score)


def _reported(
    prediction: BaseDataElement, tile: Tile, valid: np.ndarray, scene: Scene, score: float
) -> Detections:
    """What a tile reports, as far as it has data."""
    instances = prediction.pred_instances
    scores = instances.scores.double().cpu().numpy()
    chosen = np.flatnonzero(scores >= score)
    given = instances.labels.cpu().numpy()[chosen], scores[chosen]
    if 'masks' in instances:
        outlines = [_outline(instances.masks[index], valid, tile) for index in chosen]
        data = {'on_data': np.ones(len(chosen), bool)}
        found = Detections.from_outlines(outlines, *given, data=data)
    else:
        boxes = instances.bboxes.double().cpu().numpy().reshape(-1, 4)[chosen]
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        cols, rows = np.clip(middle, 0, np.array(valid.shape[::-1]) - 1).astype(int).T
        window = tile.window
        low = np.maximum([window.col_off, window.row_off] * 2, 0)
        high = np.minimum([window.col_end, window.row_end] * 2, [scene.width, scene.height] * 2)
        boxes = np.clip(boxes + [window.col_off, window.row_off] * 2, low, high)
        # A network that has gone astray may report NaN.
        finite = np.isfinite(boxes).all(axis=1)
        data = {'on_data': valid[rows, cols]}
        found = Detections(np.where(finite[:, None], boxes, 0), *given, data=data)
    return found[(found.boxes[:, :2] < found.boxes[:, 2:]).all(axis=1)]


def _outline(mask: torch.Tensor, valid: np.ndarray, tile: Tile) -> shapely.Geometry:
    return mask_to_polygon(mask.cpu().numpy().astype(bool) & valid, tile.window)


_NOTHING = Detections(np.empty((0, 4)), [], [], data={'on_data': np.empty(0, bool)})


def _corners(window: Window) -> tuple[float, float, float, float]:
    return window.col_off, window.row_off, window.col_end, window.row_end


def _sight(tile: Tile, scene: Scene) -> tuple[float, float, float, float]:
    """Corners of the tile's window, infinite where the scene ends."""
    left, top, right, bottom = _corners(tile.window)
    return (
        left if left > 0 else -np.inf,
        top if top > 0 else -np.inf,
        right if right < scene.width else np.inf,
        bottom if bottom < scene.height else np.inf,
    )


def _stacked(
    rows: Sequence[Mapping[str, np.ndarray]],
) -> tuple[Detections, dict[str, np.ndarray]]:
    """What all rows report, and the tiles of all rows."""
    rows = [{key: values for key, values in row.items() if key != 'full'} for row in rows]
    tiles = {
        key: np.concatenate([row.pop(key) for row in rows])
        for key in ('counts', 'places', 'windows', 'cores')
    }
    reported = Detections.concatenate([Detections.from_arrays(row) for row in rows])
    numbers = np.repeat(np.arange(len(tiles['counts'])), tiles['counts'])
    return replace(reported, tiles=numbers), tiles
