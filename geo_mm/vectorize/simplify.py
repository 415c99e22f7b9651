"""Simplifying the outlines of pixel regions so that neighbours keep their common borders."""

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
