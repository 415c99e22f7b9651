"""Making one object of what overlapping tiles report of it."""

from typing import NamedTuple

import numpy as np
import shapely

from geo_mm.detections.box_index import areas_of, intersections
from geo_mm.detections.links import EDGE, Pieces, grouped, largest


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

    Pieces that are linked, directly or by others, are one object, unless a
    tile has two of them and sees one whole: these are two objects, and the
    weakest links between them do not count. A tile that sees all of an object
    with a margin reports it whole: of several, the one in which it lies
    deepest is believed, as to outline and score. If no tile sees all of it,
    its outline is the union of the pieces, its score their mean, weighted by
    area. What one tile alone reports counts only if its centre
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
    group, fragment = grouped(pieces, areas, windows[pieces.tiles])
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
    chosen = largest(np.where(deepest, areas, -1), starts, group)
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
