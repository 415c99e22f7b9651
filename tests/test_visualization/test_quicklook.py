import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geo_mm.raster import Scene
from geo_mm.visualization.quicklook import (
    SUFFIXES,
    draw_objects_quicklook,
    draw_pixels_quicklook,
    overlay,
    quicklook_shape,
)
from tests.data.models import spec_of
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

SPEC = spec_of('pixels', ('background', 'road', 'roof'))


def test_overlay_mixes_colours_and_leaves_background_and_no_data_clear():
    picture = np.full((3, 12, 3), 100, np.uint8)
    classes = np.repeat(np.array([[0, 1, 2, 255]], np.uint8), 3, axis=0).repeat(3, axis=1)
    mixed = overlay(picture, classes, SPEC.classes)[1, 1::3]  # the middle of each
    expected = [np.array(SPEC.classes.colours[i]) * 0.35 + 65 for i in (1, 2)]
    np.testing.assert_allclose(mixed, [(100,) * 3, *expected, (100,) * 3], atol=1)


def test_overlay_outlines_classes_in_their_full_colour():
    classes = np.array([[0, 0, 1, 1, 1, 1]], np.uint8)
    mixed = overlay(np.full((1, 6, 3), 100, np.uint8), classes, SPEC.classes)
    np.testing.assert_array_equal(mixed[0, 1], (100,) * 3)
    np.testing.assert_array_equal(mixed[0, 2], SPEC.classes.colours[1])
    assert (mixed[0, 3] != SPEC.classes.colours[1]).any()


def test_overlay_shows_all_classes_where_none_is_background():
    spec = spec_of('pixels', ('water', 'land'))
    mixed = overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]], np.uint8), spec.classes)
    assert mixed.any(axis=2).all()


@pytest.mark.parametrize(
    ('width', 'height', 'shown'),
    [
        (1, 1, (512, 512)),
        (50, 40, (440, 550)),  # 11 times
        (700, 600, (600, 700)),
        (800, 900, (900, 800)),
        (3300, 30, (15, 1600)),
        (40, 2000, (1600, 32)),
    ],
)
def test_picture_is_512_to_1600_pixels_long_above_its_legend(tmp_path, width, height, shown):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, height, width))))
    assert quicklook_shape(scene) == shown
    picture = draw_pixels_quicklook(scene, np.ones(shown, 'uint8'), SPEC.classes).image
    assert picture.width == max(shown[1], 480)
    assert picture.height > shown[0] + 4 * 13


def test_a_small_scene_is_enlarged_by_whole_pixels_and_lies_where_it_is(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', np.full((3, 40, 50), 90, 'uint8')))
    labels = np.zeros((440, 550), 'uint8')
    labels[110:220, 220:330] = 2
    look = draw_pixels_quicklook(scene, labels, SPEC.classes)
    picture = np.array(look.image)[:440, :550]
    rows, cols = np.nonzero((picture != picture[0, 0]).any(axis=2))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (110, 219, 220, 329)
    assert look.grid.bounds == scene.grid.bounds
    assert look.grid.transform.a == scene.grid.transform.a / 11


def legend_of(monkeypatch, draw, *arguments, **options):
    """The texts of the legend."""
    found = []
    monkeypatch.setattr(
        'geo_mm.visualization.quicklook.framed',
        lambda image, grid, title, legend: found.extend(legend) or image,
    )
    draw(*arguments, **options)
    return [entry.text for entry in found]


def test_the_legend_has_the_classes_that_occur_and_their_shares(tmp_path, monkeypatch):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, 40, 50))))
    labels = np.zeros((440, 550), 'uint8')
    labels[:44], labels[44:66] = 2, 255
    arguments = monkeypatch, draw_pixels_quicklook, scene, labels, SPEC.classes
    assert legend_of(*arguments) == ['background  85.0 %', 'roof  10.0 %', 'no data  5.0 %']
    shares = {'background': 0.9995, 'road': 0.0005}
    assert legend_of(*arguments, shares=shares) == ['background  100 %', 'road  < 0.1 %']
    found = legend_of(*arguments, aoi=[shapely.box(1, 1, 9, 9)])
    assert found[-1] == 'area of interest'


