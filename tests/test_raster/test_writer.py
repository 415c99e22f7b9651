import os
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy

from geo_mm.errors import OutputError
from geo_mm.labels import read_onto
from geo_mm.raster import (
    Grid,
    RasterMetadata,
    RasterWriter,
    Scene,
    Window,
    tile_plan,
)
from tests.data.rasters import TRANSFORM, noise

CRS = rasterio.crs.CRS.from_epsg(32617)


def grid(height=70, width=90):
    return Grid(TRANSFORM, width, height, CRS)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32', 'float64'])
@pytest.mark.parametrize('bands', [1, 3, 5])
def test_tiles_come_back_in_place(tmp_path, dtype, bands):
    array = noise((bands, 70, 90), dtype)
    with RasterWriter(tmp_path / 'a.tif', grid(), bands, dtype) as writer:
        for tile in tile_plan(90, 70, 32, 6):
            writer.write(array[(slice(None), *tile.core.slices())], tile.core)
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert (dataset.crs, dataset.transform) == (CRS, TRANSFORM)
        assert rasterio.enums.ColorInterp.alpha not in dataset.colorinterp


def test_what_hangs_over_is_left_out(tmp_path):
    array = noise((70, 90))
    with RasterWriter(tmp_path / 'a.tif', grid(50, 60), 1, 'uint8') as writer:
        writer.write(array, Window(-10, -5, 90, 70))
        writer.write(array, Window(60, 0, 90, 70))
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        np.testing.assert_array_equal(dataset.read(1), array[5:55, 10:70])


def test_windows_never_written_are_nodata(tmp_path):
    with RasterWriter(tmp_path / 'a.tif', grid(), 1, 'uint8', nodata=255) as writer:
        writer.write(np.ones((20, 30), 'uint8'), Window(5, 5, 30, 20))
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        assert dataset.nodata == 255
        assert (dataset.read(1) == 1).sum() == 600 and (dataset.read(1) == 255).sum() == 5700


def test_class_raster_carries_names_and_colours(tmp_path):
    path = tmp_path / 'classes.tif'
    with RasterWriter(
        path,
        grid(),
        1,
        'uint8',
        nodata=255,
        metadata=RasterMetadata(
            colors={0: (0, 0, 0), 2: (200, 30, 40)},
            class_names={0: 'background', 2: 'road & rail'},
            band_names=['class'],
            tags={'model': 'unet', 'classes': 2},
        ),
    ) as writer:
        writer.write(np.full((70, 90), 2, 'uint8'))
    with rasterio.open(path) as dataset:
        assert dataset.colormap(1)[2] == (200, 30, 40, 255)
        assert dataset.descriptions == ('class',)
        assert (dataset.tags()['model'], dataset.tags()['classes']) == ('unet', '2')
        assert dataset.colorinterp == (rasterio.enums.ColorInterp.palette,)
    root = ElementTree.parse(f'{path}.aux.xml').getroot()
    names = [item.text or '' for item in root.iter('Category')]
    assert names == ['background', '', 'road & rail']
    rows = [[cell.text for cell in row] for row in root.iter('Row')]
    assert rows[1][:3] == ['2', 'road & rail', '6300']
    assert rows[1][-4:] == ['200', '30', '40', '255']


def test_gdal_reads_the_category_names(tmp_path):
    """A VRT copy of the band repeats what GDAL understood of the sidecar file."""
    path = tmp_path / 'classes.tif'
    with RasterWriter(
        path, grid(), 1, 'uint8', metadata=RasterMetadata(class_names={0: 'other', 1: 'tree'})
    ) as writer:
        writer.write(np.zeros((70, 90), 'uint8'))
    copy(path, tmp_path / 'copy.vrt', driver='VRT')
    root = ElementTree.parse(tmp_path / 'copy.vrt').getroot()
    assert [item.text for item in root.iter('Category')] == ['other', 'tree']


