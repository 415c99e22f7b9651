"""Label layers: features of a vector file with the classes they stand for."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import shapely

from geo_mm.errors import LabelError
from geo_mm.labels.placing import inside_box, place
from geo_mm.labels.reading import layer_name, read_layer, single_parts
from geo_mm.labels.scene_labels import IGNORE_LABEL, SceneLabels
from geo_mm.raster.grid import Grid
from geo_mm.raster.projection import bounds_in

NULL = '<null>'
IGNORE = 'ignore'
LISTED = 40  # values shown in a message


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """Features with class labels, in their own CRS.

    Attributes:
        gdf: The features, see :func:`geo_mm.labels.read_layer`.
        labels: (N,) int64 index into ``classes`` of each, -1 for ignored.
        classes: Class names.
        source: Name of the source, for messages.
        point_size: Side of the square that stands for a point, in metres.
        line_width: Width of the strip that stands for a line, in metres.
    """

    gdf: gpd.GeoDataFrame
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    point_size: float | None = None
    line_width: float | None = None

    @classmethod
    def read(
        cls,
        source: str | PathLike | gpd.GeoDataFrame,
        classes: Sequence[str],
        *,
        class_column: str | None = None,
        class_map: Mapping[str, str | None] | None = None,
        layer: str | None = None,
        where: str | None = None,
        point_size: float | None = None,
        line_width: float | None = None,
    ) -> 'LabelLayer':
        """Read features and give each its class.

        Args:
            source: Vector file or GeoDataFrame.
            classes: Names of the classes, in the order of their labels.
            class_column: Attribute that tells the class. None: there is one
                class, and all features are of it.
            class_map: Class name for an attribute value, compared as text
                (``'<null>'`` for features without a value). None drops the
                features, ``'ignore'`` labels them -1: neither object nor
                background. Values that are class names need no entry.
            layer: Layer name, if the file has several.
            where: Filter in OGR SQL.
            point_size: Ground size in metres of the squares drawn around
                points; needed if there are points.
            line_width: Ground width in metres of the strips drawn along lines;
                needed if there are lines.

        Raises:
            LabelError: If the source cannot be read, the column is missing,
                a value has no class, or points or lines have no ground size.
        """
        gdf = read_layer(source, layer=layer, where=where)
        name = layer_name(source)
        classes = _checked_classes(classes, class_column, class_map, name)
        if gdf.empty:
            warnings.warn(f'{name}: the label layer has no features', stacklevel=2)
        _check_sizes(gdf, name, point_size, line_width)
        if class_column is None or gdf.empty:
            labels = np.zeros(len(gdf), dtype=np.int64)
        else:
            gdf, labels = _classify(gdf, classes, class_column, class_map or {}, name)
        return cls(gdf, labels, classes, name, point_size, line_width)

    def onto(self, grid: Grid, *, scene: str = 'the scene', must_touch: bool = True) -> SceneLabels:
        """Bring the features that touch a grid into its pixel coordinates.

        Points become squares and lines become strips here, so that a square is
        parallel to the pixels.

        Args:
            grid: Grid of the scene.
            scene: Name of the scene, for messages.
            must_touch: Whether it is an error that features exist but none
                touches the grid. A crop of a scene may well be empty.

        Raises:
            LabelError: If only one of layer and grid has a CRS, if they cannot
                be related, or if nothing touches the grid.
        """
        self._check_crs(grid, scene)
        scale = self._metres_per_pixel(grid, scene)
        size = max(self.point_size or 0, self.line_width or 0)
        geometries = np.asarray(self.gdf.geometry.array)
        placed, chosen = place(geometries, self.gdf.crs, grid, margin=size / min(scale))
        shapes = _as_polygons(placed, scale, self.point_size, self.line_width)
        polygons, owner = _valid_polygons(shapes)
        inside = shapely.intersects(polygons, inside_box(grid.width, grid.height))
        polygons, chosen = polygons[inside], chosen[owner[inside]]
        if must_touch and len(geometries) and not len(polygons):
            raise self._disjoint(grid, scene)
        fids = self.gdf['fid'].to_numpy()
        return SceneLabels(polygons, self.labels[chosen], fids[chosen], grid)

    def _check_crs(self, grid: Grid, scene: str) -> None:
        if self.gdf.empty or (self.gdf.crs is None) == (grid.crs is None):
            return
        if self.gdf.crs is None:
            raise LabelError(
                f'{self.source}: has no CRS, so it cannot be placed on {scene}',
                f'a label layer with a CRS, as the scene has ({grid.crs.to_string()})',
                'set its CRS in a GIS (a Shapefile needs its .prj beside it)',
            )
        raise LabelError(
            f'{scene} has no CRS, but {self.source} has one ({self.gdf.crs.name})',
            'both with a CRS, or labels without a CRS in pixel coordinates',
            'georeference the image, or save the labels without a CRS (not as GeoJSON, '
            'which is always WGS 84)',
        )

    def _metres_per_pixel(self, grid: Grid, scene: str) -> tuple[float, float]:
        if self.point_size is None and self.line_width is None:
            return 1.0, 1.0
        gsd = grid.gsd
        if gsd is None:
            raise LabelError(
                f'{scene} has no CRS, so a size in metres has no meaning in it',
                fix=f'draw the objects of {self.source} as polygons',
            )
        return gsd

    def _disjoint(self, grid: Grid, scene: str) -> LabelError:
        bounds = self.gdf.total_bounds
        hint = 'check that labels and image belong together and that both CRSs are right'
        if self.gdf.crs is not None:
            place_of_scene = bounds_in(grid.bounds, grid.crs.to_wkt())
            swapped = bounds_in(bounds[[1, 0, 3, 2]], self.gdf.crs)
            if place_of_scene and swapped and _overlap(place_of_scene, swapped):
                hint = 'x and y of the labels look swapped: exchange them (QGIS: Swap X and Y)'
        scene_crs = grid.crs and grid.crs.to_wkt()
        return LabelError(
            f'{self.source}: none of its {len(self.gdf)} features touches {scene}\n'
            f'  labels: {_extent(bounds, self.gdf.crs)}\n'
            f'  scene:  {_extent(grid.bounds, scene_crs)}',
            'labels that lie on the scene',
            hint,
        )


def _checked_classes(classes, class_column, class_map, name: str) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise LabelError(
            f'{name}: classes is the text {classes!r}', f'a list of names, such as [{classes!r}]'
        )
    classes = tuple(classes)
    if not classes or len(set(classes)) != len(classes) or IGNORE in classes:
        raise LabelError(
            f'{name}: the classes are {list(classes)}',
            f'at least one name, each once, none called {IGNORE!r}',
        )
    if class_column is None:
        if len(classes) > 1:
            raise LabelError(
                f'{name}: {len(classes)} classes are given, but no class_column',
                'an attribute that tells the classes apart',
                'set class_column=...',
            )
        if class_map:
            raise LabelError(
                f'{name}: a class_map is given, but no class_column',
                fix='set class_column=..., or leave class_map out',
            )
    for value, target in (class_map or {}).items():
        if target is not None and target != IGNORE and target not in classes:
            raise LabelError(
                f'{name}: class_map sends {value!r} to {target!r}, which is no class',
                f'one of {list(classes)}, None (drop) or {IGNORE!r}',
            )
    return classes


def _check_sizes(gdf, name: str, point_size: float | None, line_width: float | None) -> None:
    dimensions = shapely.get_dimensions(np.asarray(gdf.geometry.array))
    needs = ((0, 'points', 'point_size', point_size), (1, 'lines', 'line_width', line_width))
    for dimension, what, argument, size in needs:
        if size is not None and not 0 < size < np.inf:
            raise LabelError(f'{name}: {argument} is {size}', 'a positive number of metres')
        count = int((dimensions == dimension).sum())
        if count and size is None:
            raise LabelError(
                f'{name}: {count} of {len(gdf)} features are {what}, which have no area',
                'polygons',
                f'set {argument}=... (metres on the ground), or leave them out with where=...',
            )


def _classify(gdf, classes, class_column, class_map, name: str):
    """Features of the classes asked for, and their labels."""
    if class_column not in gdf.columns or class_column == gdf.geometry.name:
        columns = [column for column in gdf.columns if column != gdf.geometry.name]
        raise LabelError(
            f'{name}: has no column {class_column!r}',
            f'one of {columns}',
            'correct class_column=...',
        )
    values = [attribute_text(value) for value in gdf[class_column]]
    targets = {name: name for name in classes}
    targets.update({attribute_text(value): target for value, target in class_map.items()})
    unknown = Counter(value for value in values if value not in targets)
    if unknown:
        raise LabelError(
            f'{name}: column {class_column!r} has {len(unknown)} values without a class: '
            f'{_counts(unknown)}\n  all values found: {_counts(Counter(values))}',
            f'one of {list(classes)}',
            "name a class for each in class_map, as {'value': 'class'}; None drops the features, "
            f'{IGNORE!r} excludes their area',
        )
    label_of = {name: label for label, name in enumerate(classes)}
    label_of[IGNORE] = IGNORE_LABEL
    kept = np.array([targets[value] is not None for value in values], dtype=bool)
    found = [targets[value] for value in values if targets[value] is not None]
    labels = np.array([label_of[target] for target in found], dtype=np.int64)
    return gdf[kept].reset_index(drop=True), labels


def attribute_text(value: object) -> str:
    """An attribute value as the text that class names are compared with."""
    if pd.isna(value):
        return NULL
    # A column of integers with nulls arrives as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _counts(counter: Counter) -> str:
    most = counter.most_common(LISTED)
    more = len(counter) - len(most)
    text = ', '.join(f'{value} ({count})' for value, count in most)
    return text + (f' and {more} more' if more else '')


def _as_polygons(geometries, scale, point_size, line_width) -> np.ndarray:
    """Points as squares and lines as strips; ``scale`` is metres per pixel (x, y)."""
    shapes = geometries.copy()
    dimensions = shapely.get_dimensions(shapes)
    points, lines = dimensions == 0, dimensions == 1
    if points.any():
        x, y = shapely.get_coordinates(shapes[points]).T
        half_x, half_y = point_size / scale[0] / 2, point_size / scale[1] / 2
        shapes[points] = shapely.box(x - half_x, y - half_y, x + half_x, y + half_y)
    if lines.any():
        metres = shapely.transform(shapes[lines], lambda xy: xy * scale)
        strips = shapely.buffer(metres, line_width / 2, cap_style='flat')
        shapes[lines] = shapely.transform(strips, lambda xy: xy / scale)
    return shapes


def _valid_polygons(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of the shapes; reprojecting can make a very thin one invalid."""
    broken = ~shapely.is_valid(shapes)
    if broken.any():
        shapes = shapes.copy()
        shapes[broken] = shapely.make_valid(
            shapes[broken], method='structure', keep_collapsed=False
        )
    parts, owner = single_parts(shapes)
    areal = shapely.area(parts) > 0
    return parts[areal], owner[areal]


def _overlap(a, b) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _extent(bounds, crs: object) -> str:
    """Bounds in degrees, or in map units where they have no place on Earth."""
    name = 'no CRS'
    if crs is not None:
        crs = pyproj.CRS.from_user_input(crs)
        name = ':'.join(crs.to_authority() or [crs.name])
        lonlat = bounds_in(bounds, crs)
        if lonlat:
            west, south, east, north = lonlat
            return f'lon {west:.5f} to {east:.5f}, lat {south:.5f} to {north:.5f} ({name})'
    min_x, min_y, max_x, max_y = bounds
    return f'x {min_x:.2f} to {max_x:.2f}, y {min_y:.2f} to {max_y:.2f} ({name})'
