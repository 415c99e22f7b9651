"""One object of its detections in scenes that touch or overlap."""

from collections.abc import Sequence
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.detections.joining import AGREE, EDGE, WITHIN
from geo_mm.geometry import union
from geo_mm.raster.projection import ground_areas


class _Pairs(NamedTuple):
    """Pairs of objects of two scenes, and how well they agree, 0 to 1."""

    one: np.ndarray
    other: np.ndarray
    agree: np.ndarray

    def chosen(self, keep: np.ndarray) -> '_Pairs':
        return _Pairs(self.one[keep], self.other[keep], self.agree[keep])


def join_scenes(
    layers: Sequence[gpd.GeoDataFrame],
    footprints: Sequence[shapely.Polygon],
    pixel: float,
    names: Sequence[str] = (),
) -> gpd.GeoDataFrame:
    """Joins the detections of an object in several scenes.

    Where scenes overlap, both see the same ground, so objects are compared by
    their parts in it, as :func:`geo_mm.detections.joining.join_tiles` does with
    tiles: two of a class are one object if each agrees with the other better
    than with anything else of its scene, and by ``AGREE`` at least. Where scenes
    only touch, or share a strip of no more than ``EDGE`` pixels, there is nothing
    to compare: two are one if both reach the edge and what they have of it agrees
    as well. A part that lies, by ``WITHIN`` at least, in a larger object of
    another scene is dropped.

    Of one object the outline and confidence are those of the scene that sees it
    whole, and the farthest from its edge; if none does, its outline is the union of its
    parts, and its confidence their mean, weighted by area.

    Args:
        layers: The objects of each scene, all in one CRS, with ``class``, and
            ``score`` if known.
        footprints: The ground that each scene covers, in that CRS.
        pixel: Size of a pixel in its units.
        names: Of the scenes, for the column ``scenes``.

    Returns:
        The objects: ``scenes`` names those that see each.
    """
    names = list(names) or [str(number) for number in range(len(layers))]
    marked = [layer.assign(_scene=number) for number, layer in enumerate(layers) if len(layer)]
    if not marked:
        return gpd.GeoDataFrame(layers[0].assign(scenes=''))
    parts = gpd.GeoDataFrame(pd.concat(marked, ignore_index=True), crs=layers[0].crs)
    scene, shapes = parts.pop('_scene').to_numpy(), parts.geometry.to_numpy()
    edges = np.array([footprint.boundary for footprint in footprints], dtype=object)
    depth = shapely.distance(shapes, edges[scene])
    pairs = _compared(parts, scene, np.array(footprints, dtype=object), depth, EDGE * pixel)
    linked = _mutual(pairs.chosen(pairs.agree >= AGREE), scene)
    fragment = _fragments(shapes, pairs, linked, depth < EDGE * pixel)
    count = len(parts)
    graph = coo_array((np.ones(len(linked.one)), (linked.one, linked.other)), (count, count))
    group = connected_components(graph, directed=False)[1]
    return _merged(parts, group, fragment, depth, scene, names, EDGE * pixel)


