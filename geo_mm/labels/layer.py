"""Label layers: vector features and the class of each, read, repaired and placed on a scene."""

import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from shapely import STRtree

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.labels.classification import LabelOptions, check_sizes, checked_classes, classify
from geo_mm.labels.placing import (
    as_polygons,
    counts_down,
    inside_box,
    mirrored,
    near_boxes,
    place,
)
from geo_mm.labels.reading import is_polygon_text, layer_name, read_layer, repair, single_parts
from geo_mm.labels.scene_labels import SceneLabels
from geo_mm.raster.grid import Grid
from geo_mm.raster.handles import without_side_files
from geo_mm.raster.projection import bounds_in, proj_crs

logger = logging.getLogger(__name__)

KEPT = 8  # layers that stay in memory
LARGE = 500_000  # features from which only what is near a scene is read


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """Features with class numbers, in their own CRS.

    Attributes:
        geometries: (N,) valid Points, LineStrings and Polygons.
        labels: (N,) int64 class number of each, -1 for ignored.
        fids: (N,) int64 feature ids in the source, equal for parts of one feature.
        crs: Their CRS, or None.
        source: Name of the source, for messages.
        options: How large points and lines are.
        extent: Number and bounds of all features of the source, of which those
            here may be a part.
        is_area: Whether the polygons are an area of interest, not labels.
    """

    geometries: np.ndarray
    labels: np.ndarray
    fids: np.ndarray
    crs: pyproj.CRS | None
    source: str
    options: LabelOptions
    extent: 'Extent'
    is_area: bool = False

    @classmethod
    def read(
        cls,
        source: str | PathLike | gpd.GeoDataFrame,
        classes: Sequence[str] | Mapping[str, int],
        options: LabelOptions | None = None,
        *,
        near: Grid | None = None,
    ) -> 'LabelLayer':
        """Read features and give each its class.

        Layers are kept in memory while their files do not change, so scenes that
        share one do not read it again.

        Args:
            source: Vector file or GeoDataFrame.
            classes: Names of the classes in the order of their numbers, or their
                numbers by name.
            options: How features become classes.
            near: Of layers of more than half a million features, only what is
                near this grid is read.

        Raises:
            LabelError: If the source cannot be read, the column is missing,
                a value has no class, or points or lines have no ground size.
        """
        options = options or LabelOptions()
        name = layer_name(source)
        numbers = checked_classes(classes, options, name)

        def made(frame: gpd.GeoDataFrame) -> LabelLayer:
            if frame.empty:
                warnings.warn(f'{name}: the label layer has no features', stacklevel=4)
            check_sizes(frame, name, options)
            frame, labels = classify(frame, numbers, options, name)
            return cls._of(frame, labels, name, options)

        return _opened(source, made, (*numbers.items(), repr(options)), options, near)

    @classmethod
    def read_area(cls, source: str | PathLike | gpd.GeoDataFrame) -> 'LabelLayer':
        """Read the polygons of an area of interest.

        Raises:
            LabelError: If the source cannot be read or holds no polygon.
        """
        name = layer_name(source)

        def made(frame: gpd.GeoDataFrame) -> LabelLayer:
            frame = frame[shapely.get_dimensions(np.asarray(frame.geometry.array)) == 2]
            if frame.empty:
                raise LabelError(
                    f'{name}: the area of interest has no polygon',
                    'at least one polygon',
                    'to use all of a scene, give no area of interest',
                )
            layer = cls._of(frame, np.zeros(len(frame), np.int64), name, LabelOptions())
            return replace(layer, is_area=True)

        return _opened(source, made, 'area', None, None)

    @classmethod
    def _of(cls, frame, labels, name: str, options: LabelOptions) -> 'LabelLayer':
        geometries = np.asarray(frame.geometry.array)
        bounds = shapely.total_bounds(geometries) if len(geometries) else np.full(4, np.nan)
        extent = Extent(len(geometries), bounds)
        fids = frame['fid'].to_numpy(np.int64)
        return cls(geometries, labels, fids, frame.crs, name, options, extent)

    @cached_property
    def tree(self) -> STRtree:
        """Spatial index of the geometries."""
        return STRtree(self.geometries)

    def onto(
        self,
        grid: Grid,
        *,
        scene: str = 'the scene',
        whole: Grid | None = None,
        background: int = IGNORE,
    ) -> SceneLabels:
        """Bring the features that touch a grid into its pixel coordinates.

        Points become squares here, parallel to the pixels, and lines strips.

        Labels of a picture without a CRS may also be given as QGIS shows them,
        with rows counted downwards from 0: y = -row.

        Args:
            grid: Grid of the scene, or of a part of it.
            scene: Name of the scene, for messages.
            whole: The grid of the whole scene, of which a part may well be empty.
            background: Class number of pixels under no feature.

        Raises:
            LabelError: If only one of layer and grid has a CRS, if they cannot
                be related, or if the layer is elsewhere. An area of interest
                must touch the scene; labels may surround one without objects.
        """
        self._check_crs(grid, scene)
        layer = self._mirrored if grid.is_picture and self._counts_down else self
        placed, chosen = place(
            layer.geometries, layer.tree, self.crs, grid, self._margin(grid, scene)
        )
        shapes = as_polygons(
            placed, grid, self.options.point_size or 0.0, self.options.line_width or 0.0
        )
        polygons, owner = _valid_polygons(shapes)
        inside = shapely.intersects(polygons, inside_box(grid.width, grid.height))
        polygons, chosen = polygons[inside], chosen[owner[inside]]
        if not len(polygons):
            layer._check_touch(grid, whole or grid, scene)
        return SceneLabels(polygons, self.labels[chosen], self.fids[chosen], grid, background)

    def _margin(self, grid: Grid, scene: str) -> float:
        """By how many pixels points and lines extend beyond their geometry."""
        if not self._has_thin:
            return 0.0
        size = max(self.options.point_size or 0, self.options.line_width or 0)
        if grid.gsd is None:
            raise LabelError(
                f'{scene} has no CRS on a globe, so a size in metres has no meaning in it',
                fix=f'draw the objects of {self.source} as polygons',
            )
        return size / max(min(grid.gsd), 1e-9)  # 0 at a pole

    @cached_property
    def _has_thin(self) -> bool:
        """Whether there are points or lines."""
        return bool((shapely.get_dimensions(self.geometries) < 2).any())

    @cached_property
    def _counts_down(self) -> bool:
        """Whether these are rows of a picture without a CRS, y = -row."""
        if self.crs is not None or not counts_down(self.geometries):
            return False
        logger.warning(
            '%s: y is negative, as QGIS counts the rows of a picture without a CRS: taken as -row',
            self.source,
        )
        return True

    @cached_property
    def _mirrored(self) -> 'LabelLayer':
        geometries = mirrored(self.geometries)
        min_x, min_y, max_x, max_y = self.extent.bounds
        extent = Extent(self.extent.count, np.array([min_x, -max_y, max_x, -min_y]))
        return replace(self, geometries=geometries, extent=extent)

    def _check_crs(self, grid: Grid, scene: str) -> None:
        if not self.extent.count:
            return
        what = 'an area of interest' if self.is_area else 'a label layer'
        if self.crs is None and grid.crs is not None:
            raise LabelError(
                f'{self.source}: has no CRS, so it cannot be placed on {scene}',
                f'{what} with a CRS, as the scene has ({grid.crs.to_string()})',
                'set its CRS in a GIS (a Shapefile needs its .prj beside it)',
            )
        if self.crs is not None and grid.crs is None:
            raise LabelError(
                f'{scene} has no CRS, but {self.source} has one ({self.crs.name})',
                f'both with a CRS, or {what} without one in pixel coordinates',
                f'georeference the image, or save {self.source} without a CRS (not as GeoJSON, '
                'which is always WGS 84)',
            )

    def _check_touch(self, grid: Grid, whole: Grid, scene: str) -> None:
        """Raises LabelError if a scene that no feature touches is the wrong one."""
        if not self.extent.count:
            return
        if self.is_area and whole is not grid:
            touches = len(place(self.geometries, self.tree, self.crs, whole)[0]) > 0
        elif self.is_area:
            touches = False
        else:
            boxes = near_boxes(self.crs, whole)
            extent = shapely.box(*self.extent.bounds)
            touches = boxes is not None and bool(shapely.intersects(boxes, extent).any())
        if not touches:
            raise self._disjoint(whole, scene)
        logger.info('%s: none of its features touches %s', self.source, scene)

    def _disjoint(self, grid: Grid, scene: str) -> LabelError:
        bounds = self.extent.bounds
        what = 'area' if self.is_area else 'labels'
        hint = f'check that {what} and image belong together and that both CRSs are right'
        if self.crs is not None:
            place_of_scene = bounds_in(grid.bounds, grid.crs)
            min_x, min_y, max_x, max_y = bounds
            swapped = bounds_in((min_y, min_x, max_y, max_x), self.crs)
            if place_of_scene and swapped and overlap(place_of_scene, swapped):
                hint = f'x and y of the {what} look swapped: exchange them (QGIS: Swap X and Y)'
        return LabelError(
            f'{self.source}: none of its {self.extent.count} features touches {scene}\n'
            f'  {what + ":":<7} {extent_text(bounds, self.crs)}\n'
            f'  scene:  {extent_text(grid.bounds, grid.crs)}',
            f'{"an area of interest" if self.is_area else "labels"} on the scene',
            hint,
        )