def test_the_legend_of_objects_counts_them(tmp_path, monkeypatch):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, 40, 50))))
    outlines = [shapely.box(*scene.grid.bounds)] * 3
    objects = gpd.GeoDataFrame({'class_id': [1, 1, 2]}, geometry=outlines, crs=UTM_17N)
    found = legend_of(monkeypatch, draw_objects_quicklook, scene, objects, SPEC.classes)
    assert found == ['road  2', 'roof  1']


@pytest.mark.parametrize('crs', [UTM_17N, None])
def test_it_lies_where_the_scene_lies(tmp_path, crs):
    turned = TRANSFORM @ Affine.rotation(20)
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, 2000, 400)), crs, turned))
    look = draw_pixels_quicklook(scene, np.ones(quicklook_shape(scene), 'uint8'), SPEC.classes)
    files = look.save(tmp_path / 's_quicklook.png')
    assert {f.name for f in files} <= {f's{suffix}' for suffix in SUFFIXES}
    with rasterio.open(files[0]) as dataset:
        assert dataset.crs == crs
        np.testing.assert_allclose(
            tuple(dataset.transform)[:6], tuple(turned @ Affine.scale(2000 / 1600))[:6], rtol=1e-9
        )


def test_a_picture_that_is_shown_as_it_is_has_no_world_file(tmp_path):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((3, 800, 50)), None, None))
    look = draw_pixels_quicklook(scene, np.ones(quicklook_shape(scene), 'uint8'), SPEC.classes)
    (tmp_path / 's_quicklook.pgw').write_text('of an earlier scene')
    assert look.save(tmp_path / 's_quicklook.png') == (tmp_path / 's_quicklook.png',)
    assert not (tmp_path / 's_quicklook.pgw').exists()


def test_that_of_a_large_picture_lies_on_it_as_gis_programs_draw_it(tmp_path):
    """They draw the picture downwards from y = 0."""
    path = write_raster(tmp_path / 's.tif', noise((3, 16, 3200)), None, None)
    look = draw_pixels_quicklook(Scene.open(path), np.ones((8, 1600), 'uint8'), SPEC.classes)
    _, world = look.save(tmp_path / 's_quicklook.png')
    assert [float(line) for line in world.read_text().split()] == [2, 0, 0, -2, 1, -1]


def test_objects_of_a_picture_lie_on_it(tmp_path):
    """Their y is minus the row. The picture shows it 5 times as large."""
    scene = Scene.open(
        write_raster(tmp_path / 's.tif', np.zeros((3, 100, 120), 'uint8'), None, None)
    )
    objects = gpd.GeoDataFrame({'class_id': [1]}, geometry=[shapely.box(40, -60, 90, -30)])
    picture = np.array(draw_objects_quicklook(scene, objects, SPEC.classes).image)[:500, :600]
    rows, cols = np.nonzero((picture == SPEC.classes.colours[1]).all(axis=2))
    assert abs(rows.min() - 150) <= 1 and abs(rows.max() - 300) <= 1 and abs(cols.min() - 200) <= 1


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
    picture = np.array(draw_objects_quicklook(scene, objects, spec.classes).image)[:500, :600]
    drawn = (picture == spec.classes.colours[2]).all(axis=2)
    rows, cols = np.nonzero(drawn)
    assert (abs(rows.min() - 150), abs(rows.max() - 300)) <= (1, 1)
    assert (abs(cols.min() - 200), abs(cols.max() - 450)) <= (1, 1)
    assert drawn[225, 298:302].any()  # the hole's edge
    assert not drawn[225, 304:346].any()
    assert drawn[225, 348:352].any()
    inner = (picture == spec.classes.colours[1]).all(axis=2)
    assert inner.any() and not inner[:157].any()
