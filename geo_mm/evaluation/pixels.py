"""Predicted against true class rasters, window by window."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import geopandas as gpd
import numpy as np

from geo_mm.classes import IGNORE, ClassSet, Colour
from geo_mm.cluster import mapping
from geo_mm.evaluation.area import ScoredPart, ScoredParts, told, window_of
from geo_mm.evaluation.maps import MapSketch
from geo_mm.evaluation.rasters import (
    NamedLabels,
    RasterTruth,
    as_classes,
    layer_truth,
    nothing_in_common,
    open_class_raster,
    read_windows,
)
from geo_mm.evaluation.records import Record, in_colours, raster_colours, raster_names, source_names
from geo_mm.evaluation.scores import Confusion, PixelScores
from geo_mm.labels import SceneLabels
from geo_mm.raster import Scene
from geo_mm.raster.handles import is_raster

Source = str | os.PathLike


@dataclass(frozen=True)
class PixelSettings:
    """What is compared.

    Attributes:
        class_names: Number to name, instead of what the rasters carry.
        truth_names: The same for the truth, if its numbers differ.
        ignore: Class numbers, besides 255, that are left out wherever prediction
            or truth has them.
        class_column: Attribute of a vector truth with the class; None, or
            'class' where the layer lacks it: all features are of the
            prediction's class, if it has but one besides the background.
        class_map: Class name for a value of that attribute, if it is not the
            name itself; ``'ignore'`` leaves out the pixels of those features.
        background: Class number of pixels under no feature of a vector truth.
    """

    class_names: Mapping[int, str] | None = None
    truth_names: Mapping[int, str] | None = None
    ignore: Sequence[int] = ()
    class_column: str | None = 'class'
    class_map: Mapping[str, str] | None = None
    background: int = 0


@dataclass(frozen=True, eq=False)
class PixelScene:
    """One evaluated scene.

    Attributes:
        name: Its name.
        sources: Names of prediction and truth.
        confusion: Its confusion matrix.
        pixel_area: Ground area of a pixel in m2 at the scene's centre, or None.
        sketch: Coarse maps of ground truth, prediction and errors in the scored part.
        record: How the prediction came to be, if it says.
    """

    name: str
    sources: tuple[str, str]
    confusion: Confusion
    pixel_area: float | None
    sketch: MapSketch
    record: Record | None = None

    @property
    def scores(self) -> PixelScores:
        return self.confusion.scores


@dataclass(frozen=True, eq=False)
class PixelEvaluation:
    """Scores of class rasters over scenes.

    Attributes:
        scored: What was counted.
        confusion: Pixels of all scenes.
        class_set: Classes with the colours of the model, or of the predicted raster.
        scenes: Each scene.
        notes: What the reader should know about the numbers.
    """

    scored: ScoredParts
    confusion: Confusion
    class_set: ClassSet
    scenes: tuple[PixelScene, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.confusion.classes

    @property
    def scores(self) -> PixelScores:
        """Scores per class and overall, over all scenes."""
        return self.confusion.scores

    def to_dict(self) -> dict:
        """Plain data for JSON; what is undefined is None."""
        return {
            'task': 'pixels',
            **self.scored.to_dict(),
            'class_order': list(self.classes),
            **self._total(),
            'scenes': [
                {
                    'name': scene.name,
                    'prediction': scene.sources[0],
                    'truth': scene.sources[1],
                    **scene.confusion.to_dict(scene.pixel_area),
                }
                for scene in self.scenes
            ],
            'notes': list(self.notes),
        }

    def _total(self) -> dict:
        total = self.confusion.to_dict()
        scenes = [scene.confusion.to_dict(scene.pixel_area) for scene in self.scenes]
        if all(scene.pixel_area for scene in self.scenes):
            for name, scores in total['classes'].items():
                for side in ('truth_area', 'predicted_area'):
                    scores[side] = sum(scene['classes'][name][side] for scene in scenes)
        return total


def evaluate_pixels(
    pairs: Sequence[tuple[str, Source, Source | NamedLabels]],
    settings: PixelSettings | None = None,
    *,
    aoi: str | os.PathLike | gpd.GeoDataFrame | None = None,
    area: Sequence[float] | None = None,
    parts: Mapping[str, ScoredPart] | None = None,
    progress: Callable[[str], None] | None = None,
    cluster: str | None = None,
) -> PixelEvaluation:
    """Compare predicted with true classes, pixel by pixel of the prediction.

    A true raster in another grid or CRS is looked up at the centre of every
    pixel of the prediction; a vector layer is drawn into its grid. Left out
    are pixels without data in either, ignored classes, and pixels whose centre
    is outside the scored part. Memory does not depend on the size of
    the scene.

    Args:
        pairs: Name, predicted raster and truth (raster, vector or labels that
            were read) of each scene.
        settings: What to compare.
        aoi: Polygons, or a raster: its footprint.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of each scene, as
            in catalogs: only what is in there counts.
        parts: What counts of each scene, by its name, instead of ``aoi`` and ``area``.
        progress: Called with the name of each scene before it is read.
        cluster: Of Dask, whose workers compare the scenes: see
            :func:`geo_mm.cluster.mapping`.

    Raises:
        LabelError: If a file cannot be used as asked, or no pixel can be compared.
        SceneError: If a predicted raster cannot be read.
    """
    settings = settings or PixelSettings()
    names = [name for name, *_ in pairs]
    scored = ScoredParts(parts or dict.fromkeys(names, ScoredPart.of(aoi, area)))
    items = [(*pair, scored.parts[pair[0]]) for pair in pairs]
    with mapping(cluster, 'evaluate') as mapped:
        counted = list(
            told(mapped(partial(_Scene, settings), items, itemgetter(0)), names, progress)
        )
    classes = _ordered(counted)
    scenes = tuple(each.finished(classes) for each in counted)
    total = scenes[0].confusion
    for scene in scenes[1:]:
        total += scene.confusion
    notes = dict.fromkeys(note for each in counted for note in each.notes)
    coloured = in_colours(classes, [each.named_colours() for each in counted])
    return PixelEvaluation(scored, total, coloured, scenes, tuple(notes))


class _Scene:
    """The pixels of one scene by class number, named afterwards."""

    def __init__(self, settings: PixelSettings, item: tuple) -> None:
        self.name, pred, truth, part = item
        areas = part.in_scene(pred)
        scene = open_class_raster(pred)
        is_read = isinstance(truth, NamedLabels)
        self.sources = source_names(pred, truth.name if is_read else truth)
        self.pixel_area = scene.gsd[0] * scene.gsd[1] if scene.gsd else None
        self.record = Record.of(pred)
        self.ignore = np.zeros(256, bool)
        self.ignore[[IGNORE, *(value for value in settings.ignore if 0 <= value < IGNORE)]] = True
        self.colours = raster_colours(pred)
        # Where both carry names, these decide, so the numbers may differ; else those of one hold.
        self.pred_names: Mapping[int, str] = dict(settings.class_names or raster_names(pred))
        self.truth_names: Mapping[int, str] = self.pred_names
        if is_read:
            labels = truth
        elif is_raster(truth):
            known = settings.truth_names or settings.class_names or raster_names(truth)
            self.pred_names, self.truth_names = self.pred_names or known, known or self.pred_names
            labels = NamedLabels(RasterTruth(truth, scene.grid), self.sources[1])
        else:
            labels = layer_truth(truth, scene, self.pred_names, settings)
        self.notes = labels.notes
        self.counts = np.zeros((256, 256), np.int64)
        self._count(scene, labels, [area.onto(scene) for area in areas])

    def _count(self, scene: Scene, truth: NamedLabels, areas: Sequence[SceneLabels]) -> None:
        around = window_of(areas, scene.grid)
        self.sketch = MapSketch.blank(around)
        true_ids, pred_ids = _same_ids(self.truth_names, self.pred_names)
        for window in read_windows(scene, around):
            data, valid = scene.read(window)
            pred = as_classes(data[0], valid, self.sources[0])
            true = truth.labels.classes(window)
            valid = valid & ~self.ignore[pred] & ~self.ignore[true]
            for area in areas:
                valid &= area.covers(window)
            flat = true[valid].astype(np.int64) * 256 + pred[valid]
            self.counts += np.bincount(flat, minlength=65536).reshape(256, 256)
            self.sketch.add(window, true, pred, valid, valid & (true_ids[true] != pred_ids[pred]))
        if not self.counts.sum():
            raise nothing_in_common(truth, scene, self.sources)

    def named_colours(self) -> dict[str, Colour]:
        return {_name(self.pred_names, value): colour for value, colour in self.colours.items()}

    def finished(self, classes: Sequence[str]) -> PixelScene:
        """The scene with classes by their place in ``classes``."""
        place = {name: number for number, name in enumerate(classes)}
        true, pred = (
            np.array([place.get(_name(names, value), IGNORE) for value in range(256)], np.uint8)
            for names in (self.truth_names, self.pred_names)
        )
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        rows, cols = np.nonzero(self.counts)
        np.add.at(matrix, (true[rows], pred[cols]), self.counts[rows, cols])
        confusion = Confusion(tuple(classes), matrix)
        sketch = self.sketch.translated(true, pred)
        return PixelScene(self.name, self.sources, confusion, self.pixel_area, sketch, self.record)


def _name(names: Mapping[int, str], value: int) -> str:
    return names.get(int(value)) or str(int(value))


def _same_ids(*tables: Mapping[int, str]) -> list[np.ndarray]:
    """(256,) arrays from class number to a number that is equal for equal names."""
    ids: dict[str, int] = {}
    return [
        np.array([ids.setdefault(_name(names, value), len(ids)) for value in range(256)])
        for names in tables
    ]


def _ordered(scenes: Sequence[_Scene]) -> tuple[str, ...]:
    """All classes that are named or occur, in the order of the predictions' numbers."""
    places: dict[str, int] = {}
    for scene in scenes:
        for names in (scene.pred_names, scene.truth_names):
            for value, name in sorted(names.items()):
                if not scene.ignore[value]:
                    places.setdefault(name, value)
        for true, pred in zip(*np.nonzero(scene.counts), strict=True):
            places.setdefault(_name(scene.pred_names, pred), int(pred))
            places.setdefault(_name(scene.truth_names, true), int(true))
    return tuple(sorted(places, key=places.__getitem__))