def _compared(parts: gpd.GeoDataFrame, scene, footprints, depth, reach: float) -> _Pairs:
    """Pairs of near objects of one class in two scenes, each once."""
    shapes = parts.geometry.to_numpy()
    one, other = shapely.STRtree(shapes).query(shapes, predicate='dwithin', distance=reach)
    classes = pd.factorize(parts['class'])[0]
    keep = (scene[one] < scene[other]) & (classes[one] == classes[other])
    one, other = one[keep], other[keep]
    both, place = np.unique(
        np.stack([scene[one], scene[other]], axis=1), axis=0, return_inverse=True
    )
    zones = shapely.intersection(footprints[both[:, 0]], footprints[both[:, 1]])
    is_thin = shapely.is_empty(shapely.buffer(zones, -reach / 2))[place.ravel()]
    zone = zones[place.ravel()]
    agree = np.zeros(len(one))
    deep = ~is_thin
    agree[deep] = _overlap(
        shapely.intersection(shapes[one[deep]], zone[deep]),
        shapely.intersection(shapes[other[deep]], zone[deep]),
    )
    thin = is_thin & (depth[one] < reach) & (depth[other] < reach)
    agree[thin] = _contact(shapes[one[thin]], shapes[other[thin]], reach)
    return _Pairs(one, other, agree)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union."""
    common = shapely.area(shapely.intersection(one, other))
    whole = shapely.area(one) + shapely.area(other) - common
    return np.divide(common, whole, out=np.zeros(len(one)), where=whole > 0)


def _contact(one: np.ndarray, other: np.ndarray, reach: float) -> np.ndarray:
    """The same of what two objects have of the line along which they meet."""
    ours = shapely.length(shapely.intersection(shapely.boundary(one), shapely.buffer(other, reach)))
    theirs = shapely.length(
        shapely.intersection(shapely.boundary(other), shapely.buffer(one, reach))
    )
    longer = np.maximum(ours, theirs)
    return np.divide(np.minimum(ours, theirs), longer, out=np.zeros(len(one)), where=longer > reach)


def _mutual(pairs: _Pairs, scene: np.ndarray) -> _Pairs:
    """Those in which each is the best that the other's scene has for it."""
    table = pd.DataFrame({'one': pairs.one, 'other': pairs.other, 'agree': pairs.agree})
    best = [
        table.groupby([mine, scene[table[theirs].to_numpy()]])['agree'].transform('max')
        for mine, theirs in (('one', 'other'), ('other', 'one'))
    ]
    return pairs.chosen(((table.agree >= best[0]) & (table.agree >= best[1])).to_numpy())


def _fragments(shapes, pairs: _Pairs, linked: _Pairs, is_cut: np.ndarray) -> np.ndarray:
    """Which objects are parts, cut off by their scene, of larger ones of another."""
    free = np.ones(len(shapes), bool)
    free[linked.one] = free[linked.other] = False
    found = np.zeros(len(shapes), bool)
    for part, whole in ((pairs.one, pairs.other), (pairs.other, pairs.one)):
        asked = (
            free[part] & is_cut[part] & (shapely.area(shapes[whole]) > shapely.area(shapes[part]))
        )
        part, whole = part[asked], whole[asked]
        inside = shapely.area(shapely.intersection(shapes[part], shapes[whole]))
        found[part[inside >= WITHIN * shapely.area(shapes[part])]] = True
    return found


def _merged(parts, group, fragment, depth, scene, names, reach) -> gpd.GeoDataFrame:
    """One row of each group, the deepest in its scene; without fragments."""
    order = np.lexsort((-depth, group))
    order = order[~fragment[order]]
    first = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    objects = parts.iloc[order[first]].reset_index(drop=True)
    shapes, members = objects.geometry.to_numpy().copy(), np.split(order, first[1:])
    scores = objects['score'].to_numpy().copy() if 'score' in objects else None
    seen = []
    for number, rows in enumerate(members):
        seen.append(', '.join(names[n] for n in sorted({int(n) for n in scene[rows]})))
        if len(rows) == 1 or depth[rows[0]] >= reach:
            continue
        pieces = parts.geometry.to_numpy()[rows]
        # A narrow gap between scenes that touch is closed.
        wide = union(shapely.buffer(pieces, reach / 2, join_style='mitre'))
        whole = shapely.buffer(wide, -reach / 2, join_style='mitre')
        shapes[number] = union(np.array([*pieces, whole], dtype=object))
        if scores is not None:
            areas = shapely.area(pieces)
            scores[number] = round(
                float(np.average(parts['score'].to_numpy()[rows], weights=areas)), 4
            )
    objects = objects.set_geometry(gpd.GeoSeries(shapes, crs=parts.crs))
    if scores is not None:
        objects['score'] = scores
    if 'area_m2' in objects:
        objects['area_m2'] = ground_areas(shapes, parts.crs).round(2)
    return objects.assign(scenes=seen)
