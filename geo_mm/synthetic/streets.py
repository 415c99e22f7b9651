"""The street network and its markings: arterials that cut the land, streets of districts, blocks.

Geometries are in ground metres with the origin at the scene's upper left
corner, x to the right and y *down*, so that ``pixel = metres / gsd``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import LineString, MultiPolygon, Polygon, affinity
from shapely.geometry.base import BaseGeometry
from shapely.ops import split, substring

from geo_mm.synthetic.buildings import Frame
from geo_mm.synthetic.materials import GROUND
from geo_mm.synthetic.paint import LayerBuilder, boxes

DISTRICTS = ('suburb', 'dense', 'works', 'farm')


@dataclass(frozen=True)
class Street:
    """A centreline with the width of its carriageway in metres."""

    line: LineString
    width: float
    arterial: bool


@dataclass(frozen=True)
class District:
    """A piece of town of one character, bounded by arterial centrelines."""

    kind: str
    outline: BaseGeometry
    blocks: tuple[Polygon, ...]
    road: BaseGeometry


@dataclass
class Network:
    """All streets and districts of a town."""

    streets: list[Street] = field(default_factory=list)
    districts: list[District] = field(default_factory=list)


def wavy_line(
    start: tuple[float, float], end: tuple[float, float], bend: float, rng: np.random.Generator
) -> LineString:
    """A line from ``start`` to ``end`` that swings up to about ``bend`` metres aside."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    length = float(np.hypot(*(b - a)))
    t = np.linspace(0.0, 1.0, max(int(length / 8), 8))
    swing = np.zeros_like(t)
    for wavelength, share in ((rng.uniform(500, 900), 1.0), (rng.uniform(180, 320), 0.25)):
        swing += share * np.sin(2 * np.pi * (t * length / wavelength + rng.uniform()))
    normal = np.array([-(b - a)[1], (b - a)[0]]) / max(length, 1e-9)
    return LineString(a + t[:, None] * (b - a) + bend * swing[:, None] * normal)


def long_axis(polygon: BaseGeometry) -> tuple[float, float, float]:
    """Direction (radians) and length of the long side, and length of the short side."""
    corners = np.asarray(polygon.minimum_rotated_rectangle.exterior.coords)
    one, two = corners[1] - corners[0], corners[2] - corners[1]
    if np.hypot(*two) > np.hypot(*one):
        one, two = two, one
    return float(np.arctan2(one[1], one[0])), float(np.hypot(*one)), float(np.hypot(*two))


def polygons_of(geometry: BaseGeometry, min_area: float = 0.0) -> list[Polygon]:
    """The polygons of any geometry that are larger than ``min_area`` square metres."""
    parts = shapely.get_parts(geometry)
    return [p for p in parts if p.geom_type == 'Polygon' and p.area > min_area]


def cut_by_arterials(
    land: Polygon, centre: tuple[float, float], target: float, river: BaseGeometry,
    rng: np.random.Generator,
) -> tuple[list[Polygon], list[Street]]:  # fmt: skip
    """Cut ``land`` until every piece is about ``target`` square metres.

    The first cut passes near ``centre``, so even a small scene has a road. Of
    several lines the one that is shortest over the ``river`` is taken.
    """
    pieces, done, streets = [(land, 0)], [], []
    while pieces:
        piece, depth = pieces.pop()
        if depth and piece.area < target * rng.uniform(0.8, 1.6):
            done.append(piece)
            continue
        trials = [_trial_cut(piece, centre if depth == 0 else None, rng) for _ in range(6)]
        line = min(trials, key=lambda trial: _time_on_water(trial, piece, river))
        parts = polygons_of(split(piece, line))
        if len(parts) < 2:
            done.append(piece)
            continue
        width = (15.0, 12.5, 10.5)[min(depth, 2)]
        streets += [
            Street(part, width, True)
            for part in shapely.get_parts(line.intersection(piece))
            if part.geom_type == 'LineString' and part.length > 5
        ]
        pieces += [(part, depth + 1) for part in parts]
    return done, streets


