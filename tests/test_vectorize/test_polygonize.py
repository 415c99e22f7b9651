from itertools import pairwise

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio.features import rasterize, shapes
from shapely import box

from geo_mm.labels import SceneLabels
from geo_mm.raster.grid import Grid, Window
from geo_mm.vectorize import Regions, StripPolygonizer, mask_to_polygon, polygonize

rasters = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2)
)


def outlined(classes, cuts=(), valid=None, **options):
    polygonizer = StripPolygonizer(classes.shape[1], **options)
    found, edges = [], [0, *cuts, len(classes)]
    for top, bottom in pairwise(edges):
        part = None if valid is None else valid[top:bottom]
        found.append(polygonizer.add(classes[top:bottom], part))
    found.append(polygonizer.finish())
    return Regions.concatenate(found)


def comparable(values, polygons):
    normal = shapely.to_wkb(shapely.normalize(np.array(polygons, dtype=object)))
    return sorted(zip(np.asarray(values).tolist(), normal.tolist(), strict=True))


@given(rasters, st.lists(st.integers(0, 12), max_size=4))
@settings(deadline=None, max_examples=300)
def test_strips_of_any_height_give_what_gdal_gives_for_the_whole(classes, cuts):
    found = outlined(classes, sorted(min(cut, len(classes)) for cut in cuts))
    expected = [(int(v), shapely.geometry.shape(s)) for s, v in shapes(classes, connectivity=4)]
    values, polygons = zip(*expected, strict=True)
    assert comparable(found.values, found.polygons) == comparable(values, polygons)
    assert shapely.is_valid(found.polygons).all()
    assert (shapely.area(found.polygons) == found.pixels).all()


@given(rasters, st.lists(st.integers(0, 12), max_size=4), arrays(bool, (12, 12)))
@settings(deadline=None, max_examples=150)
def test_strips_do_not_show(classes, cuts, valid):
    """Same regions, same order, same first vertex: files made of them are equal."""
    valid = valid[: classes.shape[0], : classes.shape[1]]
    whole = outlined(classes, (), valid, skip=[0], min_pixels=2)
    cuts = sorted(min(cut, len(classes)) for cut in cuts)
    strips = outlined(classes, cuts, valid, skip=[0], min_pixels=2)
    assert shapely.to_wkb(whole.polygons).tolist() == shapely.to_wkb(strips.polygons).tolist()
    assert whole.values.tolist() == strips.values.tolist()
    assert whole.pixels.tolist() == strips.pixels.tolist()
    assert (whole.pixels >= 2).all() and not (whole.values == 0).any()


@given(rasters, st.lists(st.integers(0, 12), max_size=4))
@settings(deadline=None, max_examples=100)
def test_sums_over_the_pixels_of_each_region(classes, cuts):
    numbers = np.arange(classes.size, dtype=np.uint8).reshape(classes.shape)
    polygonizer, found = StripPolygonizer(classes.shape[1]), []
    cuts = sorted(min(cut, len(classes)) for cut in cuts)
    for top, bottom in pairwise([0, *cuts, len(classes)]):
        found.append(polygonizer.add(classes[top:bottom], summed=numbers[top:bottom]))
    regions = Regions.concatenate([*found, polygonizer.finish()])
    for polygon, total in zip(regions.polygons, regions.sums, strict=True):
        inside = rasterize([(polygon, 1)], classes.shape).astype(bool)
        assert total == numbers[inside].sum()


def test_what_is_invalid_or_skipped_has_no_outline():
    classes = np.array([[1, 1, 2], [1, 0, 2]])
    valid = np.array([[True, False, True], [True, True, True]])
    found = outlined(classes, valid=valid, skip=[0])
    assert found.values.tolist() == [1, 2]
    assert shapely.equals(found.polygons, [box(0, 0, 1, 2), box(2, 0, 3, 2)]).all()


def test_a_region_that_ends_is_given_back_with_the_next_row():
    polygonizer = StripPolygonizer(4, skip=[0])
    assert not len(polygonizer.add(np.array([[0, 5, 5, 0]])))
    assert not len(polygonizer.add(np.array([[0, 5, 0, 0], [0, 5, 0, 0]])))
    found = polygonizer.add(np.array([[0, 0, 7, 7]]))
    assert (found.values.tolist(), found.pixels.tolist()) == ([5], [4])
    assert polygonizer.finish().values.tolist() == [7]


