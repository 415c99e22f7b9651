"""Corners of the outlines of regions in rows of pixels, and which follows which."""

from typing import NamedTuple

import numpy as np

# At a vertex of the pixel grid up to four corners of outlines meet. Each ends
# a level edge of one region: the left or right end of its top edge, with the
# region below, or of its bottom edge, with the region above. The pixels
# around the vertex are called
#     a b
#     c d
# and the corners, in this order, belong to the regions of d, c, a and b.
_TOP_LEFT, _TOP_RIGHT, _BOTTOM_RIGHT, _BOTTOM_LEFT = range(4)


class Corners(NamedTuple):
    """Corners in a block of rows, linked along the outlines.

    Outlines have their region on the right-hand side (y points down): they
    run right along top edges, down along right edges, left along bottom edges
    and up along left edges. Corners are numbered ``0 ... 4 * vertices``, of
    which those in ``used`` exist; the numbers from ``4 * vertices`` on are the
    open chains that come from above, in order.

    Attributes:
        xy: ``(vertices, 2)`` int32; corner n is at ``xy[n // 4]``.
        values: ``(4 * vertices,)`` int64 class of the region of each corner.
        used: ``(N,)`` corners, ordered by y, then x.
        after: ``(4 * vertices + chains,)`` what follows each: a corner or a
            chain; or ``-1 - k`` where the outline leaves the block downwards,
            along the k-th of ``tails``.
        firsts: ``(K,)`` what follows upon entering the block from below along
            the k-th of ``heads``.
        heads: ``(K,)`` columns of the left edges that go on below, ascending.
        tails: ``(K,)`` columns of the right edges that go on below, ascending.
        links: ``(2, L)`` pairs of a corner and a corner or chain on another
            outline, perhaps, of the same region. They connect all outlines of
            every region.
    """

    xy: np.ndarray
    values: np.ndarray
    used: np.ndarray
    after: np.ndarray
    firsts: np.ndarray
    heads: np.ndarray
    tails: np.ndarray
    links: np.ndarray


def find_corners(
    pixels: np.ndarray, row: int, heads: np.ndarray, tails: np.ndarray, outside: int
) -> Corners:
    """Find the corners at all vertices between the rows of a block.

    Args:
        pixels: ``(rows + 1, width + 2)`` int64 classes: the row above the
            block, then its rows, with a column of ``outside`` on both sides.
        row: Number of the block's first row.
        heads: Columns of the left edges, in the row above, at which the open
            chains begin.
        tails: Columns of the right edges at which they end.
        outside: Class of pixels that are in no region.
    """
    upright, level = pixels[:, :-1] != pixels[:, 1:], pixels[:-1] != pixels[1:]
    j, x = np.nonzero((upright[:-1] | upright[1:]) & (level[:, :-1] | level[:, 1:]))
    # Whether there is an edge between two pixels around each vertex, ...
    ab, cd, ac, bd = upright[j, x], upright[j + 1, x], level[j, x], level[j, x + 1]
    # ... and whether each pixel is in a region.
    values = np.stack([pixels[j + 1, x + 1], pixels[j + 1, x], pixels[j, x], pixels[j, x + 1]], 1)
    d, c, a, b = (values != outside).T

    # An edge has a corner of a region at its end, unless it just goes on.
    exist = np.zeros((len(x), 4), bool)
    exist[:, _TOP_LEFT] = d & bd & ~(ac & ~cd)
    exist[:, _TOP_RIGHT] = c & ac & ~(bd & ~cd)
    exist[:, _BOTTOM_RIGHT] = a & ac & ~(bd & ~ab)
    exist[:, _BOTTOM_LEFT] = b & bd & ~(ac & ~ab)
    number = 4 * np.arange(len(x))
    after = np.full(4 * len(x) + len(heads), -1)

    ends = [number[exist[:, kind]] + kind for kind in range(4)]
    # Along a line of the grid edges do not overlap: the nth left end and the
    # nth right end belong together.
    after[ends[_TOP_LEFT]] = ends[_TOP_RIGHT]
    after[ends[_BOTTOM_RIGHT]] = ends[_BOTTOM_LEFT]

    last = upright[-1]
    in_region = pixels[-1] != outside
    new_tails = np.flatnonzero(last & in_region[:-1])
    new_heads = np.flatnonzero(last & in_region[1:])
    chains = 4 * len(x) + np.arange(len(heads))
    span = len(pixels) + 1

    def ordered(above, upper, lower, below) -> tuple[np.ndarray, ...]:
        """Ends of upright edges by column, then row: numbers and keys of the upper,
        numbers of the lower ones; those that leave the block count backwards."""
        (up, up_number), (low, low_number) = upper, lower
        keys = np.concatenate([above * span, x[up] * span + j[up] + 1])
        order = np.argsort(keys, kind='stable')
        numbers = np.concatenate([chains, up_number[up]])[order]
        low_keys = np.concatenate([x[low] * span + j[low] + 1, below * span + span - 1])
        low_order = np.argsort(low_keys, kind='stable')
        lows = np.concatenate([low_number[low], -1 - np.arange(len(below))])[low_order]
        return numbers, keys[order], lows

    upper, _, lower = ordered(
        tails,
        (c & cd & ~(ab & ~ac), number + np.where(ac, _TOP_RIGHT, _BOTTOM_LEFT)),
        (a & ab & ~(cd & ~ac), number + np.where(ac, _BOTTOM_RIGHT, _TOP_LEFT)),
        new_tails,
    )
    after[upper] = lower
    upper, keys, lower = ordered(
        heads,
        (d & cd & ~(ab & ~bd), number + np.where(bd, _TOP_LEFT, _BOTTOM_RIGHT)),
        (b & ab & ~(cd & ~bd), number + np.where(bd, _BOTTOM_LEFT, _TOP_RIGHT)),
        new_heads,
    )
    after[lower[lower >= 0]] = upper[lower >= 0]
    firsts = np.empty(len(new_heads), np.int64)
    firsts[-1 - lower[lower < 0]] = upper[lower < 0]

    # A hole has a highest edge, a bottom edge of the region that turns down at
    # both ends. The row of pixels above it belongs to the region, too, and
    # begins at a left edge, on an outline that reaches higher: from outline to
    # outline this leads to the outer one.
    left, right = ends[_BOTTOM_LEFT], ends[_BOTTOM_RIGHT]
    tops = left[~ab[left // 4] & ~ab[right // 4]]
    at = tops // 4
    edges = np.flatnonzero(upright)
    here = j[at] * upright.shape[1] + x[at]
    begin = edges[np.searchsorted(edges, here) - 1] % upright.shape[1]
    edge = upper[np.searchsorted(keys, begin * span + j[at], side='right') - 1]
    return Corners(
        xy=np.stack([x, j + row], axis=1).astype(np.int32),
        values=values.ravel(),
        used=np.flatnonzero(exist),
        after=after,
        firsts=firsts,
        heads=new_heads,
        tails=new_tails,
        links=np.stack([tops, edge]),
    )
