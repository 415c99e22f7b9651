"""Real label files, some of them broken on purpose."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely

from geo_mm.errors import LabelError
from geo_mm.labels import LabelLayer, LabelOptions, read_layer
from geo_mm.raster.grid import Grid

ROOT = os.environ.get('GEO_MM_DATA_ROOT')
pytestmark = pytest.mark.skipif(not ROOT, reason='GEO_MM_DATA_ROOT is not set')
DATA = Path(ROOT or 'unset')
FILES = sorted(
    path.relative_to(DATA).as_posix()
    for pattern in ('*.geojson', '*.gpkg', '*.shp')
    for path in DATA.rglob(pattern)
)
# What no reader can make sense of; all others must load.
UNREADABLE = {
    'invalid_featurecollection_features_is_object',
    'invalid_featurecollection_no_features_member',
    'invalid_featurecollection_nulltype',
    'invalid_featurecollection_unknown_type',
    'invalid_geometry_coordinates_1d',
    'invalid_geometry_coordinates_empty_position',
    'invalid_geometry_coordinates_missing',
    'invalid_geometry_coordinates_string',
    'invalid_geometry_depth_deep_point',
    'invalid_geometry_depth_deep_polygon',
    'invalid_geometry_depth_shallow_linestring',
    'invalid_geometry_depth_shallow_polygon',
    'invalid_geometry_missing_type',
    'invalid_geometry_wrong_geometry_type',
}


def grid_of(path):
    with rasterio.open(path) as dataset:
        return Grid(dataset.transform, dataset.width, dataset.height, dataset.crs)


def test_there_are_files():
    assert len(FILES) > 70


@pytest.mark.parametrize('file', FILES)
def test_file_loads_clean_or_gives_one_clear_error(file):
    path = DATA / file
    if path.stem in UNREADABLE:
        with pytest.raises(LabelError, match=rf'^{path.name}: cannot be read as a vector layer'):
            read_layer(path)
        return
    layer = read_layer(path)
    assert set(layer.geom_type) <= {'Point', 'LineString', 'Polygon'}
    assert layer.geometry.is_valid.all()
    assert not layer.geometry.has_z.any()
    assert not layer.geometry.is_empty.any()
    assert layer.crs is not None
    assert layer['fid'].dtype == np.int64


def test_banepa_footprints_lie_on_the_image():
    grid = grid_of(DATA / 'banepa_a/banepa_a.tif')
    layer = LabelLayer.read(DATA / 'banepa_a/banepa_a_buildings.geojson', ['building'])
    labels = layer.onto(grid)
    assert len(labels) == 1123
    # The same way with other tools: rasterio reprojects, the inverse transform places.
    lonlat = shapely.get_coordinates(layer.geometries)
    xs, ys = rasterio.warp.transform('EPSG:4326', grid.crs, *lonlat.T)
    expected = np.column_stack(~grid.transform @ (np.array(xs), np.array(ys)))
    assert np.abs(shapely.get_coordinates(labels.geometries) - expected).max() < 1e-5


def test_banepa_roof_materials_with_typos_and_nulls():
    path = DATA / 'banepa_a/banepa_a_buildings.geojson'
    with pytest.raises(LabelError) as error:
        LabelLayer.read(path, ['concrete', 'metal'], LabelOptions('roof:material'))
    assert 'tin (424), <null> (100), concerte (22), clay_tiles (14)' in str(error.value)
    layer = LabelLayer.read(
        path,
        ['concrete', 'metal'],
        LabelOptions(
            'roof:material',
            {'tin': 'metal', 'concerte': 'concrete', 'clay_tiles': None, '<null>': 'ignore'},
        ),
    )
    counts = dict(zip(*np.unique(layer.labels, return_counts=True), strict=True))
    assert counts == {-1: 100, 0: 561 + 22, 1: 424 + 2}


def test_kampala_has_one_polygon_to_repair(caplog):
    layer = read_layer(DATA / 'kampala_a/kampala_a_buildings.geojson')
    assert '1 of 108 geometries repaired: fid 101 (Self-intersection' in caplog.text
    assert layer['fid'].nunique() == 108


def test_santa_monica_trees_become_boxes_of_six_metres():
    folder = DATA / 'trees_santa_monica'
    layer = LabelLayer.read(
        folder / 'santa_monica_2020_trees.gpkg', ['tree'], LabelOptions(point_size=6)
    )
    labels = layer.onto(grid_of(folder / 'santa_monica_2020.tif'))
    assert len(labels) == 5841
    widths = np.diff(shapely.bounds(labels.geometries)[:, [0, 2]], axis=1)
    assert widths == pytest.approx(np.full_like(widths, 10), rel=1e-3)
