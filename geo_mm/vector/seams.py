"""Making one object of what overlapping tiles report of it."""

from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.vector.pairs import BoxPairs, areas_of

AGREE = 0.3
"""Intersection over union, in what both tiles see, of two pieces of one object at least."""

WITHIN = 0.8
"""Share of a piece that lies in a larger object of which its tile sees only a part."""

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
    what of them lies in both windows. A piece is linked to

    - the piece of another tile that it agrees with best, if that one agrees
      best with it and they share enough;
    - a piece that goes on beyond the window of its own tile and contains it:
      that tile saw only a part of the object, and perhaps in fragments.

    Pieces that are linked, directly or by others, are one object. A tile that
    sees all of it with a margin reports it whole: of several, the one in which
    it lies deepest is believed, as to outline and score. If no tile sees all
    of it, its outline is the union of the pieces, its score their mean,
    weighted by area. What one tile alone reports counts only if its centre
    lies in that tile's core. Objects that only touch share no area and are
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
    group = _groups(pieces, areas, windows[pieces.tiles])
    order = np.argsort(group, kind='stable')
    return _objects(pieces.at(order), areas[order], group[order], order, windows, cores)


def _objects(pieces: Pieces, areas, group, order, windows, cores) -> Objects:
    """One object of each group; the pieces of a group stand together."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    hulls = _hulls(pieces.boxes, starts)
    centres = (hulls[:, :2] + hulls[:, 2:]) / 2
    chosen, whole = _chosen(hulls, centres, windows[pieces.tiles], areas, starts, group)
    means = np.add.reduceat(areas * pieces.scores, starts) / np.add.reduceat(areas, starts)
    outlines = None if pieces.outlines is None else pieces.outlines[chosen]
    if outlines is not None:
        ends = np.append(starts[1:], len(group))
        for number in np.flatnonzero(~whole & (ends - starts > 1)):
            union = shapely.union_all(pieces.outlines[starts[number] : ends[number]])
            # Corners that are left on straight edges where pieces met.
            outlines[number] = shapely.simplify(union, 0)
    own = cores[pieces.tiles[starts]]
    own = ((centres >= own[:, :2]) & (centres < own[:, 2:])).all(axis=1)
    one_tile = np.minimum.reduceat(pieces.tiles, starts) == np.maximum.reduceat(
        pieces.tiles, starts
    )
    kept = own | ~one_tile
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


def _hulls(boxes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    low = np.minimum.reduceat(boxes[:, :2], starts)
    return np.hstack([low, np.maximum.reduceat(boxes[:, 2:], starts)])


def _largest(values: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Where the first of the largest values of each group stands."""
    hits = np.flatnonzero(values == np.maximum.reduceat(values, starts)[group])
    return hits[np.diff(group[hits], prepend=-1) > 0]


def _groups(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``(N,)`` numbers from 0 of the groups of linked pieces."""
    one, other, agree, within = _compared(pieces, areas, seen)
    tiles, count = pieces.tiles, len(areas)
    # Of the partners of a piece in another tile, the best.
    key = one.astype(np.int64) * (tiles.max(initial=0) + 1) + tiles[other]
    order = np.argsort(key, kind='stable')
    best = np.zeros(len(one), dtype=bool)
    if len(order):
        change = np.diff(key[order], prepend=-1) > 0
        starts, run = np.flatnonzero(change), np.cumsum(change) - 1
        best[order[_largest(agree[order], starts, run)]] = True
    half = len(one) // 2
    mutual = best & np.concatenate([best[half:], best[:half]])
    linked = (mutual & (agree >= AGREE)) | (best & within)
    graph = coo_array((np.ones(linked.sum()), (one[linked], other[linked])), (count, count))
    return connected_components(graph, directed=False)[1]


def _compared(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of pieces of different tiles that share area, then the same pairs the other way.

    Returns:
        One piece, the other; their intersection over union in what both tiles
        see; whether the first lies within the second, which goes on beyond the
        window of the first.
    """
    found = [(*np.empty((2, 0), np.int32), np.empty(0), *np.empty((2, 0), bool))]
    for a, b, shared in BoxPairs(pieces.boxes, pieces.labels).among():
        apart = pieces.tiles[a] != pieces.tiles[b]
        a, b, shared = a[apart], b[apart], shared[apart]
        if pieces.outlines is not None:
            both = shapely.intersection(pieces.outlines[a], pieces.outlines[b])
            shared = shapely.area(both)
            a, b, shared = a[shared > 0], b[shared > 0], shared[shared > 0]
        low = np.maximum(seen[a, :2], seen[b, :2])
        zone = np.hstack([low, np.minimum(seen[a, 2:], seen[b, 2:])])
        part_a, part_b = _parts(pieces, areas, a, zone), _parts(pieces, areas, b, zone)
        within_a = (shared >= WITHIN * part_a) & _beyond(pieces.boxes[b], seen[a])
        within_b = (shared >= WITHIN * part_b) & _beyond(pieces.boxes[a], seen[b])
        found.append((a, b, shared / (part_a + part_b - shared), within_a, within_b))
    a, b, agree, within_a, within_b = (np.concatenate(side) for side in zip(*found, strict=True))
    return (
        np.concatenate([a, b]),
        np.concatenate([b, a]),
        np.concatenate([agree, agree]),
        np.concatenate([within_a, within_b]),
    )


def _parts(pieces: Pieces, areas: np.ndarray, index: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """Areas of pieces inside zones."""
    boxes = pieces.boxes[index]
    cut = np.hstack([np.maximum(boxes[:, :2], zone[:, :2]), np.minimum(boxes[:, 2:], zone[:, 2:])])
    if pieces.outlines is None:
        return areas_of(cut)
    parts = areas[index]
    crossing = np.flatnonzero((cut != boxes).any(axis=1))
    inside = shapely.intersection(pieces.outlines[index[crossing]], shapely.box(*cut[crossing].T))
    parts[crossing] = shapely.area(inside)
    return parts


def _beyond(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Whether boxes go on beyond windows."""
    return (boxes[:, :2] < windows[:, :2]).any(axis=1) | (boxes[:, 2:] > windows[:, 2:]).any(axis=1)
