"""Buildings: footprints made of rectangles, and the faces of their roofs."""

from dataclasses import dataclass

import numpy as np
from shapely import Polygon, affinity, box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.materials import CLUTTER, ROOFS, TILE_SHARES, Material, tinted
from geo_mm.synthetic.paint import LayerBuilder, Tilt


@dataclass(frozen=True)
class Building:
    """A building as it is labelled.

    Attributes:
        footprint: Outline of the roof in ground metres.
        roof: ``tile``, ``metal`` or ``concrete``.
        height: Of the eaves (pitched) or the roof (flat), in metres.
    """

    footprint: Polygon
    roof: str
    height: float


@dataclass(frozen=True)
class Frame:
    """A rotated local system: ``ground = rotate(local, angle) + origin``."""

    x: float
    y: float
    angle: float

    def place(self, geometry: BaseGeometry) -> BaseGeometry:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return affinity.affine_transform(geometry, [cos, -sin, sin, cos, self.x, self.y])

    def point(self, x: float, y: float) -> tuple[float, float]:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.x + x * cos - y * sin, self.y + x * sin + y * cos

    def vector(self, x: float, y: float) -> tuple[float, float]:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return x * cos - y * sin, x * sin + y * cos


@dataclass(frozen=True)
class _Face:
    """Corners in the local frame, uphill direction, and a corner at eaves height."""

    corners: tuple[tuple[float, float], ...]
    uphill: tuple[float, float]


def _pitched(length: float, width: float, hip: bool) -> list[_Face]:
    """Faces of a gable or hip roof whose ridge runs along local x."""
    a, b = length / 2, width / 2
    r = max(a - b, 0.15) if hip else a
    faces = [
        _Face(((-a, -b), (a, -b), (r, 0), (-r, 0)), (0, 1)),
        _Face(((a, b), (-a, b), (-r, 0), (r, 0)), (0, -1)),
    ]
    if hip:
        faces += [
            _Face(((a, -b), (a, b), (r, 0)), (-1, 0)),
            _Face(((-a, b), (-a, -b), (-r, 0)), (1, 0)),
        ]
    return faces


def _wing(at: float, half: float, eave: float, reach: float, hip: bool) -> list[_Face]:
    """Faces of a wing that leaves the long side at local y = ``eave`` for ``reach`` metres.

    With equal pitches the wing's ridge meets the main roof ``half`` metres
    inside the eaves, which gives the valleys.
    """
    sign = 1.0 if eave > 0 else -1.0
    end = eave + sign * reach
    tip = (at, end - sign * half) if hip else (at, end)
    apex = (at, eave - sign * half)
    faces = [
        _Face(((at - half, end), tip, apex, (at - half, eave)), (1, 0)),
        _Face(((at + half, end), (at + half, eave), apex, tip), (-1, 0)),
    ]
    if hip:
        faces.append(_Face(((at - half, end), (at + half, end), tip), (0, -sign)))
    return faces


def roof_material(roof: str, rng: np.random.Generator) -> tuple[Material, np.ndarray]:
    choices = ROOFS[roof]
    shares = TILE_SHARES if roof == 'tile' else None
    material = choices[int(rng.choice(len(choices), p=shares))]
    return material, tinted(material, rng)


Wing = tuple[float, float, float, float]


def house_outline(length: float, width: float, wing: Wing | None = None) -> Polygon:
    """The footprint of a house in its local frame, see :func:`add_house`."""
    outline = box(-length / 2, -width / 2, length / 2, width / 2)
    if wing is None:
        return outline
    at, half, eave, reach = wing
    low, high = sorted((eave, eave + np.sign(eave) * reach))
    return outline.union(box(at - half, low, at + half, high))


def add_house(
    faces: LayerBuilder,
    frame: Frame,
    size: tuple[float, float],
    rng: np.random.Generator,
    *,
    height: float,
    wing: Wing | None = None,
    roof: str = 'tile',
) -> Building:
    """Add a house with a pitched roof centred on ``frame``.

    Args:
        faces: Where its roof faces go.
        frame: Place and direction; the ridge runs along local x.
        size: Metres along and across the ridge.
        rng: Source of randomness.
        height: Of the eaves, metres.
        wing: ``(at, half, eave, reach)`` of an L or T wing, see :func:`_wing`.
        roof: Roof class.
    """
    length, width = size
    hip = bool(rng.uniform() < 0.4)
    pitch = rng.uniform(0.40, 0.72) if roof == 'tile' else rng.uniform(0.18, 0.4)
    material, spectrum = roof_material(roof, rng)
    parts = _pitched(length, width, hip)
    if wing is not None:
        parts += _wing(*wing, hip)
    for part in parts:
        uphill = frame.vector(*part.uphill)
        if roof == 'metal':
            across = np.arctan2(uphill[1], uphill[0]) + np.pi / 2
            stripes = (rng.uniform(0.9, 1.4), across, 0.08)
        else:
            stripes = (0.9, float(np.arctan2(uphill[1], uphill[0])), 0.05)
        faces.add(
            frame.place(Polygon(part.corners)),
            material,
            spectrum=spectrum * np.exp(rng.normal(0, 0.02)),
            stripes=stripes,
            height=height,
            tilt=Tilt((uphill[0] * pitch, uphill[1] * pitch), frame.point(*part.corners[0])),
        )
    _dress_house(faces, frame, length, width, height, pitch, rng)
    return Building(frame.place(house_outline(length, width, wing)), roof, height)


