"""Detection: objects of several models, views and tiles are joined, and duplicates suppressed."""

import copy
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geo_mm.detections import Detections, join_tiles, suppress
from geo_mm.detections.joining import EDGE
from geo_mm.errors import ConfigError
from geo_mm.formats.qml import write_style
from geo_mm.inference.network import TileObjects, View
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prediction import Job, Prediction
from geo_mm.inference.runner import Predicted
from geo_mm.inference.tasks.task import Task
from geo_mm.raster import Scene, Tile, Window
from geo_mm.vectorize import mask_to_polygon, mostly_on_data

if TYPE_CHECKING:
    from mmengine.config import Config

    from geo_mm.inference.area import Area
    from geo_mm.inference.network import Network
    from geo_mm.inference.runner import Strip

LEAST_OVERLAP = 2 * int(EDGE)
"""Pixels that neighbouring tiles must share, so that both see a part of what
is on their border that is not on the edge of either."""

LIMITS = ('max_per_img', 'nms_pre', 'topk', 'top_k')
"""Settings of mmdet's test_cfg that say how many objects, or candidates, of an image are kept."""

SAME = 0.55
"""IoU from which boxes of several models or views are of one object, as in :func:`fuse`'s paper."""

QUERIES = ('num_queries', 'num_query', 'num_proposals')
"""Settings of models that look for a fixed number of objects, such as DETR."""


class Detection(Task):
    """Models for objects, as boxes or with masks.

    What several predictions of a tile report of one object is fused
    (:func:`geo_mm.inference.tasks.detection.fuse`).
    """

    unit = 'objects'
    own_options = ('score', 'suppress', 'iou')

    @classmethod
    def for_tiles(cls, config: 'Config', chip_size: tuple[int, int], tile: int) -> 'Config':
        """The config, with limits on objects raised from those of a chip to those of a tile.

        Limits are chosen for chips, and four times the ground holds four times
        the objects. They never fall, and -1, which is no limit, stays. A model
        with a fixed number of queries stays as it is: it cannot report more.

        Args:
            config: What the model was trained with; not changed.
            chip_size: ``(height, width)`` of the chips in pixels.
            tile: Side of the tiles in pixels.
        """
        config = copy.deepcopy(config)
        if any(key in QUERIES for mapping in _mappings(config.model) for key in mapping):
            return config
        share = max(tile * tile / (chip_size[0] * chip_size[1]), 1.0)
        for mapping in _mappings(config.model.get('test_cfg') or {}):
            for key in LIMITS:
                if mapping.get(key, 0) > 0:
                    mapping[key] = math.ceil(mapping[key] * share)
        return config

    @property
    def limit(self) -> int | None:
        """How many objects the model reports of one tile at most, if it says so."""
        return self.models[0].limit

    def settings(self, options: PredictOptions) -> dict:
        return super().settings(options) | {'objects_per_tile': self.limit}

    def check_plan(self, plan: Sequence[Tile]) -> None:
        """Makes sure that objects on the borders of tiles can be recognised."""
        window = plan[0].window
        for side, starts in (
            (window.width, {tile.window.col_off for tile in plan}),
            (window.height, {tile.window.row_off for tile in plan}),
        ):
            shared = [side - (b - a) for a, b in itertools.pairwise(sorted(starts))]
            if shared and min(shared) < LEAST_OVERLAP:
                raise ConfigError(
                    f'tiles of {side} pixels that share {min(shared)} with their neighbours',
                    f'at least {LEAST_OVERLAP}: an object on the border of two tiles is recognised '
                    'by its part in both',
                    'set a larger overlap',
                )

    def read(self, model: 'Network', found: TileObjects, view: View) -> list:
        """A list of one report."""
        return [turned_back(found, view)]

    def combine(self, total: list, more: list) -> list:
        return total + more

    def fuse(self, total: list, count: int) -> TileObjects:
        return total[0] if count == 1 else fuse(total, self.options.merge)

    def merger(self, area: 'Area', plan: Sequence[Tile]) -> 'DetectionMerger':
        return DetectionMerger(area.scene, self.options.score, self.limit)

    def collect(self, job: Job, strips: Iterable['Strip']) -> Prediction:
        strips, classes, scene = list(strips), job.spec.classes, job.area.scene
        self._warn_of_full_tiles(strips, scene)
        found = join_strips(strips, self.options)
        numbers = np.bincount(found.class_ids, minlength=len(classes)).tolist()
        counts = dict(zip(classes.names, numbers, strict=True))
        objects = found.to_geodataframe(classes, scene.grid)
        return Prediction(job, counts, objects=objects, detections=found)

    def write(self, job: Job, strips: Iterable['Strip'], folder: Path) -> Prediction:
        prediction = self.collect(job, strips)
        files = tuple(folder / f'{job.name}.{suffix}' for suffix in self.options.formats)
        for path in files:
            prediction.to_layer(path)
        write_style(job.style, files[0])
        return replace(prediction, files=files)

    def _warn_of_full_tiles(self, strips: Sequence['Strip'], scene: Scene) -> None:
        full = sum(int(strip['full']) for strip in strips)
        if full:
            tiles = sum(len(strip['counts']) for strip in strips)
            warnings.warn(
                f'{scene.name}: {full} of {tiles} tiles reach the limit of objects of the '
                f'model ({self.limit}), so some may be missing: raise max_per_img in test_cfg '
                'of the model, which is for the area of a chip; if it has queries, use smaller '
                'tiles',
                stacklevel=2,
            )


