"""Bringing geometries from their CRS into the pixel coordinates of a grid."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError

from geo_mm.errors import LabelError
from geo_mm.labels.reading import single_parts
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.projection import same, transformer

logger = logging.getLogger(__name__)

MAX_BEND = 0.05  # pixels that a reprojected edge may lie beside the true curve
EDGE = 1e-6  # pixels; objects that only touch an edge are not inside


def place(
    geometries: np.ndarray, crs: pyproj.CRS | None, grid: Grid, margin: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Bring the geometries near a grid into its pixel coordinates.

    Near is what lies within the size of the grid around it. What reaches
    further is cut there: projections need not be defined far from home, and
    the outline of a country need not be computed for one scene.

    Edges that are straight in ``crs`` are curves in the grid; long ones get
    more vertices, so that they lie within :data:`MAX_BEND` pixels.

    Args:
        geometries: (N,) single-part geometries with finite coordinates.
        crs: Their CRS, or None if they are in the grid's map coordinates.
        grid: Where they go.
        margin: Pixels around the grid that count as near at least.

    Returns:
        Single-part geometries in pixel coordinates ``(x, y)``, and for each the
        index of the geometry it comes from.

    Raises:
        LabelError: If no transformation exists between the two systems.
    """
    to_grid = _to_grid(crs, grid)
    near, owner = _cut_out(geometries, _surroundings(grid, to_grid, margin))
    to_pixels = _to_pixels(to_grid, grid)
    placed = shapely.transform(_densify(near, to_pixels), to_pixels)
    xy, found = shapely.get_coordinates(placed, return_index=True)
    lost = np.unique(found[~np.isfinite(xy).all(axis=1)])
    if len(lost):
        logger.warning("%d features lie where the scene's projection is not defined", len(lost))
    return np.delete(placed, lost), np.delete(owner, lost)


def inside_box(width: float, height: float, x: float = 0.0, y: float = 0.0) -> shapely.Polygon:
    """A box whose 'intersects' is true for common area and false for a mere touch."""
    return shapely.box(x + EDGE, y + EDGE, x + width - EDGE, y + height - EDGE)


def _to_grid(crs: pyproj.CRS | None, grid: Grid) -> pyproj.Transformer | None:
    """From a layer's CRS to that of a grid; None if they are the same or there is none."""
    if crs is None:
        return None
    try:
        return None if same(crs, grid.crs) else transformer(crs, grid.crs)
    except ProjError as error:
        name = pyproj.CRS.from_user_input(grid.crs.to_wkt()).name
        raise LabelError(
            f'no transformation leads from {crs.name} (labels) to {name} (scene): {error}',
            'labels and scene in systems that PROJ can relate',
        ) from error


def _surroundings(
    grid: Grid, to_grid: pyproj.Transformer | None, margin: float
) -> np.ndarray | None:
    """Boxes in the layer's CRS around all that is near the grid.

    One box, or two if the grid lies across the antimeridian of a geographic
    CRS; None if the grid's extent cannot be told in it.
    """
    pad_x, pad_y = (max(side, math.ceil(margin)) for side in (grid.width, grid.height))
    window = Window(-pad_x, -pad_y, grid.width + 2 * pad_x, grid.height + 2 * pad_y)
    bounds = grid.crop(window).bounds
    if to_grid is not None:
        try:
            bounds = to_grid.transform_bounds(*bounds, direction='INVERSE')
        except ProjError:
            return None
    west, south, east, north = bounds
    if not np.isfinite(bounds).all():
        return None
    if west > east:
        return shapely.box([west, -180], south, [180, east], north)
    return shapely.box([west], south, [east], north)


def _cut_out(geometries: np.ndarray, areas: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The single parts of the geometries inside the areas, and their indices."""
    if areas is None:
        return geometries, np.arange(len(geometries))
    tree = shapely.STRtree(geometries)
    index, area = np.unique(tree.query(areas)[::-1], axis=1)
    parts = geometries[index]
    left, bottom, right, top = shapely.bounds(parts).reshape(-1, 4).T
    low_x, low_y, high_x, high_y = shapely.bounds(areas)[area].T
    beyond = (left < low_x) | (right > high_x) | (bottom < low_y) | (top > high_y)
    parts[beyond] = shapely.intersection(parts[beyond], areas[area[beyond]])
    parts, owner = single_parts(parts)
    index = index[owner]
    # Not the lines and points at which a polygon merely touches the cut.
    whole = shapely.get_dimensions(parts) == shapely.get_dimensions(geometries[index])
    return parts[whole], index[whole]


def _to_pixels(
    to_grid: pyproj.Transformer | None, grid: Grid
) -> Callable[[np.ndarray], np.ndarray]:
    inverse = ~grid.transform

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        x, y = xy[:, 0], xy[:, 1]
        if to_grid is not None:
            x, y = to_grid.transform(x, y)
            x, y = (np.where(np.isfinite(v), v, np.nan) for v in (x, y))
        return np.column_stack(inverse @ (x, y))

    return to_pixels


def _densify(geometries: np.ndarray, to_pixels: Callable) -> np.ndarray:
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    # Holes add one edge that does not exist; at worst it adds vertices.
    edge = owner[1:] == owner[:-1]
    start, end, owner = xy[:-1][edge], xy[1:][edge], owner[1:][edge]
    if not len(owner):
        return geometries
    chord = (to_pixels(start) + to_pixels(end)) / 2
    bends = np.nan_to_num(np.hypot(*(to_pixels((start + end) / 2) - chord).T))
    bend, longest = np.zeros(len(geometries)), np.zeros(len(geometries))
    np.maximum.at(bend, owner, bends)
    np.maximum.at(longest, owner, np.hypot(*(end - start).T))
    curved = bend > MAX_BEND
    if not curved.any():
        return geometries
    # The bend of an arc falls with the square of its length.
    pieces = np.ceil(np.sqrt(bend[curved] / MAX_BEND))
    geometries = geometries.copy()
    geometries[curved] = shapely.segmentize(geometries[curved], longest[curved] / pieces)
    return geometries
