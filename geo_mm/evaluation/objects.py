"""Predicted against true objects of scenes, in map space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter, itemgetter

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine

from geo_mm.classes import ClassSet
from geo_mm.cluster import mapping
from geo_mm.detections import Detections
from geo_mm.errors import LabelError
from geo_mm.evaluation.area import ScoredArea, ScoredPart, ScoredParts, predicted_grid, told
from geo_mm.evaluation.layers import ObjectLayer, Source, brought_together, read_objects
from geo_mm.evaluation.maps import DUPLICATE, FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from geo_mm.evaluation.matching import COCO_IOUS, SceneMatches, SizeRange, match_scene, size_ranges
from geo_mm.evaluation.records import Record, in_colours, only_class, source_names
from geo_mm.evaluation.scores import ObjectScores, is_shown, score_objects
from geo_mm.raster import Grid

_FIX = (
    'name the column with class_column or truth_class_column, compare one class with classes, or '
    'take all objects as one with one_class (on the command line --class-column, '
    '--truth-class-column, --classes, --one-class)'
)


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
        areas: The evaluated areas; none if everything counts.
        features: What became of every counted object: columns ``result``
            ('true positive', 'false positive', 'duplicate', 'false negative'),
            ``class``, ``score``, ``iou``, ``area_m2``, ``pred_fid``,
            ``truth_fid`` and the outline, which is the predicted one except of
            a false negative.
        record: How the prediction came to be, if it says.
    """

    name: str
    sources: tuple[str, str]
    crs: object
    scores: ObjectScores
    areas: tuple[ScoredArea, ...]
    features: gpd.GeoDataFrame
    record: Record | None = None


@dataclass(frozen=True, eq=False)
class ObjectEvaluation:
    """Scores of predicted objects over scenes.

    Attributes:
        settings: How it was done.
        scored: What was counted.
        class_set: Classes, in the colours of the model if the predictions tell them.
        scores: Over all scenes.
        sizes: The same for each size class, if there are any.
        scenes: Each scene.
        notes: What the reader should know about the numbers.
    """

    settings: ObjectSettings
    scored: ScoredParts
    class_set: ClassSet
    scores: ObjectScores
    sizes: tuple[tuple[SizeRange, ObjectScores], ...]
    scenes: tuple[ObjectScene, ...]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_set.names

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
    cluster: str | None = None,
) -> ObjectEvaluation:
    """Compare predicted with true objects.

    Args:
        pairs: Name, predictions and ground truth of each scene. The ground
            truth is brought to the CRS of the predictions.
        settings: How to compare.
        aoi: Polygons (or a raster: its footprint). Objects count whose centroid
            is inside, see :func:`geo_mm.evaluation.matching.match_scene`.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of the scene that
            the record of each prediction names, as in catalogs: what is in
            there counts, by the same rule.
        parts: What counts of each scene, by its name, instead of ``aoi`` and ``area``.
        progress: Called with the name of each scene before it is read.
        cluster: Of Dask, whose workers compare the scenes: see
            :func:`geo_mm.cluster.mapping`.

    Raises:
        LabelError: If a layer cannot be used as asked, or prediction and truth
            cannot be brought together.
    """
    settings = settings or ObjectSettings()
    names = [name for name, *_ in pairs]
    scored = ScoredParts(parts or dict.fromkeys(names, ScoredPart.of(aoi, area)))
    items = [(*pair, scored.parts[pair[0]]) for pair in pairs]
    ranges = (SizeRange(), *(size_ranges(settings.size_limits) if settings.size_limits else ()))
    with mapping(cluster, 'evaluate') as mapped:
        layers = list(told(mapped(partial(_read, settings), items, itemgetter(0)), names, progress))
        notes = [note for each in layers for note in each.notes]
        classes = _classes(layers, settings, notes)
        compare = partial(_compare, settings, classes, ranges)
        compared = list(mapped(compare, layers, attrgetter('name')))
    scenes = tuple(scene for scene, _ in compared)
    # One list of scenes for each size range.
    matches = [[of_ranges[i] for _, of_ranges in compared] for i in range(len(ranges))]
    totals = [score_objects(each, classes, min_score=settings.min_score) for each in matches]
    sides = [side for scene in matches[0] for side in (scene.pred, scene.truth)]
    if not any(side.data['inside'].any() for side in sides):
        if scored.is_limited and any(len(each.pred) + len(each.truth) for each in layers):
            raise LabelError(
                'no predicted or true object has its centroid in the evaluated part. '
                f'{scored.sentence()}',
                'a part in which there is something to compare',
                'check that it belongs to these scenes and that its CRS is right',
            )
        notes.append('There is no object to count, neither predicted nor true.')
    sizes = tuple(zip(ranges[1:], totals[1:], strict=True))
    records = [scene.record for scene in scenes if scene.record]
    coloured = in_colours(classes, [dict(zip(*_palette(each), strict=True)) for each in records])
    said = tuple(dict.fromkeys(notes))
    return ObjectEvaluation(settings, scored, coloured, totals[0], sizes, scenes, said)


