import datetime
import json
import os
import sqlite3
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from shapely import box

from geo_mm.errors import OutputError
from geo_mm.formats import LayerWriter
from geo_mm.labels import read_layer

SUFFIXES = ['.gpkg', '.geojson', '.fgb', '.parquet']
TIME = datetime.datetime(2026, 11, 22, 6, 30, tzinfo=datetime.timezone.utc)
METADATA = {'GEO_MM_PROVENANCE': '{"note": "ü & <b>"}'}


def objects(start, count, crs='EPSG:32617'):
    number = np.arange(start, start + count)
    east, north = 500_000 + 10 * (number % 100), 4_000_000 + 10 * (number // 100)
    table = {
        'class': np.where(number % 2, 'tree', 'building').astype(object),
        'score': (number % 10 / 10).astype(np.float32),
        'area_m2': 15.0 + number,
        'tile': number // 50,
    }
    shapes = shapely.box(east, north, east + 5, north + 3)
    return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries(shapes, crs=crs))


def write(path, batches, **options):
    options = {'metadata': METADATA, 'time': TIME, 'style': '<qgis/>', **options}
    with LayerWriter(path, 'EPSG:32617', layer='objects', **options) as writer:
        start = 0
        for count in batches:
            writer.append(objects(start, count))
            start += count
    return path