def _trial_cut(
    piece: Polygon, centre: tuple[float, float] | None, rng: np.random.Generator
) -> LineString:
    """A line across the short side of ``piece``, or in any direction through ``centre``."""
    axis, length, _ = long_axis(piece)
    if centre is not None:
        across = rng.uniform(0, np.pi)
        middle = np.asarray(centre) + rng.uniform(-0.1, 0.1, 2) * min(length, 400)
    else:
        across = axis + np.pi / 2 + rng.normal(0, 0.22)
        along = rng.uniform(-0.14, 0.14) * length
        middle = np.asarray(piece.centroid.coords[0])
        middle = middle + along * np.array([np.cos(axis), np.sin(axis)])
    reach = 1.5 * length * np.array([np.cos(across), np.sin(across)])
    bend = rng.uniform(4, 22) if rng.uniform() < 0.7 else 0.0
    return wavy_line(middle - reach, middle + reach, bend, rng)


def _time_on_water(line: LineString, piece: Polygon, river: BaseGeometry) -> float:
    """Metres of ``line`` over the river; a junction on a bridge counts as 150."""
    part = line.intersection(piece)
    junctions = part.boundary.intersection(river)
    return part.intersection(river).length + 150 * len(shapely.get_coordinates(junctions))


def _grid_lines(
    outline: BaseGeometry, depth: float, spacing: tuple[float, float], rng: np.random.Generator
) -> list[LineString]:
    """Streets of one district: long parallels and staggered cross streets, slightly wavy."""
    axis, _, _ = long_axis(outline)
    origin = outline.centroid.coords[0]
    min_x, min_y, max_x, max_y = affinity.rotate(
        outline, -axis, origin=origin, use_radians=True
    ).bounds
    amplitude = rng.choice([0.0, rng.uniform(3, 9)])
    wavelength, phase = rng.uniform(220, 420), rng.uniform(0, 2 * np.pi)

    def place(points: np.ndarray) -> LineString:
        swing = amplitude * np.sin(2 * np.pi * points / wavelength + phase)
        return LineString(points + swing[:, ::-1])

    ys = [min_y + depth * rng.uniform(0.55, 1.0)]
    while ys[-1] < max_y:
        ys.append(ys[-1] + depth * rng.uniform(0.92, 1.12))
    lines = []
    along = np.arange(min_x - 20, max_x + 30, 10.0)
    for y in ys:
        lines.append(place(np.column_stack([along, np.full_like(along, y)])))
    aligned = rng.uniform() < 0.5
    shared = rng.uniform(*spacing, size=400)
    for low, high in zip([min_y - depth, *ys], [*ys, max_y + depth], strict=False):
        steps = shared if aligned else rng.uniform(*spacing, size=400)
        down = np.linspace(low, high, 12)
        xs = min_x + np.cumsum(steps) - 0.4 * spacing[0]
        for x in xs[xs < max_x]:
            lines.append(place(np.column_stack([np.full_like(down, x), down])))
    return [affinity.rotate(line, axis, origin=origin, use_radians=True) for line in lines]


GRID_BY_KIND = {
    'suburb': (68.0, (110.0, 175.0), 7.5),
    'dense': (58.0, (75.0, 120.0), 8.0),
    'works': (105.0, (130.0, 200.0), 9.0),
    'farm': (170.0, (190.0, 290.0), 5.0),
}


def build_district(
    kind: str,
    outline: BaseGeometry,
    arterials: BaseGeometry,
    corridor: BaseGeometry,
    rng: np.random.Generator,
) -> tuple[District, list[Street]]:
    """Streets and blocks inside one piece of land.

    Args:
        kind: One of :data:`DISTRICTS`.
        outline: The piece of land.
        arterials: Surface of the arterials.
        corridor: River and lake shores, kept free of blocks and local streets.
        rng: Source of randomness.
    """
    depth, spacing, width = GRID_BY_KIND[kind]
    land = outline.difference(corridor)
    inside = land.buffer(-1.0)
    streets = [
        Street(part, width, False)
        for line in _grid_lines(outline, depth, spacing, rng)
        for part in shapely.get_parts(line.intersection(inside))
        if part.geom_type == 'LineString' and part.length > 25
    ]
    local = shapely.union_all([s.line.buffer(s.width / 2, cap_style='square') for s in streets])
    shore = corridor.boundary.buffer(3.2) if not corridor.is_empty else corridor
    free = land.difference(shapely.union_all([local, arterials, shore]))
    # Opening with a disc rounds the corners, as kerbs are, and drops slivers.
    blocks = [
        b
        for p in polygons_of(free, 60)
        for b in polygons_of(p.buffer(-4.5).buffer(4.5, quad_segs=6), 120)
    ]
    blocks = [shapely.simplify(b, 0.05) for b in blocks]
    road = land.difference(shapely.union_all(blocks)) if blocks else land
    return District(kind, outline, tuple(blocks), road), streets


