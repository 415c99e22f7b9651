"""Splits of a catalog that share no ground.

The scenes, or blocks of the ground they cover, are divided among the splits,
and near the ground of another split a buffer is left out. What is left of a
scene becomes the ``aoi`` of its row: pixels outside it are neither learned
from nor scored, so that not even a chip on the border sees another split.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from scipy.cluster.vq import kmeans2
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.ground import (
    Ground,
    Plane,
    areas_only,
    moved_polygons,
    read_ground,
    sites,
    together,
)
from geo_mm.catalog.split_options import SplitOptions
from geo_mm.errors import CatalogError, LabelError
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import ImageObjects
from geo_mm.labels.label_raster import file_grid
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.reading import polygon_text, read_layer
from geo_mm.raster import Grid
from geo_mm.raster.projection import LONLAT, moved

_TRIES = 30  # orders of the units, of which the one nearest to the fractions is taken
_SAME_GROUND = 0.25  # overlapping share of the smaller scene from which two stay together
_SLIVER = 0.25  # of the area of a chip or block: smaller pieces are left out
_CIRCUMSCRIBED = 1 / math.cos(math.pi / 16)
_SAMPLES = 256  # pixels along a side of a label raster that are counted


class _Piece(NamedTuple):
    """A part of a scene that goes to a split together with others of its unit.

    Attributes:
        entry: Number of the entry.
        unit: What it belongs to: a block, a group of scenes, a date, ...
        ground: In the plane of its site; None without a CRS.
        site: Number of the site.
    """

    entry: int
    unit: object
    ground: shapely.Geometry | None = None
    site: int = -1


@dataclass(frozen=True)
class SplitCatalog:
    """A catalog with splits, and what was done to make it.

    Attributes:
        entries: One for each scene and split that has a part of it.
        outlines: What each covers, in longitude and latitude; None without a CRS.
        names: The splits.
        areas: Ground of each split, in m2 (of scenes without CRS, in pixels).
        left_out: Ground in the buffers, in m2.
        buffer: Least distance between splits, in metres.
        block_size: Side of a block in metres; None if there are none.
        units: Number of blocks, groups of scenes, ... that were divided.
    """

    entries: tuple[CatalogEntry, ...]
    outlines: tuple[shapely.Geometry | None, ...]
    names: tuple[str, ...]
    areas: tuple[float, ...]
    left_out: float
    buffer: float
    block_size: float | None
    units: int


def split_entries(
    entries: Sequence[CatalogEntry],
    options: SplitOptions | None = None,
    *,
    grounds: Sequence[Ground] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> SplitCatalog:
    """Divides scenes among splits.

    An entry with parts in several splits becomes several, each with an ``aoi``
    in place of an earlier one; parts in the buffer are in none. Splits that
    entries had before are forgotten.

    Args:
        entries: The scenes.
        options: How.
        grounds: What each covers, if known; else the scenes are opened.
        progress: Wraps the entries as they are opened, to show how far it is.

    Raises:
        CatalogError: If the options cannot be met, such as with fewer blocks than
            splits or a buffer that leaves nothing of a split.
        GeoMMError: If a scene or its AOI cannot be read.
    """
    options = options or SplitOptions()
    options.check()
    if grounds is None:
        grounds = [read_ground(entry) for entry in progress(entries)]
    buffer = _buffer(options, grounds)
    places, planes = _planes(grounds, max(buffer, 1.0))
    pieces, block = _pieces(entries, grounds, (places, planes), buffer, options)
    if not pieces:
        raise CatalogError('nothing of the scenes is to be split', 'scenes with valid pixels')
    of_unit = _assigned(pieces, entries, planes, options)
    parts = _parts(pieces, of_unit, buffer, options)
    return _finished(entries, grounds, parts, planes, pieces, options, (buffer, block))


def _buffer(options: SplitOptions, grounds: Sequence[Ground]) -> float:
    if options.allow_overlap:
        return 0.0
    if options.buffer is not None:
        return options.buffer
    return _chip(options, grounds) * math.sqrt(2)


def _chip(options: SplitOptions, grounds: Sequence[Ground]) -> float:
    """Side of a chip in metres; none is larger than the largest scene."""
    sides = [
        min(options.chip_size * (options.gsd or ground.gsd), max(ground.size) * ground.gsd)
        for ground in grounds
        if ground.gsd is not None
    ]
    return max(sides, default=0.0)


def _planes(grounds: Sequence[Ground], reach: float) -> tuple[dict[int, tuple], list[Plane]]:
    """For each georeferenced entry its site and its ground in metres, and the site's plane."""
    known = [
        n
        for n, g in enumerate(grounds)
        if g.outline is not None and not shapely.is_empty(g.outline)
    ]
    outlines = np.array([grounds[number].outline for number in known], dtype=object)
    places: dict[int, tuple] = {}
    planes: list[Plane] = []
    for members in sites(outlines, reach) if known else []:
        plane = Plane(outlines[members])
        for member, flat in zip(members, plane.flat(outlines[members]), strict=True):
            places[known[member]] = (len(planes), flat)
        planes.append(plane)
    return places, planes


