"""Making one object of what overlapping tiles report of it."""

from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.vector.pairs import BoxPairs, areas_of, intersections

AGREE = 0.4
"""Intersection over union, in what both tiles see, of two pieces of one object at least."""

WITHIN = 0.8
"""Share of a fragment that lies in a larger object, of which its tile sees only a part."""

EDGE = 4.0
"""Distance in pixels from a tile's edge within which an object may be cut by it."""


class Pieces(NamedTuple):
    """What tiles report, in pixels of the scene.

    Attributes:
        boxes: ``(N, 4)`` float64 ``x_min, y_min, x_max, y_max``, each inside
            its tile's window.
        labels: ``(N,)`` integer classes.
        scores: ``(N,)``.
        tiles: ``(N,)`` number of the tile.
        outlines: ``(N,)`` polygons whose bounds are the boxes; None: the
            objects are boxes.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    tiles: np.ndarray
    outlines: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> 'Pieces':
        """Some of the pieces."""
        return Pieces(*(None if values is None else values[chosen] for values in self))


class Objects(NamedTuple):
    """Objects, in pixels of the scene.

    Attributes:
        boxes: ``(M, 4)`` float64.
        labels: ``(M,)``.
        scores: ``(M,)`` float64.
        sources: ``(M,)`` the piece that an object is, or the largest of those
            that it is joined from.
        outlines: ``(M,)`` polygons, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    outlines: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> 'Objects':
        """Some of the objects."""
        return Objects(*(None if values is None else values[chosen] for values in self))


def join_pieces(pieces: Pieces, windows: np.ndarray, cores: np.ndarray) -> Objects:
    """Joins what overlapping tiles report of one object, whatever its length.

    Where two tiles overlap, both see the same ground, and of one object they
    report the same part of it. So the pieces of two tiles are compared by
    what of them lies in both windows: two are linked if each agrees with the
    other better than with anything else of its tile, and well enough. A piece
    without a link that lies within one which goes on beyond the window of its
    own tile is a fragment of that, and dropped.

    Pieces that are linked, directly or by others, are one object. A tile that
    sees all of it with a margin reports it whole: of several, the one in which
    it lies deepest is believed, as to outline and score. If no tile sees all
    of it, its outline is the union of the pieces, its score their mean,
    weighted by area. What one tile alone reports counts only if its centre
    lies in that tile's core; of what several report, a piece must reach into
    the core of its tile. Objects that only touch share no area and are
    never joined.

    Two neighbouring tiles must overlap, or nothing tells a long object from
    two.

    Args:
        pieces: What the tiles report.
        windows: ``(T, 4)`` float ``x_min, y_min, x_max, y_max`` of what each
            tile sees. Sides on the border of the scene, where no object is
            cut, are infinite.
        cores: ``(T, 4)`` likewise, of what each tile is responsible for; they
            do not overlap.

    Returns:
        The objects.
    """
    areas = areas_of(pieces.boxes) if pieces.outlines is None else shapely.area(pieces.outlines)
    group, fragment = _groups(pieces, areas, windows[pieces.tiles])
    order = np.argsort(group, kind='stable')
    order = order[~fragment[order]]
    return _objects(pieces.at(order), areas[order], group[order], order, windows, cores)


def _objects(pieces: Pieces, areas, group, order, windows, cores) -> Objects:
    """One object of each group; the pieces of a group stand together."""
    first = np.diff(group, prepend=-1) > 0
    starts, group = np.flatnonzero(first), np.cumsum(first) - 1
    hulls = _hulls(pieces.boxes, starts)
    centres = (hulls[:, :2] + hulls[:, 2:]) / 2
    chosen, whole = _chosen(hulls, centres, windows[pieces.tiles], areas, starts, group)
    kept = _claimed(pieces, centres, cores[pieces.tiles], starts)
    means = np.add.reduceat(areas * pieces.scores, starts) / np.add.reduceat(areas, starts)
    outlines = None if pieces.outlines is None else pieces.outlines[chosen]
    if outlines is not None:
        ends = np.append(starts[1:], len(group))
        for number in np.flatnonzero(kept & ~whole & (ends - starts > 1)):
            union = shapely.union_all(pieces.outlines[starts[number] : ends[number]])
            # Corners that are left on straight edges where pieces met.
            outlines[number] = shapely.simplify(union, 0)
    return Objects(
        np.where(whole[:, None], pieces.boxes[chosen], hulls)[kept],
        pieces.labels[chosen[kept]],
        np.where(whole, pieces.scores[chosen], means)[kept],
        order[chosen[kept]],
        None if outlines is None else outlines[kept],
    )


