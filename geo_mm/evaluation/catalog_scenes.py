"""Predictions of the scenes of a catalog against the labels that it names."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np

from geo_mm.catalog import CatalogEntry, LabelOptions, SceneOptions, open_labelled
from geo_mm.errors import CatalogError
from geo_mm.evaluation.area_of_interest import ScoredPart
from geo_mm.evaluation.objects import ObjectEvaluation, ObjectSettings, evaluate_objects
from geo_mm.evaluation.pixel_truth import LabelTruth
from geo_mm.evaluation.pixels import PixelEvaluation, evaluate_pixels
from geo_mm.labels import BurntLabels, LabelLayer, SceneLabels
from geo_mm.labels.layer import IGNORE
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
        CatalogError: If a scene has no labels, or points are not of one size.
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
    sizes = {scene.options.point_size for scene in scenes}
    if len(sizes) > 1:
        raise CatalogError(f'points of different sizes: {sizes}', 'one point_size in all label_cfg')
    settings = ObjectSettings(coco=True, min_score=min_score, boxes=boxes, point_size=sizes.pop())
    return evaluate_objects(pairs, settings, parts=parts, progress=progress)


def _pixels(scene: CatalogScene, prediction: str | os.PathLike) -> LabelTruth:
    """The labels in the pixels of the prediction."""
    entry = CatalogEntry(
        os.fspath(prediction), scene.entry.labels, layer=scene.entry.layer, name=scene.name
    )
    labels = open_labelled(entry, scene.classes, SceneOptions(), scene.options).labels
    if isinstance(labels, SceneLabels):
        labels = BurntLabels.of(labels, scene.classes, scene.options.background)
    return LabelTruth(labels, layer_name(scene.entry.labels))


def _objects(scene: CatalogScene) -> gpd.GeoDataFrame:
    """The labels with their classes by name."""
    options, path = scene.options, scene.entry.labels
    layer = LabelLayer.read(
        path,
        [name for name in scene.classes if name != options.background],
        class_column=options.class_column,
        class_map=options.class_map,
        layer=scene.entry.layer or options.layer,
        where=options.where,
        point_size=options.point_size,
        line_width=options.line_width,
    )
    names = np.array([*layer.classes, IGNORE], dtype=object)[layer.labels]  # -1 is the last
    # The parts of a feature stay one object.
    return gpd.GeoDataFrame(
        {'class': names}, geometry=layer.gdf.geometry.array, index=layer.gdf['fid']
    )
