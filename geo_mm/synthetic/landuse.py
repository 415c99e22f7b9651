"""What stands on the blocks of each kind of district."""

import numpy as np
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.dense import add_dense_block
from geo_mm.synthetic.green import add_farm, park
from geo_mm.synthetic.homes import add_home
from geo_mm.synthetic.lots import split_block
from geo_mm.synthetic.materials import GROUND
from geo_mm.synthetic.plan import Plan
from geo_mm.synthetic.streets import polygons_of
from geo_mm.synthetic.works import add_works


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
