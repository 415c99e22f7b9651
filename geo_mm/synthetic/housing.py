"""Housing: detached houses with garden and drive, terraces and dense blocks."""

import numpy as np
from shapely import Point, Polygon, box

from geo_mm.synthetic.buildings import (
    Building,
    Frame,
    Wing,
    add_flat,
    add_house,
    house_outline,
    roof_material,
)
from geo_mm.synthetic.cars import add_cars, add_parking
from geo_mm.synthetic.lots import Lot, Plan, split_block
from geo_mm.synthetic.materials import GROUND, Material
from geo_mm.synthetic.paint import Tilt
from geo_mm.synthetic.streets import long_axis, polygons_of


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
                plan.faces, frame, (length, width), rng, height=eaves, wing=wing, roof=str(roof)
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
                add_house(plan.faces, shed, (max(a, b), min(a, b)), rng, height=2.2, roof=roof)
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


def add_dense_block(plan: Plan, land: Polygon, rng: np.random.Generator) -> None:
    """Row houses, slabs or courtyard blocks."""
    style = rng.choice(['rows', 'slabs', 'court', 'mixed'], p=[0.3, 0.22, 0.18, 0.3])
    if style == 'court' and land.area > 1400:
        _court(plan, land, rng)
    elif style == 'rows':
        for lot in split_block(land, (40, 70), 30.0, rng):
            _row_houses(plan, lot, rng)
    elif style == 'slabs':
        for lot in split_block(land, (30, 55), 200.0, rng):
            _slab(plan, lot, rng)
    else:
        for lot in split_block(land, (17, 32), 34.0, rng):
            _city_house(plan, lot, rng)


def _court(plan: Plan, land: Polygon, rng: np.random.Generator) -> None:
    """A closed block around a green court."""
    plan.ground.add(land, GROUND['yard'], rng)
    angle = long_axis(land)[0]
    outer = land.buffer(-1.5, join_style='mitre').simplify(0.8)
    court = outer.buffer(-rng.uniform(11, 14), join_style='mitre')
    for ring in polygons_of(outer.difference(court), 300):
        height = rng.uniform(10, 19)
        plan.buildings.append(add_flat(plan.faces, ring, angle, rng, height=height))
    for green in polygons_of(court.buffer(-2.5), 60):
        plan.ground.add(green, GROUND['park'], rng)
        plan.trees.scatter(green.buffer(-1), rng.poisson(green.area / 110), (1.8, 4.2), rng)


