"""Cars: parked at the kerb, in car parks and drives, and moving."""

import numpy as np
import shapely
from shapely import box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.buildings import Frame
from geo_mm.synthetic.lots import Plan
from geo_mm.synthetic.materials import CARS, GLASS, GROUND, Material
from geo_mm.synthetic.paint import LayerBuilder, boxes
from geo_mm.synthetic.streets import Street, polygons_of


def add_cars(
    faces: LayerBuilder, centres: np.ndarray, angles: np.ndarray, rng: np.random.Generator
) -> None:
    """Add a car, body and windows, at each of ``centres`` (N, 2), heading along ``angles``."""
    count = len(centres)
    if not count:
        return
    length, width = rng.uniform(4.1, 5.1, count), rng.uniform(1.75, 2.0, count)
    centres = centres + rng.normal(0, 0.15, (count, 2))
    angles = angles + rng.normal(0, 0.02, count)
    bodies = boxes(centres, length, width, angles)
    heading = np.column_stack([np.cos(angles), np.sin(angles)])
    cabins = boxes(centres - 0.25 * heading, 0.56 * length, 0.84 * width, angles)
    roofs = boxes(centres - 0.40 * heading, 0.38 * length, 0.80 * width, angles)
    colours = rng.choice(len(CARS), size=count, p=[share for _, share in CARS])
    paint, glass = Material((0, 0, 0, 0), 0.0, 0.0), Material(GLASS, 0.0, 0.0)
    for k in range(count):
        spectrum = np.asarray(CARS[colours[k]][0]) * np.exp(rng.normal(0, 0.12))
        faces.add(bodies[k], paint, spectrum=spectrum, height=1.0)
        faces.add(cabins[k], glass, height=1.4)
        faces.add(roofs[k], paint, spectrum=spectrum, height=1.5)


def cars_on_street(
    faces: LayerBuilder, street: Street, clear: float, rng: np.random.Generator
) -> None:
    """Parked cars along both kerbs and a few in the lanes, away from the street's ends."""
    line, half = street.line, street.width / 2
    if line.length < 2 * clear + 12:
        return
    at = np.arange(clear, line.length - clear, 6.2)
    density = rng.beta(1.3, 2.6) * (0.45 if street.arterial else 1.0)
    centres, angles = [], []
    for side in (-1.0, 1.0):
        parked = at[rng.uniform(size=len(at)) < density]
        moving = at[rng.uniform(size=len(at)) < (0.06 if street.arterial else 0.012)]
        for places, offset in ((parked, half - 1.15), (moving, half * 0.42)):
            if not len(places):
                continue
            here = np.array([line.interpolate(s).coords[0] for s in places])
            ahead = np.array([line.interpolate(s + 0.5).coords[0] for s in places])
            along = (ahead - here) / np.hypot(*(ahead - here).T)[:, None]
            centres.append(here + side * offset * along[:, ::-1] * [-1, 1])
            angles.append(np.arctan2(along[:, 1], along[:, 0]) + (np.pi if side > 0 else 0))
    if centres:
        add_cars(faces, np.concatenate(centres), np.concatenate(angles), rng)


def add_parking(
    plan: Plan, land: BaseGeometry, angle: float, rng: np.random.Generator,
    max_size: tuple[float, float] = (90.0, 55.0),
) -> None:  # fmt: skip
    """A car park: rows of stalls and the cars in them."""
    if land.is_empty:
        return
    spot = land.representative_point()
    frame = Frame(spot.x, spot.y, angle)
    a, b = max_size
    area = frame.place(box(-a / 2, -b / 2, a / 2, b / 2)).intersection(land)
    for lot in polygons_of(area, 120)[:1]:
        plan.ground.add(lot, GROUND['parking'], rng)
        centre = lot.centroid
        frame = Frame(centre.x, centre.y, angle)
        inner = lot.buffer(-0.6)
        xs = np.arange(-a / 2, a / 2, 2.6)
        ys = np.concatenate([[y - 2.6, y + 2.6] for y in np.arange(-34, 35, 17.0)])
        grid = np.array([frame.point(x, y) for y in ys for x in xs])
        ends = np.array([frame.vector(0, 2.4)])
        fits = shapely.contains_xy(inner, grid - ends) & shapely.contains_xy(inner, grid + ends)
        grid = grid[fits]
        if not len(grid):
            continue
        stall = [frame.vector(1.3, 0)]
        for x, y in grid + np.array(stall):
            line = Frame(x, y, angle).place(box(-0.06, -2.4, 0.06, 2.4))
            plan.ground.add(line, GROUND['marking'])
        used = grid[rng.uniform(size=len(grid)) < rng.uniform(0.25, 0.85)]
        add_cars(plan.faces, used, np.full(len(used), angle + np.pi / 2), rng)