def _dress_house(
    faces: LayerBuilder, frame: Frame, length: float, width: float, height: float, pitch: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """A chimney, sometimes solar panels."""
    if rng.uniform() < 0.5 and length > 7:
        x, y = rng.uniform(-0.3, 0.3) * length, rng.uniform(-0.15, 0.15) * width
        top = height + pitch * (width / 2 - abs(y)) + 0.8
        chimney = frame.place(box(x - 0.45, y - 0.4, x + 0.45, y + 0.4))
        faces.add(chimney, CLUTTER['hatch'], rng, height=top)
    if rng.uniform() < 0.14 and length > 9:
        side = rng.choice([-1.0, 1.0])
        half = rng.uniform(0.15, 0.28) * length
        low, high = sorted((side * width * 0.12, side * width * 0.36))
        uphill = frame.vector(0, -side)
        faces.add(
            frame.place(box(-half, low, half, high)), CLUTTER['panel'], rng,
            stripes=(1.0, frame.angle, 0.10), height=height + pitch * width * 0.14 + 0.1,
            tilt=Tilt((uphill[0] * pitch, uphill[1] * pitch), frame.point(0, side * width * 0.36)),
        )  # fmt: skip


def add_flat(
    faces: LayerBuilder, footprint: Polygon, angle: float, rng: np.random.Generator,
    *, height: float, roof: str = 'concrete',
) -> Building:  # fmt: skip
    """Add a building with a flat roof: parapet, roof, and what stands on it."""
    material, spectrum = roof_material(roof, rng)
    rim = np.clip(spectrum * rng.uniform(1.05, 1.35), 0, 0.7)
    inner = footprint.buffer(-0.45, join_style='mitre')
    faces.add(footprint, material, spectrum=rim, height=height + 0.7)
    stripes = (0.0, 0.0, 0.0)
    if roof == 'metal':
        stripes = (rng.uniform(1.2, 2.6), angle, 0.07)
    faces.add(inner, material, spectrum=spectrum, height=height, stripes=stripes)
    if roof == 'metal':
        _skylights(faces, inner, angle, height, rng)
    else:
        _roof_patches(faces, inner, angle, material, spectrum, height, rng)
    _units(faces, inner, angle, height, rng)
    return Building(footprint, roof, height)


def _inside(polygon: Polygon, angle: float, rng: np.random.Generator) -> Frame:
    """A random place in the bounding box of ``polygon``."""
    min_x, min_y, max_x, max_y = polygon.bounds
    return Frame(rng.uniform(min_x, max_x), rng.uniform(min_y, max_y), angle)


def _units(
    faces: LayerBuilder, inner: BaseGeometry, angle: float, height: float, rng: np.random.Generator
) -> None:
    """Air conditioners, lift houses and ducts."""
    room = inner.buffer(-0.6)
    if room.is_empty:
        return
    for _ in range(min(int(rng.poisson(1.5 + inner.area / 130)), 60)):
        frame = _inside(room, angle, rng)
        big = rng.uniform() < 0.18
        a, b = rng.uniform(2.5, 5.0, 2) if big else rng.uniform(0.8, 2.4, 2)
        unit = frame.place(box(-a / 2, -b / 2, a / 2, b / 2))
        if room.contains(unit):
            kind = 'hatch' if big or rng.uniform() < 0.3 else 'unit'
            top = height + (rng.uniform(1.8, 3.2) if big else rng.uniform(0.7, 1.5))
            faces.add(unit, CLUTTER[kind], rng, height=top)


def _skylights(
    faces: LayerBuilder, inner: BaseGeometry, angle: float, height: float, rng: np.random.Generator
) -> None:
    """Rows of light domes on a shed, on some sheds."""
    if rng.uniform() < 0.5 or inner.is_empty:
        return
    centre = inner.centroid
    frame = Frame(centre.x, centre.y, angle)
    step = rng.uniform(6, 10)
    for x in np.arange(-60, 60, step):
        for y in np.arange(-60, 60, 9.0):
            dome = frame.place(box(x - 0.7, y - 1.5, x + 0.7, y + 1.5))
            if inner.contains(dome):
                faces.add(dome, CLUTTER['skylight'], rng, height=height + 0.3)


def _roof_patches(
    faces: LayerBuilder, inner: BaseGeometry, angle: float, material: Material,
    spectrum: np.ndarray, height: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Repairs and sections of another age; on some roofs a field of panels."""
    for _ in range(int(rng.integers(0, 4))):
        frame = _inside(inner, angle, rng) if not inner.is_empty else None
        if frame is None:
            return
        a, b = rng.uniform(3, 14, 2)
        patch = frame.place(box(-a / 2, -b / 2, a / 2, b / 2)).intersection(inner)
        if patch.geom_type == 'Polygon':
            shade = np.exp(rng.normal(0, 0.12))
            faces.add(patch, material, spectrum=spectrum * shade, height=height)
    if rng.uniform() < 0.15:
        frame = _inside(inner, angle, rng)
        for k in range(4):
            panel = frame.place(box(-6, k * 2.6, 6, k * 2.6 + 1.6))
            if inner.contains(panel):
                faces.add(panel, CLUTTER['panel'], rng, height=height + 0.7)