def test_holes_in_holes_over_many_strips():
    """Rings around each other, as rows of one pixel each."""
    y, x = np.mgrid[:21, :21]
    rings = np.maximum(abs(x - 10), abs(y - 10)) % 2
    found = outlined(rings, range(1, 21))
    sizes = [(2 * r + 1) ** 2 - max(2 * r - 1, 0) ** 2 for r in range(11)]
    assert sorted(found.pixels.tolist()) == sorted(sizes[:1] + sizes[1:])
    assert shapely.get_num_interior_rings(found.polygons).tolist() == [0] + [1] * 10
    assert shapely.union_all(found.polygons).equals(box(0, 0, 21, 21))


def test_a_hole_that_touches_the_outline_in_a_corner_is_a_hole():
    classes = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]])
    found = outlined(classes, [1, 2], skip=[0])
    assert found.polygons[0].is_valid
    assert found.polygons[0].equals(box(0, 0, 3, 3) - box(0, 0, 1, 1) - box(1, 1, 2, 2))
    assert len(found.polygons[0].interiors) == 1


def test_a_comb_is_one_region_whose_teeth_meet_last():
    classes = np.zeros((8, 15), int)
    classes[:, ::2] = 1
    classes[-1] = 1
    found = outlined(classes, range(1, 8), skip=[0])
    assert found.pixels.tolist() == [8 * 8 + 7]


@pytest.mark.parametrize('dtype', ['bool', 'int8', 'uint16', 'int32', 'uint32', 'int64', 'uint64'])
def test_types_of_classes(dtype):
    found = outlined(np.array([[1, 0, 0]], dtype))
    assert (found.values.tolist(), found.pixels.tolist()) == ([1, 0], [1, 2])
    assert found.values.dtype == found.pixels.dtype == np.int64


def test_large_and_negative_classes():
    assert outlined(np.array([[-5, 2**40]])).values.tolist() == [-5, 2**40]


def test_no_rows_and_nothing_to_outline():
    for found in (outlined(np.zeros((0, 3), int)), outlined(np.zeros((4, 3), int), skip=[0])):
        assert not len(found) and found.polygons.dtype == object


def test_wrong_rows_are_refused():
    polygonizer = StripPolygonizer(3)
    with pytest.raises(TypeError, match='float64'):
        polygonizer.add(np.zeros((2, 3)))
    with pytest.raises(ValueError, match='3 columns'):
        polygonizer.add(np.zeros((2, 4), int))
    with pytest.raises(ValueError, match='64 bits'):
        polygonizer.add(np.full((1, 3), 2**63, np.uint64))
    with pytest.raises(ValueError, match='at least one column'):
        StripPolygonizer(0)


def patches(rows, width, cell=16):
    """Irregular patches of 7 classes, about one per ``cell * cell`` pixels; a part
    of a raster without end, whatever rows are asked for."""
    y, x = np.mgrid[rows.start : rows.stop, :width]
    ripples = [4 * np.sin(a / 7.3) + 3 * np.sin(a / 1.9) for a in (x, y)]
    down, right = (y + ripples[0]).astype(int) // cell, (x + ripples[1]).astype(int) // cell
    return ((right * 73856093 ^ down * 19349663) >> 3) % 7


def test_areas_equal_pixel_counts_over_rows_worked_on_in_several_blocks():
    """More than 2 ** 20 pixels, which is what the polygonizer works on at once."""
    classes = patches(range(900), 1300)
    found = outlined(classes, [333])
    assert (shapely.area(found.polygons) == found.pixels).all()
    counts = np.bincount(found.values, weights=found.pixels, minlength=7)
    assert counts.tolist() == np.bincount(classes.ravel(), minlength=7).tolist()


@pytest.mark.slow
def test_5000_by_5000_pixels_with_100_000_regions():
    polygonizer = StripPolygonizer(5000)
    count, expected, areas = 0, np.zeros(7), np.zeros(7)
    for top in [*range(0, 5000, 400), None]:
        if top is None:
            found = polygonizer.finish()
        else:
            classes = patches(range(top, min(top + 400, 5000)), 5000, cell=15)
            expected += np.bincount(classes.ravel(), minlength=7)
            found = polygonizer.add(classes)
        assert (shapely.area(found.polygons) == found.pixels).all()
        areas += np.bincount(found.values, weights=found.pixels, minlength=7)
        count += len(found.values)
    assert count > 100_000
    assert areas.tolist() == expected.tolist()


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
