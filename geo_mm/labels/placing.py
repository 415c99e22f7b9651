"""Bringing geometries from their CRS into the pixel coordinates of a grid."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError
from shapely import STRtree

from geo_mm.errors import LabelError
from geo_mm.labels.reading import single_parts
from geo_mm.raster.grid import Grid, to_map
from geo_mm.raster.projection import (
    bounds_in,
    ground_distances,
    moved,
    proj_crs,
    same,
    transformer,
)

logger = logging.getLogger(__name__)

MAX_BEND = 0.05  # pixels of distance between a reprojected edge and the true curve
EDGE = 1e-6  # pixels; objects that only touch an edge are not inside


def place(
    geometries: np.ndarray,
    tree: STRtree,
    crs: pyproj.CRS | None,
    grid: Grid,
    margin: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring the geometries near a grid into its pixel coordinates.

    What reaches further than the size of the grid around it is cut there:
    projections need not be defined far from home, and the outline of a country
    need not be computed for one scene.

    Edges that are straight in ``crs`` are curves in the grid; long ones get
    more vertices, so that they are within :data:`MAX_BEND` pixels.

    Args:
        geometries: (N,) single-part geometries with finite coordinates.
        tree: Spatial index of them.
        crs: Their CRS, or None if they are in the grid's map coordinates.
        grid: Where they go.
        margin: Pixels around the grid in which geometries count as near.

    Returns:
        Single-part geometries in pixel coordinates ``(x, y)``, and for each the
        index of the geometry it comes from.

    Raises:
        LabelError: If no transformation exists between the two systems.
    """
    _check_related(crs, grid)
    chosen = _near(tree, near_boxes(crs, grid, margin), len(geometries))
    near, owner = _cut_out(geometries[chosen], _home(crs, grid, margin))
    owner = chosen[owner]

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        xy = xy if crs is None else moved(xy, crs, grid.crs)
        x, y = np.where(np.isfinite(xy), xy, np.nan).T
        return np.column_stack(~grid.transform @ (x, y))

    straight = crs is None or same(crs, grid.crs)
    near = near if straight else _densify(near, to_pixels)
    placed = shapely.transform(near, to_pixels)
    xy, found = shapely.get_coordinates(placed, return_index=True)
    lost = np.unique(found[~np.isfinite(xy).all(axis=1)])
    if len(lost):
        logger.warning("%d features are outside the domain of the scene's projection", len(lost))
    return np.delete(placed, lost), np.delete(owner, lost)


def inside_box(width: float, height: float, x: float = 0.0, y: float = 0.0) -> shapely.Polygon:
    """A box whose 'intersects' is true for common area and false for a mere touch."""
    return shapely.box(x + EDGE, y + EDGE, x + width - EDGE, y + height - EDGE)


def near_boxes(crs: object, grid: Grid, margin: float = 0.0) -> np.ndarray | None:
    """Boxes in a layer's CRS around a grid.

    Args:
        crs: CRS of the layer, or None if it is in map coordinates of the grid.
        grid: The grid.
        margin: Pixels around it that belong to it.

    Returns:
        One box, or two if the grid is across the antimeridian of a geographic
        CRS; None if the grid's extent cannot be told in ``crs``.
    """
    # A pixel and a hundredth more, because the edges of a grid are curves.
    pad = (math.ceil(margin + 1 + side / 100) for side in (grid.width, grid.height))
    return _boxes(crs, grid.pad(*pad))


def _home(crs: object, grid: Grid, margin: float) -> np.ndarray | None:
    """Boxes in a layer's CRS beyond which its geometries are cut."""
    pad = (max(side, math.ceil(margin)) for side in (grid.width, grid.height))
    return _boxes(crs, grid.pad(*pad))


def _boxes(crs: object, grid: Grid) -> np.ndarray | None:
    straight = crs is None or same(crs, grid.crs)
    bounds = grid.bounds if straight else bounds_in(grid.bounds, grid.crs, crs)
    if bounds is None or not np.isfinite(bounds).all():
        return None
    west, south, east, north = bounds
    spans = [(west, 180), (-180, east)] if west > east else [(west, east)]
    return np.array([shapely.box(low, south, high, north) for low, high in spans], dtype=object)


def counts_down(geometries: np.ndarray) -> bool:
    """Whether y is negative but for slips of the hand, as that of rows in QGIS.

    QGIS shows the rows of a picture without a CRS at y = 0, -1, -2 ...
    """
    if not len(geometries):
        return False
    _, low, _, high = shapely.bounds(geometries).reshape(-1, 4).T
    return bool(np.median(low + high) < 0)


def mirrored(geometries: np.ndarray) -> np.ndarray:
    """Geometries with y = -row where they had y = row, and the other way round."""
    return shapely.transform(geometries, lambda xy: xy * (1, -1))


