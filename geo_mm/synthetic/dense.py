"""Dense blocks: terraces, slabs, courtyard blocks and city houses."""

import numpy as np
from shapely import Polygon, box

from geo_mm.synthetic.buildings import Building, Frame, add_flat, add_house, roof_material
from geo_mm.synthetic.cars import add_parking
from geo_mm.synthetic.lots import Lot, Plan, split_block
from geo_mm.synthetic.materials import GROUND, Material
from geo_mm.synthetic.streets import long_axis, polygons_of


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
            height=step, slope=(uphill[0] * pitch, uphill[1] * pitch),
            base=frame.point(0, sign * width / 2),
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
                plan.faces, frame, length, width, rng, height=rng.uniform(5, 9),
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
