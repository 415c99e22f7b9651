import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.shutil import copy

from geo_mm.errors import OutputError
from geo_mm.raster import Grid, RasterMetadata, RasterWriter, write_cog
from tests.data.rasters import TRANSFORM, noise, write_raster

PALETTE = {0: (0, 0, 0, 255), 1: (230, 159, 0, 255), 2: (0, 114, 178, 255)}


def classes(height=1100, width=700):
    coarse = np.random.default_rng(1).integers(0, 3, (height // 50 + 1, width // 50 + 1))
    return coarse.repeat(50, 0).repeat(50, 1)[:height, :width].astype('uint8')


def class_raster(path, array, **options):
    grid = Grid(TRANSFORM, array.shape[1], array.shape[0], rasterio.crs.CRS.from_epsg(32617))
    names = {0: 'other', 1: 'road', 2: 'water'}
    with RasterWriter(
        path,
        grid,
        1,
        'uint8',
        nodata=255,
        metadata=RasterMetadata(
            colors=PALETTE,
            class_names=names,
            band_names=['class'],
            tags={'GEO_MM_PROVENANCE': '{"a": "ü"}'},
        ),
        **options,
    ) as writer:
        writer.write(array)
    return path


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [((1, 1), 'uint8'), ((1100, 700), 'uint8'), ((5, 1100, 700), 'uint8'), ((4, 700, 33), 'f4')],
)
def test_rio_cogeo_finds_nothing_to_blame(tmp_path, shape, dtype):
    cogeo = pytest.importorskip('rio_cogeo.cogeo', reason='rio-cogeo judges the layout')
    path = write_raster(tmp_path / 'in.tif', noise(shape, dtype))
    out = write_cog(path, tmp_path / 'out.tif', classes=False)
    assert cogeo.cog_validate(out, strict=True) == (True, [], [])
    with rasterio.open(path) as before, rasterio.open(out) as after:
        np.testing.assert_array_equal(after.read(), before.read())
        assert after.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
        assert ColorInterp.alpha not in after.colorinterp


def test_a_class_raster_is_one_too_with_all_it_carries(tmp_path):
    cogeo = pytest.importorskip('rio_cogeo.cogeo', reason='rio-cogeo judges the layout')
    array = classes()
    path = class_raster(tmp_path / 'out.tif', array)
    assert cogeo.cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), array)
        assert (dataset.nodata, dataset.crs.to_epsg()) == (255, 32617)
        assert dataset.transform == TRANSFORM
        assert dataset.descriptions == ('class',)
        assert dataset.tags()['GEO_MM_PROVENANCE'] == '{"a": "ü"}'
        assert {key: dataset.colormap(1)[key] for key in PALETTE} == PALETTE
        assert dataset.colorinterp == (ColorInterp.palette,)
    assert sorted(os.listdir(tmp_path)) == [
        'out.tif',
        'out.tif.aux.xml',
        'out.tif.vat.cpg',
        'out.tif.vat.dbf',
    ]
    # A VRT copy repeats what GDAL understood of the file and its sidecar.
    copy(path, tmp_path / 'copy.vrt', driver='VRT')
    root = ElementTree.parse(tmp_path / 'copy.vrt').getroot()
    assert [item.text for item in root.iter('Category')] == ['other', 'road', 'water']
    rows = [[cell.text for cell in row] for row in root.iter('Row')]
    assert rows[2][:2] + rows[2][-4:] == ['2', 'water', '0', '114', '178', '255']


@pytest.mark.parametrize(('by_class', 'expected'), [(True, {0, 2}), (False, {1})])
def test_overviews_of_classes_hold_classes_and_others_averages(tmp_path, by_class, expected):
    array = np.zeros((600, 600), 'uint8')
    array[:, 1::2] = 2
    source = write_raster(tmp_path / 'in.tif', array)
    path = write_cog(source, tmp_path / 'out.tif', classes=by_class)
    with rasterio.open(path, overview_level=0) as overview:
        assert overview.shape == (300, 300)
        assert set(np.unique(overview.read())) <= expected


def test_averages_leave_nodata_out(tmp_path):
    array = np.full((600, 600), np.nan, 'float32')
    array[:, 1::2] = 0.5
    source = write_raster(tmp_path / 'in.tif', array, nodata=float('nan'))
    path = write_cog(source, tmp_path / 'out.tif', classes=False)
    with rasterio.open(path, overview_level=0) as overview:
        assert (overview.read() == 0.5).all()


def test_the_same_source_gives_the_same_bytes_in_another_process(tmp_path):
    source = write_raster(tmp_path / 'in.tif', noise((3, 600, 700)))
    first = write_cog(source, tmp_path / 'a.tif', classes=False).read_bytes()
    code = (
        'import sys; from geo_mm.raster import write_cog; write_cog(*sys.argv[1:], classes=False)'
    )
    environment = {**os.environ, 'GDAL_NUM_THREADS': '2', 'GDAL_CACHEMAX': '5'}
    second = tmp_path / 'b.tif'
    subprocess.run([sys.executable, '-c', code, source, second], env=environment, check=True)
    assert second.read_bytes() == first


def test_an_outdated_table_of_classes_goes(tmp_path):
    path = class_raster(tmp_path / 'out.tif', classes(60, 50))
    source = write_raster(tmp_path / 'in.tif', noise((60, 50)))
    write_cog(source, path, classes=False)
    assert sorted(os.listdir(tmp_path)) == ['in.tif', 'out.tif']


def test_a_picture_without_a_place_on_earth(tmp_path):
    source = write_raster(tmp_path / 'in.png', noise((60, 50)), None, None, driver='PNG')
    with rasterio.open(write_cog(source, tmp_path / 'out.tif', classes=False)) as dataset:
        assert dataset.crs is None and dataset.shape == (60, 50)


@pytest.mark.parametrize('wrong', ['source', 'folder'])
def test_what_cannot_be_written_leaves_nothing(tmp_path, wrong):
    source = write_raster(tmp_path / 'in.tif', noise((60, 50)))
    source, path = {
        'source': (tmp_path / 'none.tif', tmp_path / 'out.tif'),
        'folder': (source, tmp_path / 'none' / 'out.tif'),
    }[wrong]
    with pytest.raises(OutputError, match=r'out\.tif: cannot be written'):
        write_cog(source, path, classes=False)
    assert os.listdir(tmp_path) == ['in.tif']


def test_a_full_disk_leaves_the_earlier_file(tmp_path):
    resource = pytest.importorskip('resource')
    source = write_raster(tmp_path / 'in.tif', noise((900, 900)))
    path = write_raster(tmp_path / 'out.tif', np.full((5, 6), 7, 'uint8'))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OutputError, match='cannot be written'):
            write_cog(source, path, classes=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == ['in.tif', 'out.tif']
    with rasterio.open(path) as dataset:
        assert (dataset.read() == 7).all()


def test_the_bytes_do_not_depend_on_the_threads(tmp_path, monkeypatch):
    source = class_raster(tmp_path / 'source.tif', classes(2100, 1700))
    written = []
    for threads_from in (0, 1000):
        monkeypatch.setattr('geo_mm.raster.writer._FEW_BLOCKS', threads_from)
        path = write_cog(source, tmp_path / f'{threads_from}.tif', classes=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]
