"""Suburban lots: a detached house, its garden and drive."""

import numpy as np
from shapely import Point, Polygon, box

from geo_mm.synthetic.buildings import Building, Frame, Wing, add_flat, add_house, house_outline
from geo_mm.synthetic.cars import add_cars
from geo_mm.synthetic.lots import Lot, Plan
from geo_mm.synthetic.materials import GROUND


def add_home(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    """A detached house with a garden, a drive and what stands behind it."""
    lawn = 'lawn' if rng.uniform() < 0.78 else 'dry_lawn'
    plan.ground.add(lot.land, GROUND[lawn], rng)
    inner = lot.land.buffer(-1.0)
    house = None
    for shrink in (1.0, 0.85, 0.7):
        length = min(rng.uniform(0.64, 0.88) * lot.width, 19) * shrink
        width = rng.uniform(8.0, 12.5) * shrink
        setback = rng.uniform(4.5, 7.5) + width / 2
        along = rng.uniform() < 0.75 or length > 13
        frame = lot.frame(rng.uniform(-0.06, 0.06) * lot.width, setback, 0 if along else np.pi / 2)
        if not along:
            length, width = max(length, width), min(length, width)
        wing = _house_wing(lot, length, width, along, rng)
        roof = rng.choice(['tile', 'metal', 'concrete'], p=[0.80, 0.13, 0.07])
        trial = house_outline(length, width)
        if not inner.contains(frame.place(house_outline(length, width, wing))):
            wing = None
        if not inner.contains(frame.place(trial)):
            continue
        if roof == 'concrete':
            flat = frame.place(trial)
            house = add_flat(plan.faces, flat, frame.angle, rng, height=rng.uniform(3, 6))
        else:
            eaves = rng.choice([2.8, 3.2, 5.6], p=[0.4, 0.35, 0.25])
            house = add_house(
                plan.faces, frame, length, width, rng, height=eaves, wing=wing, roof=str(roof)
            )
        plan.buildings.append(house)
        break
    if house is None:
        plan.trees.scatter(lot.land.buffer(-2), rng.poisson(lot.land.area / 90), (1.5, 4.2), rng)
        return
    _garden(plan, lot, house, rng)


def _house_wing(
    lot: Lot, length: float, width: float, along: bool, rng: np.random.Generator
) -> Wing | None:
    """An L or T wing, or none."""
    if rng.uniform() < 0.45 or length < 10:
        return None
    half = rng.uniform(0.6, 1.0) * min(0.42 * width, 3.6)
    side = rng.choice([-1.0, 1.0])
    at = side * (length / 2 - half) if rng.uniform() < 0.75 else rng.uniform(-0.2, 0.2) * length
    # Wings point to the garden or, shorter, to the street.
    eave = width / 2 * (-lot.front if rng.uniform() < 0.55 or not along else lot.front)
    reach = rng.uniform(2.5, 5.5) if eave * lot.front < 0 else rng.uniform(1.2, 2.5)
    return float(at), half, float(eave), reach


def _garden(plan: Plan, lot: Lot, house: Building, rng: np.random.Generator) -> None:
    """Drive, patio, shed and trees around a house."""
    side = rng.choice([-1.0, 1.0])
    across = side * (lot.width / 2 - rng.uniform(2.2, 3.2))
    wide = rng.uniform(2.8, 5.0)
    long = rng.uniform(7, 13)
    frame = lot.frame(across, 0.0)
    sign = -lot.front
    low, high = sorted((-3.2 * sign, long * sign))
    drive = frame.place(box(-wide / 2, low, wide / 2, high)).difference(house.footprint)
    material = 'driveway' if rng.uniform() < 0.7 else 'parking'
    plan.ground.add(drive, GROUND[material], rng)
    if rng.uniform() < 0.45:
        x, y = frame.point(0, sign * rng.uniform(1.5, 5.0))
        spot = Point(x, y)
        if house.footprint.distance(spot) > 2.6:
            add_cars(plan.faces, np.array([[x, y]]), np.array([lot.angle + np.pi / 2]), rng)
    back = lot.frame(rng.uniform(-0.25, 0.25) * lot.width, lot.depth - rng.uniform(3.0, 5.5))
    if rng.uniform() < 0.30:
        a, b = rng.uniform(2.4, 4.5, 2)
        shed = Frame(back.x, back.y, back.angle)
        outline = shed.place(box(-a / 2, -b / 2, a / 2, b / 2))
        if lot.land.buffer(-0.6).contains(outline) and house.footprint.distance(outline) > 2:
            roof = str(rng.choice(['tile', 'metal']))
            plan.buildings.append(
                add_house(plan.faces, shed, max(a, b), min(a, b), rng, height=2.2, roof=roof)
                if a >= b
                else add_flat(plan.faces, outline, lot.angle, rng, height=2.4)
            )
    if rng.uniform() < 0.5:
        patio = house.footprint.buffer(rng.uniform(1.5, 3.0), join_style='mitre')
        half = lot.frame(0, lot.depth * 0.5).place(box(-5, -30, rng.uniform(0, 6), 30))
        plan.ground.add(
            patio.intersection(half).intersection(lot.land),
            GROUND[str(rng.choice(['deck', 'driveway', 'yard']))],
            rng,
        )
    pool = _pool(plan, lot, house, rng) if rng.uniform() < 0.10 else None
    yard = lot.land.buffer(-1.2).difference(drive.buffer(1.0))
    if pool is not None:
        yard = yard.difference(pool.buffer(4.0))
    count = int(rng.poisson(rng.choice([0.8, 2.2, 4.5]) * lot.land.area / 520))
    plan.trees.scatter(yard, count, (1.2, 6.2), rng)
    if rng.uniform() < 0.25:
        plan.trees.along(lot.land.buffer(-1.0).boundary, 1.9, (0.8, 1.15), rng, kind=2, keep=0.45)


def _pool(plan: Plan, lot: Lot, house: Building, rng: np.random.Generator) -> Polygon | None:
    """A swimming pool with its deck behind the house, if there is room."""
    spot = lot.frame(rng.uniform(-0.2, 0.2) * lot.width, lot.depth - rng.uniform(4.5, 7.0))
    a, b = rng.uniform(7, 10), rng.uniform(3.5, 5.0)
    outline = spot.place(box(-a / 2, -b / 2, a / 2, b / 2)).buffer(-1.0).buffer(1.0)
    if not lot.land.buffer(-1.5).contains(outline):
        return None
    if any(b.footprint.distance(outline) < 2.0 for b in (house, *plan.buildings[-2:])):
        return None
    plan.ground.add(outline.buffer(1.2, join_style='mitre'), GROUND['driveway'], rng)
    plan.ground.add(outline, GROUND['pool'], rng)
    plan.pools.append(outline)
    return outline