def _pieces(
    entries, grounds, places_and_planes, buffer, options
) -> tuple[list[_Piece], float | None]:
    places, planes = places_and_planes
    if options.by in ('block', 'aoi'):
        missing = [entries[n].name for n, ground in enumerate(grounds) if ground.outline is None]
        if missing:
            raise CatalogError(
                f'{missing[0]} has no CRS, so it is not known which ground it shows',
                'georeferenced scenes',
                'split by scene',
            )
    if options.by == 'block':
        size = options.block_size or _block_size(places, buffer)
        return _blocks(places, size), size
    if options.by == 'aoi':
        return _polygons(places, planes, options), None
    if options.by == 'column':
        units = [entry.columns.get(options.column) for entry in entries]
    elif options.by == 'date':
        units = [entry.columns.get('date') for entry in entries]
    else:
        units = _groups(entries, places, options)
        if options.by == 'cluster':
            units = _clusters(units, grounds, options)
    if None in units:
        what = options.column if options.by == 'column' else 'date'
        raise CatalogError(
            f'{entries[units.index(None)].name} has nothing in the column {what!r}',
            'a value for every scene',
        )
    pieces = []
    for number, unit in enumerate(units):
        site, ground = places.get(number, (-1, None))
        if ground is not None or grounds[number].outline is None:
            pieces.append(_Piece(number, unit, ground, site))
    return pieces, None


def _block_size(places: dict[int, tuple], buffer: float) -> float:
    """Blocks of three buffers, but no more than about 100 and no fewer than about 6."""
    area = sum(ground.area for _, ground in places.values())
    return min(max(3 * buffer, math.sqrt(area / 100)), math.sqrt(area / 6))


def _blocks(places: dict[int, tuple], size: float) -> list[_Piece]:
    """The scenes cut along a grid of blocks on each site; as many as fit are made to fit."""
    of_site = defaultdict(list)
    for number, (site, ground) in places.items():
        of_site[site].append((number, ground))
    pieces = []
    for site, scenes in of_site.items():
        left, bottom, right, top = shapely.total_bounds([ground for _, ground in scenes])
        width = (right - left) / max(round((right - left) / size), 1)
        height = (top - bottom) / max(round((top - bottom) / size), 1)
        for number, ground in scenes:
            x_min, y_min, x_max, y_max = ground.bounds
            cols = _covering((x_min - left) / width, (x_max - left) / width)
            rows = _covering((top - y_max) / height, (top - y_min) / height)
            col, row = (axis.ravel() for axis in np.meshgrid(cols, rows))
            cells = shapely.box(
                left + col * width,
                top - (row + 1) * height,
                left + (col + 1) * width,
                top - row * height,
            )
            shapely.prepare(ground)
            within = shapely.contains_properly(ground, cells)
            cells[~within] = shapely.intersection(cells[~within], ground)
            for cell, *place in zip(cells, row.tolist(), col.tolist(), strict=True):
                if cell.area > 0:
                    pieces.append(_Piece(number, (site, *place), areas_only(cell), site))
    return pieces


def _covering(low: float, high: float) -> np.ndarray:
    first = math.floor(low + 1e-6)
    return np.arange(first, max(math.ceil(high - 1e-6), first + 1))


