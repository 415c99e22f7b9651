"""The labels of one scene, in its pixel coordinates, indexed for cutting chips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from rasterio.features import rasterize
from shapely import STRtree

from geo_mm.labels.placing import inside_box
from geo_mm.labels.rasterize import filled_blocks
from geo_mm.raster.grid import Grid, Window

IGNORE_LABEL = -1
IGNORE_VALUE = 255


@dataclass(frozen=True, eq=False)
class ClippedLabels:
    """The objects of one chip, in chip pixel coordinates (window corner = 0, 0).

    Attributes:
        geometries: (N,) Polygons or MultiPolygons, clipped to the window.
        labels: (N,) int64 class indices, -1 for ignored objects.
        indices: (N,) positions in the :class:`SceneLabels`, ascending.
        visible: (N,) float64, share of each object's area inside the window.
        boxes: (N, 4) float32 ``x_min, y_min, x_max, y_max`` of the geometries.
        window: The window in the scene.
    """

    geometries: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    window: Window

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """Labelled polygons in the pixel coordinates of a grid.

    Immutable: copies are the object itself, and pickling carries the
    geometries but not the index, which is rebuilt.

    Attributes:
        geometries: (N,) valid Polygons, pixel coordinates ``(x, y)``.
        labels: (N,) int64 class indices, -1 for ignored objects.
        fids: (N,) int64 feature ids in the source of the labels.
        grid: The grid of the scene.
        tree: Spatial index of the geometries.
    """

    geometries: np.ndarray
    labels: np.ndarray
    fids: np.ndarray
    grid: Grid
    tree: STRtree = field(init=False, repr=False)
    _bounds: np.ndarray = field(init=False, repr=False)
    _areas: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        geometries = np.asarray(self.geometries, dtype=object).copy()
        arrays = {
            'geometries': geometries,
            'labels': np.array(self.labels, dtype=np.int64),
            'fids': np.array(self.fids, dtype=np.int64),
            '_bounds': shapely.bounds(geometries).reshape(-1, 4),
            '_areas': shapely.area(geometries),
        }
        if not len(geometries) == len(arrays['labels']) == len(arrays['fids']):
            raise ValueError('geometries, labels and fids must be of equal length')
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, 'tree', STRtree(geometries))

    def __len__(self) -> int:
        return len(self.labels)

    def __copy__(self) -> 'SceneLabels':
        return self

    def __deepcopy__(self, memo: dict) -> 'SceneLabels':
        return self

    def __reduce__(self) -> tuple:
        return SceneLabels, (self.geometries, self.labels, self.fids, self.grid)

    def query(self, window: Window) -> np.ndarray:
        """Ascending indices of the objects that share area with ``window``."""
        if not window.area:
            return np.empty(0, dtype=np.int64)
        box = inside_box(window.width, window.height, window.col_off, window.row_off)
        return np.sort(self.tree.query(box, predicate='intersects'))

    def clip(self, window: Window) -> ClippedLabels:
        """Cut the objects at the edges of ``window``."""
        indices = self.query(window)
        low, high = (window.col_off, window.row_off), (window.col_end, window.row_end)
        bounds = self._bounds[indices]
        crossing = np.flatnonzero((bounds < low + low).any(1) | (bounds > high + high).any(1))

        geometries = self.geometries[indices]
        visible = np.ones(len(indices))
        if len(crossing):
            box = shapely.box(*low, *high)
            geometries[crossing] = _polygons_only(shapely.intersection(geometries[crossing], box))
            areas = self._areas[indices[crossing]]
            visible[crossing] = np.minimum(shapely.area(geometries[crossing]) / areas, 1.0)
            kept = visible > 0
            geometries, indices, visible = geometries[kept], indices[kept], visible[kept]
        geometries = shapely.transform(geometries, lambda xy: xy - low)
        boxes = shapely.bounds(geometries).reshape(-1, 4).astype(np.float32)
        return ClippedLabels(geometries, self.labels[indices], indices, visible, boxes, window)

    def rasterise(
        self,
        window: Window,
        background: int = 0,
        values: Sequence[int] | None = None,
        all_touched: bool = False,
    ) -> np.ndarray:
        """Draw the objects as a map of classes.

        Where objects overlap, the class with the larger label is on top (list
        the classes from the ground up: water, road, building, tree), and
        ignored objects are on top of all.

        Args:
            window: What to draw; it may hang over the scene.
            background: Value of pixels without an object.
            values: Value for each label, ``label + 1`` by default.
            all_touched: Fill every pixel that is touched, instead of those
                whose centre is inside.

        Returns:
            (height, width) uint8, 255 under ignored objects.

        Raises:
            ValueError: If a value is not in 0 ... 254.
        """
        canvas = np.full((window.height, window.width), background, dtype=np.uint8)
        indices = self.query(window)
        labels = self.labels[indices]
        painted = _painted_values(labels, values)
        order = np.lexsort((indices, np.where(labels == IGNORE_LABEL, np.inf, labels)))
        geometries, painted = self.geometries[indices][order], painted[order]
        if all_touched:
            return _draw_touched(geometries, painted, window, canvas)
        for index, rows, cols, block in filled_blocks(geometries, window):
            canvas[rows, cols][block] = painted[index]
        return canvas

    def masks(self, clipped: ClippedLabels) -> np.ndarray:
        """One mask per clipped object; holes are empty.

        Returns:
            (N, height, width) uint8, 1 inside.
        """
        window = clipped.window
        masks = np.zeros((len(clipped), window.height, window.width), dtype=np.uint8)
        for index, rows, cols, block in filled_blocks(self.geometries[clipped.indices], window):
            masks[index, rows, cols] = block.view(np.uint8)
        return masks

    def centres(self) -> np.ndarray:
        """(N, 2) pixel coordinates of a point inside each object."""
        return self._centres

    @cached_property
    def _centres(self) -> np.ndarray:
        points = shapely.get_coordinates(shapely.point_on_surface(self.geometries))
        points.setflags(write=False)
        return points


def _painted_values(labels: np.ndarray, values: Sequence[int] | None) -> np.ndarray:
    ignored = labels == IGNORE_LABEL
    if values is None:
        painted = labels + 1
    else:
        if labels.size and labels.max() >= len(values):
            raise ValueError(f'label {labels.max()} has no entry in values={list(values)}')
        painted = np.asarray(values, dtype=np.int64)[np.where(ignored, 0, labels)]
    if ((painted < 0) | (painted >= IGNORE_VALUE))[~ignored].any():
        raise ValueError(f'class values must lie in 0 ... 254, got {np.unique(painted[~ignored])}')
    return np.where(ignored, IGNORE_VALUE, painted)


def _polygons_only(geometries: np.ndarray) -> np.ndarray:
    """Drop the lines and points at which an object merely touches the edge."""
    for i in np.flatnonzero(shapely.get_type_id(geometries) == 7):
        parts = shapely.get_parts(geometries[i])
        geometries[i] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return geometries


def _draw_touched(geometries, painted, window: Window, canvas: np.ndarray) -> np.ndarray:
    if len(geometries):
        low = (window.col_off, window.row_off)
        shifted = shapely.transform(geometries, lambda xy: xy - low)
        shapes = zip(shifted, painted.tolist(), strict=True)
        rasterize(shapes, out=canvas, all_touched=True)
    return canvas
