"""Objects of a vector layer as they are compared."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine

from geo_mm.errors import LabelError
from geo_mm.evaluation.places import (
    areas_of,
    check_both_crs,
    in_crs,
    no_common_area,
    touch,
)
from geo_mm.labels.classification import IGNORED_NAME, attribute_text
from geo_mm.labels.placing import squares
from geo_mm.labels.reading import layer_name, read_layer
from geo_mm.raster.grid import Grid

ONE_CLASS = 'object'


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """The objects of one layer; one feature is one object, whatever its parts.

    Attributes:
        name: Name of the source, for messages.
        columns: Its attributes.
        crs: CRS of the geometries, or None.
        geometries: (N,) Polygons or MultiPolygons.
        class_names: (N,) class of each as text, 'object' without a class column.
        classes: Whether there is a class column; None if not.
        crowd: (N,) bool, areas to be ignored.
        areas: (N,) float64 ground areas in m2 (square units without a CRS).
        scores: (N,) float64, or None.
        fids: (N,) int64 feature ids.
    """

    name: str
    columns: list[str]
    crs: object
    geometries: np.ndarray
    class_names: np.ndarray
    classes: bool | None
    crowd: np.ndarray
    areas: np.ndarray
    scores: np.ndarray | None
    fids: np.ndarray

    def __len__(self) -> int:
        return len(self.fids)

    def all_of(self, name: str) -> 'ObjectTable':
        """All objects as of one class."""
        names = np.full(len(self), name, object)
        return replace(self, class_names=names, classes=True)

    def as_boxes(self) -> 'ObjectTable':
        """Bounding boxes in the place of outlines."""
        boxes = shapely.box(*shapely.bounds(self.geometries).reshape(-1, 4).T)
        return replace(self, geometries=boxes, areas=areas_of(boxes, self.crs))


def read_objects(
    source: str | os.PathLike | gpd.GeoDataFrame,
    class_column: str | None,
    *,
    score_column: str | None = None,
    class_map: Mapping[str, str] | None = None,
    point_size: float | None = None,
    pixels: Grid | None = None,
) -> ObjectTable:
    """Read the objects of a layer.

    Args:
        source: Vector file or GeoDataFrame.
        class_column: Attribute with the class; if the layer lacks it,
            ``classes`` of the result is None.
        score_column: Attribute with the confidence; if the layer lacks it,
            ``scores`` of the result is None.
        class_map: Class name for an attribute value; ``'ignore'`` marks areas.
        point_size: Side in metres of the squares that stand for points.
        pixels: Grid that the squares are parallel to, as those of training are
            to the pixels of their scene; the axes of the layer's CRS by default.

    Raises:
        LabelError: If the layer cannot be read, holds lines, holds points and
            no size is given, or has scores that are no numbers.
    """
    gdf = read_layer(source)
    name = layer_name(source)
    columns = [str(column) for column in gdf.columns if column != gdf.geometry.name]
    geometries, first = _whole_features(
        _areal(gdf, name, point_size, pixels), gdf['fid'].to_numpy()
    )
    rows = gdf.iloc[first]
    classes = True if class_column in columns else None
    names = (
        [attribute_text(value) for value in rows[class_column]]
        if classes
        else [ONE_CLASS] * len(rows)
    )
    names = [(class_map or {}).get(value, value) for value in names]
    scores = None
    if score_column in columns:
        scores = _numbers(rows[score_column], name, score_column)
    names = np.array(names, object)
    return ObjectTable(
        name,
        columns,
        gdf.crs,
        geometries,
        names,
        classes,
        names == IGNORED_NAME,
        areas_of(geometries, gdf.crs),
        scores,
        rows['fid'].to_numpy(np.int64),
    )


def to_crs_of(pred: ObjectTable, truth: ObjectTable) -> ObjectTable:
    """The truth in the CRS of the prediction.

    Raises:
        LabelError: If only one of the two has a CRS, or no transformation exists.
    """
    if not len(pred) or not len(truth):
        return truth
    check_both_crs(pred.name, pred.crs, truth.name, truth.crs)
    geometries = in_crs(truth.geometries, truth.crs, pred.crs)
    if geometries is truth.geometries:
        return truth
    return replace(truth, geometries=geometries, crs=pred.crs)


def check_common_area(pred: ObjectTable, truth: ObjectTable) -> None:
    """Refuse a prediction and a truth that lie in different places.

    Raises:
        LabelError: With both extents.
    """
    if not len(pred) or not len(truth):
        return
    ours, theirs = (shapely.total_bounds(table.geometries) for table in (pred, truth))
    if touch(ours, theirs):
        return
    hint = 'check that both belong to the same scene and that both CRSs are right'
    if touch(ours, theirs[[1, 0, 3, 2]]):
        hint = 'x and y of the truth look swapped: exchange them (in QGIS: Swap X and Y)'
    raise no_common_area(pred.name, ours, truth.name, theirs, pred.crs, hint)


def _areal(
    gdf: gpd.GeoDataFrame, name: str, point_size: float | None, pixels: Grid | None
) -> np.ndarray:
    geometries = np.asarray(gdf.geometry.array).copy()
    dimensions = shapely.get_dimensions(geometries)
    if (dimensions == 1).any():
        raise LabelError(
            f'{name}: {(dimensions == 1).sum()} of {len(gdf)} features are lines, which have no '
            'area',
            'polygons',
            'leave them out, or buffer them in a GIS',
        )
    points = dimensions == 0
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
    on_map = shapely.transform(drawn, lambda xy: np.column_stack(transform @ (xy[:, 0], xy[:, 1])))
    return in_crs(on_map, pixels.crs, crs)


def _whole_features(parts: np.ndarray, fids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features put together from their parts, and the first row of each."""
    _, first, feature, count = np.unique(
        fids, return_index=True, return_inverse=True, return_counts=True
    )
    whole = parts[first]
    for index in np.flatnonzero(count > 1):
        whole[index] = shapely.union_all(parts[feature == index])
    return whole, first


def _numbers(column: pd.Series, name: str, label: str) -> np.ndarray:
    scores = pd.to_numeric(column, errors='coerce').to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(scores)
    if wrong.any():
        raise LabelError(
            f'{name}: column {label!r} has {wrong.sum()} of {len(scores)} values that are no '
            f'numbers, such as {column[wrong].iloc[0]!r}',
            'a score for every prediction',
            'name another column with score_column (--score-column), or take no scores with '
            'score_column=None (--no-score)',
        )
    return scores