def open_stretches(streets: Sequence[Street]) -> list[Street]:
    """The streets cut at their junctions: what is outside every other carriageway."""
    surfaces = np.array([s.line.buffer(s.width / 2 + 2.0, cap_style='flat') for s in streets])
    lines = np.array([s.line for s in streets])
    first, second = shapely.STRtree(surfaces).query(lines, predicate='intersects')
    stretches = []
    for k, street in enumerate(streets):
        others = second[(first == k) & (second != k)]
        rest = street.line.difference(shapely.union_all(surfaces[others]))
        stretches += [
            Street(part, street.width, street.arterial)
            for part in shapely.get_parts(rest)
            if part.geom_type == 'LineString' and part.length > 14
        ]
    return stretches


def weather_roads(
    ground: LayerBuilder, streets: Sequence[Street], rng: np.random.Generator
) -> None:
    """Every street gets its own shade of asphalt, wheel tracks and repairs."""
    for street in sorted(streets, key=lambda s: s.arterial):
        half = street.width / 2
        ground.add(street.line.buffer(half - 0.3, cap_style='flat'), GROUND['asphalt'], rng)
        if rng.uniform() < 0.6:
            for side in (-1, 1):
                for track in (-0.8, 0.8):
                    wheel = street.line.offset_curve(side * half * 0.42 + track)
                    ground.add(wheel.buffer(0.3, cap_style='flat'), GROUND['asphalt_worn'], rng)
        for _ in range(int(rng.poisson(street.line.length / 90))):
            at = rng.uniform(0, street.line.length - 1)
            spot, near = street.line.interpolate(at), street.line.interpolate(at + 1)
            angle = np.array([np.arctan2(near.y - spot.y, near.x - spot.x)])
            centre = np.array([[spot.x, spot.y]]) + rng.normal(0, 0.15 * half, 2)
            length, width = rng.uniform(2, 14, 1), rng.uniform(0.8, half, 1)
            patch = boxes(centre, length, width, angle)[0]
            ground.add(patch, GROUND['asphalt_patch'], rng)


def mark_streets(
    ground: LayerBuilder, stretches: Sequence[Street], rng: np.random.Generator
) -> None:
    """Centre, lane and edge lines, and zebra crossings at the ends of some stretches."""
    for street in stretches:
        if street.width < 6 or (not street.arterial and rng.uniform() < 0.45):
            continue
        if rng.uniform() < 0.3 and street.line.length > 45:
            for end in (0.0, 1.0):
                _zebra(ground, street, end)
        body = substring(street.line, 5.0, street.line.length - 5.0)
        if not street.arterial:
            _dashes(ground, body, 3.0, 6.0, 'marking')
            continue
        kind = 'yellow' if rng.uniform() < 0.5 else 'marking'
        ground.add(body.buffer(0.13, cap_style='flat'), GROUND[kind])
        for side in (-1, 1):
            if street.width > 12:
                _dashes(ground, body.offset_curve(side * street.width * 0.24), 3.0, 9.0, 'marking')
            edge = body.offset_curve(side * (street.width / 2 - 0.5))
            ground.add(edge.buffer(0.09, cap_style='flat'), GROUND['marking'])


def _zebra(ground: LayerBuilder, street: Street, end: float) -> None:
    """Bars across the carriageway just before one end of a stretch."""
    line = street.line
    at = 2.4 if end == 0 else line.length - 2.4
    here, near = line.interpolate(at), line.interpolate(at + 0.5)
    frame = Frame(here.x, here.y, float(np.arctan2(near.y - here.y, near.x - here.x)))
    reach = street.width / 2 - 0.6
    bars = [
        frame.place(shapely.box(-1.4, y, 1.4, y + 0.5)) for y in np.arange(-reach, reach - 0.4, 1.1)
    ]
    ground.add(MultiPolygon(bars), GROUND['marking'])


def _dashes(
    ground: LayerBuilder, line: BaseGeometry, dash: float, period: float, material: str
) -> None:
    """A dashed line as one multipolygon."""
    if line.is_empty or not isinstance(line, LineString):
        return
    starts = np.arange(0, line.length - dash, period)
    parts = [substring(line, s, s + dash).buffer(0.11, cap_style='flat') for s in starts]
    if parts:
        ground.add(MultiPolygon(parts), GROUND[material])
