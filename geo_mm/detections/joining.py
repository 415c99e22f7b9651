"""Making one object of its detections in overlapping tiles."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.detections.box_index import BoxPairs, box_areas, intersections
from geo_mm.detections.detections import Detections
from geo_mm.geometry import rounded, union

AGREE = 0.4
"""Least intersection over union, in what both tiles see, of two parts of one object."""

WITHIN = 0.8
"""Least share of a fragment that is in a larger object of which its tile sees only a part."""

EDGE = 4.0
"""Distance in pixels from a tile's edge within which an object may be cut by it."""


class Links(NamedTuple):
    """Pairs of detections that belong to one object.

    Attributes:
        one: ``(L,)`` numbers of detections.
        other: ``(L,)`` numbers of others.
        agree: ``(L,)`` their intersection over union in what both tiles see.
    """

    one: np.ndarray
    other: np.ndarray
    agree: np.ndarray


def join_tiles(detections: Detections, windows: np.ndarray, cores: np.ndarray) -> Detections:
    """Joins the detections of an object in overlapping tiles, for objects of any length.

    Where two tiles overlap, both see the same area, and of one object they
    report the same part of it. So the detections of two tiles are compared by
    their parts in both windows: two are linked if each agrees with the
    other better than with anything else of its tile, and by ``AGREE`` at
    least. One without a link that is, by ``WITHIN`` at least, in another
    which extends beyond the window of its own tile is a fragment of that, and
    dropped.

    Detections that are linked, directly or by others, are one object, unless a
    tile has two of them and sees one whole: these are two objects, and the
    weakest links between them do not count. A tile that sees all of an object
    with a margin reports it whole: of several such tiles, the outline and the
    confidence are those of the one whose edge is farthest from its centre. If
    no tile sees all of it, its outline is the union of its parts, its
    confidence their mean, weighted by area. An object that a single tile reports
    is kept if its centre is in the core of that tile; one that several tiles
    report, if one of its parts reaches into the core of the tile it is from.
    Objects that only touch share no area and are never joined.

    Two neighbouring tiles must overlap, or nothing tells a long object from
    two.

    Args:
        detections: Of all tiles, in pixels of the scene, with confidences and
            tiles; each box is in its tile's window.
        windows: ``(T, 4)`` float ``x_min, y_min, x_max, y_max`` of what each
            tile sees. Sides on the border of the scene, where no object is
            cut, are infinite.
        cores: ``(T, 4)`` likewise, of what each tile is responsible for; they
            do not overlap.

    Returns:
        The objects. Tile and data of each are those of the detection that it
        is, or of the largest that it is joined from.
    """
    group, fragment = _grouped(detections, windows[detections.needed('tiles')])
    order = np.argsort(group, kind='stable')
    order = order[~fragment[order]]
    return _objects(detections[order], group[order], windows, cores)


def _objects(parts: Detections, group, windows, cores) -> Detections:
    """One object of each group; the parts of a group stand together."""
    first = np.diff(group, prepend=-1) > 0
    starts, group = np.flatnonzero(first), np.cumsum(first) - 1
    hulls = _hulls(parts.boxes, starts)
    tiles = parts.needed('tiles')
    centres = (hulls[:, :2] + hulls[:, 2:]) / 2
    chosen, whole = _chosen(hulls, centres, windows[tiles], parts.areas, starts, group)
    kept = _claimed(parts, centres, cores[tiles], starts)
    weights = np.add.reduceat(parts.areas, starts)
    means = np.add.reduceat(parts.areas * parts.needed('confidences'), starts) / weights
    objects = parts[chosen]
    outlines = objects.outlines
    if outlines is not None:
        ends = np.append(starts[1:], len(group))
        for number in np.flatnonzero(kept & ~whole & (ends - starts > 1)):
            joined = union(parts.shapes[starts[number] : ends[number]])
            # Corners that are left on straight edges where parts met.
            outlines[number] = shapely.simplify(joined, 0)
    boxes = np.where(whole[:, None], objects.boxes, hulls)
    confidences = np.where(whole, objects.needed('confidences'), means)
    return replace(objects, boxes=boxes, confidences=confidences, outlines=outlines)[kept]


def _chosen(hulls, centres, seen, areas, starts, group) -> tuple[np.ndarray, np.ndarray]:
    """The part of each group that stands for it, and whether its tile sees the group whole."""
    hull, centre = hulls[group], centres[group]
    whole = ((hull[:, :2] >= seen[:, :2] + EDGE) & (hull[:, 2:] <= seen[:, 2:] - EDGE)).all(axis=1)
    depth = np.minimum(centre - seen[:, :2], seen[:, 2:] - centre).min(axis=1)
    depth = np.where(whole, depth, -1)
    innermost = depth == np.maximum.reduceat(depth, starts)[group]
    chosen = _largest(np.where(innermost, areas, -1), starts, group)
    return chosen, whole[chosen]


def _claimed(parts: Detections, centres, cores, starts) -> np.ndarray:
    """Which groups tiles are responsible for."""
    low, high = cores[starts, :2], cores[starts, 2:]
    central = ((centres >= low) & (centres < high)).all(axis=1)
    tiles = parts.needed('tiles')
    several = np.minimum.reduceat(tiles, starts) < np.maximum.reduceat(tiles, starts)
    reaches = intersections(parts.boxes, cores) > 0
    return central | (several & np.logical_or.reduceat(reaches, starts))