def _row_houses(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    """A terrace: one ridge, gardens behind."""
    plan.ground.add(lot.land, GROUND['lawn'], rng)
    unit, width = rng.uniform(5.5, 7.5), rng.uniform(8.5, 10.5)
    room = lot.land.buffer(-0.8)
    count = int((lot.width - 5) / unit)
    style = roof_material('tile', rng)
    eaves = rng.uniform(5.0, 8.5)
    depth = rng.uniform(2.5, 4.5) + width / 2
    for k in range(count):
        across = (k - (count - 1) / 2) * unit
        frame = lot.frame(across, depth)
        outline = frame.place(box(-unit / 2, -width / 2, unit / 2, width / 2))
        if room.contains(outline):
            _terrace_unit(plan, frame, unit, width, eaves, style, rng)
            fence = lot.frame(across, depth + width / 2 + 4)
            garden = fence.place(box(-unit / 2, -4, unit / 2, 4)).intersection(lot.land)
            kind = rng.choice(['lawn', 'dry_lawn', 'yard'], p=[0.6, 0.2, 0.2])
            plan.ground.add(garden, GROUND[str(kind)], rng)
            plan.trees.scatter(garden, rng.poisson(0.6), (0.9, 2.6), rng)
    plan.trees.scatter(room, rng.poisson(lot.land.area / 420), (1.5, 3.6), rng)


def _terrace_unit(
    plan: Plan, frame: Frame, unit: float, width: float, eaves: float,
    style: tuple[Material, np.ndarray], rng: np.random.Generator,
) -> None:  # fmt: skip
    """One house of a terrace: both gables touch the neighbours."""
    material, spectrum = style
    step = eaves + rng.choice([0.0, 0.4])
    pitch, shade = 0.55, np.exp(rng.normal(0, 0.07))
    for sign in (-1.0, 1.0):
        low, high = sorted((sign * width / 2, 0.0))
        uphill = frame.vector(0, -sign)
        plan.faces.add(
            frame.place(box(-unit / 2, low, unit / 2, high)), material,
            spectrum=spectrum * shade, stripes=(0.9, float(np.arctan2(uphill[1], uphill[0])), 0.05),
            height=step,
            tilt=Tilt((uphill[0] * pitch, uphill[1] * pitch), frame.point(0, sign * width / 2)),
        )  # fmt: skip
    outline = frame.place(box(-unit / 2, -width / 2, unit / 2, width / 2))
    plan.buildings.append(Building(outline, 'tile', step))


def _slab(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    """A free-standing apartment slab in a lawn, with parking."""
    plan.ground.add(lot.land, GROUND['park'], rng)
    room = lot.land.buffer(-2.5)
    turn = np.pi / 2 if lot.depth > lot.width else 0.0
    reach = max(lot.depth, lot.width) * rng.uniform(0.55, 0.8)
    for shrink in (1.0, 0.75, 0.5):
        frame = lot.frame(rng.uniform(-3, 3), lot.depth * 0.5, turn)
        length, width = reach * shrink, rng.uniform(11, 15) * (0.6 + 0.4 * shrink)
        outline = frame.place(box(-length / 2, -width / 2, length / 2, width / 2))
        if room.contains(outline):
            height = rng.choice([9.0, 12.0, 15.0, 21.0])
            slab = add_flat(plan.faces, outline, frame.angle, rng, height=height)
            plan.buildings.append(slab)
            rest = lot.land.buffer(-1.5).difference(outline.buffer(2.5))
            for part in polygons_of(rest, 250)[:1]:
                if rng.uniform() < 0.7:
                    add_parking(plan, part, frame.angle, rng, max_size=(30, 17))
            break
    plan.trees.scatter(room, rng.poisson(lot.land.area / 130), (1.8, 4.6), rng)


def _city_house(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    """A house that fills the front of its lot, of any roof."""
    plan.ground.add(lot.land, GROUND[str(rng.choice(['yard', 'lawn', 'parking']))], rng)
    room = lot.land.buffer(-0.3)
    if rng.uniform() < 0.08:
        add_parking(plan, room, lot.angle, rng)
        return
    for shrink in (1.0, 0.8, 0.6):
        length = (lot.width - 0.8) * shrink
        width = min(lot.depth * rng.uniform(0.5, 0.72), 22) * shrink
        frame = lot.frame(0, width / 2 + 0.5)
        whole = frame.place(box(-length / 2, -width / 2, length / 2, width / 2))
        outline = whole.intersection(room)
        # A city house follows the skew of its lot; what would be too thin is no house.
        if outline.area < 0.6 * whole.area or outline.buffer(-2.5).geom_type != 'Polygon':
            continue
        if outline.geom_type != 'Polygon' or outline.buffer(-2.5).is_empty:
            continue
        if whole.within(room) and rng.uniform() < 0.35 and width < 14:
            house = add_house(
                plan.faces, frame, (length, width), rng, height=rng.uniform(5, 9),
                roof=str(rng.choice(['tile', 'metal'], p=[0.75, 0.25])),
            )  # fmt: skip
        else:
            house = add_flat(plan.faces, outline, lot.angle, rng, height=rng.uniform(6, 16))
        plan.buildings.append(house)
        break
    else:
        plan.ground.add(lot.land, GROUND['park'], rng)
        plan.trees.scatter(room, rng.poisson(lot.land.area / 60), (1.5, 4.8), rng)
    back = lot.frame(0, lot.depth - 3).place(box(-lot.width / 2, -4, lot.width / 2, 4))
    plan.trees.scatter(back.intersection(room), rng.poisson(0.9), (1.3, 3.4), rng)