def _palette(record: Record) -> tuple[tuple, tuple]:
    return record.classes.names, record.classes.colours


@dataclass(frozen=True, eq=False)
class _Layers:
    """What was read of a scene.

    Attributes:
        name: Its name.
        sources: Names of prediction and truth.
        record: How the prediction came to be, if it says.
        areas: The evaluated areas; none if everything counts.
        pred: The predicted objects.
        truth: The true ones.
        notes: What the reader should know.
    """

    name: str
    sources: tuple[str, str]
    record: Record | None
    areas: tuple[ScoredArea, ...]
    pred: ObjectLayer
    truth: ObjectLayer
    notes: list[str]


def _read(settings: ObjectSettings, item: tuple[str, Source, Source, ScoredPart]) -> _Layers:
    name, pred, truth, part = item
    notes: list[str] = []
    areas = part.in_scene(pred)
    pair = _read_pair(pred, truth, settings, notes)
    return _Layers(name, source_names(pred, truth), Record.of(pred), areas, *pair, notes)


def _compare(
    settings: ObjectSettings,
    classes: tuple[str, ...],
    ranges: Sequence[SizeRange],
    layers: _Layers,
) -> tuple[ObjectScene, list[SceneMatches]]:
    """Match the objects of a scene, in each of the size ranges, of which the first has all."""
    thresholds = np.append(settings.iou, COCO_IOUS if settings.coco else ())
    pred, truth = (_counted(side, classes, layers.areas) for side in (layers.pred, layers.truth))
    matches = match_scene(pred, truth, thresholds, ranges)
    crs = layers.pred.crs
    scene = ObjectScene(
        layers.name,
        layers.sources,
        crs,
        score_objects([matches[0]], classes, min_score=settings.min_score),
        layers.areas,
        _features(matches[0], classes, crs, settings.min_score),
        layers.record,
    )
    return scene, matches


def _read_pair(
    pred: Source, truth: Source, settings: ObjectSettings, notes: list[str]
) -> tuple[ObjectLayer, ObjectLayer]:
    column = None if settings.one_class else settings.class_column
    size = settings.point_size
    pixels = None if size is None else predicted_grid(pred)
    predicted = read_objects(
        pred, column, score_column=settings.score_column, point_size=size, pixels=pixels
    )
    if pixels is None and predicted.crs is not None:
        pixels = Grid(Affine.identity(), 1, 1, predicted.crs)
    true_column = column and (settings.truth_class_column or column)
    true = read_objects(
        truth, true_column, class_map=settings.class_map, point_size=size, pixels=pixels
    )
    predicted, true = _agree_on_classes(predicted, true, pred, settings, notes)
    scored = predicted.objects.confidences is not None
    if settings.score_column is not None and not scored and len(predicted):
        notes.append(
            f'{predicted.name} has no column {settings.score_column!r}: no average precision.'
        )
    if predicted.crs is None:
        notes.append(f'{predicted.name} has no CRS: areas are in square map units, not m².')
    true = brought_together(predicted, true)
    if settings.boxes:
        predicted, true = predicted.as_boxes(), true.as_boxes()
    return predicted, true


