"""Catalogs as other programs save them, and damaged ones."""

import geopandas as gpd
import pytest
import shapely

from geo_mm.catalog import CatalogEntry, read_catalog
from geo_mm.catalog.entries import write_catalog
from geo_mm.errors import CatalogError, GeoMMError
from geo_mm.labels.reading import polygon_text

TEXT = 'image,name\nñandú.tif,Ñandú\n'


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'ñandú.tif').touch()
    return tmp_path


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'latin-1', 'cp1252'])
@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_csv_of_any_spreadsheet(root, encoding, delimiter):
    table = root / 'catalog.csv'
    table.write_bytes(TEXT.replace(',', delimiter).replace('\n', '\r\n').encode(encoding))
    [entry] = read_catalog(table)
    assert (entry.image, entry.name) == (str(root / 'ñandú.tif'), 'Ñandú')


@pytest.mark.parametrize(
    'content',
    [
        b'image,name\na.tif,"' + b'x' * 200_000 + b'"\n',  # a field that is too long
        b'image\n"a.tif\n',  # a quote that does not end
        b'\xff\xfeabc',  # half a character
    ],
)
def test_csv_that_cannot_be_read(root, content):
    (root / 'catalog.csv').write_bytes(content)
    with pytest.raises(CatalogError, match=r'catalog\.csv: '):
        read_catalog(root / 'catalog.csv')


@pytest.mark.parametrize('suffix', ['gpkg', 'geojson'])
@pytest.mark.parametrize('part', [0, 100, -200])
def test_a_layer_that_is_cut_off(root, suffix, part):
    table = root / f'catalog.{suffix}'
    frame = gpd.GeoDataFrame({'image': ['ñandú.tif']}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    frame.to_file(table)
    table.write_bytes(table.read_bytes()[:part])
    with pytest.raises(CatalogError, match='not a readable catalog'):
        read_catalog(table)


def test_geoparquet_is_a_map_like_other_layers(root):
    polygon = shapely.box(-81, 28, -80, 29)
    entries = [
        CatalogEntry(str(root / 'ñandú.tif'), aoi=polygon_text(polygon), split='train'),
        CatalogEntry(str(root / 'ñandú.tif'), split='val', columns={'date': '2024-06-01'}),
    ]
    path = write_catalog(entries, [polygon, polygon], root / 'catalog.parquet')
    first, second = read_catalog(path)
    assert (first.image, first.split, first.columns) == (entries[0].image, 'train', {})
    assert first.aoi == polygon_text(shapely.multipolygons([polygon])) and second.aoi is None
    assert (second.split, second.columns) == ('val', {'date': '2024-06-01'})
    assert gpd.read_parquet(path).geometry[0].geom_type == 'MultiPolygon'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GeoMMError, match='GeoParquet'):
        read_catalog(path)


def test_a_home_that_does_not_exist(root):
    (root / 'catalog.csv').write_text('image\n~nobody/x.tif\n')
    with pytest.raises(CatalogError, match='no such file'):
        read_catalog(root / 'catalog.csv')


def test_columns_of_numbers_are_names(root):
    frame = gpd.GeoDataFrame(
        {'image': ['ñandú.tif'], 'name': [2023], 'split': [1.0]},
        geometry=[shapely.box(0, 0, 1, 1)],
        crs=4326,
    )
    frame.to_file(root / 'catalog.gpkg')
    [entry] = read_catalog(root / 'catalog.gpkg')
    assert (entry.name, entry.split) == ('2023', '1')


@pytest.mark.parametrize('scenes', [[5], [dict(image=5)], [dict(image='a', name=5)], [None]])
def test_entries_of_the_wrong_type(scenes):
    with pytest.raises(CatalogError, match='scenes: '):
        read_catalog(scenes)