@dataclass(frozen=True, eq=False)
class Extent:
    """How many features a source has, and their bounds."""

    count: int
    bounds: np.ndarray


_layers: 'OrderedDict[tuple, LabelLayer | Extent]' = OrderedDict()
"""Layers that were read, and the extents of those that are too large to be kept."""


@without_side_files()
def _opened(
    source: str | PathLike | gpd.GeoDataFrame,
    made: Callable[[gpd.GeoDataFrame], LabelLayer],
    kind: Hashable,
    options: LabelOptions | None,
    near: Grid | None,
) -> LabelLayer:
    """A layer from memory or from its file, whole or what is near a grid."""
    layer, where = (options.layer, options.where) if options else (None, None)
    choose = 'name it with layer=...' if options else 'save that layer as a file of its own'
    if isinstance(source, gpd.GeoDataFrame) or is_polygon_text(source):
        return made(read_layer(source, layer=layer, where=where))
    key = (os.path.abspath(source), stamp := _stamp(source), kind)
    found = _layers.get(key) or _extent_if_large(source, layer)
    if found is None or (isinstance(found, Extent) and near is None):
        found = made(read_layer(source, layer=layer, where=where, choose=choose))
    if stamp is not None:
        _layers[key] = found
        while len(_layers) > KEPT:
            _layers.popitem(last=False)
    if isinstance(found, LabelLayer):
        return found
    bbox = None if options is None or near is None else _bounds_near(source, options, near)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*the label layer has no features')
        part = made(read_layer(source, layer=layer, where=where, bbox=bbox))
    return replace(part, extent=found)