@pytest.mark.parametrize('classes', [True, False])
def test_overviews(tmp_path, classes):
    array = np.zeros((600, 1030), 'uint8')
    array[:, 1::2] = 100
    names = {0: 'a', 100: 'b'} if classes else {}
    with RasterWriter(
        tmp_path / 'a.tif', grid(600, 1030), 1, 'uint8', metadata=RasterMetadata(class_names=names)
    ) as writer:
        writer.write(array)
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        assert dataset.overviews(1) == [2, 4]
    with rasterio.open(tmp_path / 'a.tif', overview_level=0) as overview:
        assert overview.shape == (300, 515)
        assert set(np.unique(overview.read())) <= ({0, 100} if classes else {50})


def test_small_rasters_have_small_blocks_and_no_overviews(tmp_path):
    with RasterWriter(tmp_path / 'a.tif', grid(9, 13), 1, 'uint8') as writer:
        writer.write(np.ones((9, 13), 'uint8'))
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        assert dataset.block_shapes == [(128, 128)] and not dataset.overviews(1)


def test_large_rasters_are_tiled_and_compressed(tmp_path):
    with RasterWriter(tmp_path / 'a.tif', grid(700, 900), 1, 'float32') as writer:
        writer.write(np.ones((700, 900), 'float32'))
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.value == 'DEFLATE'
        assert dataset.tags(ns='IMAGE_STRUCTURE')['PREDICTOR'] == '3'


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    with RasterWriter(tmp_path / 'a.tif', grid(), 1, 'uint8') as writer:
        writer.write(np.full((70, 90), 7, 'uint8'))
    with (
        pytest.raises(RuntimeError, match='model failed'),
        RasterWriter(
            tmp_path / 'a.tif', grid(), 1, 'uint8', metadata=RasterMetadata(class_names={0: 'x'})
        ) as writer,
    ):
        writer.write(np.zeros((70, 90), 'uint8'))
        raise RuntimeError('model failed')
    assert os.listdir(tmp_path) == ['a.tif']
    with rasterio.open(tmp_path / 'a.tif') as dataset:
        assert (dataset.read() == 7).all()


def test_the_bytes_do_not_depend_on_the_windows(tmp_path):
    array = noise((700, 900))
    files = []
    for tile in (32, 512):
        files.append(tmp_path / f'{tile}.tif')
        with RasterWriter(
            files[-1], grid(700, 900), 1, 'uint8', metadata=RasterMetadata(class_names={0: 'x'})
        ) as writer:
            for part in tile_plan(900, 700, tile, 6)[::-1]:
                writer.write(array[part.core.slices()], part.core)
    first, second = (path.read_bytes() for path in files)
    assert first == second


def test_the_name_appears_when_complete(tmp_path):
    with RasterWriter(tmp_path / 'new' / 'a.tif', grid(), 1, 'uint8') as writer:
        writer.write(np.zeros((70, 90), 'uint8'))
        assert not (tmp_path / 'new' / 'a.tif').exists()
    assert os.listdir(tmp_path / 'new') == ['a.tif']


def test_an_outdated_class_table_goes(tmp_path):
    path = tmp_path / 'a.tif'
    for names in ({0: 'x'}, {}):
        with RasterWriter(
            path, grid(), 1, 'uint8', metadata=RasterMetadata(class_names=names)
        ) as writer:
            writer.write(np.zeros((70, 90), 'uint8'))
        assert (tmp_path / 'a.tif.aux.xml').exists() == bool(names)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with (
        pytest.raises(OutputError, match='cannot be written'),
        RasterWriter(tmp_path / 'file' / 'a.tif', grid(), 1, 'uint8'),
    ):
        pass


@pytest.mark.parametrize('size', [60, 400, 3000])
def test_a_full_disk(tmp_path, size):
    """A limit on the size of files fails writes as a full disk does, at any moment."""
    resource = pytest.importorskip('resource')
    tile, limits = noise((size, size)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * size // 3, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match='cannot be written'),
            RasterWriter(tmp_path / 'a.tif', grid(size, size), 1, 'uint8') as writer,
        ):
            writer.write(tile)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ('array', 'window'),
    [
        (np.zeros((2, 5, 5), 'uint8'), Window(0, 0, 5, 5)),
        (np.zeros((5, 6), 'uint8'), Window(0, 0, 5, 5)),
        (np.zeros((5, 5), 'int64'), Window(0, 0, 5, 5)),
        (np.zeros((5, 5), 'float32'), Window(0, 0, 5, 5)),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, window):
    with (
        pytest.raises(OutputError, match='expected'),
        RasterWriter(tmp_path / 'a.tif', grid(), 1, 'uint8') as writer,
    ):
        writer.write(array, window)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    'arguments',
    [
        {'path': 'a.png'},
        {'metadata': RasterMetadata(band_names=['a', 'b'])},
        {'metadata': RasterMetadata(class_names={0: 'a'}), 'dtype': 'float32'},
        {'metadata': RasterMetadata(class_names={0: 'a'}), 'count': 2},
    ],
)
def test_arguments_that_contradict(tmp_path, arguments):
    values = {'path': 'a.tif', 'grid': grid(), 'count': 1, 'dtype': 'uint8', **arguments}
    values['path'] = tmp_path / values['path']
    with pytest.raises(OutputError):
        RasterWriter(**values)


