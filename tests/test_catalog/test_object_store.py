"""Scenes, their labels and tables in an object store."""

import json

import numpy as np
import pytest
from shapely.geometry import box as polygon

from geo_mm.catalog import read_catalog, write_catalog
from geo_mm.catalog.inventory import describe_scenes, find_entries
from geo_mm.cli import main
from geo_mm.errors import CatalogError
from geo_mm.inference.scene_lists import find_scenes
from geo_mm.stores import folder_path, upload, url
from tests.data.chips import build_dataset
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster
from tests.data.s3 import bucket, served


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('town')
    for name in 'ab':
        write_raster(folder / f'{name}.tif', noise((3, 96, 96)))
    write_labels(
        folder / 'roofs.gpkg', [box(10, 10, 40, 40), box(50, 50, 60, 90)], ['building'] * 2
    )
    return folder


@pytest.fixture(scope='module')
def town(files):
    with served():
        folder = bucket()
        upload(sorted(files.iterdir()), folder / 'in')
        yield url(folder)


def images(entries):
    return [entry.image for entry in entries]


@pytest.mark.parametrize('suffix', ['.csv', '.gpkg', '.geojson', '.parquet'])
def test_a_table_names_what_is_beside_it(town, files, tmp_path, suffix):
    entries = read_catalog([{'image': str(files / '*.tif'), 'labels': str(files / 'roofs.gpkg')}])
    table = files / f'scenes{suffix}'
    write_catalog(entries, [polygon(0, 0, 1, 1)] * 2, table)
    upload([table], folder_path(town) / 'in')
    table.unlink()
    found = read_catalog(f'{town}/in/scenes{suffix}')
    assert images(found) == [f'{town}/in/a.tif', f'{town}/in/b.tif']
    assert {entry.labels for entry in found} == {f'{town}/in/roofs.gpkg'}
    assert [scene.source for scene in find_scenes([f'{town}/in/scenes{suffix}'])] == images(found)
    assert images(read_catalog(f'in/scenes{suffix}', root=town)) == images(found)


def test_patterns(town):
    expected = [f'{town}/in/a.tif', f'{town}/in/b.tif']
    entries = read_catalog([{'image': f'{town}/in/*.tif', 'labels': f'{town}/in/{{stem}}.gpkg'}])
    assert images(entries) == expected
    assert entries[0].labels == f'{town}/in/a.gpkg'
    assert images(read_catalog([{'image': 'in/*.tif'}], root=town)) == expected
    assert [scene.source for scene in find_scenes([f'{town}/in/*.tif'])] == expected
    assert images(find_entries([f'{town}/in'])) == expected
    assert find_entries([f'{town}/{{band}}/a.tif'])[0].image == (f'{town}/in/a.tif',)
    with pytest.raises(CatalogError, match=r'no file matches s3://.*/\*\.png'):
        read_catalog([f'{town}/in/*.png'])


def test_a_stac_item_names_what_is_beside_it(town, tmp_path):
    asset = {'href': './a.tif', 'type': 'image/tiff', 'roles': ['data']}
    item = {'type': 'Feature', 'stac_version': '1.1.0', 'id': 'one', 'assets': {'a': asset}}
    (tmp_path / 'item.json').write_text(json.dumps(item))
    upload([tmp_path / 'item.json'], folder_path(town) / 'in')
    [scene] = find_scenes([f'{town}/in/item.json'])
    assert (scene.source, scene.name) == (f'{town}/in/a.tif', 'one')


def test_missing(town):
    with pytest.raises(CatalogError, match=r'none\.csv: not a readable catalog'):
        read_catalog(f'{town}/none.csv')


def test_what_a_catalog_tells(town):
    [entry], [outline] = describe_scenes(read_catalog([f'{town}/in/a.tif']))
    assert entry.image == f'{town}/in/a.tif'
    assert (entry.columns['width'], entry.columns['height']) == ('96', '96')
    assert outline.is_valid


def test_chips_are_the_same(town, files):
    chips = []
    for folder in (f'{town}/in', str(files)):
        scenes = [dict(image=f'{folder}/a.tif', labels=f'{folder}/roofs.gpkg')]
        dataset = build_dataset('seg', scenes)
        sample = dataset[0]
        chips.append((sample['inputs'].numpy(), sample['data_samples'].gt_sem_seg.data.numpy()))
    for there, here in zip(*chips, strict=True):
        np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize('command', ['statistics', 'doctor'])
def test_label_rasters_and_areas_are_looked_at(town, files, tmp_path, command):
    (tmp_path / 'in').mkdir()
    labels = np.zeros((1, 96, 96), np.uint8)
    labels[:, 10:40, 10:40] = 1
    write_raster(tmp_path / 'in' / 'roofs.tif', labels)
    write_labels(tmp_path / 'in' / 'area.gpkg', [box(0, 0, 80, 96)])
    upload(sorted((tmp_path / 'in').iterdir()), folder_path(town) / 'ground')
    found = []
    for images, ground in ((str(files), str(tmp_path / 'in')), (f'{town}/in', f'{town}/ground')):
        words = [command, f'{images}/a.tif', '--labels', f'{ground}/roofs.tif']
        words += ['--aoi', f'{ground}/area.gpkg', '--json', str(tmp_path / 'found.json')]
        assert main(words) == 0
        text = (tmp_path / 'found.json').read_text()
        found.append(text.replace(f'{images}/', '').replace(f'{ground}/', ''))
    assert 'a.tif' in found[0]
    assert found[0] == found[1]


@pytest.mark.slow
def test_train_from_a_store_and_predict_to_it(town, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ['--images', f'{town}/in/*.tif', '--labels', f'{town}/in/roofs.gpkg']
    assert main(['new', 'unet', *data, '-o', 'roofs.py', '--chip-size', '64']) == 0
    quick = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=1']
    assert main(['train', 'roofs.py', '--work-dir', 'work', '--cfg-options', *quick]) == 0
    [checkpoint] = (tmp_path / 'work').glob('iter_*.pth')
    out = f'{town}/out'
    assert main(['predict', str(checkpoint), f'{town}/in/a.tif', '-o', out]) == 0
    assert f'{out}/a.tif' in capsys.readouterr().out
