"""Telling which pieces that overlapping tiles report belong to one object."""

from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.detections.box_index import BoxPairs, areas_of

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


class Links(NamedTuple):
    """Pairs of pieces that belong to one object.

    Attributes:
        one: ``(L,)`` numbers of pieces.
        other: ``(L,)`` numbers of others.
        agree: ``(L,)`` their intersection over union in what both tiles see.
    """

    one: np.ndarray
    other: np.ndarray
    agree: np.ndarray


def grouped(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the pieces of each object.

    Args:
        pieces: What the tiles report.
        areas: ``(N,)`` areas of the pieces.
        seen: ``(N, 4)`` what the tile of each piece sees.

    Returns:
        ``(N,)`` numbers of the groups of linked pieces, from 0, and ``(N,)``
        bool, which pieces are fragments of others.
    """
    links, fragment = _linked(pieces, areas, seen)
    graph = coo_array((np.ones(len(links.one)), links[:2]), (len(areas), len(areas)))
    group = connected_components(graph, directed=False)[1]
    return _told_apart(group, links, pieces.tiles, _cut(pieces.boxes, seen)), fragment


def largest(values: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Where the first of the largest values of each group stands."""
    hits = np.flatnonzero(values == np.maximum.reduceat(values, starts)[group])
    return hits[np.diff(group[hits], prepend=-1) > 0]


def _linked(pieces: Pieces, areas: np.ndarray, seen: np.ndarray) -> tuple[Links, np.ndarray]:
    """Links of pieces that are each other's best partner, and which pieces are fragments."""
    one, other, shared, agree = _compared(pieces, areas, seen)
    # Both ways: a pair and its reverse stand half the array apart.
    one, other, half = np.concatenate([one, other]), np.concatenate([other, one]), len(one)
    best = _best(one, pieces.tiles[other], np.tile(agree, 2))
    linked = best[:half] & best[half:] & (agree >= AGREE)
    links = Links(one[:half][linked], other[:half][linked], agree[linked])
    within = best & (np.tile(shared, 2) >= WITHIN * areas[one])
    within &= _beyond(pieces.boxes[other], seen[one])
    fragment = np.zeros(len(areas), dtype=bool)
    fragment[one[within]] = True
    fragment[np.concatenate(links[:2])] = False
    return links, fragment


def _told_apart(group: np.ndarray, links: Links, tiles: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Splits groups in which a tile has two pieces, one of them whole: these are two objects.

    Such a group is built up again, the best link first, and a link that would
    bring the two together is left out.
    """
    number = group.astype(np.int64) * (tiles.max(initial=0) + 1) + tiles
    _, where, counts = np.unique(number, return_inverse=True, return_counts=True)
    crowded = np.zeros(len(group), dtype=bool)
    crowded[group[(counts[where] > 1) & ~cut]] = True
    inside = np.flatnonzero(crowded[group])
    # The set that each piece is in, and whether all that a tile has in it are cut.
    sets = {piece: [piece] for piece in inside.tolist()}
    views = {piece: {int(tiles[piece]): bool(cut[piece])} for piece in sets}
    chosen = np.flatnonzero(crowded[group[links.one]])
    chosen = chosen[np.argsort(-links.agree[chosen], kind='stable')]
    for one, other in zip(links.one[chosen].tolist(), links.other[chosen].tolist(), strict=True):
        out, into = sorted((sets[one], sets[other]), key=len)
        mine, theirs = views[into[0]], views[out[0]]
        if into is out or not all(mine[t] and theirs[t] for t in mine.keys() & theirs.keys()):
            continue
        into += out
        sets.update(dict.fromkeys(out, into))
        mine |= {tile: mine.get(tile, True) and cut_ for tile, cut_ in theirs.items()}
    group = group.copy()
    group[inside] = len(group) + np.array([sets[piece][0] for piece in inside.tolist()], int)
    return np.unique(group, return_inverse=True)[1]


def _best(one: np.ndarray, tile: np.ndarray, agree: np.ndarray) -> np.ndarray:
    """Which pairs are those of a piece with its best partner in a tile."""
    best = np.zeros(len(one), dtype=bool)
    if len(one):
        key = one.astype(np.int64) * (tile.max() + 1) + tile
        order = np.argsort(key, kind='stable')
        first = np.diff(key[order], prepend=-1) > 0
        starts, group = np.flatnonzero(first), np.cumsum(first) - 1
        best[order[largest(agree[order], starts, group)]] = True
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


def _cut(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Whether boxes reach so near to the edge of windows that they may be cut there."""
    near = (boxes[:, :2] < windows[:, :2] + EDGE) | (boxes[:, 2:] > windows[:, 2:] - EDGE)
    return near.any(axis=1)