def test_the_attribute_table_counts_pixels_and_measures_areas(tmp_path):
    classes = np.zeros((200, 90), 'uint8')
    classes[:30] = 1
    names = {0: 'other', 1: 'árbol', 7: 'none'}
    colors = {0: (0, 0, 0), 1: (1, 200, 3), 7: (9, 9, 9)}
    path = tmp_path / 'a.tif'
    with RasterWriter(path, grid(200), 1, 'uint8', 255, RasterMetadata(colors, names)) as writer:
        writer.write(classes)
    table = pyogrio.read_dataframe(f'{path}.vat.dbf', read_geometry=False)
    assert table['Value'].tolist() == [0, 1, 7] and table['Class'].tolist() == list(names.values())
    assert table['Count'].tolist() == [170 * 90, 30 * 90, 0]
    # 0.5 m pixels at the central meridian of UTM, whose scale is 0.9996.
    np.testing.assert_allclose(table['Area_m2'], table['Count'] / 4 / 0.9996**2, rtol=1e-4)
    assert table['Green'].tolist() == [0, 200, 9]
    root = ElementTree.parse(f'{path}.aux.xml').getroot()
    fields = [field.findtext('Name') for field in root.iter('FieldDefn')]
    assert fields == table.columns.tolist()
    assert sorted(os.listdir(tmp_path)) == [
        'a.tif', 'a.tif.aux.xml', 'a.tif.vat.cpg', 'a.tif.vat.dbf'
    ]  # fmt: skip


def test_a_picture_gets_no_geotransform_and_no_areas(tmp_path):
    """QGIS draws an identity matrix upside down."""
    path = tmp_path / 'a.tif'
    flat = Grid(Affine.identity(), 90, 70)
    with RasterWriter(
        path, flat, 1, 'uint8', metadata=RasterMetadata(class_names={0: 'a'})
    ) as writer:
        writer.write(np.zeros((70, 90), 'uint8'))
    copy(path, tmp_path / 'copy.vrt', driver='VRT')
    assert '<GeoTransform>' not in (tmp_path / 'copy.vrt').read_text()
    assert 'Area_m2' not in pyogrio.read_info(f'{path}.vat.dbf')['fields'].tolist()


def test_a_part_of_a_picture_lies_on_it_as_gis_programs_draw_it(tmp_path):
    """They draw the picture downwards from y = 0."""
    path = tmp_path / 'a.tif'
    part = Grid(Affine.identity(), 90, 70).crop(Window(20, 10, 30, 40))
    with RasterWriter(path, part, 1, 'uint8') as writer:
        writer.write(np.arange(1200, dtype='uint8').reshape(40, 30))
    with rasterio.open(path) as dataset:
        assert dataset.bounds == (20, -50, 50, -10)
    assert Scene.open(path).grid == part
    whole = Grid(Affine.identity(), 90, 70)
    there = read_onto(path, whole, Window(20, 10, 2, 2), fill=255)
    assert there.tolist() == [[0, 1], [30, 31]]


def test_pixels_are_scaled_for_programs_that_know_how(tmp_path):
    path = tmp_path / 'a.tif'
    with RasterWriter(
        path, grid(), 2, 'uint8', 255, metadata=RasterMetadata(scale=0.004)
    ) as writer:
        writer.write(np.full((2, 70, 90), 250, 'uint8'))
    with rasterio.open(path) as dataset:
        assert dataset.scales == (0.004, 0.004) and dataset.offsets == (0, 0)
