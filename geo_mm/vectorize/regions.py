"""Outlines of the regions of a class raster that comes strip by strip."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.vectorize.corners import Corners, find_corners
from geo_mm.vectorize.rings import canonical, follow, ring_areas, split_at_touches

_OUTSIDE = np.iinfo(np.int64).min  # class of pixels that are in no region
_BLOCK = 1 << 20  # pixels worked on at once


class Regions(NamedTuple):
    """Connected regions of equal class.

    Attributes:
        values: ``(N,)`` int64 class values.
        polygons: ``(N,)`` valid Polygons in pixel coordinates ``(x, y)``, with holes.
        pixels: ``(N,)`` int64 sizes, exactly the polygons' areas.
    """

    values: np.ndarray
    polygons: np.ndarray
    pixels: np.ndarray

    def __bool__(self) -> bool:
        return len(self.values) > 0


@dataclass
class _Open:
    """What is unfinished below the last row.

    Attributes:
        heads: ``(K,)`` columns at which outlines come up from below, and ...
        tails: ... at which these K pieces of outline go down again.
        vertices: ``(K,)`` their vertices in between: arrays ``(n, 2)`` or lists
            of such and of lists, so that joining costs nothing.
        groups: ``(K,)`` the region that each belongs to, as far as is known.
        values: ``(G,)`` class of each of these regions.
        rings: ``(G,)`` their closed rings so far.
    """

    heads: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    tails: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    vertices: list = field(default_factory=list)
    groups: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    rings: list[list[np.ndarray]] = field(default_factory=list)


class StripPolygoniser:
    """Outlines the connected regions of a raster of any height, strip by strip.

    Pixels are connected across their edges, not corners. Outlines run exactly
    along pixel edges, holes included, and do not depend on how the raster is
    cut into strips: regions come in the order of their lower ends, with the
    same vertices in the same order.

    Outlines are traced from corner to corner. A corner is told from the four
    pixels around it, so one pass over the rows finds them all; an outline that
    leaves the rows at hand is kept as a chain of vertices, open at both ends,
    which later rows prolong, join and close. The rows themselves are
    forgotten, save the last. Memory therefore grows with the width and with
    the outlines of the regions not finished yet, and not with the height. Note
    that the outline of a background that spans the whole scene is as long as
    those of all that lies in it: leave it out with ``skip`` if it is not wanted.

    Example:
        >>> polygoniser = StripPolygoniser(width=3)
        >>> bool(polygoniser.add(np.array([[1, 1, 2], [1, 1, 2]])))
        False
        >>> polygoniser.finish().pixels.tolist()
        [4, 2]

    Args:
        width: Columns of the raster.
        skip: Class values not to outline, such as the background.
        min_pixels: Smallest region given back.
    """

    def __init__(self, width: int, *, skip: Collection[int] = (), min_pixels: int = 1) -> None:
        if width < 1:
            raise ValueError(f'a raster has at least one column, got {width}')
        self.width = width
        self.skip = np.array(sorted(skip), dtype=np.int64)
        self.min_pixels = min_pixels
        self._row = 0
        self._last = np.full((1, width + 2), _OUTSIDE)
        self._open = _Open()

    def add(self, classes: np.ndarray, valid: np.ndarray | None = None) -> Regions:
        """Take the next rows.

        Args:
            classes: ``(rows, width)`` integers.
            valid: ``(rows, width)`` bool, False where there is no region; all
                are valid by default.

        Returns:
            The regions that have become complete.

        Raises:
            TypeError: If the classes are not integers.
            ValueError: If the rows do not have the raster's width, or a class
                does not fit into int64.
        """
        classes = _checked(classes, self.width)
        step = max(_BLOCK // self.width, 1)
        found = [_none()]
        for top in range(0, len(classes), step):
            rows = slice(top, top + step)
            found.append(self._trace(self._padded(classes[rows], valid, rows)))
        return Regions(*(np.concatenate(part) for part in zip(*found, strict=True)))

    def finish(self) -> Regions:
        """The regions that touch the last row. Nothing can be added afterwards."""
        return self._trace(np.full((1, self.width + 2), _OUTSIDE))

    def _padded(self, classes: np.ndarray, valid: np.ndarray | None, rows: slice) -> np.ndarray:
        padded = np.full((len(classes), self.width + 2), _OUTSIDE)
        inside = padded[:, 1:-1]
        inside[:] = classes
        if len(self.skip):
            inside[np.isin(classes, self.skip)] = _OUTSIDE
        if valid is not None:
            inside[~np.asarray(valid[rows], bool)] = _OUTSIDE
        return padded

    def _trace(self, rows: np.ndarray) -> Regions:
        above, pixels = self._open, np.vstack([self._last, rows])
        corners = find_corners(pixels, self._row, above.heads, above.tails, _OUTSIDE)
        self._row += len(rows)
        self._last = rows[-1:].copy()
        self._open, complete = _advance(corners, above)
        return _regions(complete, self.min_pixels)


class _Rings(NamedTuple):
    """Closed rings in flat arrays, see :mod:`geo_mm.vectorize.rings`.

    Attributes:
        xy: ``(N, 2)`` vertices.
        starts: ``(R,)`` first vertex of each ring.
        regions: ``(R,)`` number of its region.
        values: Class of each region, by number.
    """

    xy: np.ndarray
    starts: np.ndarray
    regions: np.ndarray
    values: np.ndarray


class _Outlines(NamedTuple):
    """Corners and chains of a block in the order in which outlines run.

    Attributes:
        nodes: ``(N,)`` numbers of corners and chains, outline by outline.
        starts: ``(T,)`` where each outline begins; the open ones come first.
        joins: ``(T,)`` bool, whether an outline contains a chain.
        labels: ``(T + G,)`` number of the region of each outline, then of each
            group that was open above.
        open: ``(regions,)`` bool, whether the region goes on below.
        values: ``(regions,)`` class of each region.
    """

    nodes: np.ndarray
    starts: np.ndarray
    joins: np.ndarray
    labels: np.ndarray
    open: np.ndarray
    values: np.ndarray

    @classmethod
    def trace(cls, corners: Corners, above: _Open) -> '_Outlines':
        first_chain = len(corners.values)
        chains = first_chain + np.arange(len(above.heads))
        begin = np.concatenate([corners.firsts, corners.used, chains])
        nodes, starts = follow(corners.after, begin)
        count = len(starts)
        owner = np.empty(len(corners.after), np.int64)
        owner[nodes] = np.repeat(np.arange(count), np.diff(starts, append=len(nodes)))

        size = count + len(above.values)
        one = np.concatenate([owner[chains], owner[corners.links[0]]])
        other = np.concatenate([count + above.groups, owner[corners.links[1]]])
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
        regions, labels = connected_components(graph, directed=False)
        is_open = np.zeros(regions, bool)
        is_open[labels[: len(corners.firsts)]] = True

        joins = np.zeros(count, bool)
        joins[owner[chains]] = True
        values = np.empty(regions, np.int64)
        values[labels[count:]] = above.values
        values[labels[:count][~joins]] = corners.values[nodes[starts[~joins]]]
        return cls(nodes, starts, joins, labels, is_open, values)

    def of(self, index: int) -> np.ndarray:
        """The corners and chains of one outline."""
        end = self.starts[index + 1] if index + 1 < len(self.starts) else None
        return self.nodes[self.starts[index] : end]


def _advance(corners: Corners, above: _Open) -> tuple[_Open, _Rings]:
    """Follow the outlines through a block of rows.

    Returns:
        What is open below it, and the rings of the regions that are complete.
    """
    outlines = _Outlines.trace(corners, above)
    count, opened = len(outlines.starts), len(corners.firsts)
    # Most outlines close where they begin; they are gathered at once.
    labels = outlines.labels[:count]
    simple = ~outlines.joins & ~outlines.open[labels]
    rings: list[list[np.ndarray]] = [[] for _ in outlines.open]
    for found, label in zip(above.rings, outlines.labels[count:].tolist(), strict=True):
        # The longer list stays, so that a ring is moved seldom.
        short, long = sorted((rings[label], found), key=len)
        long.extend(short)
        rings[label] = long
    for index in (opened + np.flatnonzero(~simple[opened:])).tolist():
        pieces = _pieces(outlines.of(index), corners, above)
        rings[labels[index]].append(np.concatenate(list(_flat(pieces))))

    vertices = [_pieces(outlines.of(index), corners, above) for index in range(opened)]
    ends = [corners.after[outlines.of(index)[-1]] for index in range(opened)]
    number = np.cumsum(outlines.open) - 1
    below = _Open(
        heads=corners.heads,
        tails=corners.tails[-1 - np.array(ends, np.int64)],
        vertices=vertices,
        groups=number[labels[:opened]],
        values=outlines.values[outlines.open],
        rings=[rings[label] for label in np.flatnonzero(outlines.open)],
    )
    return below, _gathered(outlines, simple, corners, rings)


def _gathered(
    outlines: _Outlines, simple: np.ndarray, corners: Corners, rings: list[list[np.ndarray]]
) -> _Rings:
    """The rings of the complete regions: the simple outlines, then ``rings``."""
    lengths = np.diff(outlines.starts, append=len(outlines.nodes))
    parts = [corners.xy[outlines.nodes[np.repeat(simple, lengths)] // 4]]
    sizes = [lengths[simple]]
    regions = [outlines.labels[: len(simple)][simple]]
    for label in np.flatnonzero(~outlines.open).tolist():
        if rings[label]:
            parts += rings[label]
            sizes.append(np.array([len(ring) for ring in rings[label]]))
            regions.append(np.full(len(rings[label]), label))
    ends = np.cumsum(np.concatenate(sizes))
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
    return _Rings(np.concatenate(parts), starts, np.concatenate(regions), outlines.values)


def _pieces(nodes: np.ndarray, corners: Corners, above: _Open) -> list:
    """The vertices of an outline: arrays, and what the chains in it hold."""
    first_chain = len(corners.values)
    chains = np.flatnonzero(nodes >= first_chain)
    if len(nodes) == len(chains) == 1:
        return above.vertices[nodes[0] - first_chain]
    pieces, begin = [], 0
    for at in chains.tolist():
        if at > begin:
            pieces.append(corners.xy[nodes[begin:at] // 4])
        pieces.append(above.vertices[nodes[at] - first_chain])
        begin = at + 1
    if begin < len(nodes):
        pieces.append(corners.xy[nodes[begin:] // 4])
    return pieces


def _flat(pieces: list) -> Iterator[np.ndarray]:
    """The arrays in nested lists, which may be nested as deep as the raster is high."""
    stack = [iter(pieces)]
    while stack:
        for piece in stack[-1]:
            if isinstance(piece, list):
                stack.append(iter(piece))
                break
            yield piece
        else:
            stack.pop()


def _regions(found: _Rings, min_pixels: int) -> Regions:
    """Make polygons of the rings of complete regions."""
    if not len(found.starts):
        return _none()
    xy, starts, origin = split_at_touches(found.xy, found.starts)
    xy, region = canonical(xy, starts), found.regions[origin]
    areas = ring_areas(xy, starts)
    sizes = np.zeros(len(found.values), np.int64)
    np.add.at(sizes, region, areas)

    lowest = np.maximum.reduceat(xy[:, 1], starts)
    outer = np.flatnonzero((areas > 0) & (sizes[region] >= min_pixels))
    order = np.lexsort((xy[starts[outer], 0], xy[starts[outer], 1], lowest[outer]))
    outer = outer[order]
    chosen = region[outer]
    polygons = _polygons(xy, starts, outer, np.flatnonzero(areas < 0), region)
    return Regions(found.values[chosen], polygons, sizes[chosen])


def _polygons(
    xy: np.ndarray, starts: np.ndarray, outer: np.ndarray, holes: np.ndarray, region: np.ndarray
) -> np.ndarray:
    """Polygons of the outer rings ``outer``, with the ``holes`` of the same region."""
    position = np.full(region.max() + 1, -1)
    position[region[outer]] = np.arange(len(outer))
    holes = holes[position[region[holes]] >= 0]
    holes = holes[np.lexsort((*xy[starts[holes]].T, position[region[holes]]))]
    polygons = shapely.polygons(_linear_rings(xy, starts, outer))
    owners, first, count = np.unique(position[region[holes]], return_index=True, return_counts=True)
    rings = _linear_rings(xy, starts, holes)
    for owner, start, size in zip(owners, first, count, strict=True):
        shell = shapely.get_exterior_ring(polygons[owner])
        polygons[owner] = shapely.polygons(shell, rings[start : start + size])
    return polygons


def _linear_rings(xy: np.ndarray, starts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    lengths = np.diff(starts, append=len(xy))[chosen]
    begin = np.cumsum(lengths) - lengths
    rows = np.arange(lengths.sum()) + np.repeat(starts[chosen] - begin, lengths)
    owner = np.repeat(np.arange(len(chosen)), lengths)
    return shapely.linearrings(xy[rows].astype(np.float64), indices=owner)


def _none() -> Regions:
    return Regions(np.empty(0, np.int64), np.empty(0, object), np.empty(0, np.int64))


def _checked(classes: np.ndarray, width: int) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.dtype.kind not in 'iub':
        raise TypeError(f'class values must be integers, got {classes.dtype}')
    if classes.ndim != 2 or classes.shape[1] != width:
        raise ValueError(f'rows of {width} columns, got shape {classes.shape}')
    if classes.dtype == np.uint64 and classes.size and classes.max() > np.iinfo(np.int64).max:
        raise ValueError('class values must fit into 64 bits with a sign')
    return classes
