"""Predicted against true objects of scenes, in map space."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine

from geo_mm.errors import LabelError
from geo_mm.evaluation.area_of_interest import Area, ScoredPart, ScoredParts, predicted_grid
from geo_mm.evaluation.matching import ObjectSet
from geo_mm.evaluation.object_scores import (
    ObjectScores,
    SceneMatches,
    SizeRange,
    is_shown,
    match_scene,
    score_objects,
    size_ranges,
    thresholds_of,
)
from geo_mm.evaluation.object_table import (
    ObjectTable,
    check_common_area,
    read_objects,
    to_crs_of,
)
from geo_mm.evaluation.only_class import only_class, said_so
from geo_mm.evaluation.records import Record
from geo_mm.raster import Grid

Source = str | os.PathLike | gpd.GeoDataFrame

_FIX = (
    'name the column with class_column or truth_class_column, compare one class with classes, or '
    'take all objects as one with one_class (on the command line --class-column, '
    '--truth-class-column, --classes, --one-class)'
)

HIT, MISSED, FALSE_ALARM, DUPLICATE = 'hit', 'missed', 'false alarm', 'duplicate'


@dataclass(frozen=True)
class ObjectSettings:
    """What is compared, and how strictly.

    Attributes:
        iou: Least intersection over union of a match.
        coco: Whether to average over IoU 0.50, 0.55 ... 0.95 as well.
        class_column: Attribute with the class. A truth without one, if it was
            not named, is all of the prediction's class where that has but one.
        truth_class_column: The same in the truth, if it is called otherwise.
        one_class: Whether to take all objects as one class, whatever their
            attributes say.
        class_map: Class name for a value of the truth's attribute, if it is
            not the name itself; ``'ignore'`` for areas that are neither object
            nor background.
        classes: The only classes to compare; all that occur by default.
        score_column: Attribute with the confidence; None: take no scores.
        min_score: Least confidence of predictions that are counted.
        boxes: Whether to compare bounding boxes instead of outlines.
        size_limits: Limits between size classes, in m2 on the ground.
        point_size: Side in metres of the squares that stand for points, parallel to
            the pixels of the scene if the record of the prediction tells it.
    """

    iou: float = 0.5
    coco: bool = False
    class_column: str = 'class'
    truth_class_column: str | None = None
    one_class: bool = False
    class_map: Mapping[str, str] | None = None
    classes: Sequence[str] | None = None
    score_column: str | None = 'score'
    min_score: float | None = None
    boxes: bool = False
    size_limits: Sequence[float] = ()
    point_size: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise LabelError(f'an intersection over union of {self.iou}', 'above 0 and up to 1')
        limits = sorted(self.size_limits)
        if any(limit <= 0 for limit in limits) or len(set(limits)) < len(limits):
            raise LabelError(f'size limits {limits}', 'different areas in m2 above 0')


@dataclass(frozen=True, eq=False)
class ObjectScene:
    """One evaluated scene.

    Attributes:
        name: Its name.
        sources: Names of prediction and truth.
        crs: CRS in which they were compared (the prediction's), or None.
        scores: Scores of this scene alone.
        areas: What a place had to lie in to be counted; none if all was.
        features: What became of every counted object: columns ``result`` ('hit',
            'missed', 'false alarm', 'duplicate'), ``class``, ``score``, ``iou``,
            ``area_m2``, ``pred_fid``, ``truth_fid`` and the outline, which is
            the predicted one unless the object was missed.
    """

    name: str
    sources: tuple[str, str]
    crs: object
    scores: ObjectScores
    areas: tuple[Area, ...]
    features: gpd.GeoDataFrame


@dataclass(frozen=True, eq=False)
class ObjectEvaluation:
    """Scores of predicted objects over scenes.

    Attributes:
        settings: How it was done.
        scored: What was counted.
        classes: Names of the classes.
        scores: Over all scenes.
        sizes: The same for each size class, if there are any.
        scenes: Each scene.
        notes: What the reader should know about the numbers.
    """

    settings: ObjectSettings
    scored: ScoredPart | ScoredParts
    classes: tuple[str, ...]
    scores: ObjectScores
    sizes: tuple[tuple[SizeRange, ObjectScores], ...]
    scenes: tuple[ObjectScene, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """Plain data for JSON; what is undefined is None."""
        return {
            'task': 'objects',
            **self.scored.to_dict(),
            'iou': self.settings.iou,
            'min_score': self.settings.min_score,
            'compared': 'bounding boxes' if self.settings.boxes else 'outlines',
            **self.scores.to_dict(),
            'sizes': [
                {
                    'from_m2': size.low,
                    'to_m2': size.high if np.isfinite(size.high) else None,
                    **scores.to_dict(),
                }
                for size, scores in self.sizes
            ],
            'scenes': [
                {
                    'name': scene.name,
                    'prediction': scene.sources[0],
                    'truth': scene.sources[1],
                    **scene.scores.to_dict(),
                }
                for scene in self.scenes
            ],
            'notes': list(self.notes),
        }


def evaluate_objects(
    pairs: Sequence[tuple[str, Source, Source]],
    settings: ObjectSettings | None = None,
    *,
    aoi: Source | None = None,
    area: Sequence[float] | None = None,
    parts: Mapping[str, ScoredPart] | None = None,
    progress: Callable[[str], None] | None = None,
) -> ObjectEvaluation:
    """Compare predicted with true objects.

    Args:
        pairs: Name, predictions and truth of each scene. The truth is brought
            to the CRS of the predictions.
        settings: How to compare.
        aoi: Polygons (or a raster: its footprint). Objects count whose centroid
            lies inside, see :func:`geo_mm.evaluation.object_scores.match_scene`.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of the scene that
            the record of each prediction names, as in catalogs: what lies in
            there counts, by the same rule.
        parts: What counts of each scene, by its name, instead of ``aoi`` and ``area``.
        progress: Called with the name of each scene before it is read.

    Raises:
        LabelError: If a layer cannot be used as asked, or prediction and truth
            cannot be brought together.
    """
    settings = settings or ObjectSettings()
    scored = ScoredPart.of(aoi, area) if parts is None else ScoredParts(parts)
    notes: list[str] = []
    tables = []
    for name, pred, truth in pairs:
        if progress:
            progress(name)
        areas = scored.of_scene(name).in_scene(pred)
        tables.append((name, areas, *_read_pair(pred, truth, settings, notes)))
    classes = _classes(tables, settings, notes)
    ranges = (SizeRange(), *(size_ranges(settings.size_limits) if settings.size_limits else ()))
    thresholds = thresholds_of(settings.iou, settings.coco)
    # One list of scenes for each size range.
    matches: list[list[SceneMatches]] = [[] for _ in ranges]
    scenes = []
    for name, areas, pred, truth in tables:
        sets = (_object_set(pred, classes, areas), _object_set(truth, classes, areas))
        for collected, scene_matches in zip(
            matches, match_scene(*sets, thresholds, ranges), strict=True
        ):
            collected.append(scene_matches)
        whole = matches[0][-1]
        scores = score_objects([whole], classes, min_score=settings.min_score)
        features = _features(whole, classes, pred.crs, settings.min_score)
        scenes.append(ObjectScene(name, (pred.name, truth.name), pred.crs, scores, areas, features))
    totals = [score_objects(each, classes, min_score=settings.min_score) for each in matches]
    if not any(each.inside.any() for scene in matches[0] for each in (scene.pred, scene.truth)):
        if scored.is_limited and any(len(table) for _, _, *pair in tables for table in pair):
            raise LabelError(
                f'no object, predicted or true, counts by its centroid. {scored.sentence()}',
                'a part in which there is something to compare',
                'check that it belongs to these scenes and that its CRS is right',
            )
        notes.append('There is no object to count, neither predicted nor true.')
    sizes = tuple(zip(ranges[1:], totals[1:], strict=True))
    return ObjectEvaluation(
        settings, scored, classes, totals[0], sizes, tuple(scenes), tuple(dict.fromkeys(notes))
    )


def _read_pair(
    pred: Source, truth: Source, settings: ObjectSettings, notes: list[str]
) -> tuple[ObjectTable, ObjectTable]:
    column = None if settings.one_class else settings.class_column
    pixels = None if settings.point_size is None else predicted_grid(pred)
    predicted = read_objects(
        pred,
        column,
        score_column=settings.score_column,
        point_size=settings.point_size,
        pixels=pixels,
    )
    if pixels is None and predicted.crs is not None:
        pixels = Grid(Affine.identity(), 1, 1, predicted.crs)
    true = read_objects(
        truth,
        column and (settings.truth_class_column or column),
        class_map=settings.class_map,
        point_size=settings.point_size,
        pixels=pixels,
    )
    predicted, true = _agree_on_classes(predicted, true, pred, settings, notes)
    if settings.score_column is not None and predicted.scores is None and len(predicted):
        notes.append(
            f'{predicted.name} has no column {settings.score_column!r}: no average precision.'
        )
    if predicted.crs is None:
        notes.append(f'{predicted.name} has no CRS: areas are in square map units, not m².')
    true = to_crs_of(predicted, true)
    check_common_area(predicted, true)
    if settings.boxes:
        predicted, true = predicted.as_boxes(), true.as_boxes()
    return predicted, true


def _agree_on_classes(
    predicted: ObjectTable,
    true: ObjectTable,
    pred: Source,
    settings: ObjectSettings,
    notes: list[str],
) -> tuple[ObjectTable, ObjectTable]:
    """Both with classes, or both without."""
    lacking = [table for table in (predicted, true) if table.classes is None and len(table)]
    if settings.one_class or not lacking:
        return predicted, true
    named = settings.class_column != 'class' or settings.truth_class_column is not None
    if not named and lacking == [true]:
        classes = settings.classes or _classes_of(pred, predicted)
        if classes or len(predicted):
            name = only_class(true.name, true.columns, classes, _FIX)
            notes.append(said_so(true.name, name))
            return predicted, true.all_of(name)
    if named or lacking == [predicted]:
        table = lacking[0]
        column = settings.class_column
        if table is true and settings.truth_class_column:
            column = settings.truth_class_column
        raise LabelError(f'{table.name}: has no column {column!r}', f'one of {table.columns}', _FIX)
    notes.append("There is no column 'class': all objects are taken as one class.")
    return predicted, true


def _classes_of(pred: Source, predicted: ObjectTable) -> list[str]:
    """What the model could find, and what the layer holds."""
    record = Record.of(pred)
    present = {str(name) for name in predicted.class_names[~predicted.crowd]}
    return sorted(present.union(record.features if record else ()))


def _classes(tables, settings: ObjectSettings, notes: list[str]) -> tuple[str, ...]:
    found = {
        str(value)
        for _, _, *pair in tables
        for table in pair
        for value in table.class_names[~table.crowd]
    }
    if settings.classes is None:
        return tuple(sorted(found))
    unknown = [name for name in settings.classes if name not in found]
    if unknown and found:
        raise LabelError(f'no object is of class {", ".join(unknown)}', f'some of {sorted(found)}')
    others = sorted(found.difference(settings.classes))
    if others:
        notes.append(f'Objects of other classes are left out: {", ".join(others)}.')
    return tuple(settings.classes)


def _object_set(table: ObjectTable, classes: Sequence[str], areas: Sequence[Area]) -> ObjectSet:
    """The objects of the classes; an area to ignore is one for every class."""
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of.get(name, -1) for name in table.class_names], np.int64)
    rows = np.flatnonzero((labels >= 0) & ~table.crowd)
    ignored = np.flatnonzero(table.crowd)
    rows = np.concatenate([rows, np.repeat(ignored, len(classes))])
    labels[ignored] = 0
    labels = labels[rows]
    labels[len(rows) - len(ignored) * len(classes) :] = np.tile(
        np.arange(len(classes)), len(ignored)
    )
    geometries = table.geometries[rows]
    inside = np.ones(len(rows), bool)
    for area in areas:
        inside &= area.holds(geometries, table.crs)
    scores = None if table.scores is None else table.scores[rows]
    return ObjectSet(
        geometries, labels, table.areas[rows], scores, table.crowd[rows], inside, table.fids[rows]
    )


def _features(
    matches: SceneMatches, classes: Sequence[str], crs: object, min_score: float | None
) -> gpd.GeoDataFrame:
    pred, truth = matches.pred, matches.truth
    shown = np.flatnonzero(matches.counted[0] & is_shown(pred, min_score))
    partner = matches.matched[0][shown]
    hit = partner >= 0
    missed = matches.truth_counted.copy()
    missed[partner[hit]] = False
    missed = np.flatnonzero(missed)
    predicted = _rows(pred, shown, classes)
    predicted['result'] = np.where(
        hit, HIT, np.where(matches.duplicate[shown], DUPLICATE, FALSE_ALARM)
    )
    predicted['iou'] = np.where(hit, matches.iou[shown], np.nan)
    predicted['pred_fid'] = pd.array(pred.fids[shown], 'Int64')
    truth_fids = np.append(truth.fids, 0)[partner]
    predicted['truth_fid'] = pd.arrays.IntegerArray(truth_fids, ~hit)
    lost = _rows(truth, missed, classes)
    lost['result'], lost['iou'] = MISSED, np.nan
    lost['pred_fid'] = pd.array([None] * len(missed), 'Int64')
    lost['truth_fid'] = pd.array(truth.fids[missed], 'Int64')
    parts = [part for part in (predicted, lost) if len(part)] or [predicted]
    columns = ['result', 'class', 'score', 'iou', 'area_m2', 'pred_fid', 'truth_fid', 'geometry']
    rows = pd.concat(parts, ignore_index=True)[columns]
    return gpd.GeoDataFrame(rows, geometry='geometry', crs=crs)


def _rows(objects: ObjectSet, index: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    scores = np.full(len(objects), np.nan) if objects.scores is None else objects.scores
    names = np.array([*classes, ''], object)
    return pd.DataFrame(
        {
            'class': names[objects.labels[index]],
            'score': scores[index],
            'area_m2': objects.areas[index],
            'geometry': objects.geometries[index],
        }
    )
