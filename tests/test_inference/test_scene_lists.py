import json
from pathlib import Path

import pytest

from geo_mm.errors import SceneError
from geo_mm.inference.scene_lists import SceneToPredict, find_scenes


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
    assert scene == SceneToPredict(str(tmp_path / 'two.tif'), 'second', str(tmp_path / 'aoi.gpkg'))


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
