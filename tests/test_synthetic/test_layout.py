"""Geometry of the synthetic town: who may stand where."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_mm.geometry import union
from geo_mm.synthetic.buildings import Frame, add_house
from geo_mm.synthetic.lots import split_block
from geo_mm.synthetic.paint import COLUMNS, LayerBuilder, Tilt, boxes
from geo_mm.synthetic.streets import build_district
from geo_mm.synthetic.town import MARGIN, plan_town


@pytest.fixture(scope='module', params=[(0, 300, 200), (1, 256, 256), (2, 90, 400), (3, 512, 512)])
def town(request):
    seed, width, height = request.param
    return plan_town(width, height, np.random.default_rng(seed))


def footprints(town) -> np.ndarray:
    return np.array([b.footprint for b in town.buildings], object)


def test_every_class_is_seen(town):
    scene = shapely.box(0, 0, *town.size)
    for shapes in (footprints(town), town.roads, town.trees.crowns, town.water):
        assert shapely.intersects(np.array(shapes, object), scene).any()


def test_all_geometries_are_valid_polygons(town):
    for shapes in (footprints(town), town.roads, town.trees.crowns, town.water):
        shapes = np.array(shapes, object)
        assert shapely.is_valid(shapes).all()
        assert set(shapely.get_type_id(shapes)) == {shapely.GeometryType.POLYGON}


def test_buildings_do_not_overlap_each_other(town):
    shapes = footprints(town)
    first, second = shapely.STRtree(shapes).query(shapes, predicate='intersects')
    pairs = first < second
    overlap = shapely.area(shapely.intersection(shapes[first[pairs]], shapes[second[pairs]]))
    assert overlap.max(initial=0) < 0.01


def test_buildings_stand_neither_on_roads_nor_in_water(town):
    shapes = shapely.union_all(footprints(town))
    for taken in (town.roads, town.water):
        assert shapes.intersection(shapely.union_all(taken)).area < 0.01


def test_water_is_what_is_visible_of_it(town):
    water = shapely.union_all(town.water)
    crowns = town.trees.crowns[shapely.intersects(water, town.trees.crowns)]
    assert water.intersection(shapely.union_all(crowns)).area < 0.01
    assert water.intersection(shapely.union_all(town.roads)).area < 0.01


def test_no_trunk_stands_in_a_building_or_on_a_road(town):
    trunks = shapely.points(town.trees.centres)
    for taken in (footprints(town), np.array(town.roads, object)):
        assert not len(shapely.STRtree(taken).query(trunks, predicate='within')[0])


def test_lower_crowns_are_painted_first(town):
    assert (np.diff(town.trees.heights) >= 0).all()


def test_the_same_generator_state_gives_the_same_town():
    one, two = (plan_town(128, 96, np.random.default_rng(7)) for _ in range(2))
    assert shapely.equals_exact(one.trees.crowns, two.trees.crowns, 0).all()
    assert shapely.equals_exact(one.ground.polygons, two.ground.polygons, 0).all()
    np.testing.assert_array_equal(one.faces.values, two.faces.values)


def test_a_town_smaller_than_a_house_can_be_planned():
    town = plan_town(3, 2, np.random.default_rng(0))
    assert len(town.ground.polygons) > 0
    assert town.ground.polygons[0].bounds == (-MARGIN, -MARGIN, 3 + MARGIN, 2 + MARGIN)


def test_blocks_and_roads_share_out_the_district():
    outline = shapely.Polygon([(0, 0), (300, 20), (280, 250), (-10, 230)])
    nothing = shapely.Polygon()
    arterials = outline.boundary.buffer(6)
    rng = np.random.default_rng(4)
    district, streets = build_district('suburb', outline, arterials, nothing, rng)
    blocks = shapely.union_all(district.blocks)
    assert len(streets) > 3
    assert len(district.blocks) > 4
    assert blocks.intersection(district.road).area < 0.01
    assert blocks.union(district.road).area == pytest.approx(outline.area, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    width=st.floats(20, 200),
    depth=st.floats(15, 90),
    angle=st.floats(-3.1, 3.1),
    seed=st.integers(0, 99),
)
def test_lots_share_out_the_block(width, depth, angle, seed):
    land = Frame(500, -40, angle).place(shapely.box(-width / 2, -depth / 2, width / 2, depth / 2))
    lots = list(split_block(land, (16, 23), 40.0, np.random.default_rng(seed)))
    assert sum(lot.land.area for lot in lots) == pytest.approx(land.area, rel=1e-6)
    assert union([lot.land for lot in lots]).area == pytest.approx(land.area, rel=1e-6)


def test_lot_frame_starts_at_the_street():
    land = shapely.box(0, 0, 100, 60)
    for lot in split_block(land, (16, 23), 40.0, np.random.default_rng(1)):
        front = lot.frame(0.0, 0.0)
        assert min(front.y, 60 - front.y) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize('wing', [None, (4.0, 2.0, 4.0, 3.0), (0.0, 2.0, -4.0, 3.0)])
def test_roof_faces_cover_exactly_the_footprint(wing):
    faces = LayerBuilder()
    frame = Frame(20, 30, 0.4)
    house = add_house(faces, frame, (12, 8), np.random.default_rng(2), height=3.0, wing=wing)
    layer = faces.build()
    pitched = layer.polygons[layer.column('slope_x') != 0]
    covered = shapely.union_all(pitched)
    assert house.footprint.area == pytest.approx(96 if wing is None else 96 + 12)
    assert covered.symmetric_difference(house.footprint).area < 1e-6


def test_both_sides_of_a_gable_meet_at_the_ridge():
    faces = LayerBuilder()
    rng = np.random.default_rng(0)
    add_house(faces, Frame(0, 0, 0.0), (10, 8), rng, height=3.0)
    layer = faces.build()
    rises = (
        layer.column('height')
        + layer.column('slope_x') * (0.0 - layer.column('base_x'))
        + layer.column('slope_y') * (0.0 - layer.column('base_y'))
    )
    assert rises[0] == pytest.approx(rises[1])
    assert 3.0 + 4 * 0.40 <= rises[0] <= 3.0 + 4 * 0.72


def test_boxes_are_turned_about_their_centres():
    centres = np.array([[10.0, 5.0]])
    shape = boxes(centres, np.array([4.0]), np.array([2.0]), np.array([np.pi / 2]))[0]
    np.testing.assert_allclose(shape.bounds, (9, 3, 11, 7))


def test_a_layer_keeps_order_and_values():
    builder = LayerBuilder()
    from geo_mm.synthetic.materials import GROUND

    builder.add(shapely.box(0, 0, 1, 1), GROUND['asphalt'])
    builder.add(shapely.Polygon(), GROUND['deep'])
    builder.add(shapely.box(0, 0, 2, 2), GROUND['deep'], height=3.0, tilt=Tilt((0.5, 0.25), (0, 0)))
    layer = builder.build()
    assert layer.values.shape == (2, len(COLUMNS))
    assert layer.column('red')[0] == GROUND['asphalt'].spectrum[0]
    assert layer.column('slope_y').tolist() == [0.0, 0.25]
