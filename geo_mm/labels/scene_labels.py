"""The labelled objects of one scene, in its pixel coordinates: cut to chips, filled into pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from affine import Affine
from shapely import STRtree

from geo_mm.classes import IGNORE
from geo_mm.geometry import areas_only
from geo_mm.labels.placing import inside_box
from geo_mm.raster.grid import Grid, Window


@dataclass(frozen=True, eq=False)
class ClippedObjects:
    """The objects of one chip, in chip pixel coordinates (window corner = 0, 0).

    Attributes:
        geometries: (N,) Polygons or MultiPolygons, clipped to the window.
        labels: (N,) int64 class numbers, -1 for ignored objects.
        indices: (N,) positions in the :class:`SceneLabels`, ascending.
        visible: (N,) float64, share of each object's area inside the window.
        boxes: (N, 4) float32 ``x_min, y_min, x_max, y_max`` of the geometries.
        outlines: (N,) the whole objects, in scene pixel coordinates.
        window: The window in the scene.
    """

    geometries: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    outlines: np.ndarray
    window: Window

    def __len__(self) -> int:
        return len(self.labels)

    def masks(self) -> np.ndarray:
        """One mask per object; holes are empty.

        Returns:
            (N, height, width) uint8, 1 inside.
        """
        masks = np.zeros((len(self), self.window.height, self.window.width), dtype=np.uint8)
        for index, rows, cols, block in filled_blocks(self.outlines, self.window):
            masks[index, rows, cols] = block.view(np.uint8)
        return masks


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """Labelled polygons in the pixel coordinates of a grid.

    Immutable: copies are the object itself, and pickling carries the
    geometries but not the index, which is rebuilt.

    Attributes:
        geometries: (N,) valid Polygons, pixel coordinates ``(x, y)``.
        labels: (N,) int64 class numbers, -1 for ignored objects.
        fids: (N,) int64 feature ids in the source of the labels.
        grid: The grid of the scene.
        background: Class number of pixels without an object; 255 ignores them.
        tree: Spatial index of the geometries.
    """

    geometries: np.ndarray
    labels: np.ndarray
    fids: np.ndarray
    grid: Grid
    background: int = IGNORE
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
        return SceneLabels, (self.geometries, self.labels, self.fids, self.grid, self.background)

    def query(self, window: Window) -> np.ndarray:
        """Ascending indices of the objects that share area with ``window``."""
        if not window.area:
            return np.empty(0, dtype=np.int64)
        box = inside_box(window.width, window.height, window.col_off, window.row_off)
        return np.sort(self.tree.query(box, predicate='intersects'))

    def turned(self, placed: Affine, grid: Grid, window: Window) -> 'SceneLabels':
        """The objects near a window of a turned grid, in its pixel coordinates.

        Args:
            placed: Pixel coordinates of the turned grid to those of this one.
            grid: The turned grid.
            window: In pixels of the turned grid.
        """
        left, top, right, bottom = window.col_off, window.row_off, window.col_end, window.row_end
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        chip = shapely.Polygon([placed @ corner for corner in corners])
        near = np.sort(self.tree.query(chip, predicate='intersects'))
        inverse = ~placed
        a, b, c, d, e, f = inverse[:6]
        matrix, shift = np.array([[a, b], [d, e]]), (c, f)
        geometries = shapely.transform(self.geometries[near], lambda xy: xy @ matrix.T + shift)
        return SceneLabels(geometries, self.labels[near], self.fids[near], grid, self.background)

    def objects(self, window: Window) -> ClippedObjects:
        """The objects under ``window``, cut at its edges."""
        indices = self.query(window)
        low, high = (window.col_off, window.row_off), (window.col_end, window.row_end)
        bounds = self._bounds[indices]
        crossing = np.flatnonzero((bounds < low + low).any(1) | (bounds > high + high).any(1))

        geometries = self.geometries[indices]
        visible: np.ndarray = np.ones(len(indices))
        if len(crossing):
            box = shapely.box(*low, *high)
            parts = shapely.intersection(geometries[crossing], box)
            for i in np.flatnonzero(shapely.get_type_id(parts) == 7):
                parts[i] = areas_only(parts[i])  # without lines at which it touches the edge
            geometries[crossing] = parts
            areas = self._areas[indices[crossing]]
            visible[crossing] = np.minimum(shapely.area(geometries[crossing]) / areas, 1.0)
            kept = visible > 0
            geometries, indices, visible = geometries[kept], indices[kept], visible[kept]
        geometries = shapely.transform(geometries, lambda xy: xy - low)
        boxes = shapely.bounds(geometries).reshape(-1, 4).astype(np.float32)
        labels, outlines = self.labels[indices], self.geometries[indices]
        return ClippedObjects(geometries, labels, indices, visible, boxes, outlines, window)

    def classes(self, window: Window) -> np.ndarray:
        """Draw the objects as a map of classes.

        Where objects overlap, the class with the larger number is on top (list
        the classes from the ground up: water, road, building, tree), and
        ignored objects are on top of all.

        Args:
            window: What to draw; it may hang over the scene.

        Returns:
            (height, width) uint8, 255 under ignored objects.
        """
        canvas = np.full((window.height, window.width), self.background, dtype=np.uint8)
        indices = self.query(window)
        labels = np.where(self.labels[indices] < 0, IGNORE, self.labels[indices])
        order = np.lexsort((indices, labels))
        labels = labels[order]
        for index, rows, cols, block in filled_blocks(self.geometries[indices[order]], window):
            canvas[rows, cols][block] = labels[index]
        return canvas

    def covers(self, window: Window) -> np.ndarray:
        """Which pixels have their centre in an object, (height, width) bool."""
        canvas = np.zeros((window.height, window.width), dtype=bool)
        for _, rows, cols, block in filled_blocks(self.geometries[self.query(window)], window):
            canvas[rows, cols] |= block
        return canvas

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """A point inside each object, (N, 2) pixel coordinates, and its class number."""
        return self._centres, self.labels

    @cached_property
    def _centres(self) -> np.ndarray:
        points = shapely.get_coordinates(shapely.point_on_surface(self.geometries))
        points.setflags(write=False)
        return points


BATCH_CELLS = 1 << 24  # bytes of working memory, unless one polygon needs more


def filled_blocks(
    polygons: np.ndarray, window: Window
) -> Iterator[tuple[int, slice, slice, np.ndarray]]:
    """Fill polygons, each into its own bounding box.

    A pixel belongs to a polygon if its centre is inside (even-odd rule, so
    holes stay empty). A centre exactly on an edge belongs to the polygon on the
    right of it or below it: polygons that share an edge neither overlap nor
    leave a gap. All arithmetic is in scene pixels, so a scene filled window by
    window equals the scene filled at once.

    One numpy pass over the edges of all polygons: on chips of 256 pixels with
    a dozen buildings about five times as fast as a call of
    ``rasterio.features.rasterize`` for each, which follows the same rule.

    Args:
        polygons: (N,) Polygons or MultiPolygons in pixel coordinates.
        window: The pixels to fill.

    Yields:
        Index of the polygon, ascending; rows and columns of its box inside the
        window; and the bool mask of that box. Polygons whose box holds no pixel
        centre of the window are left out.
    """
    top, bottom, left, right = _boxes(polygons, window)
    # One more column takes the crossings right of the box.
    cells = (bottom - top) * (right - left + 1)
    cells[right <= left] = 0
    filled = np.flatnonzero(cells)
    batch = np.cumsum(cells[filled]) // BATCH_CELLS
    for part in np.split(filled, np.flatnonzero(np.diff(batch)) + 1):
        box = top[part], bottom[part], left[part], right[part]
        for index, mask in zip(part, _fill(polygons[part], *box), strict=True):
            y, x = top[index] - window.row_off, left[index] - window.col_off
            height, width = mask.shape
            yield index, slice(y, y + height), slice(x, x + width), mask


def _fill(polygons, top, bottom, left, right) -> Iterator[np.ndarray]:
    """The mask of each polygon in its box of rows and columns."""
    heights, strides = bottom - top, right - left + 1
    ends = np.cumsum(heights * strides)
    starts = ends - heights * strides
    owner, row, col = _crossings(polygons, top, bottom)
    col = np.clip(col, left[owner], right[owner]) - left[owner]
    # Going along a row, every crossing switches between outside and inside. A
    # closed ring is crossed an even number of times, so each row ends outside,
    # and one running xor serves all rows of all boxes.
    inside = np.zeros(ends[-1] if len(ends) else 0, dtype=bool)
    switches = starts[owner] + (row - top[owner]) * strides[owner] + col
    np.logical_xor.at(inside, switches, True)
    np.logical_xor.accumulate(inside, out=inside)
    for start, end, stride in zip(starts, ends, strides, strict=True):
        yield inside[start:end].reshape(-1, stride)[:, :-1]


def _boxes(polygons: np.ndarray, window: Window) -> tuple[np.ndarray, ...]:
    """First and last-plus-one rows and columns that a polygon can fill."""
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    low = [window.col_off, window.row_off, window.col_off, window.row_off]
    high = [window.col_end, window.row_end, window.col_end, window.row_end]
    left, top, right, bottom = np.clip(_first_centre(bounds), low, high).T
    return top, bottom, left, right


def _first_centre(position: np.ndarray) -> np.ndarray:
    """The first pixel whose centre is not before a position."""
    return np.ceil(position - 0.5).astype(np.int64)


def _crossings(
    polygons: np.ndarray, top: np.ndarray, bottom: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the edges cross the lines through the pixel centres of the rows.

    Returns:
        For every crossing the polygon, the row, and the first column whose
        pixel centre is not left of it.
    """
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    rings, ring_owner = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    edge = ring[1:] == ring[:-1]
    start, end = xy[:-1][edge], xy[1:][edge]
    # Downwards, whichever way the ring runs: the two polygons at a shared edge
    # then compute the same crossings to the last bit.
    up = start[:, 1] > end[:, 1]
    start[up], end[up] = end[up], start[up]
    (x0, y0), (x1, y1) = start.T, end.T
    owner = part_owner[ring_owner[ring[1:][edge]]]

    first = np.maximum(_first_centre(y0), top[owner])
    count = np.maximum(np.minimum(_first_centre(y1), bottom[owner]) - first, 0)
    each = np.repeat(np.arange(len(count)), count)
    row = first[each] + np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count)
    with np.errstate(divide='ignore', invalid='ignore'):
        slope = (x1 - x0) / (y1 - y0)  # level edges cross no row
    x = x0[each] + (row + 0.5 - y0[each]) * slope[each]
    return owner[each], row, _first_centre(x)
