import json
import typing

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from shapely import box

from geo_mm.errors import OutputError
from geo_mm.formats import write_layer
from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.inference.options import Format
from geo_mm.labels import read_layer


def detections(count=2, crs='EPSG:32617'):
    shapes = [box(500_000 + 10 * i, 4_000_000, 500_005 + 10 * i, 4_000_003) for i in range(count)]
    table = {
        'class': np.array(['tree'] * count, dtype=str),
        'score': np.linspace(0.9, 0.5, count).astype(np.float32),
        'fid': np.zeros(count, dtype=np.int64),
    }
    return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries(shapes, crs=crs), crs=crs)


@pytest.mark.parametrize('suffix', ['.gpkg', '.fgb'])
def test_features_come_back_as_written(tmp_path, suffix):
    path = write_layer(detections(), tmp_path / f'out{suffix}')
    # FlatGeobuf puts neighbours together.
    again = read_layer(path).sort_values('score', ascending=False)
    assert again.crs.to_epsg() == 32617
    assert again['class'].tolist() == ['tree', 'tree']
    assert again['score'].tolist() == pytest.approx([0.9, 0.5])
    assert shapely.equals(again.geometry.values, detections().geometry.values).all()
    assert pyogrio.list_layers(path).tolist() == [['out', 'Polygon']]


def test_geojson_is_rfc_7946(tmp_path):
    path = write_layer(detections(), tmp_path / 'out.geojson')
    content = json.loads(path.read_text())
    assert 'crs' not in content
    outline = content['features'][0]['geometry']
    assert shapely.geometry.shape(outline).exterior.is_ccw
    assert outline['coordinates'][0][0][0] == pytest.approx(-81, abs=1e-3)
    back = read_layer(path).to_crs('EPSG:32617')
    distances = shapely.hausdorff_distance(back.geometry.values, detections().geometry.values)
    assert distances.max() < 0.002


@pytest.mark.parametrize('suffix', ['.gpkg', '.fgb'])
def test_no_features_still_make_a_layer_with_schema(tmp_path, suffix):
    path = write_layer(detections(0), tmp_path / f'none{suffix}', layer='trees')
    info = pyogrio.read_info(path, force_feature_count=True)
    assert info['features'] == 0
    assert info['geometry_type'] == 'Polygon'
    assert info['crs'] == 'EPSG:32617'
    assert list(info['fields']) == ['class', 'score', 'fid']
    assert list(info['dtypes']) == ['object', 'float32', 'int64']
    assert info['layer_name'] == 'trees'


def test_no_features_make_a_valid_geojson(tmp_path):
    path = write_layer(detections(0), tmp_path / 'none.geojson')
    assert json.loads(path.read_text())['features'] == []


def test_geometry_type_can_be_told(tmp_path):
    path = write_layer(detections(0), tmp_path / 'a.gpkg', geometry_type='MultiPolygon')
    assert pyogrio.read_info(path)['geometry_type'] == 'MultiPolygon'


@pytest.mark.parametrize('suffix', ['.gpkg', '.fgb', '.geojson'])
def test_polygons_and_multipolygons_in_one_layer(tmp_path, suffix):
    gdf = detections()
    gdf.geometry = [gdf.geometry[0], shapely.MultiPolygon(list(gdf.geometry))]
    assert len(read_layer(write_layer(gdf, tmp_path / f'a{suffix}'))) == 3


def test_replaces_an_older_file_and_leaves_nothing_beside_it(tmp_path):
    path = write_layer(detections(5), tmp_path / 'deep' / 'out.gpkg')
    write_layer(detections(2), path)
    assert len(read_layer(path)) == 2
    assert [found.name for found in path.parent.iterdir()] == ['out.gpkg']


def test_failure_keeps_the_older_file(tmp_path):
    path = write_layer(detections(2), tmp_path / 'out.gpkg')
    bad = detections(1).rename(columns={'score': 'CLASS'})
    with pytest.raises(OutputError, match=r'out\.gpkg: the layer of 1 features could not'):
        write_layer(bad, path)
    assert len(read_layer(path)) == 2
    assert [found.name for found in tmp_path.iterdir()] == ['out.gpkg']


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='could not be written'):
        write_layer(detections(), tmp_path / 'file' / 'out.gpkg')


def test_unknown_suffix_lists_the_known(tmp_path):
    with pytest.raises(OutputError, match=r"'\.dwg' names no vector format\n.*\.gpkg"):
        write_layer(detections(), tmp_path / 'out.dwg')


def test_geojson_needs_a_crs(tmp_path):
    with pytest.raises(OutputError, match='no CRS, and GeoJSON is always in WGS 84'):
        write_layer(detections(crs=None), tmp_path / 'a.geojson')
    assert read_layer(write_layer(detections(crs=None), tmp_path / 'a.gpkg')).crs is None


def test_the_options_of_prediction_name_every_format():
    assert {f'.{name}' for name in typing.get_args(Format)} == {*LAYER_FORMATS}
