import http.server
import json
import logging
import shutil
import subprocess
import threading
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from shapely import box

from geo_mm.errors import OutputError
from geo_mm.formats import provenance as module
from geo_mm.formats import write_layer
from geo_mm.formats.provenance import (
    FileRecord,
    Provenance,
    file_records,
    library_versions,
    read_provenance,
    write_record,
)
from geo_mm.raster import Grid, RasterMetadata, RasterWriter
from tests.data.provenance import provenance
from tests.data.rasters import TRANSFORM, noise, write_raster


def write(path, made):
    """A small result of each kind."""
    if path.suffix == '.tif':
        grid = Grid(TRANSFORM, 30, 20, rasterio.crs.CRS.from_epsg(32617))
        with RasterWriter(
            path, grid, 1, 'uint8', metadata=RasterMetadata(class_names={0: 'a'}, tags=made.tags())
        ) as writer:
            writer.write(np.zeros((20, 30), 'uint8'))
    elif path.suffix == '.json':
        write_record(path, made, counts={'a': 1})
    else:
        table = gpd.GeoDataFrame({'class': ['a']}, geometry=[box(0, 0, 1, 1)], crs='EPSG:32617')
        write_layer(table, path, metadata=made.metadata(), time=made.time)
    return path


@pytest.mark.parametrize('suffix', ['.tif', '.gpkg', '.fgb', '.parquet', '.geojson', '.json'])
def test_every_format_gives_it_back(tmp_path, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    made = provenance(tmp_path)
    assert read_provenance(write(tmp_path / f'out{suffix}', made)) == made


def test_the_record_tells_where_the_file_lost_it(tmp_path):
    made = provenance(tmp_path)
    path = write_raster(tmp_path / 'out.tif', noise((5, 6)))
    with pytest.raises(OutputError, match='does not say how it was made'):
        read_provenance(path)
    write_record(path, made)
    assert read_provenance(path) == made


def test_it_survives_a_copy_by_gdal(tmp_path):
    made = provenance(tmp_path)
    path = write(tmp_path / 'out.tif', made)
    copy(path, tmp_path / 'copy.tif', driver='GTiff')
    assert read_provenance(tmp_path / 'copy.tif') == made


def test_any_tiff_reader_sees_software_and_time(tmp_path):
    with rasterio.open(write(tmp_path / 'out.tif', provenance(tmp_path))) as dataset:
        assert dataset.tags()['TIFFTAG_SOFTWARE'].startswith('geo_mm ')
        assert dataset.tags()['TIFFTAG_DATETIME'] == '2026:11:22 06:30:00'


def test_the_command_runs_in_a_shell(tmp_path):
    folder = tmp_path / 'my $work'
    folder.mkdir()
    (folder / 'show.py').write_text('import sys; print(sys.argv[1:])')
    made = provenance(tmp_path, folder=str(folder), command=('show.py', 'a b.tif', "it's", '$x'))
    result = subprocess.run(['bash', '-c', made.rerun], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(['a b.tif', "it's", '$x'])
    assert provenance(tmp_path, command=()).rerun == ''


def test_the_same_content_is_the_same_text(tmp_path):
    made = provenance(tmp_path)
    turned = replace(made, options=dict(reversed(made.options.items())))
    assert made.to_json() == turned.to_json()
    assert Provenance.from_dict(json.loads(made.to_json())) == made


def test_fields_of_a_later_version_are_left_out(tmp_path):
    made = provenance(tmp_path)
    assert Provenance.from_dict({**made.to_dict(), 'mood': 'good'}) == made


@pytest.mark.parametrize('text', ['{}', '[]', '{"spec": 3}'])
def test_what_cannot_be_understood_is_said(tmp_path, text):
    path = write_raster(tmp_path / 'out.tif', noise((5, 6)))
    with rasterio.open(path, 'r+') as dataset:
        dataset.update_tags(GEO_MM_PROVENANCE=text)
    with pytest.raises(OutputError, match='cannot be understood'):
        read_provenance(path)


def test_no_file(tmp_path):
    with pytest.raises(OutputError, match='no such file'):
        read_provenance(tmp_path / 'none.tif')


def test_a_file_is_told_by_its_hash(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'abc')
    assert FileRecord.of(path) == FileRecord(
        str(path), 3, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )


def test_a_large_file_is_told_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_HASHED', 10)
    path = tmp_path / 'a.bin'
    path.write_bytes(b'x' * 11)
    record = FileRecord.of(path)
    assert (record.size, record.sha256) == (11, None)
    assert record.modified.startswith('20') and record.modified.endswith('+00:00')


def test_a_vrt_is_told_with_its_files(tmp_path):
    for name in ('a.tif', 'b.tif'):
        write_raster(tmp_path / name, noise((5, 6)))
    copy(tmp_path / 'a.tif', tmp_path / 'a.vrt', driver='VRT')
    records = file_records([tmp_path / 'a.vrt', tmp_path / 'b.tif'])
    assert [record.path for record in records] == [
        str(tmp_path / name) for name in ('a.vrt', 'a.tif', 'b.tif')
    ]
    assert all(len(record.sha256) == 64 for record in records)


@pytest.fixture
def server(tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def end_headers(self):
            if 'tagged' in self.path:
                self.send_header('ETag', '"v1"')
            super().end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


def test_a_url_is_told_by_its_etag(tmp_path, server, caplog):
    (tmp_path / 'tagged.tif').write_bytes(b'abcd')
    shutil.copy(tmp_path / 'tagged.tif', tmp_path / 'plain.tif')
    assert FileRecord.of(f'{server}/tagged.tif').etag == '"v1"'
    assert FileRecord.of(f'/vsicurl/{server}/tagged.tif').size == 4
    with caplog.at_level(logging.WARNING):
        assert FileRecord.of(f'{server}/plain.tif').etag is None
        assert FileRecord.of(f'{server}/none.tif') == FileRecord(f'{server}/none.tif')
    assert 'names no version' in caplog.text and '404' in caplog.text


def test_versions_are_those_installed():
    versions = library_versions()
    assert versions['gdal'] == rasterio.__gdal_version__
    assert versions['numpy'] == np.__version__
    assert {'geo_mm', 'python', 'torch', 'onedl-mmengine'} <= versions.keys()


FORMATS = ['.tif', '.gpkg', '.fgb', '.parquet', '.geojson', '.json']


@pytest.mark.parametrize('suffix', FORMATS)
@pytest.mark.parametrize('part', [0, 1, 2, 3])
def test_damaged_results_are_said_to_be(tmp_path, suffix, part):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    path = write(tmp_path / f'out{suffix}', provenance(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // 4] + b'\xff' * (part % 2) * 50)
    with pytest.raises(OutputError, match=r'out\.\w+: '):
        read_provenance(path)


@pytest.mark.parametrize(
    'change',
    [
        {'command': 5},
        {'command': [5]},
        {'options': []},
        {'versions': None},
        {'inputs': []},
        {'inputs': [{'path': 5}]},
        {'inputs': [{'way': 'x'}]},
        {'started': 'yesterday'},
        {'started': None},
        {'folder': None},
        {'spec': None},
        {'spec': []},
    ],
)
def test_a_record_of_other_types(tmp_path, change):
    data = provenance(tmp_path).to_dict() | change
    (tmp_path / 'out.json').write_text(json.dumps({'provenance': data}))
    with pytest.raises(OutputError, match='cannot be understood'):
        read_provenance(tmp_path / 'out.json')