def _polygons(places: dict[int, tuple], planes: Sequence[Plane], options) -> list[_Piece]:
    """The parts of the scenes in each polygon of a layer."""
    layer = read_layer(options.aoi)
    if options.column is not None and options.column not in layer:
        raise CatalogError(
            f'{options.aoi} has no column {options.column!r}',
            f'one of {", ".join(map(str, layer.columns.drop(["geometry", "fid"])))}',
        )
    if layer.crs is None:
        raise CatalogError(f'{options.aoi} has no CRS', 'polygons with a CRS')
    names = layer['fid'] if options.column is None else layer[options.column]
    polygons = moved_polygons(layer.geometry.to_numpy(), layer.crs, LONLAT)
    flat = [plane.flat(polygons) for plane in planes]
    pieces = []
    for number, (site, ground) in places.items():
        parts = shapely.intersection(flat[site], ground)
        for unit, part in zip(names.tolist(), parts, strict=True):
            if part.area > 0:
                pieces.append(_Piece(number, unit, areas_only(part), site))
    return pieces


def _groups(entries, places: dict[int, tuple], options: SplitOptions) -> list[int]:
    """A number for each entry, equal where scenes overlap or are of one group."""
    if options.allow_overlap:
        return list(range(len(entries)))
    links: list[tuple[int, int]] = []
    by_group = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.group is not None:
            by_group[entry.group].append(number)
    for same in by_group.values():
        links += pairwise(same)
    of_site = defaultdict(list)
    for number, (site, ground) in places.items():
        of_site[site].append((number, ground))
    for scenes in of_site.values():
        numbers = np.array([number for number, _ in scenes])
        shapes = np.array([ground for _, ground in scenes], dtype=object)
        a, b = STRtree(shapes).query(shapes, predicate='intersects')
        a, b = a[a < b], b[a < b]
        areas = shapely.area(shapes)
        shared = shapely.area(shapely.intersection(shapes[a], shapes[b]))
        alike = shared >= _SAME_GROUND * np.minimum(areas[a], areas[b])
        links += zip(numbers[a[alike]].tolist(), numbers[b[alike]].tolist(), strict=True)
    units = [0] * len(entries)
    for group, members in enumerate(together(len(entries), links)):
        for number in members:
            units[number] = group
    return units


def _clusters(groups: list[int], grounds: Sequence[Ground], options: SplitOptions) -> list[int]:
    """K-means of the middles of groups of scenes, on the sphere."""
    if any(ground.outline is None for ground in grounds):
        raise CatalogError('scenes without a CRS cannot be clustered', fix='split by scene')
    outlines = np.array([ground.outline for ground in grounds], dtype=object)
    middles = shapely.get_coordinates(shapely.centroid(outlines))
    members = [np.array(groups) == group for group in range(max(groups) + 1)]
    lon, lat = np.radians([middles[found].mean(axis=0) for found in members]).T
    sphere = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    count = min(options.clusters, len(sphere))
    _, cluster = kmeans2(sphere, count, minit='++', seed=np.random.default_rng(options.seed))
    return [int(cluster[group]) for group in groups]


def _assigned(pieces, entries, planes, options: SplitOptions) -> dict:
    """The split of each unit."""
    units = list(dict.fromkeys(piece.unit for piece in pieces))
    if options.by in ('aoi', 'column') and set(units) <= set(options.names):
        return {unit: unit for unit in units}  # they say it themselves
    names = options.names
    if len(units) < len(names):
        raise CatalogError(
            f'only {len(units)} units to divide by {options.by} among {", ".join(names)}',
            f'at least {len(names)}',
            'choose smaller blocks, another way to split, or fewer splits',
        )
    contents = _contents(pieces, units, entries, planes, options)
    if options.by == 'date':
        order = sorted(range(len(units)), key=lambda unit: str(units[unit]))
        chosen = _in_order(contents[order, 0], np.array(options.shares))
        return {units[unit]: names[split] for unit, split in zip(order, chosen, strict=True)}
    rng = np.random.default_rng(options.seed)
    tries = (_divided(contents, np.array(options.shares), rng) for _ in range(_TRIES))
    chosen, _ = min(tries, key=lambda found: found[1])
    return {unit: names[split] for unit, split in zip(units, chosen, strict=True)}


