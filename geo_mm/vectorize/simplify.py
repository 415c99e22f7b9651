"""Simpler outlines: with common borders kept, or rectangular for buildings."""

import math
from typing import NamedTuple

import numpy as np
import shapely


def simplify(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    """Simplify polygons that run along pixel edges, all in one go.

    Common borders stay common: where two polygons touched, the simplified
    ones do, without overlap or gap. Points where three or more meet stay in
    place. The method is Visvalingam and Whyatt's, which takes away the vertex
    whose triangle with its neighbours is smallest, applied to each border once
    (``GEOSCoverageSimplifyVW``); a vertex whose removal would make outlines
    cross stays.

    All polygons that have a border in common must be given together, so this
    needs memory for all of them, and is the one step of vectorising that
    cannot be done strip by strip.

    Args:
        polygons: ``(N,)`` Polygons in pixel coordinates, with corners at whole
            numbers and edges along the axes, not overlapping, as
            :class:`geo_mm.vectorize.StripPolygonizer` gives them.
        tolerance: Square root of the largest triangle taken away, in pixels. 1
            straightens the stairs of slanting edges.

    Returns:
        ``(N,)`` valid Polygons in the same order. One without anything to take
        away keeps its outline.

    Raises:
        ValueError: If the tolerance is not a number from 0 on.
    """
    if not tolerance >= 0:
        raise ValueError(f'a tolerance is a number from 0 on, got {tolerance}')
    polygons = np.asarray(polygons, dtype=object)
    if not len(polygons) or tolerance == 0:
        return polygons
    return shapely.coverage_simplify(_noded(polygons), tolerance)


def _noded(polygons: np.ndarray) -> np.ndarray:
    """Give every outline a vertex wherever a corner of another is on it.

    An outline that passes straight by where two neighbours meet has no vertex
    there. Without one, the borders with the two would be simplified as one on
    this side and as two on the other, and no longer fit.
    """
    kind, xy, (rings, parts) = shapely.to_ragged_array(polygons)
    corner = xy.min(axis=0)
    xy = np.rint(xy - corner).astype(np.int64)
    for _ in 'level', 'upright':
        xy, rings = _noded_levels(xy, rings)
        xy = xy[:, ::-1]
    return shapely.from_ragged_array(kind, np.ascontiguousarray(xy + corner), (rings, parts))


def _noded_levels(xy: np.ndarray, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put all corners that are on level edges into these.

    Args:
        xy: ``(N, 2)`` int64 vertices from (0, 0) on, ring after ring.
        rings: ``(R + 1,)`` where the rings begin and end.

    Returns:
        The two with the vertices added.
    """
    width = xy[:, 0].max() + 1
    keys = xy[:, 1] * width + xy[:, 0]
    corners = np.unique(keys)
    start, stop = keys[:-1], keys[1:]
    first = np.searchsorted(corners, np.minimum(start, stop), side='right')
    last = np.searchsorted(corners, np.maximum(start, stop), side='left')
    level = xy[:-1, 1] == xy[1:, 1]
    level[rings[1:-1] - 1] = False  # from one ring to the next there is no edge
    added = np.append(np.where(level, last - first, 0), 0)

    ends = np.cumsum(1 + added)
    vertex = np.repeat(np.arange(len(keys)), 1 + added)
    nth = np.arange(len(vertex)) - (ends - added - 1)[vertex]
    result = keys[vertex]
    new = np.flatnonzero(nth)
    edge, nth = vertex[new], nth[new]
    forward = start[edge] < stop[edge]
    result[new] = corners[np.where(forward, first[edge] + nth - 1, last[edge] - nth)]
    return np.stack([result % width, result // width], axis=1), np.append(0, ends)[rings]


_FEWEST = 4  # walls of a building


def regularize(polygons: np.ndarray, tolerance: float, *, min_iou: float = 0.8) -> np.ndarray:
    """Give buildings straight walls that meet at right angles.

    Each polygon by itself: its outline is thinned out (Douglas and Peucker);
    the direction of the walls is the mean of the directions of its edges,
    which count by their length and are the same every 90 degrees, or that of
    the smallest rectangle around it, whichever fits better; every edge becomes
    parallel to the nearer of the two axes, at the mean place of the outline it
    stands for, so that the area stays; edges that follow each other on one
    side become one wall; walls shorter than ``tolerance`` give way to one wall
    at the mean place of their neighbours. Holes (courtyards) take part.

    Thinning out, a main direction and edges turned to it is the scheme of Wei,
    Ji and Lu (2020), "Toward Automatic Building Footprint Delineation From
    Aerial Images Using CNN and Regularization", IEEE TGRS 58(3); the removal
    of short walls is that of Sester (2005), "Optimization approaches for
    generalization and data abstraction", IJGIS 19(8-9).

    A polygon that does not come out valid or loses too much of itself, as a
    round building does, is given back as it was. Buildings that touch may
    overlap a little afterwards, and neighbours of other classes too.

    Args:
        polygons: ``(N,)`` Polygons, in pixel or in map coordinates whose
            axes have equal units and stand at right angles.
        tolerance: Depth of the stairs and bumps to be lost, and length of the
            shortest wall, in the polygons' unit. About 2 pixels for outlines
            along pixel edges.
        min_iou: Least area of intersection over area of union 0..1 of the
            rectangular polygon and the given one.

    Returns:
        ``(N,)`` valid polygons; those that could not be made rectangular are
        the given objects themselves.

    Raises:
        ValueError: If the tolerance is not positive, or ``min_iou`` not in 0..1.
    """
    if not tolerance > 0:
        raise ValueError(f'a tolerance is positive, got {tolerance}')
    if not 0 <= min_iou <= 1:
        raise ValueError(f'an IoU is in 0..1, got {min_iou}')
    result = np.empty(len(polygons), dtype=object)
    for index, polygon in enumerate(polygons):
        result[index] = _regular(polygon, tolerance, min_iou)
    return result


class _Ring(NamedTuple):
    """A ring and what thinning out leaves of it.

    Attributes:
        xy: ``(n, 2)`` vertices, not closed.
        kept: ``(k,)`` indices of those that are left, ascending from 0 on.
    """

    xy: np.ndarray
    kept: np.ndarray

    @classmethod
    def thinned(cls, ring: shapely.LinearRing, tolerance: float) -> '_Ring':
        xy = shapely.get_coordinates(ring)[:-1]
        left = shapely.get_coordinates(shapely.simplify(ring, tolerance))[:-1]
        index = {vertex: number for number, vertex in enumerate(map(tuple, xy.tolist()))}
        kept = np.array([index[vertex] for vertex in map(tuple, left.tolist())])
        return cls(np.roll(xy, -kept[0], axis=0), (kept - kept[0]) % len(xy))

    def edges(self) -> np.ndarray:
        """``(k, 2)`` from each vertex that is left to the next."""
        corners = self.xy[self.kept]
        return np.roll(corners, -1, axis=0) - corners


def _regular(polygon: shapely.Polygon, tolerance: float, min_iou: float) -> shapely.Polygon:
    outlines = [polygon.exterior, *polygon.interiors]
    rings = [_Ring.thinned(outline, tolerance / 2) for outline in outlines]
    best, best_iou = polygon, min_iou
    for angle in _directions(polygon, rings):
        candidate = _along(rings, angle, tolerance)
        if candidate is None or not candidate.is_valid:
            continue
        common = shapely.intersection(candidate, polygon).area
        iou = common / (candidate.area + polygon.area - common)
        if iou >= best_iou:
            best, best_iou = candidate, iou
    return best


def _directions(polygon: shapely.Polygon, rings: list[_Ring]) -> list[float]:
    """Directions that the walls may have, in radians."""
    edges = np.concatenate([ring.edges() for ring in rings])
    # Directions that are equal every quarter turn have a mean when multiplied
    # by four (Mardia and Jupp 2000, Directional Statistics, 1.1).
    length = np.hypot(*edges.T)
    fourfold = 4 * np.arctan2(edges[:, 1], edges[:, 0])
    mean = math.atan2(length @ np.sin(fourfold), length @ np.cos(fourfold)) / 4
    (x0, y0), (x1, y1) = shapely.get_coordinates(shapely.oriented_envelope(polygon))[:2]
    return [mean, math.atan2(y1 - y0, x1 - x0)]


def _along(rings: list[_Ring], angle: float, tolerance: float) -> shapely.Polygon | None:
    """The polygon with all edges at ``angle`` or at right angles to it; None if
    nothing is left of it."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    # Turned around a point nearby: map coordinates are large numbers.
    centre = rings[0].xy[0]
    turned = [ring._replace(xy=(ring.xy - centre) @ turn) for ring in rings]
    squared = [_squared(ring, tolerance) for ring in turned]
    if squared[0] is None:
        return None
    shell, *holes = [ring @ turn.T + centre for ring in squared if ring is not None]
    return shapely.Polygon(shell, holes)


def _squared(ring: _Ring, shortest: float) -> np.ndarray | None:
    """The ring with all edges along the axes.

    Args:
        ring: What to square.
        shortest: Length of the shortest wall.

    Returns:
        ``(m, 2)`` vertices, not closed; None if no four walls are left.
    """
    walls = _walls(ring)
    while len(walls) > _FEWEST:
        lengths = [abs(walls[i - 1][0] - walls[(i + 1) % len(walls)][0]) for i in range(len(walls))]
        least = min(range(len(walls)), key=lengths.__getitem__)
        if lengths[least] >= shortest:
            break
        # Its two neighbours are parallel and become one wall.
        before, _, after, *rest = np.roll(walls, 1 - least, axis=0).tolist()
        merged = _merged(before, after)
        walls = [merged, *rest] if least % 2 else [*rest, merged]
    if len(walls) < _FEWEST:
        return None
    places = np.array([place for place, _ in walls])
    corners = np.stack([places, np.roll(places, -1)], axis=1)
    # The first wall is upright: its place is an x, and so on in turn.
    corners[1::2] = corners[1::2, ::-1]
    return corners


def _walls(ring: _Ring) -> list[tuple[float, float]]:
    """Place and length of the walls around a ring, upright and level in turn.

    An upright wall's place is its x, a level one's its y: the mean over the
    outline that it stands for, so that as much is before as behind it. Empty
    if all edges run the same way.
    """
    edges = ring.edges()
    steps = np.roll(ring.xy, -1, axis=0) - ring.xy
    # Integrals of x dy and of y dx along the outline.
    means = (ring.xy + steps / 2) * steps[:, ::-1]
    sums = np.add.reduceat(means, ring.kept)
    level = np.abs(edges[:, 0]) > np.abs(edges[:, 1])
    changes = np.flatnonzero(level != np.roll(level, 1))
    if not len(changes):
        return []
    length = np.abs(np.where(level, edges[:, 0], edges[:, 1]))
    place = np.where(level, sums[:, 1] / _nonzero(edges[:, 0]), sums[:, 0] / _nonzero(edges[:, 1]))

    first = changes[~level[changes]][0]
    level, length, place = (np.roll(part, -first) for part in (level, length, place))
    starts = np.flatnonzero(np.append(True, level[1:] != level[:-1]))
    total = np.add.reduceat(length, starts)
    mean = np.add.reduceat(length * place, starts) / total
    return list(zip(mean.tolist(), total.tolist(), strict=True))


def _nonzero(values: np.ndarray) -> np.ndarray:
    """Ones for zeros, whose quotients are not used."""
    return np.where(values == 0, 1.0, values)


def _merged(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    length = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / length, length
