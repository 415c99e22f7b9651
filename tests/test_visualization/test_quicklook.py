import geopandas as gpd
import numpy as np
import pytest
import shapely

from geo_mm.raster import RasterWriter, Scene
from geo_mm.visualization import draw_objects_quicklook, draw_pixels_quicklook
from geo_mm.visualization.quicklook import overlay
from tests.data.models import spec_of
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

SPEC = spec_of('pixels', ('background', 'road', 'roof'))


def test_overlay_mixes_colours_and_leaves_background_and_no_data_clear():
    picture = np.full((3, 12, 3), 100, np.uint8)
    classes = np.repeat(np.array([[0, 1, 2, 255]], np.uint8), 3, axis=0).repeat(3, axis=1)
    mixed = overlay(picture, classes, SPEC)[1, 1::3]  # the middle of each
    expected = [np.array(SPEC.classes.colours[i]) * 0.35 + 65 for i in (1, 2)]
    np.testing.assert_allclose(mixed, [(100,) * 3, *expected, (100,) * 3], atol=1)


def test_overlay_outlines_classes_in_their_full_colour():
    classes = np.array([[0, 0, 1, 1, 1, 1]], np.uint8)
    mixed = overlay(np.full((1, 6, 3), 100, np.uint8), classes, SPEC)
    np.testing.assert_array_equal(mixed[0, 1], (100,) * 3)
    np.testing.assert_array_equal(mixed[0, 2], SPEC.classes.colours[1])
    assert (mixed[0, 3] != SPEC.classes.colours[1]).any()


def test_overlay_shows_all_classes_where_none_is_background():
    spec = spec_of('pixels', ('water', 'land'))
    mixed = overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]], np.uint8), spec)
    assert mixed.any(axis=2).all()


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (50, 40), (3300, 30), (40, 2000)])
def test_picture_is_at_most_1600_pixels_long_above_its_legend(tmp_path, width, height):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, height, width))))
    with RasterWriter(tmp_path / 'c.tif', scene.grid, 1, 'uint8', nodata=255) as writer:
        writer.write(np.ones((height, width), 'uint8'))
    picture = draw_pixels_quicklook(scene, tmp_path / 'c.tif', SPEC)
    factor = max(max(width, height) / 1600, 1)
    legend = 22 * 3 + 8
    assert picture.width == max(round(width / factor), 200)
    assert picture.height == max(round(height / factor), 1) + legend


def test_outlines_lie_on_the_objects(tmp_path):
    image = np.zeros((3, 100, 120), 'uint8')
    image[:, 30:60, 40:90] = 200
    scene = Scene.open(write_raster(tmp_path / 's.tif', image))
    box = shapely.box(*(TRANSFORM @ (40, 60)), *(TRANSFORM @ (90, 30)))
    hole = shapely.box(*(TRANSFORM @ (60, 50)), *(TRANSFORM @ (70, 40)))
    objects = gpd.GeoDataFrame(
        {'class_id': [2, 1]},
        geometry=[box - hole, shapely.MultiPolygon([box.buffer(-2)])],
        crs=UTM_17N,
    )
    spec = spec_of('objects', ('a', 'b', 'c'))
    picture = np.array(draw_objects_quicklook(scene, objects, spec))[:100, :120]
    drawn = (picture == spec.classes.colours[2]).all(axis=2)
    rows, cols = np.nonzero(drawn)
    assert (abs(rows.min() - 30), abs(rows.max() - 60)) <= (1, 1)
    assert (abs(cols.min() - 40), abs(cols.max() - 90)) <= (1, 1)
    assert drawn[45, 59:62].any()  # the hole's edge
    assert not drawn[45, 63:67].any()
    assert (picture == spec.classes.colours[1]).all(axis=2)[34, 50]
