"""Paint, wear and repairs on the carriageways."""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import LineString, MultiPolygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

from geo_mm.synthetic.buildings import Frame
from geo_mm.synthetic.materials import GROUND
from geo_mm.synthetic.paint import LayerBuilder, boxes
from geo_mm.synthetic.streets import Street


def open_stretches(streets: Sequence[Street]) -> list[Street]:
    """The streets cut at their junctions: what lies outside every other carriageway."""
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
