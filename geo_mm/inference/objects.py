"""Objects of a whole scene, as a vector layer."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import shapely
from mmengine.config import Config
from mmengine.structures import BaseDataElement

from geo_mm.inference.model import TrainedModel
from geo_mm.inference.tiles import predicted_tiles
from geo_mm.raster import Scene, Tile
from geo_mm.vector import mask_to_polygon, merge_boxes

_CORE_MARGIN = 8
"""Pixels by which a tile may reach into its neighbours' cores, so that an
object whose centre both see on the other's side is not lost."""

_EDGE = 4
"""Pixels from a tile's edge within which a box is taken to be cut by it."""

_EQUAL_AREA = 'EPSG:6933'
"""Equal-area projection of the whole Earth, in metres."""


class _Found(NamedTuple):
    """Objects in pixels of the scene.

    Attributes:
        boxes: ``(N, 4)`` float64 ``x_min, y_min, x_max, y_max``.
        outlines: ``(N,)`` polygons.
        labels: ``(N,)`` int64 class indices.
        scores: ``(N,)`` float64.
        partial: ``(N,)`` bool, cut by an edge of the tile inside the scene.
    """

    boxes: np.ndarray
    outlines: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    partial: np.ndarray


def predict_objects(
    model: TrainedModel,
    scene: Scene,
    plan: Sequence[Tile],
    *,
    batch_size: int,
    score: float,
    progress: Callable[[int], None] | None = None,
) -> gpd.GeoDataFrame:
    """Detects the objects of a scene.

    A tile reports the objects whose centre lies in its core; what two tiles
    report of one object is merged afterwards, class by class. Objects longer
    than the overlap of the tiles may come out in parts.

    Args:
        model: A model for ``'objects'``.
        scene: The scene as the model must see it.
        plan: Tiles that cover it.
        batch_size: Tiles per forward pass.
        score: Least confidence 0..1 of an object.
        progress: Called with the number of tiles done since the last call.

    Returns:
        One row per object in the scene's CRS, best first: ``class``,
        ``class_id``, ``score`` 0..1, ``area_m2`` (on the ellipsoid; NaN where
        the scene has no place on Earth), and the outline: of the mask if the
        model gives one, else the box.
    """
    parts, full = [], 0
    limit = _most_objects(model.config)
    with closing(predicted_tiles(model, scene, plan, batch_size, progress)) as tiles:
        for tile, prediction, valid in tiles:
            parts.append(_owned(prediction, tile, valid, scene, score))
            found = prediction.pred_instances.scores
            full += len(found) == limit and bool((found >= score).all())
    if full:
        warnings.warn(
            f'{scene.name}: {full} of {len(plan)} tiles show the most objects that the model '
            f'reports at once ({limit}), so some may be missing: use smaller tiles, or raise '
            'max_per_img in test_cfg of the model',
            stacklevel=2,
        )
    found, groups = _joined(parts)
    kept = merge_boxes(
        found.boxes, found.scores, found.labels, groups=groups, partial=found.partial
    )
    labels, outlines = found.labels[kept], _to_map(found.outlines[kept], scene)
    geometry = gpd.GeoSeries(outlines, crs=scene.crs.to_wkt() if scene.crs else None)
    table = {
        'class': np.array([model.spec.classes[label] for label in labels], dtype=object),
        'class_id': labels,
        'score': found.scores[kept].round(4),
        'area_m2': geometry.to_crs(_EQUAL_AREA).area if scene.gsd else np.full(len(kept), np.nan),
    }
    return gpd.GeoDataFrame(table, geometry=geometry)


def _owned(
    prediction: BaseDataElement, tile: Tile, valid: np.ndarray, scene: Scene, score: float
) -> _Found:
    """The tile's own objects."""
    instances = prediction.pred_instances
    boxes = instances.bboxes.cpu().numpy().astype(np.float64).reshape(-1, 4)
    scores = instances.scores.cpu().numpy().astype(np.float64)
    labels = instances.labels.cpu().numpy().astype(np.int64)
    height, width = valid.shape
    centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    core = tile.core.shifted(-tile.window.col_off, -tile.window.row_off)
    keep = (
        (scores >= score)
        & (centre_x >= core.col_off - _CORE_MARGIN)
        & (centre_x < core.col_end + _CORE_MARGIN)
        & (centre_y >= core.row_off - _CORE_MARGIN)
        & (centre_y < core.row_end + _CORE_MARGIN)
    )
    # Nothing can be seen where there is no data.
    cols = np.clip(centre_x, 0, width - 1).astype(int)
    rows = np.clip(centre_y, 0, height - 1).astype(int)
    keep &= valid[rows, cols]
    shift = np.array([tile.window.col_off, tile.window.row_off] * 2)
    boxes = np.clip(boxes + shift, 0, [scene.width, scene.height] * 2)
    if 'masks' in instances:
        outlines = np.full(len(boxes), shapely.Polygon(), dtype=object)
        for index in np.flatnonzero(keep):
            mask = instances.masks[index].cpu().numpy().astype(bool) & valid
            outlines[index] = mask_to_polygon(mask, tile.window)
    else:
        outlines = shapely.box(*boxes.T)
    keep &= shapely.area(outlines) > 0
    found = _Found(boxes, outlines, labels, scores, _is_cut(boxes, tile, scene))
    return _Found(*(values[keep] for values in found))


def _is_cut(boxes: np.ndarray, tile: Tile, scene: Scene) -> np.ndarray:
    """Whether boxes ``(N, 4)`` reach an edge of the tile that the scene goes on behind."""
    window = tile.window
    return (
        ((boxes[:, 0] < window.col_off + _EDGE) & (window.col_off > 0))
        | ((boxes[:, 1] < window.row_off + _EDGE) & (window.row_off > 0))
        | ((boxes[:, 2] > window.col_end - _EDGE) & (window.col_end < scene.width))
        | ((boxes[:, 3] > window.row_end - _EDGE) & (window.row_end < scene.height))
    )


def _joined(parts: Sequence[_Found]) -> tuple[_Found, np.ndarray]:
    """The objects of all tiles, and for each the number of its tile."""
    none = _Found(
        np.empty((0, 4)),
        np.empty(0, object),
        np.empty(0, np.int64),
        np.empty(0),
        np.empty(0, bool),
    )
    found = _Found(*(np.concatenate(values) for values in zip(none, *parts, strict=True)))
    if (shapely.get_type_id(found.outlines) == shapely.GeometryType.MULTIPOLYGON).any():
        # GIS programs want one type of geometry per layer.
        multi = [shapely.MultiPolygon(shapely.get_parts(item).tolist()) for item in found.outlines]
        found = found._replace(outlines=np.array(multi, dtype=object))
    return found, np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])


def _most_objects(config: Config) -> int | None:
    """How many objects the model reports of one tile at most, if it says so."""
    test_cfg = config.model.get('test_cfg') or {}
    return (test_cfg.get('rcnn') or test_cfg).get('max_per_img')


def _to_map(outlines: np.ndarray, scene: Scene) -> np.ndarray:
    a, b, c, d, e, f = tuple(scene.transform)[:6]
    matrix, offset = np.array([[a, d], [b, e]]), np.array([c, f])
    return shapely.transform(outlines, lambda xy: xy @ matrix + offset)