def squares(points: np.ndarray, grid: Grid, side: float) -> np.ndarray:
    """Squares of ground around points, parallel to the pixels of a grid.

    The one way in which points become objects, for training and for scores.

    Args:
        points: (N, 2) pixel coordinates.
        grid: The grid, which may be rotated; ``side`` is in map units if it is on no globe.
        side: Metres on the ground, at each point.

    Returns:
        (N,) Polygons in pixel coordinates.

    Raises:
        LabelError: If a point is nowhere on the globe.
    """
    transform = grid.transform
    sizes = np.array([math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)])
    metres = sizes
    if grid.gsd is not None:
        # A short way along both axes: map units of degrees can change from pixel to pixel.
        steps = (1e-5 if proj_crs(grid.crs).is_geographic else 1.0) / sizes
        here = to_map(points, transform)
        ends = [to_map(points + step, transform) for step in np.diag(steps)]
        metres = np.column_stack([ground_distances(here, end, grid.crs) for end in ends]) / steps
        lost = np.any(np.isnan(metres), axis=1)
        if lost.any():
            x, y = here[lost][0]
            raise LabelError(
                f'{lost.sum()} of {len(lost)} points have invalid coordinates, such as '
                f'x {x:.6g}, y {y:.6g} in {proj_crs(grid.crs).name}',
                'longitudes and latitudes within their ranges, or coordinates that fit the CRS',
                'check the coordinates, and whether x and y are swapped',
            )
    half_x, half_y = (side / metres / 2 * np.ones((len(points), 1))).T
    x, y = points.T
    return shapely.box(x - half_x, y - half_y, x + half_x, y + half_y)


def as_polygons(
    geometries: np.ndarray, grid: Grid, point_size: float, line_width: float
) -> np.ndarray:
    """Points as squares and lines as strips, in pixel coordinates.

    Args:
        geometries: (N,) Points, LineStrings and Polygons.
        grid: The grid.
        point_size: Metres on the ground.
        line_width: Metres on the ground, at the middle of the grid.
    """
    shapes = geometries.copy()
    dimensions = shapely.get_dimensions(shapes)
    points, lines = dimensions == 0, dimensions == 1
    if points.any():
        shapes[points] = squares(shapely.get_coordinates(shapes[points]), grid, point_size)
    if lines.any():
        scale = np.array(grid.gsd)
        metres = shapely.transform(shapes[lines], lambda xy: xy * scale)
        strips = shapely.buffer(metres, line_width / 2, cap_style='flat')
        shapes[lines] = shapely.transform(strips, lambda xy: xy / scale)
    return shapes


def _check_related(crs: pyproj.CRS | None, grid: Grid) -> None:
    if crs is None:
        return
    try:
        same(crs, grid.crs) or transformer(crs, grid.crs)
    except ProjError as error:
        raise LabelError(
            f'there is no transformation from {crs.name} (labels) to {proj_crs(grid.crs).name} '
            f'(scene): {error}',
            'labels and scene in systems that PROJ can relate',
        ) from error


def _near(tree: STRtree, boxes: np.ndarray | None, count: int) -> np.ndarray:
    """Ascending indices of the geometries in the boxes."""
    return np.arange(count) if boxes is None else np.unique(tree.query(boxes)[1])


def _cut_out(geometries: np.ndarray, areas: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The single parts of the geometries inside the areas, and their indices."""
    index = np.arange(len(geometries))
    if areas is None:
        return geometries, index
    area = np.zeros_like(index)
    if len(areas) > 1:
        index, area = np.unique(STRtree(geometries).query(areas)[::-1], axis=1)
    parts = geometries[index]
    left, bottom, right, top = shapely.bounds(parts).reshape(-1, 4).T
    low_x, low_y, high_x, high_y = shapely.bounds(areas)[area].T
    beyond = (left < low_x) | (right > high_x) | (bottom < low_y) | (top > high_y)
    if not beyond.any():
        return parts, index
    parts[beyond] = shapely.intersection(parts[beyond], areas[area[beyond]])
    parts, owner = single_parts(parts)
    index = index[owner]
    # Not the lines and points at which a polygon merely touches the cut.
    whole = shapely.get_dimensions(parts) == shapely.get_dimensions(geometries[index])
    return parts[whole], index[whole]


def _densify(geometries: np.ndarray, to_pixels: Callable) -> np.ndarray:
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    # Holes add one edge that does not exist; at worst it adds vertices.
    edge = owner[1:] == owner[:-1]
    start, end, owner = xy[:-1][edge], xy[1:][edge], owner[1:][edge]
    lengths = np.hypot(*(end - start).T)
    if not len(owner) or _largest_bend(xy, lengths.max(), to_pixels) <= MAX_BEND:
        return geometries
    bends = np.nan_to_num(_bends(start, end, to_pixels))
    bend, longest = np.zeros(len(geometries)), np.zeros(len(geometries))
    np.maximum.at(bend, owner, bends)
    np.maximum.at(longest, owner, lengths)
    curved = bend > MAX_BEND
    if not curved.any():
        return geometries
    # The bend of an arc falls with the square of its length.
    pieces = np.ceil(np.sqrt(bend[curved] / MAX_BEND))
    geometries = geometries.copy()
    geometries[curved] = shapely.segmentize(geometries[curved], longest[curved] / pieces)
    return geometries


def _largest_bend(xy: np.ndarray, length: float, to_pixels: Callable) -> float:
    """The bend of edges of a length in all directions, all over the place; inf if unknown.

    Most layers have only short edges, and to measure each of them would take
    longer than to place them.
    """
    steps = np.linspace(xy.min(axis=0), xy.max(axis=0), 3)
    middles = np.array(np.meshgrid(*steps.T)).reshape(2, -1).T
    angles = np.arange(4) * np.pi / 4
    halves = np.column_stack([np.cos(angles), np.sin(angles)]) * length / 2
    start, end = ((middles[:, None] + part).reshape(-1, 2) for part in (-halves, halves))
    bends = _bends(start, end, to_pixels)
    return bends.max() if np.isfinite(bends).all() else np.inf


def _bends(start: np.ndarray, end: np.ndarray, to_pixels: Callable) -> np.ndarray:
    """Distances in pixels between the middles of edges and their chords."""
    chord = (to_pixels(start) + to_pixels(end)) / 2
    return np.hypot(*(to_pixels((start + end) / 2) - chord).T)
