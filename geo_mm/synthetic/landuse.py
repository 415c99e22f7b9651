"""Land use: what stands on the blocks of each kind of district, works, parks and farmland."""

import numpy as np
import shapely
from shapely import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.buildings import Frame, add_flat
from geo_mm.synthetic.cars import add_parking
from geo_mm.synthetic.housing import add_dense_block, add_home
from geo_mm.synthetic.lots import Lot, Plan, split_block
from geo_mm.synthetic.materials import GROUND, ROOFS
from geo_mm.synthetic.streets import long_axis, polygons_of
from geo_mm.synthetic.water import blob


def park(plan: Plan, land: BaseGeometry, rng: np.random.Generator) -> None:
    """Lawn, groves, winding paths and, where it fits, a playing field."""
    plan.ground.add(land, GROUND['park'], rng)
    angle = long_axis(land)[0]
    field_land = None
    if land.area > 6500 and rng.uniform() < 0.7:
        field_land = _pitch(plan, land, angle, rng)
    grown = land.buffer(-2.0)
    if field_land is not None:
        grown = grown.difference(field_land.buffer(4))
    if grown.is_empty:
        return
    if land.area > 1200:
        whole = shapely.union_all([Polygon(p.exterior) for p in polygons_of(land)])
        loop = whole.buffer(-rng.uniform(7, 11)).boundary
        plan.ground.add(loop.buffer(1.0).intersection(land), GROUND['path'], rng)
    min_x, min_y, max_x, max_y = grown.bounds
    for _ in range(int(np.ceil(grown.area / 1300))):
        centre = (rng.uniform(min_x, max_x), rng.uniform(min_y, max_y))
        grove = blob(centre, rng.uniform(9, 28), rng, 0.3).intersection(grown)
        plan.trees.scatter(grove, rng.poisson(grove.area / 22), (1.8, 6.4), rng)
    plan.trees.scatter(grown, rng.poisson(grown.area / 420), (1.6, 6.4), rng)


def _pitch(
    plan: Plan, land: BaseGeometry, angle: float, rng: np.random.Generator
) -> Polygon | None:
    """A football pitch with mowing stripes and lines, if there is room for one."""
    centre = land.centroid
    frame = Frame(centre.x, centre.y, angle)
    for a, b in ((92, 58), (70, 46), (54, 36)):
        outline = frame.place(box(-a / 2, -b / 2, a / 2, b / 2))
        if not land.buffer(-3).contains(outline):
            continue
        plan.ground.add(outline, GROUND['pitch'], rng, stripes=(11.0, angle, 0.07))
        border = outline.buffer(-3.0, join_style='mitre')
        lines = [border.boundary, Point(centre).buffer(7.5).boundary]
        lines.append(frame.place(box(0, -b / 2 + 3, 0.01, b / 2 - 3)).boundary)
        for end in (-1, 1):
            low, high = sorted((end * (a / 2 - 3), end * (a / 2 - 14)))
            lines.append(frame.place(box(low, -14, high, 14)).boundary)
        for line in lines:
            plan.ground.add(line.buffer(0.12).intersection(outline), GROUND['marking'])
        return outline
    return None


def add_farm(plan: Plan, block: Polygon, rng: np.random.Generator) -> None:
    """Fields with rows, hedges between them, an orchard or a farmstead."""
    plan.ground.add(block, GROUND['meadow'], rng)
    inner = block.buffer(-3.0)
    for land in polygons_of(inner, 200):
        for lot in split_block(land, (55, 120), 130.0, rng):
            _field(plan, lot, rng)
    hedge = block.buffer(-1.5).boundary
    plan.trees.along(hedge, 4.2, (1.3, 3.4), rng, kind=0, keep=rng.uniform(0.1, 0.6))


