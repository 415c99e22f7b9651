import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize
from shapely import affinity, box

from geo_mm.vectorize import regularize, simplify
from tests.test_vectorize.test_polygonize import outlined, patches


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


L_SHAPE = shapely.union(box(10, 10, 50, 24), box(10, 10, 26, 46))
U_SHAPE = box(10, 10, 52, 44) - box(22, 24, 40, 44)
COURT = box(10, 10, 50, 50) - box(22, 22, 40, 38)


def seen(shape, angle, size=80):
    """What a raster shows of a shape: its outline along pixel edges."""
    turned = affinity.translate(affinity.rotate(shape, angle, origin=(30, 30)), 8, 6)
    mask = rasterize([turned], out_shape=(size, size))
    found = outlined(mask, skip=[0])
    return turned, found.polygons[np.argmax(found.pixels)]


def corners(polygon):
    """Angles between following edges, in degrees."""
    result = []
    for ring in (polygon.exterior, *polygon.interiors):
        edges = np.diff(shapely.get_coordinates(ring), axis=0)
        direction = np.degrees(np.arctan2(edges[:, 1], edges[:, 0]))
        result.append((direction - np.roll(direction, 1)) % 180)
    return np.concatenate(result)


@pytest.mark.parametrize('angle', [0, 7, 20, 33, 45, 60, 88])
@pytest.mark.parametrize(('shape', 'vertices'), [(L_SHAPE, 6), (U_SHAPE, 8), (COURT, 8)])
def test_buildings_at_any_angle_get_their_corners_back(angle, shape, vertices):
    truth, outline = seen(shape, angle)
    (square,) = regularize([outline], 2)
    assert square.is_valid and len(corners(square)) == vertices
    assert corners(square) == pytest.approx(90, abs=1e-6)
    assert square.area == pytest.approx(truth.area, rel=0.015)
    common = square.intersection(truth).area
    assert common / (square.area + truth.area - common) > 0.95


def test_a_rectangle_along_the_axes_stays():
    outline = box(3, 4, 20, 11)
    (square,) = regularize([outline], 2)
    assert shapely.hausdorff_distance(square, outline) < 1e-9


def test_bumps_smaller_than_the_tolerance_go():
    outline = shapely.union_all([box(0, 0, 30, 20), box(12, 20, 14, 21), box(30, 5, 31, 6)])
    (square,) = regularize([outline], 3)
    assert len(square.exterior.coords) == 5
    assert square.area == pytest.approx(outline.area, rel=0.02)


def test_what_is_no_rectangle_is_given_back_itself():
    round_one = shapely.Point(30, 30).buffer(20)
    triangle = shapely.Polygon([(0, 0), (40, 0), (0, 30)])
    for shape in (round_one, triangle):
        (result,) = regularize([shape], 2, min_iou=0.9)
        assert result is shape


def test_map_coordinates_lose_no_precision():
    turned, _ = seen(L_SHAPE, 20)
    far = affinity.translate(turned, 500_000, 4_000_000)
    near, away = regularize([turned], 2)[0], regularize([far], 2)[0]
    back = affinity.translate(away, -500_000, -4_000_000)
    assert shapely.hausdorff_distance(near, back) < 1e-6


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_anything_stays_valid_and_like_itself(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random((14, 14)) < generator.uniform(0.2, 0.9)
    polygons = outlined(mask, skip=[0]).polygons
    result = regularize(polygons, 2, min_iou=0.7)
    assert shapely.is_valid(result).all()
    common = shapely.area(shapely.intersection(result, polygons))
    union = shapely.area(result) + shapely.area(polygons) - common
    assert (common / union >= 0.7 - 1e-9).all()


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match='positive'):
        regularize([box(0, 0, 1, 1)], 0)
    with pytest.raises(ValueError, match='IoU'):
        regularize([box(0, 0, 1, 1)], 1, min_iou=1.5)


def test_no_polygons():
    assert len(regularize(np.empty(0, object), 2)) == 0
