"""Evaluation of many scenes: which prediction belongs to which ground truth, by files' names or
by catalogs."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import geopandas as gpd
import numpy as np
import shapely

from geo_mm.catalog import CatalogEntry, SceneOptions, open_labelled
from geo_mm.errors import CatalogError, LabelError, listed
from geo_mm.evaluation.area import ScoredPart, window_of
from geo_mm.evaluation.maps import Backdrop
from geo_mm.evaluation.objects import ObjectEvaluation, ObjectSettings, evaluate_objects
from geo_mm.evaluation.pixels import PixelEvaluation, PixelSettings, evaluate_pixels
from geo_mm.evaluation.rasters import NamedLabels
from geo_mm.evaluation.records import Record
from geo_mm.labels import LabelOptions, Labels, SceneLabels
from geo_mm.labels.classification import IGNORED_NAME
from geo_mm.labels.reading import layer_name
from geo_mm.paths import absolute, is_missing
from geo_mm.raster import Scene
from geo_mm.raster.grid import to_map
from geo_mm.raster.handles import is_raster
from geo_mm.raster.rgb import to_rgb
from geo_mm.stores import is_pattern, matching

logger = logging.getLogger(__name__)

_LONGEST = 1600  # pixels of a picture to draw on


def pair_scenes(predictions: str, truths: str) -> list[tuple[str, str, str]]:
    """Pair files by their names without suffix.

    Args:
        predictions: A file, or a pattern such as ``out/*.tif``.
        truths: The same.

    Returns:
        Name, prediction and ground truth of each scene, by name. One file of each
        belongs together whatever the names.

    Raises:
        CatalogError: If a pattern matches nothing, or files are left over.
    """
    preds, trues = _files(predictions), _files(truths)
    if len(preds) == len(trues) == 1:
        return [(_stem(preds[0]), preds[0], trues[0])]
    by_name = [_by_stem(paths) for paths in (preds, trues)]
    left = sorted(by_name[0].keys() ^ by_name[1].keys())
    if left:
        sides = (
            [name for name in left if name in by_name[0]],
            [name for name in left if name in by_name[1]],
        )
        raise CatalogError(
            f'predictions without ground truth: {listed(sides[0], 8) or "none"}; '
            f'ground truth without a prediction: {listed(sides[1], 8) or "none"}',
            'files of the same name (without suffix) in both',
            'name the files alike, or narrow the patterns',
        )
    return [(name, by_name[0][name], by_name[1][name]) for name in sorted(by_name[0])]


def evaluate_files(
    predictions: str,
    truths: str,
    *settings: ObjectSettings | PixelSettings,
    aoi: str | os.PathLike | None = None,
    area: Sequence[float] | None = None,
    progress: Callable[[str], None] | None = None,
    cluster: str | None = None,
) -> ObjectEvaluation | PixelEvaluation:
    """Score files: objects one to one, class rasters pixel by pixel.

    Args:
        predictions: A file, or a pattern such as ``out/*.tif``.
        truths: The same; files are paired by name.
        *settings: What is compared if these are layers of objects, if they are class
            rasters, or both.
        aoi: Polygons inside which results count.
        area: Part of each scene inside which results count, as fractions (left, top,
            right, bottom).
        progress: Called with the name of each scene before it is read.
        cluster: Of Dask, whose workers compare the scenes: see
            :func:`geo_mm.cluster.mapping`.

    Raises:
        CatalogError: If a pattern matches nothing, or files are left over.
        LabelError: If files are of different kinds, or cannot be used.
    """
    pairs = pair_scenes(predictions, truths)
    if cluster is not None:  # whose workers may be in other folders
        pairs = [(name, absolute(pred), absolute(truth)) for name, pred, truth in pairs]
    objects = next((each for each in settings if isinstance(each, ObjectSettings)), None)
    pixels = next((each for each in settings if isinstance(each, PixelSettings)), None)
    more: dict[str, Any] = dict(aoi=aoi, area=area, progress=progress, cluster=cluster)
    if all(is_raster(prediction) for _, prediction, _ in pairs):
        return evaluate_pixels(pairs, pixels, **more)
    for path in (path for _, *paths in pairs for path in paths):
        if is_raster(path):
            raise LabelError(
                f'{path} is a raster, but not everything compared is',
                'a class raster as prediction (the ground truth may be either), or objects in both',
                'vectorise the raster first, or evaluate rasters and layers in turn',
            )
    if aoi is None and area is None:
        _warn_of_windows([prediction for _, prediction, _ in pairs])
    return evaluate_objects(pairs, objects, **more)


def _warn_of_windows(predictions: Sequence[str]) -> None:
    """Says so where objects are looked for outside what was predicted."""
    for path in predictions:
        record = Record.of(path)
        if record is not None and record.is_part:
            logger.warning(
                '%s was predicted in a window of its scene; true objects outside count as false '
                'negatives, unless --area or --aoi leaves them out',
                path,
            )


def backdrops(result: ObjectEvaluation, predictions: str, images: str) -> dict[str, Backdrop]:
    """The scenes to draw the maps of objects on, as far as they were scored.

    Args:
        result: The evaluation.
        predictions: Files that were evaluated, as in :func:`evaluate_files`.
        images: Their scenes, likewise.
    """
    found = {}
    areas = {scene.name: scene.areas for scene in result.scenes}
    for name, _, path in pair_scenes(predictions, images):
        scene = Scene.open(path)
        part = window_of([area.onto(scene) for area in areas[name]], scene.grid)
        scene = scene.crop(part) if part.area else scene
        data, valid, grid = scene.read_overview(_LONGEST)
        picture = to_rgb(data, valid, scene.band_names)
        picture[~valid] = 255
        found[name] = Backdrop(picture, grid, os.path.abspath(path))
    return found


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
    of_pixels: bool,
    *,
    min_score: float | None = None,
    boxes: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ObjectEvaluation | PixelEvaluation:
    """Score predictions of whole scenes with labels read as a dataset reads them.

    Of each scene, only the area and AOI of its entry are evaluated.

    Args:
        scenes: The scenes.
        predictions: Class raster or layer of each, by name, as
            geo-mm predict leaves them.
        of_pixels: Whether the predictions are classes of pixels, and not objects.
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
                f'{scene.name} has no labels for the evaluation', 'labels for every scene'
            )
    parts = {scene.name: ScoredPart.of(scene.entry.aoi, scene.entry.area) for scene in scenes}
    if of_pixels:
        pairs = [(s.name, predictions[s.name], _pixels(s, predictions[s.name])) for s in scenes]
        return evaluate_pixels(pairs, parts=parts, progress=progress)
    pairs = [(s.name, predictions[s.name], _objects(s)) for s in scenes]
    settings = ObjectSettings(coco=True, min_score=min_score, boxes=boxes)
    return evaluate_objects(pairs, settings, parts=parts, progress=progress)


def _pixels(scene: CatalogScene, prediction: str | os.PathLike) -> NamedLabels:
    """The labels in the pixels of the prediction."""
    entry = replace(_whole(scene), image=os.fspath(prediction))
    opened = open_labelled(entry, scene.classes, SceneOptions(), scene.options)
    labels = cast(Labels, opened.labels)  # all entries have some, see evaluate_catalog
    return NamedLabels(labels, layer_name(scene.entry.labels))


def _objects(scene: CatalogScene) -> gpd.GeoDataFrame:
    """The objects that the labels have on the scene, with their classes by name."""
    opened = open_labelled(
        _whole(scene), scene.classes, SceneOptions(), scene.options, objects=True
    )
    labels = cast(SceneLabels, opened.labels)  # no raster, which has no objects
    grid = opened.scene.grid
    names = np.array([*scene.classes, IGNORED_NAME], dtype=object)[labels.labels]  # -1: the last
    outlines = shapely.transform(labels.geometries, lambda xy: to_map(xy, grid.vector_transform))
    # The parts of a feature stay one object.
    return gpd.GeoDataFrame(
        {'class': names}, geometry=outlines, index=labels.fids, crs=grid.crs and grid.crs.to_wkt()
    )


def _whole(scene: CatalogScene) -> CatalogEntry:
    """The entry without its limits, within which results are counted later."""
    return replace(scene.entry, name=scene.name, area=None, aoi=None)


def _files(pattern: str) -> list[str]:
    if not is_pattern(pattern):
        if is_missing(pattern):
            raise CatalogError(
                f'{pattern}: no such file ({absolute(pattern)})', 'an existing file or a pattern'
            )
        return [pattern]
    found = [path for path in matching(pattern) if not path.endswith('.aux.xml')]
    if not found:
        raise CatalogError(f'{pattern}: no file matches', 'the files of at least one scene')
    return found


def _by_stem(paths: Sequence[str]) -> dict[str, str]:
    stems: dict[str, str] = {}
    for path in paths:
        name = _stem(path)
        if name in stems:
            raise CatalogError(
                f'{stems[name]} and {path} are both called {name}', 'one file for each scene'
            )
        stems[name] = path
    return stems


def _stem(path: str) -> str:
    return Path(path.rstrip('/')).stem
