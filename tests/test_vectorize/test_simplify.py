import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely import box

from geo_mm.vectorize import simplify
from tests.test_vectorize.test_strips import outlined, patches


def disc(size=60, radius=25):
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(x - size / 2, y - size / 2) < radius).astype(int)


def test_neighbours_keep_their_common_border():
    polygons = outlined(patches(range(150), 170)).polygons
    simple = simplify(polygons, 1.5)
    assert shapely.is_valid(simple).all()
    assert shapely.coverage_is_valid(simple)
    assert shapely.union_all(simple).area == pytest.approx(shapely.area(simple).sum())
    assert (
        shapely.get_num_coordinates(simple).sum()
        < 0.5 * shapely.get_num_coordinates(polygons).sum()
    )


def test_a_straight_passer_by_gets_a_vertex_where_two_others_meet():
    """Without it the slanting border between the two would end beside the third."""
    classes = np.zeros((12, 12), int)
    classes[:6] = np.tri(6, 12, k=3, dtype=int) + 1
    simple = simplify(outlined(classes).polygons, 3)
    assert shapely.coverage_is_valid(simple)
    assert shapely.area(simple).sum() == shapely.union_all(simple).area


def test_stairs_become_straight():
    region = outlined(disc(), skip=[0]).polygons
    simple = simplify(region, 1)
    assert shapely.get_num_coordinates(simple)[0] < shapely.get_num_coordinates(region)[0] / 2
    assert simple[0].area == pytest.approx(region[0].area, rel=0.03)
    assert shapely.hausdorff_distance(simple[0], region[0]) < 2


def test_holes_stay_inside():
    classes = disc() - disc(radius=12)
    simple = simplify(outlined(classes, skip=[0]).polygons, 2)
    assert simple[0].is_valid and len(simple[0].interiors) == 1


def test_order_and_place_are_kept():
    classes = np.zeros((5, 9), int)
    classes[1:3, 1:3], classes[3:, 6:] = 1, 2
    offset = np.array([7000, 50_000])
    far = shapely.transform(outlined(classes, skip=[0]).polygons, lambda xy: xy + offset)
    expected = [box(7001, 50_001, 7003, 50_003), box(7006, 50_003, 7009, 50_005)]
    assert shapely.equals(simplify(far, 0.5), expected).all()


@given(
    arrays(np.uint8, (9, 9), elements=st.integers(0, 2)),
    st.floats(0.1, 4),
    st.sampled_from([[], [0]]),
)
@settings(deadline=None, max_examples=150)
def test_any_raster_stays_a_coverage(classes, tolerance, skip):
    polygons = outlined(classes, skip=skip).polygons
    simple = simplify(polygons, tolerance)
    assert len(simple) == len(polygons)
    if len(simple):
        assert shapely.is_valid(simple).all()
        assert (shapely.area(simple) > 0).all()
        overlap = shapely.area(simple).sum() - shapely.union_all(simple).area
        assert abs(overlap) < 1e-9


def test_nothing_to_do():
    polygons = outlined(disc(), skip=[0]).polygons
    assert simplify(polygons, 0) is polygons
    assert len(simplify(np.empty(0, object), 1)) == 0
    for wrong in (-1, float('nan')):
        with pytest.raises(ValueError, match='tolerance'):
            simplify(polygons, wrong)