def _field(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    use = rng.choice(['crop', 'stubble', 'soil', 'meadow', 'orchard', 'stead'],
                     p=[0.3, 0.16, 0.14, 0.12, 0.14, 0.14])  # fmt: skip
    land = lot.land.buffer(-1.2)
    if land.is_empty:
        return
    across = lot.angle + (np.pi / 2 if rng.uniform() < 0.6 else 0.0)
    if use in ('crop', 'stubble', 'soil', 'meadow'):
        period, contrast = rng.uniform(1.6, 3.2), rng.uniform(0.05, 0.14)
        plan.ground.add(land, GROUND[str(use)], rng, stripes=(period, across, contrast))
        headland = land.difference(land.buffer(-5))
        plan.ground.add(headland, GROUND[str(use)], rng)
    elif use == 'orchard':
        plan.ground.add(land, GROUND['dry_lawn'], rng, stripes=(5.5, across, 0.10))
        plan.trees.rows(land.buffer(-3), across, 5.5, (1.4, 2.1), rng)
    else:
        build = add_works if rng.uniform() < 0.4 else add_home
        build(plan, lot, rng)


def fill_block(plan: Plan, kind: str, block: Polygon, rng: np.random.Generator) -> None:
    """Build up one block of a district of ``kind``."""
    if kind == 'farm':
        add_farm(plan, block, rng)
        return
    inner = _pavement(plan, kind, block, rng)
    for land in polygons_of(inner, 150):
        chance = rng.uniform()
        if land.area < 420 or chance < (0.07 if kind != 'works' else 0.04):
            park(plan, land, rng)
        elif kind == 'suburb':
            for lot in split_block(land, (16.0, 23.0), 40.0, rng):
                add_home(plan, lot, rng)
        elif kind == 'dense':
            add_dense_block(plan, land, rng)
        else:
            for lot in split_block(land, (48.0, 85.0), 75.0, rng):
                add_works(plan, lot, rng)


def _pavement(plan: Plan, kind: str, block: Polygon, rng: np.random.Generator) -> BaseGeometry:
    """Verge and sidewalk around a block; returns what is left inside."""
    if kind == 'suburb':
        plan.ground.add(block, GROUND['lawn'], rng)
        plan.ground.add(block.buffer(-1.3), GROUND['sidewalk'], rng)
        inner = block.buffer(-2.9)
        trees = block.buffer(-0.7).boundary
        spacing = rng.uniform(9, 22)
    else:
        plan.ground.add(block, GROUND['sidewalk'], rng)
        inner = block.buffer(-2.8 if kind == 'dense' else -1.8)
        trees = block.buffer(-1.2).boundary
        spacing = rng.uniform(8, 15) if kind == 'dense' else rng.uniform(25, 50)
    if rng.uniform() < 0.8:
        plan.trees.along(trees, spacing, (1.7, 3.7), rng, kind=int(rng.integers(0, 4)))
    return inner


def add_works(plan: Plan, lot: Lot, rng: np.random.Generator) -> None:
    """A hall or a big store with its yard and car park."""
    ground = str(rng.choice(['yard', 'parking', 'soil', 'lawn'], p=[0.4, 0.3, 0.08, 0.22]))
    plan.ground.add(lot.land, GROUND[ground], rng)
    room = lot.land.buffer(-2.5)
    for shrink in (1.0, 0.8, 0.62, 0.45):
        length = lot.width * rng.uniform(0.6, 0.85) * shrink
        width = lot.depth * rng.uniform(0.4, 0.62) * shrink
        frame = lot.frame(0, lot.depth - width / 2 - 4)
        outline = frame.place(box(-length / 2, -width / 2, length / 2, width / 2))
        if rng.uniform() < 0.3:
            cut = frame.place(box(length * 0.1, -width, length, -0.1 * width * lot.front))
            outline = max(polygons_of(outline.difference(cut)), key=lambda p: p.area)
        if not room.contains(outline):
            continue
        roof = str(rng.choice(['metal', 'concrete'], p=[0.65, 0.35]))
        height = rng.uniform(5.5, 11)
        hall = add_flat(plan.faces, outline, lot.angle, rng, height=height, roof=roof)
        plan.buildings.append(hall)
        rest = room.difference(outline.buffer(4))
        for part in sorted(polygons_of(rest, 250), key=lambda p: -p.area)[:1]:
            if rng.uniform() < 0.75:
                add_parking(plan, part, lot.angle, rng)
        break
    else:
        _open_yard(plan, lot, room, rng)
    plan.trees.scatter(room.boundary.buffer(2.0), rng.poisson(lot.land.area / 420), (1.5, 3.8), rng)


def _open_yard(plan: Plan, lot: Lot, room: BaseGeometry, rng: np.random.Generator) -> None:
    """A lot without a hall: a car park, or stacks of containers."""
    if rng.uniform() < 0.5:
        add_parking(plan, room, lot.angle, rng)
        return
    shades = GROUND['yard'], *ROOFS['metal']
    step_x, step_y = rng.uniform(14, 17), rng.uniform(7, 12)
    for x in np.arange(-40, 40, step_x):
        for y in np.arange(-40, 40, step_y):
            for row in range(int(rng.integers(0, 4))):
                spot = lot.frame(x, lot.depth / 2 + y + 2.6 * row)
                container = spot.place(box(-6.1, -1.22, 6.1, 1.22))
                if room.contains(container):
                    shade = shades[int(rng.integers(len(shades)))]
                    height = 2.6 * int(rng.integers(1, 3))
                    plan.faces.add(container, shade, rng, height=height)