def _contents(pieces, units, entries, planes, options: SplitOptions) -> np.ndarray:
    """Of each unit its share of all ground, then of each class: ``(units, 1 + classes)``."""
    number = {unit: position for position, unit in enumerate(units)}
    known = all(piece.ground is not None for piece in pieces)
    areas = np.zeros((len(units), 1))
    for piece in pieces:
        areas[number[piece.unit]] += piece.ground.area if known else 1
    areas /= areas.sum()
    if not options.stratify:
        return areas
    classes: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(units)))
    of_entry = defaultdict(list)
    for piece in pieces:
        of_entry[piece.entry].append(piece)
    for entry, parts in of_entry.items():
        points, values = _class_points(entries[entry], options.class_column)
        if not len(points):
            continue
        if parts[0].ground is None:
            owner, found = np.zeros(len(points), int), np.arange(len(points))
        else:
            flat = shapely.points(moved(points, LONLAT, planes[parts[0].site].crs))
            found, owner = STRtree([part.ground for part in parts]).query(flat, 'intersects')
        for value in np.unique(values[found]):
            for part in owner[values[found] == value]:
                classes[value][number[parts[part].unit]] += 1
    if not classes:
        raise CatalogError('no labels to stratify by', 'scenes with labels', 'leave out --stratify')
    shares = [counts / counts.sum() for _, counts in sorted(classes.items())]
    return np.column_stack([areas, *shares])


