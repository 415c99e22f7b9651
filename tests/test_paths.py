import errno
import os

import pytest

from geo_mm import paths
from geo_mm.errors import OutputError


@pytest.mark.parametrize(
    'name',
    [
        'https://example.org/a.tif',
        's3://bucket/a.tif',
        'git+ssh://host/x',
        '/vsicurl/https://example.org/a.tif',
        '/vsizip/a.zip/a.tif',
        'NETCDF:"a.nc":red',
        'PG:dbname=gis',
        '<VRTDataset/>',
    ],
)
def test_urls_virtual_files_and_subdatasets_are_not_local(name):
    assert not paths.is_local(name)
    assert not paths.is_missing(name)
    assert paths.absolute(name, 'folder') == name


@pytest.mark.parametrize('name', ['a.tif', './a.tif', '/a/b.tif', 'C:/a.tif', '../vsi/a.tif'])
def test_files_are_local_whether_they_exist_or_not(name):
    assert paths.is_local(name)
    assert paths.is_missing(name)


def test_an_existing_file_with_a_colon_is_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'at_12:30.tif').touch()
    assert paths.is_local('at_12:30.tif')
    assert not paths.is_local('at_12:31.tif')


def test_local_names_become_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.chdir(tmp_path)
    assert paths.absolute('a/../b.tif') == str(tmp_path / 'b.tif')
    assert paths.absolute('b.tif', '/data') == '/data/b.tif'
    assert paths.absolute('/c/b.tif', '/data') == '/c/b.tif'
    assert paths.absolute('~/b.tif', '/data') == '/home/me/b.tif'
    # Without such a user it is the name of a file.
    assert paths.absolute('~nobody-of-that-name/x', '/data') == '/data/~nobody-of-that-name/x'


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'a.tif'
    path.write_text('old')
    with paths.atomic_write(path) as partial:
        assert partial.parent == tmp_path
        assert partial.suffix == '.tif'
        partial.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['a.tif']


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a.gpkg'
    path.write_text('old')
    with pytest.raises(ZeroDivisionError), paths.atomic_write(path) as partial:
        partial.write_text('half')
        partial.with_name(f'{partial.name}-journal').write_text('half')
        1 / 0  # noqa: B018
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.gpkg']


def test_sidecars_move_along_and_outdated_ones_go(tmp_path):
    path = tmp_path / 'a.tif'
    with paths.atomic_write(path, sidecars=['.aux.xml']) as partial:
        partial.write_text('1')
        partial.with_name(f'{partial.name}.aux.xml').write_text('table')
    assert (tmp_path / 'a.tif.aux.xml').read_text() == 'table'
    with paths.atomic_write(path, sidecars=['.aux.xml']) as partial:
        partial.write_text('2')
    assert os.listdir(tmp_path) == ['a.tif']


def test_trouble_with_writing_is_one_message():
    with pytest.raises(OutputError) as caught, paths.reported('/a/b', fix='choose another'):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/a/b/.c-123')
    assert str(caught.value) == (
        '/a/b: cannot be written: No space left on device\n'
        '  expected: a folder you may write to, with enough free space\n'
        '  to do: choose another'
    )


def test_errors_of_a_library_count_if_they_are_named():
    with (
        pytest.raises(OutputError, match='cannot be written: bad'),
        paths.reported('a', also=(ValueError,)),
    ):
        raise WrappedError from ValueError('bad')
    with pytest.raises(ValueError), paths.reported('a'):
        raise ValueError('a bug')


class WrappedError(ValueError):
    """As rasterio's errors, whose cause is GDAL's own."""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match='file/folder: cannot be written: Not a directory'):
        paths.make_folder(tmp_path / 'file' / 'folder')
    assert paths.make_folder(tmp_path / 'a' / 'b').is_dir()


def test_text_is_written_as_it_is(tmp_path):
    path = paths.write_text(tmp_path / 'a.txt', 'ä\n')
    assert path.read_bytes() == b'\xc3\xa4\n'
    with pytest.raises(OutputError, match='cannot be written'):
        paths.write_text(tmp_path / 'none' / 'a.txt', '')


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('town_5', 'town_5'),
        ('Ürümqi 2023 (north).v2', 'Ürümqi 2023 (north).v2'),
        ('[red]', '[red]'),
        ('2023/north', '2023_north'),
        ('..\\up', '___up'),
        ('.', '_'),
        ('..', '__'),
        ('.hidden', '_hidden'),
        ('', '_'),
        ('a\0b\nc', 'a_b_c'),
        ('a:b*?', 'a_b__'),
        ('ends in dots. .', 'ends in dots'),
        ('undecodable \udcff', 'undecodable _'),
    ],
)
def test_names_of_scenes_become_names_of_files(tmp_path, name, expected):
    assert paths.file_name(name) == expected
    (tmp_path / f'{expected}.tif').touch()
    assert os.listdir(tmp_path) == [f'{expected}.tif']


def test_long_names_stay_apart_and_leave_room_for_suffixes(tmp_path):
    names = [paths.file_name('é' * 300 + end) for end in 'ab']
    assert names[0] != names[1]
    assert all(len(name.encode()) <= 150 for name in names)
    assert names[0] == paths.file_name(names[0])


def test_names_that_some_system_takes_for_the_same():
    assert paths.same_file_name(['a', 'b', 'A']) == (0, 2)
    assert paths.same_file_name(['x', '2023/a', '2023_a']) == (1, 2)
    assert paths.same_file_name(['e\u0301', '\u00e9']) == (0, 1)
    assert paths.same_file_name(['a', 'b', 'a_b']) is None