def read(path):
    if path.suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
        return gpd.read_parquet(path)
    return gpd.read_file(path, layer='objects')


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_batches_come_back_as_one_layer(tmp_path, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    found = read(write(tmp_path / f'a{suffix}', [3, 0, 7])).sort_values('area_m2')
    expected = objects(0, 10)
    assert found.columns.tolist() == ['class', 'score', 'area_m2', 'tile', 'geometry']
    for column in ('class', 'area_m2', 'tile'):
        assert found[column].tolist() == expected[column].tolist()
    assert found['score'].to_numpy() == pytest.approx(expected['score'].to_numpy())
    away = found.to_crs('EPSG:32617').geometry.values
    assert shapely.hausdorff_distance(away, expected.geometry.values).max() < 0.002
    assert found.crs.to_epsg() == (4326 if suffix == '.geojson' else 32617)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_bytes_depend_on_nothing_but_the_features(tmp_path, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    one = write(tmp_path / 'one' / f'a{suffix}', [60]).read_bytes()
    assert write(tmp_path / 'two' / f'a{suffix}', [1, 40, 19]).read_bytes() == one
    code = (
        'import sys; from pathlib import Path; '
        'from tests.test_formats.test_layer_writer import write; write(Path(sys.argv[1]), [30, 30])'
    )
    third = tmp_path / 'three' / f'a{suffix}'
    subprocess.run(
        [sys.executable, '-c', code, third], check=True, env={**os.environ, 'TZ': 'Asia/Tokyo'}
    )
    assert third.read_bytes() == one


def test_a_geopackage_keeps_metadata_by_its_standard(tmp_path):
    path = write(tmp_path / 'a.gpkg', [4])
    assert pyogrio.read_info(path, layer='objects')['dataset_metadata'] == METADATA
    with sqlite3.connect(path) as database:
        ((kind, uri, text),) = database.execute(
            'select mime_type, md_standard_uri, metadata from gpkg_metadata'
        )
        references = database.execute(
            'select reference_scope, timestamp from gpkg_metadata_reference'
        ).fetchall()
        rows = database.execute('select extension_name from gpkg_extensions').fetchall()
    assert (kind, uri) == ('text/xml', 'http://gdal.org') and 'GEO_MM_PROVENANCE' in text
    assert references == [('geopackage', '2026-11-22T06:30:00.000Z')]
    assert {name for (name,) in rows} >= {'gpkg_metadata', 'gpkg_rtree_index'}


def test_times_in_a_geopackage_have_milliseconds(tmp_path):
    """GDAL 3.6 warns about others."""
    path = write(tmp_path / 'a.gpkg', [4])
    with sqlite3.connect(path) as database:
        times = database.execute(
            'select last_change from gpkg_contents union all select timestamp from '
            'gpkg_metadata_reference union all select update_time from layer_styles'
        ).fetchall()
    assert {time for (time,) in times} == {'2026-11-22T06:30:00.000Z'}


def test_a_geopackage_is_of_the_version_that_gdal_3_6_reads(tmp_path):
    path = write(tmp_path / 'a.gpkg', [4])
    with sqlite3.connect(path) as database:
        assert database.execute('pragma user_version').fetchone() == (10200,)


@pytest.mark.parametrize('clockwise', [True, False])
@pytest.mark.parametrize('suffix', SUFFIXES)
def test_outer_rings_run_counterclockwise_in_all_formats(tmp_path, suffix, clockwise):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    table = objects(0, 2)
    holes = shapely.difference(table.geometry.values, table.geometry.values.buffer(-1))
    table.geometry = shapely.orient_polygons(np.array(holes), exterior_cw=clockwise)
    with LayerWriter(tmp_path / f'a{suffix}', table.crs, layer='objects') as writer:
        writer.append(table)
    for polygon in read(writer.path).geometry:
        assert polygon.exterior.is_ccw and not polygon.interiors[0].is_ccw


def test_geojson_has_bounding_boxes(tmp_path):
    found = json.loads(write(tmp_path / 'a.geojson', [4]).read_text())
    layer, first = np.array(found['bbox']), np.array(found['features'][0]['bbox'])
    assert layer.shape == first.shape == (4,)
    assert layer[:2] == pytest.approx(first[:2]) and (layer[2:] >= first[2:]).all()
    outline = shapely.geometry.shape(found['features'][0]['geometry'])
    assert first == pytest.approx(outline.bounds)


def test_a_geopackage_brings_its_style_along(tmp_path):
    path = write(tmp_path / 'a.gpkg', [4])
    with sqlite3.connect(path) as database:
        row = database.execute(
            'select f_table_name, f_geometry_column, styleQML, useAsDefault from layer_styles'
        ).fetchone()
        columns = [row[1] for row in database.execute('pragma table_info(objects)')]
    assert row == ('objects', columns[1], '<qgis/>', 1)
    assert pyogrio.list_layers(path).tolist() == [['objects', 'Polygon'], ['layer_styles', None]]


def test_geojson_and_flatgeobuf_keep_metadata(tmp_path):
    path = write(tmp_path / 'a.geojson', [4])
    content = json.loads(path.read_text())
    assert json.loads(content['description']) == METADATA
    assert 'crs' not in content
    path = write(tmp_path / 'a.fgb', [4])
    assert pyogrio.read_info(path)['layer_metadata'] == METADATA


def test_geoparquet_says_what_it_holds(tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet', reason='GeoParquet needs pyarrow')
    path = write(tmp_path / 'a.parquet', [4])
    metadata = parquet.read_metadata(path).metadata
    assert json.loads(metadata[b'PANDAS_ATTRS']) == gpd.read_parquet(path).attrs == METADATA
    geo = json.loads(metadata[b'geo'])
    column = geo['columns'][geo['primary_column']]
    assert (geo['version'], column['encoding']) == ('1.1.0', 'WKB')
    assert column['geometry_types'] == ['Polygon']
    assert column['bbox'] == [500_000, 4_000_000, 500_035, 4_000_003]
    assert column['crs']['id'] == {'authority': 'EPSG', 'code': 32617}


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_an_empty_table_tells_the_columns(tmp_path, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    path = write(tmp_path / f'a{suffix}', [0])
    found = read(path)
    assert len(found) == 0
    if suffix != '.geojson':
        assert found.columns.tolist() == ['class', 'score', 'area_m2', 'tile', 'geometry']
        assert found.crs.to_epsg() == 32617


def test_without_any_table_there_is_no_layer(tmp_path):
    with pytest.raises(OutputError, match='no features and no columns'):
        write(tmp_path / 'a.gpkg', [])
    assert os.listdir(tmp_path) == []


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = write(tmp_path / 'a.gpkg', [5])
    with pytest.raises(RuntimeError), LayerWriter(path, 'EPSG:32617') as writer:
        writer.append(objects(0, 20_000))
        assert len(os.listdir(tmp_path)) == 2
        raise RuntimeError('model failed')
    assert os.listdir(tmp_path) == ['a.gpkg']
    assert len(read_layer(path, layer='objects')) == 5


def test_features_of_another_crs_are_refused(tmp_path):
    with (
        pytest.raises(OutputError, match='UTM zone 18N in a layer in WGS 84 / UTM zone 17N'),
        LayerWriter(tmp_path / 'a.gpkg', 'EPSG:32617') as writer,
    ):
        writer.append(objects(0, 3, crs='EPSG:32618'))


def test_multi_part_layers_take_polygons(tmp_path):
    with LayerWriter(tmp_path / 'a.fgb', 'EPSG:32617', geometry_type='MultiPolygon') as writer:
        writer.append(objects(0, 2))
        table = objects(2, 1)
        table.geometry = [shapely.MultiPolygon([box(0, 0, 1, 1), box(2, 2, 3, 3)])]
        writer.append(table.set_crs('EPSG:32617', allow_override=True))
    assert set(gpd.read_file(tmp_path / 'a.fgb').geom_type) == {'MultiPolygon'}


@pytest.mark.parametrize('crs', ['EPSG:4326', 'EPSG:3857', 'EPSG:2193', 'ESRI:54009', None])
def test_any_crs_is_kept(tmp_path, crs):
    table = gpd.GeoDataFrame({'class': ['a']}, geometry=gpd.GeoSeries([box(5, 6, 7, 8)], crs=crs))
    suffixes = ['.gpkg', '.fgb']
    for suffix in suffixes:
        with LayerWriter(tmp_path / f'a{suffix}', crs) as writer:
            writer.append(table)
        found = gpd.read_file(tmp_path / f'a{suffix}')
        assert found.crs == table.crs
        assert shapely.equals(found.geometry[0], box(5, 6, 7, 8))


def test_memory_does_not_grow_with_the_number_of_features(tmp_path):
    """Written in a process of its own, 4 and 40 batches take about the same memory."""
    code = (
        'import resource, sys; from pathlib import Path; '
        'from tests.test_formats.test_layer_writer import write; '
        'write(Path(sys.argv[1]), [2000] * int(sys.argv[2]), style=None); '
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
    )

    def peak(batches):
        command = [sys.executable, '-c', code, tmp_path / f'{batches}.gpkg', str(batches)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) / 1024

    assert peak(40) - peak(4) < 20
