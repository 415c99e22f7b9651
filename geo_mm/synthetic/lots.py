"""Lots cut from the blocks, and the plan that the land uses add to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from shapely import Polygon, affinity, box

from geo_mm.synthetic.buildings import Building, Frame
from geo_mm.synthetic.paint import LayerBuilder
from geo_mm.synthetic.streets import long_axis, polygons_of
from geo_mm.synthetic.trees import TreeSeeds


@dataclass(frozen=True)
class Lot:
    """A piece of a block.

    Attributes:
        land: Its polygon in ground metres.
        angle: Direction of the street it fronts on, radians.
        origin: Ground point the local system turns about.
        bounds: ``(min_x, min_y, max_x, max_y)`` of the lot in the local system.
        front: -1 if the street is at ``min_y``, 1 if it is at ``max_y``.
    """

    land: Polygon
    angle: float
    origin: tuple[float, float]
    bounds: tuple[float, float, float, float]
    front: float

    @property
    def width(self) -> float:
        return self.bounds[2] - self.bounds[0]

    @property
    def depth(self) -> float:
        return self.bounds[3] - self.bounds[1]

    def frame(self, across: float, inward: float, turn: float = 0.0) -> Frame:
        """A frame ``across`` metres from the lot's middle, ``inward`` from its street edge.

        Local x runs along the street and local y *away from* the street for
        ``front`` -1 and towards it for 1; ``turn`` is added to the direction.
        """
        x = (self.bounds[0] + self.bounds[2]) / 2 + across
        y = self.bounds[1] + inward if self.front < 0 else self.bounds[3] - inward
        base = Frame(*self.origin, self.angle)
        return Frame(*base.point(x, y), self.angle + turn)


def split_block(
    land: Polygon, width: tuple[float, float], max_depth: float, rng: np.random.Generator
) -> Iterator[Lot]:
    """Cut a block into one or two rows of lots along its long side.

    Args:
        land: The block without its pavements.
        width: Smallest and largest lot width in metres.
        max_depth: A block deeper than this gets two rows, back to back.
        rng: Source of randomness.
    """
    angle, _, _ = long_axis(land)
    origin = land.centroid.coords[0]
    local = affinity.rotate(land, -angle, origin=origin, use_radians=True)
    local = affinity.translate(local, -origin[0], -origin[1])
    min_x, min_y, max_x, max_y = local.bounds
    if max_y - min_y > max_depth:
        middle = min_y + (max_y - min_y) * rng.uniform(0.46, 0.54)
        rows = [(min_y, middle, -1.0), (middle, max_y, 1.0)]
    else:
        rows = [(min_y, max_y, float(rng.choice([-1.0, 1.0])))]
    back = Frame(*origin, angle)
    for low, high, front in rows:
        count = max(round((max_x - min_x) / rng.uniform(*width)), 1)
        cuts = np.linspace(min_x, max_x, count + 1)
        cuts[1:-1] += rng.uniform(-0.12, 0.12, count - 1) * (max_x - min_x) / count
        for left, right in pairwise(cuts):
            for part in polygons_of(local.intersection(box(left, low, right, high)), 40):
                yield Lot(back.place(part), angle, origin, part.bounds, front)


@dataclass
class Plan:
    """A town while it is being planned: builders that the land uses add to."""

    ground: LayerBuilder = field(default_factory=LayerBuilder)
    faces: LayerBuilder = field(default_factory=LayerBuilder)
    buildings: list[Building] = field(default_factory=list)
    trees: TreeSeeds = field(default_factory=TreeSeeds)
    pools: list[Polygon] = field(default_factory=list)