def _class_points(entry: CatalogEntry, column: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Labelled points in longitude and latitude ``(N, 2)``, and their classes as text."""
    nothing = np.empty((0, 2)), np.empty(0, str)
    if entry.labels is None:
        return nothing
    in_pixels = read_image_labels(entry.labels, entry.image)
    if isinstance(in_pixels, ImageObjects):
        shapes, crs = in_pixels.on_map()
        xy = shapely.get_coordinates(shapely.point_on_surface(shapes))
        return moved(xy, crs, LONLAT) if crs else xy, np.array([str(n) for n in in_pixels.names])
    if in_pixels is not None:
        return _pixel_classes(in_pixels.path, file_grid(in_pixels.image))
    if is_label_raster(entry.labels):
        return _pixel_classes(entry.labels, file_grid(entry.labels))
    layer = read_layer(entry.labels, layer=entry.layer)
    if column is not None and column not in layer:
        raise LabelError(
            f'{entry.labels} has no column {column!r}',
            f'one of {", ".join(map(str, layer.columns.drop(["geometry", "fid"])))}',
        )
    xy = shapely.get_coordinates(shapely.point_on_surface(layer.geometry.to_numpy()))
    named = layer[column] if column else ['object'] * len(layer)
    values = np.array([str(name) for name in named])
    return moved(xy, layer.crs, LONLAT) if layer.crs is not None else xy, values


def _pixel_classes(path: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Some pixels of a label raster in longitude and latitude, and their values as text."""
    with rasterio.open(path) as raster:
        height, width = min(raster.height, _SAMPLES), min(raster.width, _SAMPLES)
        values = raster.read(1, out_shape=(height, width)).ravel()
    scale = rasterio.Affine.scale(grid.width / width, grid.height / height)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xy = np.column_stack(grid.transform @ scale @ (x.ravel(), y.ravel()))
    return moved(xy, grid.crs, LONLAT) if grid.crs else xy, values.astype(str)


def _divided(
    contents: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The split of each unit, and how far the contents of the splits are from their shares.

    One unit after the other goes where it makes them nearest, and the last
    ones where there is nothing yet.
    """
    chosen = np.zeros(len(contents), int)
    lacking = np.repeat(shares[:, None], contents.shape[1], axis=1)
    empty = set(range(len(shares)))
    for left, unit in zip(range(len(contents), 0, -1), rng.permutation(len(contents)), strict=True):
        allowed = list(empty) if left <= len(empty) else range(len(shares))
        # Of the squared lack, what changes by giving the unit to this split.
        change = [(contents[unit] * (contents[unit] - 2 * lacking[s])).sum() for s in allowed]
        split = allowed[int(np.argmin(change))]
        chosen[unit] = split
        lacking[split] -= contents[unit]
        empty.discard(split)
    return chosen, float((lacking**2).sum())


def _in_order(sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The split of each unit, the first ones to the first, each split at least one."""
    middles = np.cumsum(sizes) - sizes / 2
    chosen = np.searchsorted(np.cumsum(shares)[:-1], middles, side='right')
    last, count = len(shares) - 1, len(sizes)
    lowest = np.maximum(last - np.arange(count)[::-1], 0)
    return np.clip(chosen, lowest, np.minimum(np.arange(count), last))


def _parts(pieces, of_unit: dict, buffer: float, options: SplitOptions) -> dict:
    """Of each entry and split the ground that is left without the buffers.

    Of two splits the former in the list gives way: train to val and test, val
    to test. Folds take turns, so of two each gives half.
    """
    names = options.names
    merged: dict[tuple[int, str], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        merged[piece.entry, of_unit[piece.unit]].append(piece)
    parts = {key: (found[0].site, _union(found)) for key, found in merged.items()}
    if options.allow_overlap:
        return parts
    trees = {}
    for site in {site for site, ground in parts.values() if ground is not None}:
        here = [(key[1], ground) for key, (at, ground) in parts.items() if at == site]
        trees[site] = (STRtree(np.array([ground for _, ground in here], object)), here)
    cut = {}
    for (entry, split), (site, ground) in parts.items():
        if ground is not None:
            tree, here = trees[site]
            near = tree.query(ground, 'dwithin', buffer)
            ground = _without(ground, split, [here[n] for n in near], buffer, names, options)
        cut[entry, split] = (site, ground)
    return cut


def _without(ground, split, near, buffer, names, options: SplitOptions) -> shapely.Geometry:
    """The ground farther than the buffer from parts of splits that it gives way to."""
    others = []
    for name, other in near:
        if name == split:
            continue
        distance = buffer / 2 if options.folds else buffer
        if options.folds or names.index(split) < names.index(name):
            # A polygon around the circle, of which the corners are 2 % farther away.
            around = shapely.buffer(other, distance * _CIRCUMSCRIBED, quad_segs=4)
            others.append(around if distance else other)
    if not others:
        return ground
    return areas_only(shapely.difference(ground, shapely.union_all(others)))


def _union(pieces: Sequence[_Piece]) -> shapely.Geometry | None:
    if pieces[0].ground is None:
        return None
    return areas_only(shapely.union_all([piece.ground for piece in pieces]))


def _finished(entries, grounds, parts, planes, pieces, options, sizes) -> SplitCatalog:
    """The entries with their splits, in the order of the catalog."""
    buffer, block = sizes
    chip = _chip(options, grounds)
    least = _SLIVER * min(chip, block or chip) ** 2
    whole: dict[int, float] = defaultdict(float)
    for piece in pieces:
        whole[piece.entry] += 0.0 if piece.ground is None else piece.ground.area
    areas = dict.fromkeys(options.names, 0.0)
    found: list[CatalogEntry] = []
    outlines: list[shapely.Geometry | None] = []
    for (number, split), (site, ground) in sorted(
        parts.items(), key=lambda part: (part[0][0], options.names.index(part[0][1]))
    ):
        entry = replace(entries[number], split=split)
        if ground is None:
            areas[split] += math.prod(grounds[number].size)
            found.append(entry)
            outlines.append(None)
            continue
        if whole[number] - ground.area > 1e-6 * whole[number] or options.by == 'aoi':
            large = [part for part in shapely.get_parts(ground) if part.area >= least]
            if not large:
                continue
            ground = shapely.union_all(large)
            outline = planes[site].lonlat(ground)
            entry = replace(entry, aoi=polygon_text(outline))
        else:
            outline = grounds[number].outline
        areas[split] += ground.area
        found.append(entry)
        outlines.append(outline)
    _check_all_there(areas, buffer, block, options)
    left_out = sum(whole.values()) - sum(areas.values()) if planes else 0.0
    units = len({piece.unit for piece in pieces})
    return SplitCatalog(
        tuple(found),
        tuple(outlines),
        options.names,
        tuple(areas.values()),
        max(left_out, 0.0),
        buffer,
        block,
        units,
    )


def _check_all_there(areas, buffer, block, options: SplitOptions) -> None:
    empty = [name for name, area in areas.items() if not area]
    if not empty:
        return
    blocks = f' and blocks of {block:.4g} m' if block else ''
    raise CatalogError(
        f'nothing is left of {", ".join(empty)} with a buffer of {buffer:.4g} m{blocks}',
        'ground for every split',
        'choose blocks of several buffers, a smaller --buffer, or another way to split'
        if block
        else 'the splits lie on the same ground: choose a smaller --buffer, another way to '
        'split, or --allow-overlap',
    )
