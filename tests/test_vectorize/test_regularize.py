import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import affinity, box

from geo_mm.vectorize import regularize
from tests.test_vectorize.test_strips import outlined

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
