"""A town while it is being planned."""

from dataclasses import dataclass, field

from shapely import Polygon

from geo_mm.synthetic.buildings import Building
from geo_mm.synthetic.paint import LayerBuilder
from geo_mm.synthetic.trees import TreeSeeds


@dataclass
class Plan:
    """A town while it is being planned: builders that the land uses add to."""

    ground: LayerBuilder = field(default_factory=LayerBuilder)
    faces: LayerBuilder = field(default_factory=LayerBuilder)
    buildings: list[Building] = field(default_factory=list)
    trees: TreeSeeds = field(default_factory=TreeSeeds)
    pools: list[Polygon] = field(default_factory=list)
