"""Catalogs that tell what is in the files: none is opened before it is read."""

import base64
import zlib

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from geo_mm.catalog import Coverage, SceneOptions, open_labelled, read_catalog
from geo_mm.cli import main
from geo_mm.errors import CatalogError, LabelError, SceneError
from geo_mm.labels import LabelOptions
from geo_mm.raster import Scene, Window, handles
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster


@pytest.fixture(autouse=True)
def closed():
    handles.close_all()


@pytest.fixture
def table(tmp_path):
    """A catalog of one scene, half of which has no data, and its labels."""
    image = noise((3, 40, 60))
    image[:, :, 30:] = 0
    write_raster(tmp_path / 'a.tif', image, nodata=0, descriptions=['red', 'nir', 'swir'])
    write_labels(tmp_path / 'a.gpkg', [box(5, 5, 15, 15)])
    command = ['catalog', str(tmp_path / '*.tif'), '--labels', str(tmp_path / '{stem}.gpkg')]
    main([*command, '-o', str(tmp_path / 'catalog.gpkg')])
    return tmp_path / 'catalog.gpkg'


def opened(table, **options):
    [entry] = read_catalog(table)
    return open_labelled(
        entry, ('building',), SceneOptions(**options), LabelOptions(background=None)
    )


def test_a_scene_of_a_table_is_that_of_its_file(table):
    for options in ({}, {'bands': ['nir', 'red']}, {'gsd': 1.0}, {'nodata': 7}):
        told = opened(table, **options).scene
        gsd = {key: value for key, value in options.items() if key == 'gsd'}
        rest = {key: value for key, value in options.items() if key != 'gsd'}
        own = Scene.open(table.with_name('a.tif'), **gsd, **rest)
        assert (told.grid, told.band_names, told.dtype) == (own.grid, own.band_names, own.dtype)
        window = Window(3, 4, 20, 10)
        for found, expected in zip(told.read(window), own.read(window), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_no_file_is_opened_before_it_is_read(table):
    for name in ('a.tif', 'a.gpkg'):
        table.with_name(name).write_bytes(b'not what it was')
    labelled = opened(table)
    assert Coverage(labelled, (8, 8)).share(Window(20, 0, 20, 10)) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(SceneError, match='cannot read'):
        labelled.scene.read()
    with pytest.raises(LabelError):
        _ = labelled.labels


def test_labels_are_those_of_the_file(table):
    [polygon] = opened(table).labels.objects(Window(0, 0, 60, 40)).geometries
    assert polygon.bounds == pytest.approx((5, 5, 15, 15))


@pytest.mark.parametrize(
    ('bands', 'message'),
    [(2, r'names .*, in the table'), (3, r'nodata \(9.0, .*in the table \(0.0')],
)
def test_another_file_than_the_table_describes(table, bands, message):
    names = ['red', 'nir', 'swir'][:bands]
    nodata = 0 if bands == 2 else 9
    write_raster(
        table.with_name('a.tif'), noise((bands, 40, 60)), nodata=nodata, descriptions=names
    )
    with pytest.raises(SceneError, match=message) as error:
        opened(table).scene.read()
    assert str(table) in str(error.value) and 'geo-mm catalog' in str(error.value)


def test_overviews_may_be_added(table):
    with rasterio.open(table.with_name('a.tif'), 'r+') as dataset:
        dataset.build_overviews([2], Resampling.average)
    assert opened(table).scene.read()[0].shape == (3, 40, 60)


def test_a_damaged_column(table):
    [entry] = read_catalog(table)
    entry.columns['header'] = '[{"crs":'
    with pytest.raises(CatalogError, match=r'catalog\.gpkg: a has columns .* cannot be read'):
        open_labelled(entry, ('a',), SceneOptions(), LabelOptions())


def test_an_area_of_a_scene_whose_valid_part_is_known(table):
    [entry] = read_catalog(table)
    for area, share in (((0, 0, 0.5, 1), 1.0), ((0.5, 0, 1, 1), 0.0)):
        part = open_labelled(
            type(entry)(entry.image, area=area, columns=entry.columns, table=entry.table),
            ('a',), SceneOptions(), LabelOptions(),
        )  # fmt: skip
        assert Coverage(part, (8, 8)).valid.mean() == share


@pytest.mark.parametrize('size', ['1000000x1000000', '0x0', '256x256'])
def test_a_map_of_another_size_than_it_says_is_refused(table, size):
    """A table of a stranger takes no memory for what it claims."""
    [entry] = read_catalog(table)
    entry.columns['valid'] = f'{size}:{base64.b64encode(zlib.compress(bytes(10))).decode()}'
    with pytest.raises(CatalogError, match='cannot be read'):
        open_labelled(entry, ('a',), SceneOptions(), LabelOptions())
