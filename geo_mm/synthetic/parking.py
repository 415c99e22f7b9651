"""Car parks."""

import numpy as np
import shapely
from shapely import box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.buildings import Frame
from geo_mm.synthetic.cars import add_cars
from geo_mm.synthetic.materials import GROUND
from geo_mm.synthetic.plan import Plan
from geo_mm.synthetic.streets import polygons_of


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
