import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely import box

from geo_mm.labels import SceneLabels
from geo_mm.raster.grid import Grid, Window
from geo_mm.vectorize import mask_to_polygon, polygonize

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def fill(polygon, window):
    grid = Grid(Affine.identity(), 1, 1)
    return SceneLabels([polygon], [0], [0], grid).covers(window)


@given(masks, st.integers(-20, 20), st.integers(-20, 20))
@settings(deadline=None)
def test_filling_the_outline_gives_the_mask_again(mask, col, row):
    window = Window(col, row, mask.shape[1], mask.shape[0])
    outline = mask_to_polygon(mask, window)
    assert outline.area == mask.sum()
    assert outline.is_valid
    if mask.any():
        assert (fill(outline, window) == mask).all()


def test_hole_and_offset_of_a_mask():
    mask = np.ones((5, 7), dtype=np.uint8)
    mask[2, 3] = 0
    outline = mask_to_polygon(mask, Window(100, 200, 7, 5))
    assert outline.equals(box(100, 200, 107, 205) - box(103, 202, 104, 203))


def test_empty_mask_gives_an_empty_polygon():
    assert mask_to_polygon(np.zeros((4, 4), dtype=bool)).is_empty


def test_pixels_that_meet_at_a_corner_are_two_polygons():
    outline = mask_to_polygon(np.eye(2, dtype=bool))
    assert outline.geom_type == 'MultiPolygon'
    assert outline.is_valid


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'uint16', 'int16', 'int32', 'uint32', 'int64'])
def test_strips_have_value_name_size_and_place(dtype):
    classes = np.array([[1, 1, 2], [1, 0, 2]], dtype=dtype)
    transform = Affine(0.5, 0, 1000, 0, -0.5, 2000)
    regions = polygonize(
        classes, transform=transform, crs='EPSG:32617', class_names={1: 'road', 2: 'tree'}, skip=[0]
    ).sort_values('class_id')
    assert regions['class_id'].tolist() == [1, 2]
    assert regions['class'].tolist() == ['road', 'tree']
    assert regions['pixels'].tolist() == [3, 2]
    assert regions.crs.to_epsg() == 32617
    assert regions.geometry.iloc[1].equals(box(1001, 1999, 1001.5, 2000))
    assert regions.geometry.area.sum() == 5 * 0.25


def test_invalid_pixels_are_not_outlined():
    classes = np.ones((4, 4), dtype=np.uint8)
    valid = np.ones((4, 4), dtype=bool)
    valid[:, 3] = False
    regions = polygonize(classes, valid)
    assert regions.geometry[0].equals(box(0, 0, 3, 4))
    assert regions['class'].tolist() == ['1']


def test_small_regions_are_left_out():
    classes = np.array([[1, 0, 1, 1]], dtype=np.uint8)
    assert polygonize(classes, skip=[0], min_pixels=2)['pixels'].tolist() == [2]


def test_nothing_to_outline_keeps_the_columns():
    regions = polygonize(np.zeros((3, 3), dtype=np.uint8), skip=[0], crs='EPSG:4326')
    assert len(regions) == 0
    assert regions.columns.tolist() == ['class', 'class_id', 'pixels', 'area_m2', 'geometry']
    assert regions['class_id'].dtype == np.int64
    assert regions.crs.to_epsg() == 4326


def test_strips_tile_the_raster():
    classes = np.random.default_rng(3).integers(0, 4, (31, 17)).astype(np.uint8)
    regions = polygonize(classes)
    assert regions.geometry.is_valid.all()
    assert shapely.union_all(regions.geometry.values).equals(box(0, 0, 17, 31))
    assert regions['pixels'].sum() == 31 * 17


def test_floats_are_refused():
    with pytest.raises(TypeError, match='float64'):
        polygonize(np.zeros((2, 2)))


@pytest.mark.parametrize('crs', ['EPSG:32617', 'EPSG:3857', 'EPSG:4326'])
def test_areas_are_those_on_the_ground(crs):
    """A pixel of 100 m by 100 m near 60 degrees north, where Web Mercator is twice as wide."""
    to_map = pyproj.Transformer.from_crs('EPSG:4326', crs, always_xy=True)
    geod = pyproj.Geod(ellps='WGS84')
    west, north = -81.0, 60.0
    east, south = geod.fwd(west, north, 90, 100)[0], geod.fwd(west, north, 180, 100)[1]
    (x0, x1), (y0, y1) = to_map.transform([west, east], [north, south])
    transform = Affine(x1 - x0, 0, x0, 0, y1 - y0, y0)
    regions = polygonize(np.ones((1, 1), int), transform=transform, crs=crs)
    assert regions['area_m2'][0] == pytest.approx(10_000, rel=2e-4)


def test_areas_without_a_place_on_earth_are_unknown():
    assert np.isnan(polygonize(np.ones((2, 2), int))['area_m2']).all()
    local = 'LOCAL_CS["plan",UNIT["metre",1]]'
    assert np.isnan(polygonize(np.ones((2, 2), int), crs=local)['area_m2']).all()