def _agree_on_classes(
    predicted: ObjectLayer,
    true: ObjectLayer,
    pred: Source,
    settings: ObjectSettings,
    notes: list[str],
) -> tuple[ObjectLayer, ObjectLayer]:
    """Both with classes, or both without."""
    lacking = [layer for layer in (predicted, true) if not layer.has_classes and len(layer)]
    if settings.one_class or not lacking:
        return predicted, true
    named = settings.class_column != 'class' or settings.truth_class_column is not None
    if not named and lacking == [true]:
        classes = settings.classes or _classes_of(pred, predicted)
        if classes or len(predicted):
            name, note = only_class(true.name, true.columns, classes, _FIX)
            notes.append(note)
            return predicted, true.all_of(name)
    if named or lacking == [predicted]:
        layer = lacking[0]
        column = settings.class_column
        if layer is true and settings.truth_class_column:
            column = settings.truth_class_column
        raise LabelError(f'{layer.name}: has no column {column!r}', f'one of {layer.columns}', _FIX)
    notes.append("There is no column 'class': all objects are taken as one class.")
    return predicted, true


def _named(layer: ObjectLayer) -> set[str]:
    return {str(name) for name in layer.names[~layer.objects.data['crowd']]}


def _classes_of(pred: Source, predicted: ObjectLayer) -> list[str]:
    """What the model could find, and what the layer holds."""
    record = Record.of(pred)
    return sorted(_named(predicted).union(record.classes.foreground_names if record else ()))


def _classes(
    layers: Sequence[_Layers], settings: ObjectSettings, notes: list[str]
) -> tuple[str, ...]:
    found = set().union(*(_named(side) for each in layers for side in (each.pred, each.truth)))
    if settings.classes is None:
        return tuple(sorted(found))
    unknown = [name for name in settings.classes if name not in found]
    if unknown and found:
        raise LabelError(f'no object is of class {", ".join(unknown)}', f'some of {sorted(found)}')
    others = sorted(found.difference(settings.classes))
    if others:
        notes.append(f'Objects of other classes are left out: {", ".join(others)}.')
    return tuple(settings.classes)


def _counted(
    layer: ObjectLayer, classes: tuple[str, ...], areas: Sequence[ScoredArea]
) -> Detections:
    """The objects of the classes, with ``inside`` in their data."""
    objects = layer.of_classes(classes)
    inside = np.ones(len(objects), bool)
    for area in areas:
        inside &= area.holds(objects.shapes, layer.crs)
    return replace(objects, data=objects.data | {'inside': inside})


def _features(
    matches: SceneMatches, classes: Sequence[str], crs: object, min_score: float | None
) -> gpd.GeoDataFrame:
    pred, truth = matches.pred, matches.truth
    shown = np.flatnonzero(matches.counted[0] & is_shown(pred, min_score))
    partner = matches.matched[0][shown]
    matched = partner >= 0
    lost = matches.truth_counted.copy()
    lost[partner[matched]] = False
    lost = np.flatnonzero(lost)
    predicted = _rows(pred[shown], classes)
    unmatched = np.where(matches.duplicate[shown], DUPLICATE, FALSE_POSITIVE)
    predicted['result'] = np.where(matched, TRUE_POSITIVE, unmatched)
    predicted['iou'] = np.where(matched, matches.iou[shown], np.nan)
    predicted['pred_fid'] = pd.array(pred.data['fid'][shown], 'Int64')
    truth_fids = np.append(truth.data['fid'], 0)[partner]
    predicted['truth_fid'] = pd.arrays.IntegerArray(truth_fids, ~matched)
    negatives = _rows(truth[lost], classes)
    negatives['result'], negatives['iou'] = FALSE_NEGATIVE, np.nan
    negatives['pred_fid'] = pd.array([None] * len(lost), 'Int64')
    negatives['truth_fid'] = pd.array(truth.data['fid'][lost], 'Int64')
    parts = [part for part in (predicted, negatives) if len(part)] or [predicted]
    columns = ['result', 'class', 'score', 'iou', 'area_m2', 'pred_fid', 'truth_fid', 'geometry']
    rows = pd.concat(parts, ignore_index=True)[columns]
    return gpd.GeoDataFrame(rows, geometry='geometry', crs=crs)


def _rows(objects: Detections, classes: Sequence[str]) -> pd.DataFrame:
    scores = objects.confidences
    return pd.DataFrame(
        {
            'class': np.array([*classes, ''], object)[objects.class_ids],
            'score': np.full(len(objects), np.nan) if scores is None else scores,
            'area_m2': objects.data['area_m2'],
            'geometry': objects.outlines,
        }
    )
