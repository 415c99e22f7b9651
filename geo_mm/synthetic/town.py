"""Plan a whole town: water, streets, blocks, buildings, trees and cars as geometries."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.buildings import Building
from geo_mm.synthetic.cars import cars_on_street
from geo_mm.synthetic.landuse import fill_block, park
from geo_mm.synthetic.lots import Plan
from geo_mm.synthetic.materials import GROUND
from geo_mm.synthetic.paint import Layer
from geo_mm.synthetic.streets import (
    DISTRICTS,
    Network,
    Street,
    build_district,
    cut_by_arterials,
    mark_streets,
    open_stretches,
    polygons_of,
    weather_roads,
)
from geo_mm.synthetic.trees import Trees, grow
from geo_mm.synthetic.water import WaterBody, place_lakes, place_river

MARGIN = 70.0  # metres planned beyond the edge, so that streets and shadows come from outside


@dataclass(frozen=True)
class Town:
    """A planned town, in ground metres from the scene's upper left corner, y down.

    Attributes:
        size: Width and height of the scene in metres.
        ground: What is on the ground, in painting order.
        faces: Roof faces, roof clutter and cars, in painting order.
        trees: Crowns.
        buildings: Labelled buildings.
        roads: Carriageway polygons, bridges included.
        water: Visible open water (bridges and crowns cut out).
    """

    size: tuple[float, float]
    ground: Layer
    faces: Layer
    trees: Trees
    buildings: tuple[Building, ...]
    roads: tuple[BaseGeometry, ...]
    water: tuple[BaseGeometry, ...]


def plan_town(width: float, height: float, rng: np.random.Generator) -> Town:
    """Plan the town of one scene.

    Args:
        width: Of the scene, in metres.
        height: Of the scene, in metres.
        rng: Source of all randomness.
    """
    land = box(-MARGIN, -MARGIN, width + MARGIN, height + MARGIN)
    river = place_river((width, height), MARGIN, rng)
    bodies = [river] if river else []
    taken = shapely.union_all([b.corridor for b in bodies])
    pieces, arterials = cut_by_arterials(land, (width / 2, height / 2), 62_000.0, taken, rng)
    bodies += place_lakes((width, height), pieces, taken, 0 if river else 1, rng)
    corridor = shapely.union_all([b.corridor for b in bodies]).intersection(land)
    network = _network(pieces, arterials, (width / 2, height / 2), corridor, rng)
    bridges = _bridges(network.streets, corridor)
    plan = Plan()
    plan.ground.add(land, GROUND['meadow'])
    for district in network.districts:
        for block in district.blocks:
            fill_block(plan, district.kind, block, rng)
    _shores(plan, bodies, land, rng)
    roads = [p for d in network.districts for p in polygons_of(d.road, 1.0)] + bridges
    for road in roads:
        plan.ground.add(road, GROUND['asphalt'], rng)
    weather_roads(plan.ground, network.streets, rng)
    stretches = open_stretches(network.streets)
    mark_streets(plan.ground, stretches, rng)
    for stretch in stretches:
        cars_on_street(plan.faces, stretch, 7.0, rng)
    water = shapely.union_all([*(b.surface for b in bodies), *plan.pools]).intersection(land)
    footprints = np.array([b.footprint for b in plan.buildings], object)
    blocked = shapely.GeometryCollection([*roads, *polygons_of(water)])
    trees = grow(plan.trees.array(), footprints, blocked, rng)
    visible = _visible_water(water, bridges, trees)
    return Town(
        (width, height), plan.ground.build(), plan.faces.build(), trees,
        tuple(plan.buildings), tuple(roads), visible,
    )  # fmt: skip


def _network(
    pieces: list[Polygon], streets: list[Street], centre: tuple[float, float],
    corridor: BaseGeometry, rng: np.random.Generator,
) -> Network:  # fmt: skip
    """Districts with their local streets."""
    surface = shapely.union_all([s.line.buffer(s.width / 2, cap_style='flat') for s in streets])
    network = Network(streets=list(streets))
    kinds = _district_kinds(pieces, centre, rng)
    for piece, kind in zip(pieces, kinds, strict=True):
        district, local = build_district(kind, piece, surface, corridor, rng)
        network.districts.append(district)
        network.streets += local
    return network


def _district_kinds(
    pieces: list[BaseGeometry], centre: tuple[float, float], rng: np.random.Generator
) -> list[str]:
    """A character for each piece: denser near the centre, fields far out."""
    distance = np.array([p.centroid.distance(shapely.Point(centre)) for p in pieces])
    rank = np.argsort(np.argsort(distance + rng.normal(0, 60, len(pieces))))
    share = (rank + 0.5) / len(pieces)
    kinds = []
    for s in share:
        weights = np.array([
            1.0, 1.1 * (1 - s), 0.35 + 0.25 * s, 0.65 * max(s - 0.45, 0.0),
        ])  # fmt: skip
        kinds.append(str(rng.choice(DISTRICTS, p=weights / weights.sum())))
    return kinds


def _bridges(streets: list[Street], corridor: BaseGeometry) -> list[BaseGeometry]:
    """The parts of arterials that cross a corridor."""
    if corridor.is_empty:
        return []
    decks = [
        s.line.buffer(s.width / 2, cap_style='flat').intersection(corridor)
        for s in streets
        if s.arterial and s.line.intersects(corridor)
    ]
    return polygons_of(shapely.union_all(decks), 5.0) if decks else []


def _shores(
    plan: Plan, bodies: list[WaterBody], land: BaseGeometry, rng: np.random.Generator
) -> None:
    """Banks with their trees, then the water in three depths."""
    for body in bodies:
        bank = body.corridor.difference(body.surface).intersection(land)
        if body.river:
            plan.ground.add(bank, GROUND['bank'], rng)
            plan.trees.scatter(bank.buffer(-1.0), rng.poisson(bank.area / 34), (1.4, 4.4), rng)
        else:
            for part in polygons_of(bank, 30):
                park(plan, part, rng)
        wet = body.surface.buffer(rng.uniform(0.8, 2.2)).intersection(land)
        plan.ground.add(wet, GROUND['sand' if rng.uniform() < 0.6 else 'bank'], rng)
        plan.ground.add(body.surface.intersection(land), GROUND['shallow'])
        shallow, deep = (np.array(GROUND[k].spectrum) for k in ('shallow', 'deep'))
        for depth in np.linspace(0, 1, 6)[1:]:
            spectrum = shallow + (deep - shallow) * depth
            part = body.surface.buffer(-9.0 * depth**1.5).intersection(land)
            plan.ground.add(part, GROUND['deep'], spectrum=spectrum)


def _visible_water(
    water: BaseGeometry, bridges: list[BaseGeometry], trees: Trees
) -> tuple[BaseGeometry, ...]:
    """Open water as seen from above."""
    if water.is_empty:
        return ()
    shapely.prepare(water)
    over = trees.crowns[shapely.intersects(water, trees.crowns)]
    cover = shapely.union_all([*over, *bridges])
    return tuple(polygons_of(water.difference(cover), 2.0))
