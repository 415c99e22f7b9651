import logging
from importlib.util import find_spec

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely
from shapely import Point, box

from geo_mm.errors import LabelError, OutputError
from geo_mm.formats import write_layer
from geo_mm.labels import read_layer

BOWTIE = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])


def frame(geometries, crs='EPSG:32617', **columns):
    return gpd.GeoDataFrame(columns, geometry=geometries, crs=crs)


def save(path, gdf, **options):
    pyogrio.write_dataframe(gdf, path, **options)
    return path


@pytest.mark.parametrize('suffix', ['.gpkg', '.geojson', '.fgb', '.shp'])
def test_reads_the_usual_formats_with_crs_and_attributes(tmp_path, suffix):
    path = save(tmp_path / f'a{suffix}', frame([box(0, 0, 2, 3)], 'EPSG:4326', kind=['tin']))
    layer = read_layer(path)
    assert layer['kind'].tolist() == ['tin']
    assert layer.crs.to_epsg() == 4326
    assert layer.geometry[0].equals(box(0, 0, 2, 3))


def test_parts_of_a_multipolygon_become_rows_with_the_same_fid(tmp_path):
    two = shapely.MultiPolygon([box(0, 0, 1, 1), box(5, 5, 6, 6)])
    path = save(tmp_path / 'a.gpkg', frame([two, box(8, 8, 9, 9)], kind=['x', 'y']))
    layer = read_layer(path)
    assert layer.geom_type.tolist() == ['Polygon'] * 3
    assert layer['fid'].tolist() == [1, 1, 2]
    assert layer['kind'].tolist() == ['x', 'x', 'y']
    assert layer.index.tolist() == [0, 1, 2]


def test_nested_collections_are_taken_apart():
    inner = shapely.GeometryCollection([Point(1, 1), shapely.MultiPoint([(2, 2), (3, 3)])])
    nested = shapely.GeometryCollection([box(0, 0, 1, 1), inner])
    layer = read_layer(frame([nested]))
    assert layer.geom_type.tolist() == ['Polygon', 'Point', 'Point', 'Point']


def test_z_and_m_are_dropped_and_the_crs_becomes_two_dimensional(tmp_path):
    path = tmp_path / 'z.geojson'
    path.write_text('{"type":"Point","coordinates":[1.5,2.5,100]}')
    layer = read_layer(path)
    assert not layer.geometry.has_z.any()
    assert layer.crs.to_epsg() == 4326
    layer = read_layer(
        frame(shapely.from_wkt(['POLYGON ZM ((0 0 1 2, 1 0 1 2, 1 1 1 2, 0 0 1 2))']))
    )
    assert layer.geometry[0].wkt == 'POLYGON ((0 0, 1 0, 1 1, 0 0))'


def test_invalid_polygon_is_repaired_and_reported_once(caplog):
    with caplog.at_level(logging.WARNING):
        layer = read_layer(frame([box(5, 5, 6, 6), BOWTIE]))
    assert layer.geometry.is_valid.all()
    assert set(layer.geom_type) == {'Polygon'}
    assert layer.geometry.area.sum() == pytest.approx(1 + 2)
    assert layer['fid'].tolist() == [0, 1, 1]
    assert len(caplog.messages) == 1
    assert '1 of 2 geometries repaired: fid 1 (Self-intersection[1 1])' in caplog.messages[0]


def test_collapsed_polygon_is_dropped_rather_than_turned_into_a_line():
    spike = shapely.Polygon([(0, 0), (4, 4), (2, 2)])
    assert len(read_layer(frame([spike, box(0, 0, 1, 1)]))) == 1


def test_features_without_geometry_are_left_out_and_reported(caplog):
    nowhere = Point(float('nan'), float('inf'))
    with caplog.at_level(logging.WARNING):
        layer = read_layer(frame([None, shapely.Polygon(), nowhere, box(0, 0, 1, 1)]))
    assert layer['fid'].tolist() == [3]
    assert '3 of 4 features without a usable geometry left out: fid 0, 1, 2' in caplog.messages[0]


def test_clean_layer_logs_nothing(caplog):
    read_layer(frame([box(0, 0, 1, 1)]))
    assert not caplog.messages


def test_geodataframe_is_not_changed_and_its_index_is_the_fid():
    gdf = frame([BOWTIE, box(0, 0, 1, 1)]).set_index(pd.Index([70, 80]))
    layer = read_layer(gdf)
    assert shapely.equals_exact(gdf.geometry.iloc[0], BOWTIE)
    assert 'fid' not in gdf.columns
    assert layer['fid'].tolist() == [70, 70, 80]


def test_own_fid_attribute_is_kept_under_another_name(tmp_path):
    gdf = frame([Point(1, 1)], 'EPSG:4326', fid=['house-7'])
    layer = read_layer(save(tmp_path / 'a.geojson', gdf))
    assert layer['fid'].tolist() == [0]
    assert layer['fid_attribute'].tolist() == ['house-7']


