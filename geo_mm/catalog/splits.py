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

import numpy as np
import shapely
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.ground import Ground, Plane, read_ground, sites
from geo_mm.catalog.labelled_scene import Coverage, LabelledScene, SceneOptions, read_aoi
from geo_mm.catalog.split_options import SplitOptions
from geo_mm.catalog.split_units import Piece, class_points, find_pieces
from geo_mm.errors import CatalogError, counted
from geo_mm.geometry import areas_only, rounded, union
from geo_mm.labels.reading import polygon_text
from geo_mm.raster import Scene
from geo_mm.raster.projection import LONLAT, moved

_TRIES = 30  # orders of the units, of which the one nearest to the fractions is taken
_SLIVER = 0.25  # of the area of a chip or block: smaller pieces are left out
_CIRCUMSCRIBED = 1 / math.cos(math.pi / 16)

_STRIP_TRAIN = 0.75  # of the ground of a scene in strips; the rest validates and tests
_STRIP_CELL = 64  # pixels, of a chip whose eighth is the unit in which valid ground is measured


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
    pieces, block = find_pieces(entries, grounds, places, planes, buffer, options)
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


def _assigned(pieces, entries, planes, options: SplitOptions) -> dict:
    """The split of each unit."""
    units = list(dict.fromkeys(piece.unit for piece in pieces))
    if options.by in ('aoi', 'column') and set(units) <= set(options.names):
        return {unit: unit for unit in units}  # they say it themselves
    names = options.names
    if len(units) < len(names):
        raise CatalogError(
            f'only {counted(len(units), "unit")} to divide by {options.by} '
            f'among {", ".join(names)}',
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
        points, values = class_points(entries[entry], options.class_column)
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
    merged: dict[tuple[int, str], list[Piece]] = defaultdict(list)
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
    return areas_only(shapely.difference(*rounded(ground, union(others))))


def _union(pieces: Sequence[Piece]) -> shapely.Geometry | None:
    if pieces[0].ground is None:
        return None
    return union([piece.ground for piece in pieces if piece.ground is not None])


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
            ground = union(large)
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
        'give smaller chips (--chip-size, whose diagonal is the buffer); or make a table with '
        'geo-mm split: with a smaller --buffer, blocks of several buffers, or another way to split'
        if block
        else 'the splits lie on the same ground: make a table with geo-mm split, with a smaller '
        '--buffer, another way to split, or --allow-overlap',
    )


def group_count(entries: Sequence[CatalogEntry]) -> int:
    """How many parts of a catalog may go to different splits."""
    alone = sum(entry.group is None for entry in entries)
    return alone + len({entry.group for entry in entries if entry.group is not None})


def split_by_strips(
    entry: CatalogEntry,
    options: SceneOptions,
    gap: float,
    shortest: float,
    val: float | None = None,
) -> list[CatalogEntry]:
    """Cut a scene across its longer side into parts to train, validate and test.

    Args:
        entry: The scene; it uses all of it.
        options: How it is opened, at its own GSD.
        gap: Pixels between two parts, of which none is read.
        shortest: Pixels that a part must have along the longer side.
        val: Share of the ground to validate with, which is tested with, too; None
            leaves a quarter for both.

    Returns:
        Two or three entries with their parts and splits: where the ground does
        not suffice for three parts, or ``val`` is given, the second both validates
        and tests.
        Without room for two, the scene itself, without a split.
    """
    scene = Scene.open(entry.image, bands=options.bands, nodata=options.nodata, name=entry.name)
    aoi = None if entry.aoi is None else read_aoi(entry.aoi, scene, scene)
    coverage = Coverage(LabelledScene(scene, None, aoi), (_STRIP_CELL, _STRIP_CELL))
    across = scene.width >= scene.height
    ground = coverage.valid.sum(axis=0 if across else 1).astype(float)
    cell = coverage.cell_width if across else coverage.cell_height
    begin, end = np.flatnonzero(ground)[[0, -1]] + np.array([0, 1])
    train = _STRIP_TRAIN if val is None else 1 - val
    cut = _cut_strips(ground, begin, end, gap / cell, train)
    if cut is None or min(cut[0] - begin, end - cut[1]) * cell < shortest:
        return [entry]
    again = _cut_strips(ground, cut[1], end, gap / cell, 0.5) if val is None else None
    if again is None or min(again[0] - cut[1], end - again[1]) * cell < shortest:
        parts = {'train': (0, cut[0]), 'val': (cut[1], len(ground)), 'test': (cut[1], len(ground))}
    else:
        parts = {
            'train': (0, cut[0]),
            'val': (cut[1], again[0]),
            'test': (again[1], len(ground)),
        }
    return [
        replace(entry, split=split, area=_strip_area(low / len(ground), high / len(ground), across))
        for split, (low, high) in parts.items()
    ]


def _cut_strips(
    ground: np.ndarray, begin: int, end: int, gap: float, share: float
) -> tuple[int, int] | None:
    """Where the first part ends and the second begins, so that the first has its share of both."""
    step = int(np.ceil(gap))
    total = np.concatenate([[0], ground.cumsum()])
    for cell in range(begin + 1, end - step):
        first, second = total[cell] - total[begin], total[end] - total[cell + step]
        if first and second and first >= share * (first + second):
            return cell, cell + step
    return None


def _strip_area(low: float, high: float, across: bool) -> tuple[float, float, float, float]:
    """The part of a scene between two fractions of its longer side; the gap never shrinks."""
    low, high = float(np.ceil(low * 1e4) / 1e4), float(np.floor(high * 1e4) / 1e4)
    return (low, 0.0, high, 1.0) if across else (0.0, low, 1.0, high)
