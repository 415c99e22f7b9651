import json
from pathlib import Path

import pytest

from geo_mm.errors import ConfigError, SceneError
from geo_mm.inference.area import SceneToPredict
from geo_mm.inference.scene_lists import find_scenes, shard


def sources(*given, **kwargs):
    return [scene.source for scene in find_scenes(given, **kwargs)]


def test_files_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('b.tif', 'a.tif', 'c[1].tif'):
        Path(name).touch()
    assert sources('?.tif', 'a.tif') == ['a.tif', 'b.tif']
    assert sources('c[1].tif') == ['c[1].tif']
    assert sources('missing.tif') == ['missing.tif']  # opening it says so
    urls = ['https://host/x.tif?token=1', '/vsizip/x.zip/a[0].tif']
    assert sources(*urls) == urls
    with pytest.raises(SceneError, match=r'\*\.jp2: no file matches'):
        sources('*.jp2')


def test_names_of_scenes_of_one_file_name():
    given = ['a/s.tif', 'b/s.tif', 't.tif', 'https://host/c/s.tif?x=/y.tif']
    assert [scene.name for scene in find_scenes(given)] == ['a_s', 'b_s', None, 'c_s']


def test_files_of_one_scene():
    assert find_scenes(['a.tif', 'b.tif'], stack=True) == [SceneToPredict(('a.tif', 'b.tif'))]


def test_catalog_table_with_splits_and_aois(tmp_path):
    for name in ('one.tif', 'two.tif', 'aoi.gpkg'):
        (tmp_path / name).touch()
    table = tmp_path / 'catalog.csv'
    table.write_text('image,split,aoi,name\none.tif,train,,\ntwo.tif,test,aoi.gpkg,second\n')
    assert [scene.name for scene in find_scenes([str(table)])] == ['one', 'second']
    [scene] = find_scenes([str(table)], split='test')
    path, aoi = (str(tmp_path / name) for name in ('two.tif', 'aoi.gpkg'))
    assert scene == SceneToPredict(path, 'second', aoi=aoi)


def item(path, assets):
    data = {'type': 'Feature', 'stac_version': '1.0.0', 'id': 'S2A_1', 'assets': assets}
    path.write_text(json.dumps(data))
    return str(path)


def test_stac_item(tmp_path):
    tiff = 'image/tiff; application=geotiff; profile=cloud-optimized'
    assets = {
        'thumbnail': {'href': './t.png', 'type': 'image/png'},
        'red': {'href': './red.tif', 'type': tiff, 'roles': ['data']},
        'nir': {'href': 'https://host/nir.tif', 'type': tiff, 'roles': ['data']},
        'preview': {'href': './preview.tif', 'type': tiff, 'roles': ['overview']},
    }
    [scene] = find_scenes([item(tmp_path / 'item.json', assets)])
    assert scene.source == (str(tmp_path / 'red.tif'), 'https://host/nir.tif')
    assert scene.name == 'S2A_1'


def test_stac_item_without_images(tmp_path):
    with pytest.raises(SceneError, match='no image'):
        find_scenes([item(tmp_path / 'item.json', {'x': {'href': 'a.txt', 'type': 'text/plain'}})])


@pytest.mark.parametrize(
    'pair',
    [
        ('a.tif', 'a.tiff'),
        ('A.tif', 'a.tif'),
        ('B\N{LATIN SMALL LETTER E WITH ACUTE}.tif', 'be\N{COMBINING ACUTE ACCENT}.tif'),
    ],
)
def test_scenes_whose_results_would_overwrite_each_other(tmp_path, pair):
    paths = [str(tmp_path / name) for name in pair]
    with pytest.raises(SceneError, match=r'(?s)would both be called.*into two folders'):
        find_scenes(paths)


def test_names_in_a_catalog_that_are_no_file_names(tmp_path):
    for name in ('one.tif', 'two.tif', 'three.tif'):
        (tmp_path / name).touch()
    table = tmp_path / 'catalog.csv'
    table.write_text('image,name\none.tif,2023/north\ntwo.tif,2023/south\n')
    assert len(find_scenes([str(table)])) == 2
    table.write_text('image,name\none.tif,2023/north\ntwo.tif,2023_north\n')
    with pytest.raises(
        SceneError, match=r'one\.tif \(2023/north\) and .*both be called 2023_north'
    ):
        find_scenes([str(table)])


TIFF = 'image/tiff; application=geotiff'
ODD_ITEMS = {
    'assets as a list': {'assets': [{'href': 'a.tif', 'type': TIFF}]},
    'no assets': {'assets': None},
    'an asset that is none': {'assets': {'a': None, 'b': 'a.tif'}},
    'a type that is none': {'assets': {'a': {'href': 'a.tif', 'type': None}}},
    'a type that is a number': {'assets': {'a': {'href': 'a.tif', 'type': 5}}},
    'no href': {'assets': {'a': {'type': TIFF}}},
    'an href that is none': {'assets': {'a': {'href': None, 'type': TIFF}}},
    'an href with a NUL': {'assets': {'a': {'href': 'a\0.tif', 'type': TIFF}}},
}


@pytest.mark.parametrize('change', ODD_ITEMS.values(), ids=ODD_ITEMS)
def test_odd_stac_items(tmp_path, change):
    path = tmp_path / 'item.json'
    path.write_text(json.dumps({'type': 'Feature', 'stac_version': '1.0.0', 'id': 'x', **change}))
    with pytest.raises(SceneError, match=r'item\.json: the '):
        find_scenes([str(path)])


@pytest.mark.parametrize('roles', [None, 5, 'data'])
@pytest.mark.parametrize('identifier', [None, 5, ['a']])
def test_stac_items_with_odd_roles_and_identifiers(tmp_path, roles, identifier):
    path = tmp_path / 'item.json'
    assets = {'a': {'href': 'file:///data/a%20b.tif', 'type': TIFF, 'roles': roles}}
    data = {'type': 'Feature', 'stac_version': '1.0.0', 'id': identifier, 'assets': assets}
    path.write_text(json.dumps(data))
    assert find_scenes([str(path)]) == [SceneToPredict('/data/a b.tif')]


def test_json_of_a_hundred_thousand_brackets(tmp_path):
    (tmp_path / 'item.json').write_text('[' * 100_000)
    # Opening it says that it is no raster.
    assert sources(str(tmp_path / 'item.json')) == [str(tmp_path / 'item.json')]


def test_each_scene_is_in_one_shard_whatever_the_list():
    scenes = [SceneToPredict(f'{n}.tif') for n in range(200)]
    shards = [shard(scenes, f'{n}/3') for n in range(3)]
    assert sorted(scene.source for part in shards for scene in part) == sorted(
        scene.source for scene in scenes
    )
    assert min(map(len, shards)) > 50
    # Of a list in another order that has grown since, the old ones stay where they were.
    grown = [SceneToPredict('new.tif'), *reversed(scenes)]
    for n, part in enumerate(shards):
        assert [item for item in shard(grown, f'{n}/3')[::-1] if item in scenes] == part


@pytest.mark.parametrize('part', ['3/3', '1', '-1/3', 'a/b', '/', '0/0', '1/3/4'])
def test_shard_that_is_none(part):
    with pytest.raises(ConfigError, match='from 0 to N - 1'):
        shard([SceneToPredict('a.tif')], part)
