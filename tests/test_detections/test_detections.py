import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.classes import ClassSet
from geo_mm.detections import Detections
from geo_mm.raster import Grid

BOXES = [[0, 0, 4, 2], [10, 10, 13, 14]]


def detections(**more):
    return Detections(BOXES, [1, 0], [0.5, 0.75], tiles=[3, 4], **more)


def outlines():
    return shapely.box(*np.array(BOXES, float).T)


def test_arrays_have_one_type_each():
    found = detections()
    assert [found.boxes.dtype, found.class_ids.dtype, found.confidences.dtype] == [
        np.float64,
        np.int64,
        np.float64,
    ]
    assert len(found) == 2


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ((BOXES, [0, 0, 0]), '2 boxes, 3 class_ids'),
        ((BOXES, [0, 0], [0.5]), '1 confidences'),
        (([[0, 0, 1, np.nan]], [0]), 'finite'),
        ((BOXES, [0, 0], [0.5, np.inf]), 'finite'),
    ],
)
def test_arrays_that_do_not_fit(given, message):
    with pytest.raises(ValueError, match=message):
        Detections(*given)


@pytest.mark.parametrize('chosen', [[1], np.array([False, True]), slice(1, None)])
def test_some_of_them(chosen):
    some = detections(outlines=outlines(), data={'name': np.array(['a', 'b'])})[chosen]
    assert some.boxes.tolist() == [BOXES[1]]
    assert some.class_ids.tolist() == [0]
    assert some.confidences.tolist() == [0.75]
    assert some.tiles.tolist() == [4]
    assert some.outlines.tolist() == [outlines()[1]]
    assert some.data['name'].tolist() == ['b']


def test_concatenate_skips_empty_parts_that_hold_other_arrays():
    found = detections(outlines=outlines())
    none = Detections(np.empty((0, 4)), [], [])
    both = Detections.concatenate([none, found, found[1:]])
    assert both.boxes.tolist() == [*BOXES, BOXES[1]]
    assert both.tiles.tolist() == [3, 4, 4]
    assert len(both.outlines) == 3
    assert len(Detections.concatenate([none, none])) == 0


def test_by_confidence_keeps_the_order_of_equal_ones():
    found = Detections([BOXES[0]] * 3, [0, 1, 2], [0.5, 0.75, 0.5])
    assert found.by_confidence().class_ids.tolist() == [1, 0, 2]


def test_areas_are_those_of_the_outlines():
    assert detections().areas.tolist() == [8, 12]
    triangles = [shapely.Polygon([(0, 0), (4, 0), (0, 2)])]
    found = Detections.from_outlines(triangles, [0])
    assert found.areas.tolist() == [4]
    assert found.boxes.tolist() == [[0, 0, 4, 2]]


def test_empty_outline_has_an_empty_box():
    assert Detections.from_outlines([shapely.Polygon()], [0]).boxes.tolist() == [[0, 0, 0, 0]]


def test_to_map_of_a_rotated_grid_gives_outlines():
    quarter_turn = Affine(0, 2, 100, -2, 0, 50)
    on_map = detections().to_map(quarter_turn)
    assert on_map.boxes.tolist() == [[100, 42, 104, 50], [120, 24, 128, 30]]
    assert on_map.areas.tolist() == [32, 48]
    slanted = detections().to_map(Affine.rotation(30))
    assert slanted.areas == pytest.approx([8, 12])
    assert slanted.outlines[0].area < shapely.box(*slanted.boxes[0]).area


def test_to_geodataframe():
    grid = Grid(Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), 100, 100, CRS.from_epsg(32617))
    found = Detections(BOXES, [1, 0], [0.5, 1 / 3], data={'tile': np.array(['0/1', '0/2'])})
    table = found.to_geodataframe(ClassSet(('tree', 'car')), grid)
    columns = ['class', 'class_id', 'score', 'area_m2', 'tile', 'geometry']
    assert table.columns.tolist() == columns
    assert table['class'].tolist() == ['car', 'tree']
    assert table['score'].tolist() == [0.5, 0.3333]
    assert table['area_m2'].tolist() == pytest.approx([2, 3], rel=1e-3)
    assert table.geometry[0].bounds == (500_000, 3_999_999, 500_002, 4_000_000)
    assert table.crs == 'EPSG:32617'


def test_objects_of_a_part_of_a_picture_lie_on_it_at_any_scale():
    """GIS programs draw a picture downwards from y = 0."""
    part = Grid(Affine.translation(20, 10) @ Affine.scale(2), 30, 40)
    found = Detections([[1, 2, 3, 5]], [0], [0.9])
    assert found.to_geodataframe(ClassSet(('a',)), part).geometry[0].bounds == (22, -20, 26, -14)


def test_layer_has_one_type_of_geometry():
    parts = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)])
    found = Detections.from_outlines([parts, shapely.box(5, 5, 6, 6)], [0, 0], [0.9, 0.8])
    table = found.to_geodataframe(ClassSet(('a',)), Grid(Affine.identity(), 9, 9, None))
    assert table.geom_type.tolist() == ['MultiPolygon'] * 2
    assert table['area_m2'].isna().all()


@pytest.mark.parametrize('with_outlines', [True, False])
def test_arrays_give_the_same_again(tmp_path, with_outlines):
    given = detections(
        outlines=outlines() if with_outlines else None, data={'on_data': np.array([True, False])}
    )
    np.savez(tmp_path / 'row.npz', **given.to_arrays())
    with np.load(tmp_path / 'row.npz') as arrays:
        found = Detections.from_arrays(arrays)
    for name, values in given.to_arrays().items():
        assert found.to_arrays()[name].tolist() == values.tolist()
    assert (found.outlines is None) is not with_outlines
    if with_outlines:
        assert found.outlines.tolist() == given.outlines.tolist()
