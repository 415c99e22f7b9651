"""Halls, big stores and storage yards."""

import numpy as np
from shapely import box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.buildings import add_flat
from geo_mm.synthetic.cars import add_parking
from geo_mm.synthetic.lots import Lot, Plan
from geo_mm.synthetic.materials import GROUND, ROOFS
from geo_mm.synthetic.streets import polygons_of


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