def test_unclosed_ring_is_closed(tmp_path, caplog):
    path = tmp_path / 'open.geojson'
    path.write_text('{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,1],[0,1]]]}')
    assert read_layer(path).geometry[0].equals(box(0, 0, 2, 1))
    assert 'open.geojson: Non closed ring' in caplog.text


def test_where_filters(tmp_path):
    gdf = frame([Point(1, 1), Point(2, 2)], height=[2.0, 9.0])
    path = save(tmp_path / 'a.gpkg', gdf)
    assert read_layer(path, where='height > 3')['height'].tolist() == [9.0]
    with pytest.raises(LabelError, match=r"a\.gpkg: the filter where='hight > 3'"):
        read_layer(path, where='hight > 3')
    with pytest.raises(LabelError, match='together with a GeoDataFrame'):
        read_layer(gdf, where='height > 3')


def test_features_in_a_box(tmp_path):
    gdf = frame([Point(500_000, 4_000_000), Point(600_000, 4_000_000)])
    around = gdf.geometry[1].buffer(5).bounds
    for source in (gdf, save(tmp_path / 'a.gpkg', gdf)):
        layer = read_layer(source, bbox=around)
        assert layer.geometry.x.tolist() == [600_000]


def test_the_only_layer_with_geometries_needs_no_name(tmp_path):
    path = save(tmp_path / 'a.gpkg', frame([Point(1, 1)]), layer='trees')
    pyogrio.write_dataframe(pd.DataFrame({'style': ['red']}), path, layer='layer_styles')
    assert len(read_layer(path)) == 1


def test_several_layers_must_be_chosen_from(tmp_path):
    path = save(tmp_path / 'a.gpkg', frame([Point(1, 1)]), layer='trees')
    save(path, frame([Point(1, 1), Point(2, 2)]), layer='poles')
    with pytest.raises(LabelError, match=r"has 2 layers: \['trees', 'poles'\]"):
        read_layer(path)
    assert len(read_layer(path, layer='poles')) == 2
    with pytest.raises(LabelError, match=r"no layer 'houses'\n.*\['trees', 'poles'\]"):
        read_layer(path, layer='houses')


def test_missing_file(tmp_path):
    with pytest.raises(LabelError, match=r'nowhere\.gpkg: no such file \(/'):
        read_layer(tmp_path / 'nowhere.gpkg')


@pytest.mark.parametrize('content', [b'', b'\x00\x01 no vector', b'{"type": "Topology"}'])
def test_unreadable_file(tmp_path, content):
    path = tmp_path / 'bad.geojson'
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r'bad\.geojson: cannot be read as a vector layer'):
        read_layer(path)


def test_table_without_geometries(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('x,y\n1,2\n')
    with pytest.raises(LabelError, match=r'a\.csv: has no geometries'):
        read_layer(path)
    with pytest.raises(LabelError, match='GeoDataFrame: has no geometries'):
        read_layer(gpd.GeoDataFrame({'x': [1]}))


@pytest.mark.skipif(find_spec('pyarrow') is not None, reason='pyarrow is installed')
def test_parquet_without_pyarrow_says_what_to_install(tmp_path):
    (tmp_path / 'a.parquet').write_bytes(b'PAR1')
    with pytest.raises(LabelError, match='reading Parquet needs pyarrow'):
        read_layer(tmp_path / 'a.parquet')
    with pytest.raises(OutputError, match='writing Parquet needs pyarrow'):
        write_layer(frame([Point(1, 1)]), tmp_path / 'b.parquet')
    assert [found.name for found in tmp_path.iterdir()] == ['a.parquet']


def test_parquet_round_trip(tmp_path):
    pytest.importorskip('pyarrow')
    path = write_layer(frame([Point(1, 1)], kind=['x']), tmp_path / 'a.parquet')
    layer = read_layer(path)
    assert layer['kind'].tolist() == ['x']
    assert layer.crs.to_epsg() == 32617


def test_many_repairs_are_summed_up(caplog):
    read_layer(frame([BOWTIE] * 5))
    assert '5 of 5 geometries repaired' in caplog.text
    assert 'fid 2 (Self-intersection[1 1]) and 2 more' in caplog.text


def test_a_name_that_gdal_takes_for_an_archive(tmp_path):
    path = tmp_path / '!test.geojson'
    path.write_text('{"type":"FeatureCollection","features":[]}')
    with pytest.raises(LabelError, match=r"(?s)'!' in .* stands for.*rename"):
        read_layer(path)


def test_boxes_of_arcgis_chips_are_named(tmp_path):
    path = tmp_path / '000000128.xml'
    path.write_text('<?xml version="1.0"?><annotation><object><name>1</name></object></annotation>')
    with pytest.raises(LabelError, match=r'(?s)Pascal VOC format, as ArcGIS.*the whole') as error:
        read_layer(path)
    assert 'GIS and export it again' not in str(error.value)