def _hulls(boxes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    low = np.minimum.reduceat(boxes[:, :2], starts)
    return np.hstack([low, np.maximum.reduceat(boxes[:, 2:], starts)])


def _grouped(detections: Detections, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the parts of each object.

    Args:
        detections: Of all tiles.
        seen: ``(N, 4)`` what the tile of each sees.

    Returns:
        ``(N,)`` numbers of the groups of linked detections, from 0, and ``(N,)``
        bool, which of them are fragments of others.
    """
    links, fragment = _linked(detections, seen)
    count = len(detections)
    graph = coo_array((np.ones(len(links.one)), links[:2]), (count, count))
    group = connected_components(graph, directed=False)[1]
    tiles, cut = detections.needed('tiles'), _cut(detections.boxes, seen)
    return _split_apart(group, links, tiles, cut), fragment


def _linked(detections: Detections, seen: np.ndarray) -> tuple[Links, np.ndarray]:
    """Links of detections that are each other's best partner, and which are fragments."""
    one, other, shared, agree = _compared(detections, seen)
    # Both ways: a pair and its reverse stand half the array apart.
    one, other, half = np.concatenate([one, other]), np.concatenate([other, one]), len(one)
    best = _best(one, detections.needed('tiles')[other], np.tile(agree, 2))
    linked = best[:half] & best[half:] & (agree >= AGREE)
    links = Links(one[:half][linked], other[:half][linked], agree[linked])
    within = best & (np.tile(shared, 2) >= WITHIN * detections.areas[one])
    within &= _beyond(detections.boxes[other], seen[one])
    fragment = np.zeros(len(detections), dtype=bool)
    fragment[one[within]] = True
    fragment[np.concatenate(links[:2])] = False
    return links, fragment


def _split_apart(group: np.ndarray, links: Links, tiles: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Splits groups in which a tile has two parts, one of them whole: these are two objects.

    Such a group is built up again, the best link first, and a link that would
    bring the two together is left out.
    """
    number = group.astype(np.int64) * (tiles.max(initial=0) + 1) + tiles
    _, where, counts = np.unique(number, return_inverse=True, return_counts=True)
    crowded = np.zeros(len(group), dtype=bool)
    crowded[group[(counts[where] > 1) & ~cut]] = True
    inside = np.flatnonzero(crowded[group])
    # The set that each detection is in, and whether all that a tile has in it are cut.
    sets = {number: [number] for number in inside.tolist()}
    views = {n: {int(tiles[n]): bool(cut[n])} for n in sets}
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
    group[inside] = len(group) + np.array([sets[number][0] for number in inside.tolist()], int)
    return np.unique(group, return_inverse=True)[1]


def _best(one: np.ndarray, tile: np.ndarray, agree: np.ndarray) -> np.ndarray:
    """Which pairs are those of a detection with its best partner in a tile."""
    best = np.zeros(len(one), dtype=bool)
    if len(one):
        key = one.astype(np.int64) * (tile.max() + 1) + tile
        order = np.argsort(key, kind='stable')
        first = np.diff(key[order], prepend=-1) > 0
        starts, group = np.flatnonzero(first), np.cumsum(first) - 1
        best[order[_largest(agree[order], starts, group)]] = True
    return best


def _compared(detections: Detections, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of detections of different tiles that share area.

    Returns:
        One detection, the other, the area they share, and their intersection
        over union in what both tiles see.
    """
    outlines, tiles = detections.outlines, detections.needed('tiles')
    found = [(*np.empty((2, 0), np.int32), *np.empty((2, 0)))]
    for a, b, shared in BoxPairs(detections.boxes, detections.class_ids).among():
        apart = tiles[a] != tiles[b]
        a, b, shared = a[apart], b[apart], shared[apart]
        if outlines is not None:
            shared = shapely.area(shapely.intersection(*rounded(outlines[a], outlines[b])))
            a, b, shared = a[shared > 0], b[shared > 0], shared[shared > 0]
        zone = _common(seen.take(a, axis=0), seen.take(b, axis=0))
        both = _areas_inside(detections, a, zone) + _areas_inside(detections, b, zone)
        found.append((a, b, shared, shared / (both - shared)))
    return tuple(np.concatenate(side) for side in zip(*found, strict=True))


def _areas_inside(detections: Detections, index: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """Areas of the parts of detections inside zones."""
    boxes = detections.boxes.take(index, axis=0)
    cut = _common(boxes, zone)
    if detections.outlines is None:
        return box_areas(cut)
    areas = detections.areas[index]
    crossing = np.flatnonzero((cut != boxes).any(axis=1))
    outlines, boxes = detections.outlines[index[crossing]], shapely.box(*cut[crossing].T)
    areas[crossing] = shapely.area(shapely.intersection(outlines, boxes))
    return areas


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What boxes have in common with others, one by one."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    return np.hstack([low, np.minimum(boxes[:, 2:], others[:, 2:])])


def _beyond(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Whether boxes extend beyond windows."""
    low = np.any(boxes[:, :2] < windows[:, :2], axis=1)
    return low | np.any(boxes[:, 2:] > windows[:, 2:], axis=1)


def _cut(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Whether boxes reach so near to the edge of windows that they may be cut there."""
    near = (boxes[:, :2] < windows[:, :2] + EDGE) | (boxes[:, 2:] > windows[:, 2:] - EDGE)
    return np.any(near, axis=1)


def _largest(values: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Where the first of the largest values of each group stands."""
    hits = np.flatnonzero(values == np.maximum.reduceat(values, starts)[group])
    return hits[np.diff(group[hits], prepend=-1) > 0]
