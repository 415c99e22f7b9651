"""Many closed rings of grid vertices in flat arrays.

A ring is a run of rows of ``xy`` ``(N, 2)`` integers, its last vertex followed
by its first; ``starts`` ``(R,)`` holds the index of the first vertex of each.
"""

import numpy as np


def ring_areas(xy: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Signed areas (int64) of rings whose edges run along the axes.

    Positive where x turns towards y: for the outer ring of a region that lies
    to the right of its outline, y pointing down. Exact.
    """
    x, y = xy.astype(np.int64).T
    # Every second edge is level and spans no area with the x axis' normal.
    return np.add.reduceat(x * (y[_following(starts, len(xy))] - y), starts)


def canonical(xy: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The same rings, each beginning with its uppermost vertex, the left one of several.

    Args:
        xy: Vertices; none may occur twice in a ring.
        starts: First vertex of each ring.
    """
    lengths = _lengths(starts, len(xy))
    key = _keys(xy)
    least = np.minimum.reduceat(key, starts)
    first = np.flatnonzero(key == np.repeat(least, lengths))
    begin, size = np.repeat(starts, lengths), np.repeat(lengths, lengths)
    turn = np.repeat(first - starts, lengths)
    return xy[begin + (np.arange(len(xy)) - begin + turn) % size]


def split_at_touches(
    xy: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split rings that touch themselves, so that each passes a vertex once.

    Where two pixels of a region meet at a corner only, its outline passes the
    corner twice. What lies between is a ring by itself: a hole that touches
    the outline, or another hole.

    Args:
        xy: Vertices; none may occur more than twice in a ring.
        starts: First vertex of each ring.

    Returns:
        Vertices and starts of the rings, and for each the index of the ring
        that it was part of.
    """
    ring = np.repeat(np.arange(len(starts)), _lengths(starts, len(xy)))
    key = _keys(xy)
    key += ring * (key.max() + 1)
    order = np.argsort(key, kind='stable')
    again = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    if not len(again):
        return xy, starts, np.arange(len(starts))
    after = _following(starts, len(xy))
    first, second = order[again], order[again + 1]
    after[first], after[second] = after[second], after[first]
    touching = np.zeros(len(starts), bool)
    touching[ring[first]] = True
    touched = touching[ring]
    loops, loop_starts = follow(after, np.flatnonzero(touched))
    rest = np.flatnonzero(~touched)
    rest_starts = np.searchsorted(rest, starts[~touching])
    taken = np.concatenate([rest, loops])
    begins = np.concatenate([rest_starts, loop_starts + len(rest)])
    return xy[taken], begins, ring[taken[begins]]


def follow(after: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the nodes of paths and closed loops in order.

    Args:
        after: The node that follows each node, negative at the end of a path.
        nodes: Where to begin: at the first node of every path, then at nodes
            of the loops, each of which begins with its first one in this order.

    Returns:
        ``(N,)`` nodes, path by path, and ``(paths,)`` where each begins.
    """
    # A loop over Python integers visits each node once. In numpy it takes a
    # pass for every doubling of the longest path, which is no faster.
    after = after.tolist()
    seen = bytearray(len(after))
    order, starts = [], []
    for node in nodes.tolist():
        if seen[node]:
            continue
        starts.append(len(order))
        while node >= 0 and not seen[node]:
            seen[node] = 1
            order.append(node)
            node = after[node]
    return np.array(order, np.int64), np.array(starts, np.int64)


def _lengths(starts: np.ndarray, count: int) -> np.ndarray:
    return np.diff(starts, append=count)


def _following(starts: np.ndarray, count: int) -> np.ndarray:
    """Index of the vertex after each, around the ring."""
    following = np.arange(1, count + 1)
    following[np.append(starts[1:], count) - 1] = starts
    return following


def _keys(xy: np.ndarray) -> np.ndarray:
    """Numbers that order the vertices by y, then x."""
    x, y = xy.astype(np.int64).T
    return y * (x.max(initial=0) + 1) + x
