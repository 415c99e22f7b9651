"""Names in object stores, and what a server is told."""

import os
from pathlib import Path

import pytest

from geo_mm.errors import OutputError
from geo_mm.stores import (
    agree_on_endpoint,
    download,
    folder_path,
    gdal_name,
    in_store,
    is_pattern,
    listed,
    matching,
    read_text,
    remove,
    upload,
    url,
    workplace,
    write_empty,
)
from tests.data.s3 import bucket, served


@pytest.fixture(scope='module')
def server():
    with served() as address:
        yield address


@pytest.mark.parametrize(
    ('name', 'path', 'shown'),
    [
        ('s3://town/out/', '/vsis3/town/out', 's3://town/out'),
        (Path('s3://town/out'), '/vsis3/town/out', 's3://town/out'),
        ('/vsis3/town/a.tif', '/vsis3/town/a.tif', 's3://town/a.tif'),
        ('gs://town/a', '/vsigs/town/a', 'gs://town/a'),
        ('az://town/a', '/vsiaz/town/a', 'az://town/a'),
    ],
)
def test_names(name, path, shown):
    assert in_store(name)
    assert (gdal_name(name), url(path)) == (path, shown)
    assert folder_path(name) == Path(path)


@pytest.mark.parametrize('name', ['out', '/data/s3:/x', 'https://host/a.tif', '/vsicurl/a', 's3'])
def test_other_names_stay(name):
    assert not in_store(name)
    assert (gdal_name(name), url(name)) == (name, name)


def test_a_pattern_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_pattern('*.tif')
    assert is_pattern('a[1].tif')
    (tmp_path / 'a[1].tif').touch()
    assert not is_pattern('a[1].tif')
    assert not is_pattern('a.tif')
    assert not is_pattern('https://example.org/a.tif?b=*')
    assert is_pattern('s3://town/*.tif')


def test_where_files_grow(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    folder = folder_path('s3://town/out')
    found = workplace(folder)
    assert found.parent.parent == tmp_path
    assert found == workplace(folder_path('s3://town/out/')) != workplace(folder / 'b')
    assert workplace(folder, str(tmp_path / 'x')) == tmp_path / 'x'
    assert workplace(tmp_path, 'elsewhere') == tmp_path


@pytest.mark.parametrize(
    ('given', 'agreed'),
    [
        (
            {'AWS_ENDPOINT_URL': 'http://127.0.0.1:9000/'},
            {
                'AWS_S3_ENDPOINT': '127.0.0.1:9000',
                'AWS_HTTPS': 'NO',
                'AWS_VIRTUAL_HOSTING': 'FALSE',
            },
        ),
        ({'AWS_ENDPOINT_URL_S3': 'https://minio.org'}, {'AWS_S3_ENDPOINT': 'minio.org'}),
        (
            {'AWS_S3_ENDPOINT': 'minio:9000', 'AWS_HTTPS': 'NO'},
            {'AWS_ENDPOINT_URL_S3': 'http://minio:9000'},
        ),
        ({'AWS_S3_ENDPOINT': 'minio.org'}, {'AWS_ENDPOINT_URL_S3': 'https://minio.org'}),
        ({'AWS_ENDPOINT_URL': 'http://a', 'AWS_S3_ENDPOINT': 'b'}, {'AWS_S3_ENDPOINT': 'b'}),
    ],
)
def test_one_server_for_all_libraries(monkeypatch, given, agreed):
    monkeypatch.setattr(os, 'environ', dict(given))
    agree_on_endpoint()
    assert {**given, **agreed}.items() <= os.environ.items()


def test_files_go_up_and_come_down(server, tmp_path):
    folder = bucket() / 'x'
    assert listed(folder) == []
    for name in ('a.json', 'b.json', 'b.tif'):
        (tmp_path / name).write_text(name)
    upload([tmp_path / 'a.json', tmp_path / 'b.json', tmp_path / 'b.tif'], folder)
    upload([tmp_path / 'a.json'], folder / 'below')
    write_empty(folder / '.b')
    assert [path.name for path in listed(folder)] == ['.b', 'a.json', 'b.json', 'b.tif']
    assert listed(folder, 'b.') == [folder / 'b.json', folder / 'b.tif']
    assert read_text(folder / 'a.json') == 'a.json'
    assert matching(f'{url(folder)}/*.json') == [f'{url(folder)}/a.json', f'{url(folder)}/b.json']
    assert f'{url(folder)}/below/a.json' in matching(f'{url(folder)}/**/*.json')
    remove([folder / 'b.json', folder / 'none'])
    with pytest.raises(FileNotFoundError):
        read_text(folder / 'b.json')
    copies = tmp_path / 'copies'
    copies.mkdir()
    download(folder, '.json', copies)
    assert [path.read_text() for path in copies.iterdir()] == ['a.json']


def test_no_bucket(server, tmp_path):
    (tmp_path / 'a').write_text('a')
    with pytest.raises(OutputError, match=r's3://nobody/x: cannot be written: .*bucket.*exist'):
        upload([tmp_path / 'a'], folder_path('s3://nobody/x'))


def test_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:1')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    with pytest.raises(OutputError, match='cannot be read: Could not connect'):
        listed(folder_path('s3://town/x'))
