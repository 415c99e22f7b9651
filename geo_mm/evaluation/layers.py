"""The objects of vector layers as they are compared, and extents of layers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from pyproj.exceptions import ProjError

from geo_mm.detections import Detections
from geo_mm.errors import LabelError
from geo_mm.geometry import union
from geo_mm.labels.classification import IGNORED_NAME, attribute_text
from geo_mm.labels.layer import extent_text, overlap
from geo_mm.labels.placing import counts_down, mirrored, squares
from geo_mm.labels.reading import layer_name, read_layer, repair
from geo_mm.raster import Grid
from geo_mm.raster.grid import to_map
from geo_mm.raster.projection import ground_areas, moved, proj_crs, same

Source: TypeAlias = str | os.PathLike | gpd.GeoDataFrame

ONE_CLASS = 'object'


@dataclass(frozen=True, eq=False)
class ObjectLayer:
    """The objects of one layer; one feature is one object, whatever its parts.

    Attributes:
        name: Name of the source, for messages.
        columns: Its attributes.
        crs: CRS of the objects, or None.
        names: (N,) class of each object as text, 'object' without a class column.
        has_classes: Whether there is a class column.
        objects: With outlines in map units, and in ``data`` the feature ids
            ``fid``, the ground areas ``area_m2`` (square units without a CRS)
            and ``crowd``, true for areas to be ignored. Class ids are all 0.
    """

    name: str
    columns: list[str]
    crs: object
    names: np.ndarray
    has_classes: bool
    objects: Detections

    def __len__(self) -> int:
        return len(self.objects)

    def all_of(self, name: str) -> 'ObjectLayer':
        """All objects as of one class."""
        return replace(self, names=np.full(len(self), name, object), has_classes=True)

    def as_boxes(self) -> 'ObjectLayer':
        """Bounding boxes in the place of outlines."""
        boxes = shapely.box(*self.objects.boxes.T)
        data = self.objects.data | {'area_m2': areas_of(boxes, self.crs)}
        return replace(self, objects=replace(self.objects, outlines=boxes, data=data))

    def of_classes(self, classes: tuple[str, ...]) -> Detections:
        """The objects of some classes; an area to ignore is one for every class."""
        number = {name: index for index, name in enumerate(classes)}
        ids = np.array([number.get(name, -1) for name in self.names], np.int64)
        crowd = self.objects.data['crowd']
        rows = np.flatnonzero((ids >= 0) & ~crowd)
        areas = np.flatnonzero(crowd)
        chosen = np.concatenate([rows, np.repeat(areas, len(classes))])
        every = np.tile(np.arange(len(classes)), len(areas))
        class_ids = np.concatenate([ids[rows], every])
        return replace(self.objects[chosen], class_ids=class_ids)


def read_objects(
    source: Source,
    class_column: str | None,
    *,
    score_column: str | None = None,
    class_map: Mapping[str, str] | None = None,
    point_size: float | None = None,
    pixels: Grid | None = None,
) -> ObjectLayer:
    """Read the objects of a layer.

    Args:
        source: Vector file or GeoDataFrame.
        class_column: Attribute with the class, if the layer has it.
        score_column: Attribute with the confidence; if the layer lacks it, the
            objects have none.
        class_map: Class name for an attribute value; ``'ignore'`` marks areas.
        point_size: Side in metres of the squares that stand for points.
        pixels: Grid that the squares are parallel to, as those of training are
            to the pixels of their scene; the axes of the layer's CRS by default.

    Raises:
        LabelError: If the layer cannot be read, holds lines, holds points and
            no size is given, or has confidences that are no numbers.
    """
    gdf = read_layer(source)
    name = layer_name(source)
    columns = [str(column) for column in gdf.columns if column != gdf.geometry.name]
    outlines, first = _whole_features(_areal(gdf, name, point_size, pixels), gdf['fid'].to_numpy())
    rows = gdf.iloc[first]
    names = np.full(len(rows), ONE_CLASS, object)
    if class_column in columns:
        texts = map(attribute_text, rows[class_column])
        names[:] = [(class_map or {}).get(text, text) for text in texts]
    data = {
        'fid': rows['fid'].to_numpy(np.int64),
        'area_m2': areas_of(outlines, gdf.crs),
        'crowd': names == IGNORED_NAME,
    }
    scores = _numbers(rows[score_column], name) if score_column in columns else None
    objects = Detections.from_outlines(outlines, np.zeros(len(rows)), scores, data=data)
    return ObjectLayer(name, columns, gdf.crs, names, class_column in columns, objects)


def brought_together(pred: ObjectLayer, truth: ObjectLayer) -> ObjectLayer:
    """The ground truth in the CRS of the prediction.

    Raises:
        LabelError: If only one of the two has a CRS, no transformation exists,
            or they are in different places.
    """
    if not len(pred) or not len(truth):
        return truth
    check_both_crs(pred.name, pred.crs, truth.name, truth.crs)
    outlines = brought_to(truth.objects.shapes, truth.crs, pred.objects.shapes, pred.crs)
    if outlines is not truth.objects.shapes:
        objects = replace(truth.objects, outlines=outlines, boxes=shapely.bounds(outlines))
        truth = replace(truth, objects=objects, crs=pred.crs)
    ours, theirs = (shapely.total_bounds(layer.objects.outlines) for layer in (pred, truth))
    if not overlap(ours, theirs):
        hint = 'check that both belong to the same scene and that both CRSs are right'
        if overlap(ours, theirs[[1, 0, 3, 2]]):
            hint = 'x and y of the ground truth look swapped: exchange them (in QGIS: Swap X and Y)'
        raise no_common_area((pred.name, truth.name), (ours, theirs), pred.crs, hint)
    return truth


def brought_to(
    geometries: np.ndarray, crs: object, others: np.ndarray, target: object
) -> np.ndarray:
    """Geometries in the CRS of others; the array itself if that is the same.

    Without a CRS, they may be rows of a picture: y = row or, as QGIS shows
    them, y = -row. Then they are counted as the others are.

    Raises:
        LabelError: If there is no transformation, or it is not defined there.
    """
    if crs is None and target is None and counts_down(geometries) != counts_down(others):
        return mirrored(geometries)
    return in_crs(geometries, crs, target)


def areas_of(outlines: np.ndarray, crs: object) -> np.ndarray:
    """Areas in m2 on the ground; in square map units without a CRS.

    Raises:
        LabelError: If they cannot be georeferenced.
    """
    if crs is None:
        return shapely.area(outlines).astype(np.float64)
    areas = ground_areas(outlines, crs)
    if np.isnan(areas).any():
        raise LabelError(
            f'coordinates {extent_text(shapely.total_bounds(outlines), None)} are not on '
            f'Earth in {proj_crs(crs).name}',
            'coordinates that fit the CRS',
            'check whether the CRS of the layer is right',
        )
    return areas


def check_both_crs(pred_name: str, pred_crs: object, truth_name: str, truth_crs: object) -> None:
    """Refuse a pair of which only one has a CRS."""
    if (pred_crs is None) == (truth_crs is None):
        return
    names = (pred_name, truth_name)
    lacks, has = names if pred_crs is None else names[::-1]
    raise LabelError(
        f'{lacks}: has no CRS, but {has} has one',
        'both with a CRS, or both without one and in the same coordinates',
        f'set the CRS of {lacks} (in QGIS: Assign projection; a Shapefile needs its .prj)',
    )


def in_crs(geometries: np.ndarray, source: object, target: object) -> np.ndarray:
    """Geometries in another CRS; the array itself if that is the same.

    Raises:
        LabelError: If there is no transformation, or it is not defined there.
    """
    if source is None or target is None or same(source, target):
        return geometries
    source, target = proj_crs(source), proj_crs(target)
    try:
        there = shapely.transform(geometries, lambda xy: moved(xy, source, target))
    except ProjError as error:
        raise LabelError(f'no transformation from {source.name} to {target.name}') from error
    lost = ~np.all(np.isfinite(shapely.bounds(there)), axis=-1)
    if lost.any():
        raise LabelError(
            f'{lost.sum()} of {len(lost)} objects in {source.name} cannot be transformed '
            f'to {target.name}',
            'ground truth and prediction in CRSs that hold for the same area',
        )
    return repair(there)[0]


def no_common_area(names, bounds, crs: object, hint: str) -> LabelError:
    """The error that shows the extents of prediction and ground truth, given in one CRS."""
    extents = ['nowhere' if each is None else extent_text(each, crs) for each in bounds]
    return LabelError(
        f'{names[0]} and {names[1]} have no common area\n'
        f'  prediction:   {extents[0]}\n'
        f'  ground truth: {extents[1]}',
        'prediction and ground truth of the same place',
        hint,
    )


def _areal(
    gdf: gpd.GeoDataFrame, name: str, point_size: float | None, pixels: Grid | None
) -> np.ndarray:
    geometries = np.asarray(gdf.geometry.array).copy()
    dimensions = shapely.get_dimensions(geometries)
    lines, points = dimensions == 1, dimensions == 0
    if lines.any():
        raise LabelError(
            f'{name}: {lines.sum()} of {len(gdf)} features are lines, which have no area',
            'polygons',
            'leave them out, or buffer them in a GIS',
        )
    if points.any():
        if point_size is None:
            raise LabelError(
                f'{name}: {points.sum()} of {len(gdf)} features are points, which have no area',
                'polygons',
                'give the side of the squares that stand for them, in metres: point_size '
                '(--point-size)',
            )
        geometries[points] = _squares(geometries[points], gdf.crs, point_size, pixels)
    return geometries


def _squares(points: np.ndarray, crs: object, side: float, pixels: Grid | None) -> np.ndarray:
    if pixels is None or (pixels.crs is None) != (crs is None):
        pixels = Grid(Affine.identity(), 1, 1, crs)
    transform = pixels.transform
    x, y = shapely.get_coordinates(in_crs(points, crs, pixels.crs)).T
    drawn = squares(np.column_stack(~transform @ (x, y)), pixels, side)
    outlines = shapely.transform(drawn, lambda xy: to_map(xy, transform))
    return in_crs(outlines, pixels.crs, crs)


def _whole_features(parts: np.ndarray, fids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features put together from their parts, and the first row of each."""
    _, first, feature, count = np.unique(
        fids, return_index=True, return_inverse=True, return_counts=True
    )
    whole = parts[first]
    for index in np.flatnonzero(count > 1):
        whole[index] = union(parts[feature == index])
    return whole, first


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    scores = pd.to_numeric(column, errors='coerce').to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(scores)
    if wrong.any():
        raise LabelError(
            f'{name}: column {column.name!r} has {wrong.sum()} of {len(scores)} values that are '
            f'no numbers, such as {column[wrong].iloc[0]!r}',
            'a confidence for every prediction',
            'name another column with score_column (--score-column), or take none with '
            'score_column=None (--no-score)',
        )
    return scores
