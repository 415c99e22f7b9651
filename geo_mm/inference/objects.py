"""Objects of a whole scene, as a vector layer."""

from collections.abc import Callable, Sequence

import geopandas as gpd
import numpy as np
import shapely
from mmengine.structures import BaseDataElement

from geo_mm.inference.model import TrainedModel
from geo_mm.inference.tiles import predicted_tiles
from geo_mm.raster import Scene, Tile
from geo_mm.vector import mask_to_polygon, merge_boxes

_CORE_MARGIN = 8
"""Pixels by which a tile may reach into its neighbours' cores, so that an
object whose centre both see on the other's side is not lost."""


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
    report of one object is merged afterwards, class by class.

    Args:
        model: A model for ``'objects'``.
        scene: The scene as the model must see it.
        plan: Tiles that cover it.
        batch_size: Tiles per forward pass.
        score: Least confidence 0..1 of an object.
        progress: Called with the number of tiles done since the last call.

    Returns:
        One row per object in the scene's CRS, best first: ``class``,
        ``class_id``, ``score`` 0..1, ``area_m2`` (NaN without a CRS), and the
        outline: of the mask if the model gives one, else the box.
    """
    found = []
    for tile, prediction, valid in predicted_tiles(model, scene, plan, batch_size, progress):
        found += _owned(prediction, tile, valid, scene, score)
    boxes, outlines, labels, scores = zip(*found, strict=True) if found else ((), (), (), ())
    scores, labels = np.array(scores, np.float64), np.array(labels, np.int64)
    kept = merge_boxes(np.array(boxes, np.float64).reshape(-1, 4), scores, labels)
    pixels = np.array(outlines, dtype=object)[kept]
    return gpd.GeoDataFrame(
        {
            'class': [model.spec.classes[label] for label in labels[kept]],
            'class_id': labels[kept],
            'score': scores[kept].round(4),
            'area_m2': _areas(pixels, scene),
        },
        geometry=_to_map(pixels, scene),
        crs=scene.crs.to_wkt() if scene.crs else None,
    )


def _owned(
    prediction: BaseDataElement, tile: Tile, valid: np.ndarray, scene: Scene, score: float
) -> list[tuple]:
    """Box, outline (scene pixels), label and score of the tile's own objects."""
    instances = prediction.pred_instances
    boxes = instances.bboxes.cpu().numpy().astype(np.float64)
    scores = instances.scores.cpu().numpy()
    labels = instances.labels.cpu().numpy()
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
    scene_size = np.array([scene.width, scene.height] * 2)
    owned = []
    for index in np.flatnonzero(keep):
        box = np.clip(boxes[index] + shift, 0, scene_size)
        outline = shapely.box(*box)
        if 'masks' in instances:
            outline = mask_to_polygon(instances.masks[index].cpu().numpy(), tile.window)
        if not outline.is_empty and outline.area > 0:
            owned.append((box, outline, labels[index], scores[index]))
    return owned


def _to_map(outlines: np.ndarray, scene: Scene) -> np.ndarray:
    a, b, c, d, e, f = tuple(scene.transform)[:6]
    matrix, offset = np.array([[a, d], [b, e]]), np.array([c, f])
    return shapely.transform(outlines, lambda xy: xy @ matrix + offset)


def _areas(outlines: np.ndarray, scene: Scene) -> np.ndarray:
    pixels = shapely.area(outlines)
    return pixels * (scene.gsd[0] * scene.gsd[1] if scene.gsd else np.nan)
