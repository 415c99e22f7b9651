"""Filling polygons into pixels, many small ones at once."""

from collections.abc import Iterator

import numpy as np
import shapely

from geo_mm.raster.grid import Window

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