def _chosen(hulls, centres, seen, areas, starts, group) -> tuple[np.ndarray, np.ndarray]:
    """The piece of each group that stands for it, and whether its tile sees the group whole."""
    hull, centre = hulls[group], centres[group]
    whole = ((hull[:, :2] >= seen[:, :2] + EDGE) & (hull[:, 2:] <= seen[:, 2:] - EDGE)).all(axis=1)
    depth = np.minimum(centre - seen[:, :2], seen[:, 2:] - centre).min(axis=1)
    depth = np.where(whole, depth, -1)
    deepest = depth == np.maximum.reduceat(depth, starts)[group]
    chosen = _largest(np.where(deepest, areas, -1), starts, group)
    return chosen, whole[chosen]


def _claimed(pieces: Pieces, centres, cores, starts) -> np.ndarray:
    """Which groups tiles are responsible for."""
    low, high = cores[starts, :2], cores[starts, 2:]
    central = ((centres >= low) & (centres < high)).all(axis=1)
    tiles = pieces.tiles
    several = np.minimum.reduceat(tiles, starts) < np.maximum.reduceat(tiles, starts)
    reaches = intersections(pieces.boxes, cores) > 0
    return central | (several & np.logical_or.reduceat(reaches, starts))


def _hulls(boxes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    low = np.minimum.reduceat(boxes[:, :2], starts)
    return np.hstack([low, np.maximum.reduceat(boxes[:, 2:], starts)])


def _largest(values: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Where the first of the largest values of each group stands."""
    hits = np.flatnonzero(values == np.maximum.reduceat(values, starts)[group])
    return hits[np.diff(group[hits], prepend=-1) > 0]


def _groups(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` numbers of the groups of linked pieces, and which pieces are fragments."""
    one, other, shared, agree = _compared(pieces, areas, seen)
    # Both ways: a pair and its reverse stand half the array apart.
    one, other, half = np.concatenate([one, other]), np.concatenate([other, one]), len(one)
    best = _best(one, pieces.tiles[other], np.tile(agree, 2))
    linked = best[:half] & best[half:] & (agree >= AGREE)
    ends, count = (one[:half][linked], other[:half][linked]), len(areas)
    graph = coo_array((np.ones(len(ends[0])), ends), (count, count))
    within = best & (np.tile(shared, 2) >= WITHIN * areas[one])
    within &= _beyond(pieces.boxes[other], seen[one])
    fragment = np.zeros(count, dtype=bool)
    fragment[one[within]] = True
    fragment[np.concatenate(ends)] = False
    return connected_components(graph, directed=False)[1], fragment


def _best(one: np.ndarray, tile: np.ndarray, agree: np.ndarray) -> np.ndarray:
    """Which pairs are those of a piece with its best partner in a tile."""
    best = np.zeros(len(one), dtype=bool)
    if len(one):
        key = one.astype(np.int64) * (tile.max() + 1) + tile
        order = np.argsort(key, kind='stable')
        first = np.diff(key[order], prepend=-1) > 0
        starts, group = np.flatnonzero(first), np.cumsum(first) - 1
        best[order[_largest(agree[order], starts, group)]] = True
    return best


def _compared(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of pieces of different tiles that share area.

    Returns:
        One piece, the other, the area they share, and their intersection over
        union in what both tiles see.
    """
    found = [(*np.empty((2, 0), np.int32), *np.empty((2, 0)))]
    for a, b, shared in BoxPairs(pieces.boxes, pieces.labels).among():
        apart = pieces.tiles[a] != pieces.tiles[b]
        a, b, shared = a[apart], b[apart], shared[apart]
        if pieces.outlines is not None:
            both = shapely.intersection(pieces.outlines[a], pieces.outlines[b])
            shared = shapely.area(both)
            a, b, shared = a[shared > 0], b[shared > 0], shared[shared > 0]
        one, other = seen.take(a, axis=0), seen.take(b, axis=0)
        zone = _common(one, other)
        union = _parts(pieces, areas, a, zone) + _parts(pieces, areas, b, zone) - shared
        found.append((a, b, shared, shared / union))
    return tuple(np.concatenate(side) for side in zip(*found, strict=True))


def _parts(pieces: Pieces, areas: np.ndarray, index: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """Areas of pieces inside zones."""
    boxes = pieces.boxes.take(index, axis=0)
    cut = _common(boxes, zone)
    if pieces.outlines is None:
        return areas_of(cut)
    parts = areas[index]
    crossing = np.flatnonzero((cut != boxes).any(axis=1))
    inside = shapely.intersection(pieces.outlines[index[crossing]], shapely.box(*cut[crossing].T))
    parts[crossing] = shapely.area(inside)
    return parts


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What boxes have in common with others, one by one."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    return np.hstack([low, np.minimum(boxes[:, 2:], others[:, 2:])])


def _beyond(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Whether boxes go on beyond windows."""
    return (boxes[:, :2] < windows[:, :2]).any(axis=1) | (boxes[:, 2:] > windows[:, 2:]).any(axis=1)
