"""Rivers and lakes with their shores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class WaterBody:
    """Open water, its wet edge, and the green corridor that no street enters."""

    surface: BaseGeometry
    corridor: BaseGeometry
    river: bool


def _river(size: tuple[float, float], margin: float, rng: np.random.Generator) -> WaterBody:
    """A meandering river across the scene, passing within a fifth of its centre."""
    width, height = size
    angle = rng.uniform(0, np.pi)
    reach = float(np.hypot(width, height)) / 2 + 2 * margin
    t = np.arange(-reach, reach, 6.0)
    swing = np.zeros_like(t)
    for wavelength, amplitude in (
        (rng.uniform(420, 700), rng.uniform(18, 40)),
        (rng.uniform(170, 260), rng.uniform(4, 10)),
    ):
        swing += amplitude * np.sin(2 * np.pi * (t / wavelength + rng.uniform()))
    swing -= np.interp(0, t, swing)
    offset = rng.uniform(-0.2, 0.2) * min(width, height)
    cos, sin = np.cos(angle), np.sin(angle)
    line = np.column_stack([t * cos - (swing + offset) * sin, t * sin + (swing + offset) * cos])
    line += [width / 2, height / 2]
    half = rng.uniform(0.035, 0.05) * min(max(min(size), 250.0), 600.0)
    phase, wobble = rng.uniform(0, 6.28), rng.uniform(0.10, 0.22)
    radii = half * (1 + wobble * np.sin(2 * np.pi * t / 310 + phase))
    points = shapely.points(line)
    discs = shapely.buffer(points, radii, quad_segs=12)
    hulls = shapely.convex_hull(shapely.union(discs[:-1], discs[1:]))
    surface = shapely.union_all(hulls)
    ragged = rng.uniform(7, 14)
    corridor = LineString(line).buffer(half * 1.1 + ragged)
    return WaterBody(surface.simplify(0.15), corridor.union(surface.buffer(4)), True)


def blob(
    centre: tuple[float, float], radius: float, rng: np.random.Generator, rough: float = 0.16
) -> Polygon:
    """A smooth closed shape of about ``radius`` metres."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    scale = np.ones_like(angle)
    for k in (2, 3, 4, 5, 7):
        scale += rough * rng.normal() / k**0.8 * np.cos(k * angle + rng.uniform(0, 6.28))
    scale = np.clip(scale, 0.45, 1.7) * radius
    x, y = centre[0] + scale * np.cos(angle), centre[1] + scale * np.sin(angle)
    return Polygon(np.column_stack([x, y])).buffer(0)


def place_river(
    size: tuple[float, float], margin: float, rng: np.random.Generator
) -> WaterBody | None:
    """A river through the scene, in three of five scenes.

    Args:
        size: Width and height of the scene in metres.
        margin: Ground planned beyond the scene's edge, in metres.
        rng: Source of randomness.
    """
    return _river(size, margin, rng) if rng.uniform() < 0.6 else None


def place_lakes(
    size: tuple[float, float], pieces: Sequence[BaseGeometry], taken: BaseGeometry, least: int,
    rng: np.random.Generator,
) -> list[WaterBody]:  # fmt: skip
    """Lakes in parks, each inside one of the pieces between the arterials.

    Args:
        size: Width and height of the scene in metres.
        pieces: Land between the arterials' centrelines.
        taken: The river's corridor.
        least: How many there must be at least, if there is room.
        rng: Source of randomness.
    """
    count = max(int(rng.poisson(size[0] * size[1] / 450_000)), least)
    inside = shapely.box(0, 0, *size)
    blocked = taken.buffer(14)
    rooms = []
    for piece in pieces:
        room = piece.buffer(-10).difference(blocked).intersection(inside)
        if not room.is_empty:
            circle = shapely.maximum_inscribed_circle(room, tolerance=1.0)
            rooms.append((circle.length, shapely.get_point(circle, 0)))
    rooms.sort(key=lambda r: -r[0])
    # The roomiest place comes first, the others by chance among the roomy half.
    others = rooms[1 : max(len(rooms) // 2, 1)]
    chosen = rooms[:1] + [others[k] for k in rng.permutation(len(others))]
    lakes = []
    for radius, centre in chosen[:count]:
        target = rng.uniform(0.10, 0.135) * min(max(min(size), 150.0), 480.0)
        surface = blob((centre.x, centre.y), min(target, 0.62 * radius), rng)
        park = surface.buffer(rng.uniform(0.35, 0.6) * radius, quad_segs=8).buffer(-3).buffer(3)
        lakes.append(WaterBody(surface, park, False))
    return lakes