def _bounds_near(
    source: str | PathLike, options: LabelOptions, near: Grid
) -> tuple[float, float, float, float] | None:
    """The box in a layer's CRS that holds what is near a grid; None if it is not one box."""
    crs = pyogrio.read_info(source, layer=options.layer)['crs']
    pad = max(options.point_size or 0, options.line_width or 0) / min(near.gsd or (1,))
    boxes = near_boxes(crs and proj_crs(crs), near, margin=pad)
    return boxes[0].bounds if boxes is not None and len(boxes) == 1 else None


@without_side_files()
def _extent_if_large(source: str | PathLike, layer: str | None) -> Extent | None:
    """The extent of a layer from its header, if only parts of it are to be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # read_layer says what is wrong
            info = pyogrio.read_info(source, layer=layer)
        if info['features'] <= LARGE or not info['capabilities']['fast_spatial_filter']:
            return None
        bounds = pyogrio.read_info(source, layer=layer, force_total_bounds=True)['total_bounds']
    except (DataSourceError, DataLayerError, ValueError, IndexError):  # IndexError: no layer
        return None
    return Extent(info['features'], np.array(bounds))


def _stamp(source: str | PathLike) -> tuple | None:
    """What changes when a file is written, or those beside it that belong to it."""
    path, stem = os.fspath(source), os.path.splitext(os.fspath(source))[0]
    parts = (path, f'{path}-wal', f'{stem}.dbf', f'{stem}.shx', f'{stem}.prj', f'{stem}.cpg')
    if os.path.isdir(path):
        parts = tuple(entry.path for entry in os.scandir(path))
    found = []
    for part in parts:
        try:
            status = os.stat(part)
        except (OSError, ValueError):
            continue
        found.append((part, status.st_mtime_ns, status.st_size))
    return tuple(sorted(found)) or None


def _valid_polygons(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of the shapes; reprojecting can make a very thin one invalid."""
    parts, owner = shapes, np.arange(len(shapes))
    fixed, broken = repair(shapes)
    if broken.any():
        parts, owner = single_parts(fixed)
    areal = shapely.area(parts) > 0
    return parts[areal], owner[areal]


def overlap(a, b) -> bool:
    """Whether two bounds share a point."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def extent_text(bounds, crs: object) -> str:
    """Bounds in degrees, or in map units if they are not georeferenced."""
    name = 'no CRS'
    if crs is not None:
        crs = proj_crs(crs)
        name = ':'.join(crs.to_authority() or [crs.name])
        lonlat = bounds_in(bounds, crs)
        if lonlat:
            west, south, east, north = lonlat
            return f'lon {west:.5f} to {east:.5f}, lat {south:.5f} to {north:.5f} ({name})'
    min_x, min_y, max_x, max_y = bounds
    return f'x {min_x:.2f} to {max_x:.2f}, y {min_y:.2f} to {max_y:.2f} ({name})'
