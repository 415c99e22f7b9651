import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geo_mm.geometry import areas_only, rounded, union
from geo_mm.synthetic.lots import Frame, split_block


@settings(max_examples=40, deadline=None)
@given(
    width=st.floats(20, 200),
    depth=st.floats(15, 90),
    angle=st.floats(-3.1, 3.1),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-5, 1.0, 1e5]),
)
@example(width=162.75, depth=54.0, angle=2.0, seed=60, scale=1.0)
@example(width=100.0, depth=40.0, angle=2.0, seed=5, scale=1.0)
@example(width=130.5, depth=60.0, angle=-1.0, seed=89, scale=1.0)
def test_a_union_has_all_of_its_parts(width, depth, angle, seed, scale):
    """Of lots whose edges differ by rounding, of which GEOS alone loses up to a quarter."""
    land = Frame(500, -40, angle).place(shapely.box(-width / 2, -depth / 2, width / 2, depth / 2))
    lots = [lot.land for lot in split_block(land, (16, 23), 40.0, np.random.default_rng(seed))]
    placed = [shapely.transform(lot, lambda xy: xy * scale) for lot in lots]
    whole = union(placed)
    assert whole.is_valid
    assert whole.area == pytest.approx(land.area * scale**2, rel=1e-7)


def test_what_is_nearly_the_same_overlaps():
    """GEOS alone finds no or half an overlap for one in some thousands of them."""
    rng = np.random.default_rng(0)
    count = 20_000
    angles = rng.choice([0.1, 0.25, 0.5, 1, 2, 3], count)
    turn = np.moveaxis([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]], 2, 0)
    sides, middle = rng.integers(4, 80, (2, count, 1, 2)) / 4
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * sides
    one = corners @ turn + middle
    other = one + rng.normal(size=one.shape) * 1e-15
    ours, theirs = rounded(shapely.polygons(one), shapely.polygons(other))
    shared = shapely.area(shapely.intersection(ours, theirs))
    np.testing.assert_allclose(shared, sides.prod(axis=(1, 2)), rtol=1e-9)


def test_whole_numbers_and_their_halves_stay_as_they_are():
    boxes = shapely.box([0, 100_000.5], [0, -7], [10, 100_001], [4, 7.25])
    (same,) = rounded(boxes)
    assert shapely.equals_exact(same, boxes, 0).all()
    assert union(boxes).equals(shapely.multipolygons(list(boxes)))


def test_nothing_has_an_empty_union():
    assert union([]).is_empty
    assert union([shapely.Polygon()]).is_empty


def test_areas_without_the_lines_at_which_parts_touch():
    box, other = shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)
    line = shapely.LineString([(5, 5), (6, 6)])
    mixed = shapely.GeometryCollection([box, line, shapely.MultiPolygon([other])])
    assert areas_only(mixed).equals(shapely.MultiPolygon([box, other]))
    assert areas_only(box) is box
    assert areas_only(line).is_empty
