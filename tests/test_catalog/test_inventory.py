import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from geo_mm.catalog import read_catalog
from geo_mm.catalog.inventory import describe_scenes, find_entries
from geo_mm.cli import main
from geo_mm.errors import CatalogError
from tests.data.rasters import UTM_17N, noise, write_raster

ROOT = Path(__file__).parents[2]


def write_image(path, bands=1, **options):
    path.parent.mkdir(exist_ok=True)
    return write_raster(path, noise((bands, 20, 30)), **options)


def test_a_folder_with_masks_beside_the_images(tmp_path):
    for name in 'ab':
        write_image(tmp_path / f'{name}.tif')
        write_image(tmp_path / f'{name}_mask.png', driver='PNG', transform=None, crs=None)
    entries = find_entries([str(tmp_path)], labels=f'{tmp_path}/{{stem}}_mask.png')
    assert [(e.name, e.labels) for e in entries] == [
        (name, str(tmp_path / f'{name}_mask.png')) for name in 'ab'
    ]


def test_a_file_for_each_band(tmp_path):
    for scene in ('T1_2024', 'T2_2024'):
        for band in ('B02', 'B03'):
            write_image(tmp_path / f'{scene}_{band}.tif')
    pattern = str(tmp_path / '*_{band}.tif')
    first, second = find_entries([pattern], bands=['B03', 'B02'])
    assert first.image == tuple(str(tmp_path / f'T1_2024_{b}.tif') for b in ('B03', 'B02'))
    assert second.name == 'T2_2024_B03'
    (tmp_path / 'T2_2024_B02.tif').unlink()
    with pytest.raises(CatalogError, match=r'T2_2024_B03\.tif: there is no file for B02'):
        find_entries([pattern])


def test_roles_and_labels_follow_the_image(tmp_path):
    write_image(tmp_path / 's2' / 'a.tif')
    write_image(tmp_path / 's1' / 'a.tif')
    write_image(tmp_path / 'masks' / 'a.tif')
    [entry] = find_entries(
        [str(tmp_path / 's2' / '*.tif')],
        labels=str(tmp_path / 'masks' / '*.tif'),
        roles={'s1': str(tmp_path / 's1' / '*.tif')},
    )
    assert entry.image == {
        'image': (str(tmp_path / 's2' / 'a.tif'),),
        's1': (str(tmp_path / 's1' / 'a.tif'),),
    }
    assert entry.labels == str(tmp_path / 'masks' / 'a.tif')


def test_items_of_a_collection(tmp_path):
    def item(name):
        write_image(tmp_path / f'{name}.tif')
        assets = {
            'visual': {'href': f'./{name}.tif', 'type': 'image/tiff', 'roles': ['data']},
            'roofs': {'href': f'./{name}.gpkg', 'roles': ['labels']},
        }
        return {
            'type': 'Feature', 'stac_version': '1.0.0', 'id': name, 'assets': assets,
            'properties': {'datetime': '2024-06-01T10:20:30Z'},
        }  # fmt: skip

    collection = {'type': 'FeatureCollection', 'features': [item('a'), item('b')]}
    (tmp_path / 'items.json').write_text(json.dumps(collection))
    entries = find_entries([str(tmp_path / 'items.json')])
    assert [(e.image, e.labels, e.name) for e in entries] == [
        (str(tmp_path / f'{n}.tif'), str(tmp_path / f'{n}.gpkg'), n) for n in 'ab'
    ]
    assert describe_scenes(entries)[0][0].columns['date'] == '2024-06-01T10:20:30Z'


def test_items_of_stac_geoparquet(tmp_path):
    items = shutil.copy(ROOT / 'tests/data/stac/items.parquet', tmp_path)
    for name in 'ab':
        for band in ('red', 'nir'):
            write_image(tmp_path / f'{name}_{band}.tif')
    (tmp_path / 'roofs.gpkg').touch()
    entries = find_entries([items], bands=['nir', 'red'], labels=str(tmp_path / 'roofs.gpkg'))
    assert [(e.image, e.labels, e.name) for e in entries] == [
        ((str(tmp_path / f'{n}_nir.tif'), str(tmp_path / f'{n}_red.tif')), labels, n)
        for n, labels in (('a', str(tmp_path / 'a.gpkg')), ('b', str(tmp_path / 'roofs.gpkg')))
    ]
    assert entries[0].columns == {'date': '2024-06-01T10:20:30Z'}
    [entry, _] = find_entries([items])
    assert len(entry.image) == 2  # without the thumbnail
    with pytest.raises(CatalogError, match='has the columns'):
        read_catalog(items)


def test_what_a_table_says_of_a_scene(tmp_path, capsys):
    image = np.ones((2, 20, 30), 'uint16')
    image[:, :, 15:] = 0
    write_raster(
        tmp_path / 'S2_20240601.tif', image, nodata=0, descriptions=['red', 'nir'],
        tiled=True, blockxsize=16, blockysize=16,
    )  # fmt: skip
    path = tmp_path / 'catalog.gpkg'
    main(['catalog', str(tmp_path), '-o', str(path)])
    assert '1 scene, 0 of them with labels' in capsys.readouterr().out
    [entry] = read_catalog(path)
    shown = {key: v for key, v in entry.columns.items() if key not in ('header', 'valid')}
    assert shown == {
        'date': '2024-06-01', 'crs': UTM_17N, 'gsd': '0.5002', 'width': '30', 'height': '20',
        'bands': 'red nir', 'dtype': 'uint16', 'nodata': '0', 'block': '16x16',
    }  # fmt: skip
    [outline] = gpd.read_file(path, layer='catalog').to_crs(UTM_17N).geometry
    assert outline.area == pytest.approx(7.5 * 10, rel=1e-3)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(CatalogError, match='no images'):
        find_entries([str(tmp_path)])
