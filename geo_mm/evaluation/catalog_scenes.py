"""Predictions of the scenes of a catalog against the labels that it names."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import shapely

from geo_mm.catalog import CatalogEntry, SceneOptions, open_labelled
from geo_mm.errors import CatalogError
from geo_mm.evaluation.area_of_interest import ScoredPart
from geo_mm.evaluation.objects import ObjectEvaluation, ObjectSettings, evaluate_objects
from geo_mm.evaluation.pixel_truth import LabelTruth
from geo_mm.evaluation.pixels import PixelEvaluation, evaluate_pixels
from geo_mm.labels import LabelOptions
from geo_mm.labels.classification import IGNORED_NAME
from geo_mm.labels.reading import layer_name


@dataclass(frozen=True)
class CatalogScene:
    """A scene of a catalog and how its labels are to be read.

    Attributes:
        name: A name that no other scene has.
        entry: The entry.
        classes: Class names.
        options: How labels become classes.
    """

    name: str
    entry: CatalogEntry
    classes: tuple[str, ...]
    options: LabelOptions


def evaluate_catalog(
    scenes: Sequence[CatalogScene],
    predictions: Mapping[str, str | os.PathLike],
    task: str,
    *,
    min_score: float | None = None,
    boxes: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ObjectEvaluation | PixelEvaluation:
    """Score predictions of whole scenes with labels read as a dataset reads them.

    Of each scene counts what lies in the area and AOI of its entry.

    Args:
        scenes: The scenes.
        predictions: Class raster or layer of each, by name, as
            tools/predict.py leaves them.
        task: ``'pixels'`` or ``'objects'``.
        min_score: Least confidence of objects that are counted; average
            precision takes all.
        boxes: Compare bounding boxes, as is fair to a model that gives no outlines.
        progress: Called with the name of each scene before it is read.

    Raises:
        CatalogError: If a scene has no labels.
        LabelError: If the labels cannot be used, or do not fit the prediction.
    """
    for scene in scenes:
        if scene.entry.labels is None:
            raise CatalogError(
                f'{scene.name} has no labels to be scored with', 'labels for every scene'
            )
    parts = {scene.name: ScoredPart.of(scene.entry.aoi, scene.entry.area) for scene in scenes}
    if task == 'pixels':
        pairs = [(s.name, predictions[s.name], _pixels(s, predictions[s.name])) for s in scenes]
        return evaluate_pixels(pairs, parts=parts, progress=progress)
    pairs = [(s.name, predictions[s.name], _objects(s)) for s in scenes]
    settings = ObjectSettings(coco=True, min_score=min_score, boxes=boxes)
    return evaluate_objects(pairs, settings, parts=parts, progress=progress)


def _pixels(scene: CatalogScene, prediction: str | os.PathLike) -> LabelTruth:
    """The labels in the pixels of the prediction."""
    entry = replace(_whole(scene), image=os.fspath(prediction))
    labels = open_labelled(entry, scene.classes, SceneOptions(), scene.options).labels
    return LabelTruth(labels, layer_name(scene.entry.labels))


def _objects(scene: CatalogScene) -> gpd.GeoDataFrame:
    """The objects that the labels have on the scene, with their classes by name."""
    opened = open_labelled(
        _whole(scene), scene.classes, SceneOptions(), scene.options, objects=True
    )
    labels, grid = opened.labels, opened.scene.grid
    names = np.array([*scene.classes, IGNORED_NAME], dtype=object)[labels.labels]  # -1: the last
    outlines = shapely.transform(
        labels.geometries, lambda xy: np.column_stack(grid.transform @ (xy[:, 0], xy[:, 1]))
    )
    # The parts of a feature stay one object.
    return gpd.GeoDataFrame(
        {'class': names}, geometry=outlines, index=labels.fids, crs=grid.crs and grid.crs.to_wkt()
    )


def _whole(scene: CatalogScene) -> CatalogEntry:
    """The entry without its limits, within which results are counted later."""
    return replace(scene.entry, name=scene.name, area=None, aoi=None)