def most_objects(config: 'Config') -> int | None:
    """How many objects the model reports of one tile at most, if it says so."""
    test_cfg = config.model.get('test_cfg') or {}
    return (test_cfg.get('rcnn') or test_cfg).get('max_per_img')


def _mappings(value: object) -> Iterator[dict]:
    """The dicts in nested dicts and lists."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _mappings(item)


class DetectionMerger:
    """Collects what predicted tiles report, one row of tiles after the other.

    What several tiles report of one object is joined when all rows are there
    (:func:`join_strips`).

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
            gives them, with ``on_data`` ``(N,)`` bool, whether the middle of
            a box or half of a mask has data. Of ``T`` tiles ``counts`` ``(T,)``, their
            objects; ``places`` ``(T, 2)``, row and column; ``windows`` and ``cores``
            ``(T, 4)`` as for :func:`geo_mm.detections.join_tiles`. ``full``: number of tiles
            that reach the maximum number of objects that the model reports.
        """
        parts, places, windows, cores, full = [_NOTHING], [], [], [], 0
        for tile, instances, valid in tiles:
            parts.append(_reported(instances, tile, valid, self._scene, self._score))
            places.append((tile.row, tile.col))
            windows.append(_sight(tile, self._scene))
            cores.append(_corners(tile.core))
            scores = instances.scores
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


def join_strips(strips: Sequence['Strip'], options: PredictOptions) -> Detections:
    """The objects of a scene, as if one tile had shown all of it.

    What tiles report of one object is joined first, whatever its length
    (:func:`geo_mm.detections.join_tiles`). Then objects of one class that
    overlap much are suppressed as detectors do in a single image.

    Args:
        strips: What :meth:`DetectionMerger.finish` gave of every row.
        options: ``suppress``: ``'nms'`` keeps the most confident, ``'soft-nms'``
            lowers the confidences of the others, ``'nmm'`` merges them into it,
            ``'none'`` keeps all. ``iou``: intersection over union of outlines
            from which that is done; for ``'soft-nms'`` it has no meaning,
            confidences fall with any overlap. ``score``: least confidence after
            ``'soft-nms'``.

    Returns:
        In pixels of the scene as the model saw it, the most confident first.
        Their ``data`` has ``tile``: ``row/column`` of the one that shows the
        object, or most of it.
    """
    reported, tiles = _stacked(strips)
    joined = join_tiles(reported, tiles['windows'], tiles['cores'])
    joined = joined[joined.data['on_data']]
    objects = suppress(joined, options.suppress, iou=options.iou, score=options.score)
    places = tiles['places'][objects.tiles].tolist()
    shown = np.array([f'{row}/{col}' for row, col in places], dtype=object)
    return replace(objects, data={'tile': shown})


def _reported(
    found: TileObjects, tile: Tile, valid: np.ndarray, scene: Scene, score: float
) -> Detections:
    """What a tile reports, as far as it has data."""
    scores = found.scores.astype(np.float64)
    chosen = np.flatnonzero(scores >= score)
    given = found.labels[chosen], scores[chosen]
    if found.masks is not None:
        masks = [found.masks[index] for index in chosen]
        outlines = [mask_to_polygon(mask & valid, tile.window) for mask in masks]
        data = {'on_data': np.array([mostly_on_data(mask, valid) for mask in masks], bool)}
        reported = Detections.from_outlines(outlines, *given, data=data)
    else:
        boxes = found.bboxes.astype(np.float64)[chosen]
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        cols, rows = np.clip(middle, 0, np.array(valid.shape[::-1]) - 1).astype(int).T
        window = tile.window
        low = np.maximum([window.col_off, window.row_off] * 2, 0)
        high = np.minimum([window.col_end, window.row_end] * 2, [scene.width, scene.height] * 2)
        boxes = np.clip(boxes + [window.col_off, window.row_off] * 2, low, high)
        # A network that has gone astray may report NaN.
        finite = np.isfinite(boxes).all(axis=1, keepdims=True)
        data = {'on_data': valid[rows, cols]}
        reported = Detections(np.where(finite, boxes, 0), *given, data=data)
    return reported[np.asarray((reported.boxes[:, :2] < reported.boxes[:, 2:]).all(axis=1))]


_NOTHING = Detections(
    np.empty((0, 4)), np.empty(0), np.empty(0), data={'on_data': np.empty(0, bool)}
)


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
    arrays = [{key: values for key, values in row.items() if key != 'full'} for row in rows]
    tiles = {
        key: np.concatenate([row.pop(key) for row in arrays])
        for key in ('counts', 'places', 'windows', 'cores')
    }
    reported = Detections.concatenate([Detections.from_arrays(row) for row in arrays])
    numbers = np.repeat(np.arange(len(tiles['counts'])), tiles['counts'])
    return replace(reported, tiles=numbers), tiles


def fuse(reports: Sequence[TileObjects], merge: str = 'mean') -> TileObjects:
    """Fuses what several models, each in one or several views, report of one tile.

    As in weighted boxes fusion (Solovyev et al. 2021, arXiv:1910.13302), boxes
    are averaged and masks decided by majority, both weighted with the scores.
    With ``'mean'`` the score of an object is that over all reports, 0 for one
    without it.

    Args:
        reports: Of each model and view.
        merge: ``'mean'`` or ``'max'`` of the scores.

    Returns:
        The objects, by decreasing confidence.
    """
    everything = TileObjects.cat(reports)
    voters = np.repeat(np.arange(len(reports)), [len(part) for part in reports])
    order = np.argsort(-everything.scores, kind='stable')
    everything, voters = everything[order], voters[order]
    groups = _groups(everything, voters)
    fused = [_one(everything[group], len(reports), merge) for group in groups]
    if not fused:
        return everything
    found = TileObjects.cat(fused)
    return found[np.argsort(-found.scores, kind='stable')]


def _groups(objects: TileObjects, voters: np.ndarray) -> list[np.ndarray]:
    """Indices of what is reported of each object, at most one per model and view, by confidence."""
    same = _overlaps(objects.bboxes)
    same[objects.labels[:, None] != objects.labels] = 0
    free = np.ones(len(voters), bool)
    groups = []
    for first in range(len(voters)):
        if not free[first]:
            continue
        near = np.where(free & (voters != voters[first]), same[first], 0)
        # Of each voter the nearest: sorted by IoU, the first of each.
        near_first = np.argsort(-near, kind='stable')[: int((near >= SAME).sum())]
        chosen: dict[int, int] = {int(voters[first]): first}
        for index in near_first.tolist():
            chosen.setdefault(int(voters[index]), index)
        group = np.array(list(chosen.values()))
        free[group] = False
        groups.append(group)
    return groups


def _overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, each with each."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return common / np.maximum(areas[:, None] + areas - common, 1e-6)


def _one(group: TileObjects, voters: int, merge: str) -> TileObjects:
    """The object of a group of detections."""
    weights = group.scores / max(group.scores.sum(), np.finfo(np.float32).tiny)
    score = group.scores.sum() / voters if merge == 'mean' else group.scores.max()
    masks = None
    if group.masks is not None:
        masks = np.tensordot(weights, group.masks.astype(weights.dtype), 1)[None] >= 0.5
    return TileObjects(
        group.size,
        (weights[:, None] * group.bboxes).sum(axis=0, keepdims=True),
        np.asarray(score, np.float32)[None],
        group.labels[:1],
        masks,
    )


def turned_back(found: TileObjects, view: View) -> TileObjects:
    """What was found in a view of a tile, in the tile as it was.

    Args:
        found: What was found.
        view: Whether the tile was mirrored left to right, and then how many
            quarter turns it was given.
    """
    mirrored, turns = view
    height, width = found.size
    left, top, right, bottom = found.bboxes.T
    for _ in range(turns):
        left, top, right, bottom = height - bottom, left, height - top, right
        height, width = width, height
    if mirrored:
        left, right = width - right, width - left
    masks = None
    if found.masks is not None:
        masks = np.rot90(found.masks, -turns, (-2, -1))
        masks = masks[..., ::-1] if mirrored else masks
    boxes = np.stack([left, top, right, bottom], axis=1)
    return replace(found, size=(height, width), bboxes=boxes, masks=masks)
