import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely

from geo_mm.formats import stac_item, write_stac_item
from geo_mm.formats.file_records import file_sha256
from geo_mm.raster import Grid, RasterWriter
from tests.data.provenance import CLASSES, provenance
from tests.data.rasters import TRANSFORM

pystac = pytest.importorskip('pystac', reason='pystac judges the item')


def grid(crs='EPSG:32617', transform=TRANSFORM):
    return Grid(transform, 90, 70, crs and rasterio.crs.CRS.from_string(crs))


def result(folder, made, crs='EPSG:32617'):
    """A class raster and a picture of nothing."""
    path = folder / 'town.tif'
    with RasterWriter(
        path,
        grid(crs),
        1,
        'uint8',
        nodata=255,
        colors=dict(enumerate(made.spec.classes.colours)),
        class_names=dict(enumerate(made.spec.classes.names)),
        band_names=['class'],
        tags=made.tags(),
    ) as writer:
        writer.write(np.ones((70, 90), 'uint8'))
    (folder / 'town.png').write_bytes(b'png')
    return [path, folder / 'town.png']


@pytest.fixture
def item(tmp_path):
    made = provenance(tmp_path)
    path = write_stac_item(tmp_path, result(tmp_path, made), made, grid(), 'town')
    assert path.name == 'town.stac.json'
    return pystac.Item.from_file(path)


def test_pystac_finds_the_core_valid(item):
    """Against the schemas of STAC 1.1 that pystac brings along; extensions would
    need the network."""
    pytest.importorskip('jsonschema', reason='pystac validates with it')
    validation = pytest.importorskip('pystac.validation')
    core = item.to_dict()
    core['stac_extensions'] = []
    assert validation.validate_dict(core)


def test_where_and_when(item):
    assert item.datetime.isoformat() == '2026-11-22T06:30:00+00:00'
    assert shapely.geometry.shape(item.geometry).is_valid
    west, south, east, north = item.bbox
    assert (west, north) == pytest.approx((-81, 36.1447), abs=1e-4)
    assert (east - west, north - south) == pytest.approx((45 / 90_000, 35 / 111_000), rel=0.02)
    projection = item.ext.proj
    assert projection.code == 'EPSG:32617'
    assert projection.shape == [70, 90] and projection.transform == list(TRANSFORM)[:6]


def test_files_and_their_checksums(item, tmp_path):
    asset = item.assets['town.tif']
    assert asset.ext.file.size == (tmp_path / 'town.tif').stat().st_size
    assert asset.ext.file.checksum == '1220' + file_sha256(tmp_path / 'town.tif')
    assert asset.media_type == 'image/tiff; application=geotiff; profile=cloud-optimized'
    assert (tmp_path / asset.href).exists()
    assert item.assets['town.png'].roles == ['overview']
    sources = [link.href for link in item.links if link.rel == 'derived_from']
    assert sources == [(tmp_path / 'scene.tif').as_uri()]


def test_bands_and_classes(item):
    asset = item.assets['town.tif']
    (band,) = asset.ext.raster.bands
    assert (band.data_type, band.nodata) == ('uint8', 255)
    classes = asset.extra_fields['classification:classes']
    assert [entry['description'] for entry in classes] == list(CLASSES)
    assert classes[1]['name'] == 'road-rail' and classes[0]['color_hint'] == 'E69F00'


def test_processing(item, tmp_path):
    assert item.properties['processing:software']['geo_mm']
    assert item.properties['processing:lineage'].startswith(f'cd {tmp_path} && python tools/')


@pytest.mark.parametrize(
    ('task', 'expected'), [('pixels', 'semantic-segmentation'), ('objects', 'object-detection')]
)
def test_the_model(tmp_path, task, expected):
    made = provenance(tmp_path, task)
    item = pystac.Item.from_dict(stac_item(result(tmp_path, made), made, grid(), 'town'))
    model = item.ext.mlm
    assert (model.mlm_name, model.architecture) == ('unet-s5_town', 'unet-s5')
    assert [str(found) for found in model.tasks] == [expected]
    # pystac takes the list for one object; the extension's schema wants a list.
    scaling = item.properties['mlm:input'][0]['value_scaling']
    assert [(band['mean'], band['stddev']) for band in scaling] == [(100, 10), (200, 20)]
    assert model.input[0].input.shape == [-1, 2, 256, 256]
    assert len(model.output[0].classes) == 3
    weights = item.assets['model']
    assert weights.roles == ['mlm:model', 'mlm:weights']
    assert weights.ext.file.checksum == '1220' + made.checkpoints[0].sha256


def test_a_picture_lies_nowhere(tmp_path):
    made = provenance(tmp_path)
    found = stac_item(result(tmp_path, made, None), made, grid(None), 'town')
    assert found['geometry'] is None and 'bbox' not in found
    assert pystac.Item.from_dict(found).geometry is None


def test_a_crs_without_a_code_is_spelt_out(tmp_path):
    made = provenance(tmp_path)
    local = '+proj=tmerc +lat_0=10 +lon_0=-84 +k=1 +x_0=500000 +ellps=WGS84 +units=m'
    found = stac_item([], made, grid(local), 'town')['properties']
    assert found['proj:code'] is None and found['proj:wkt2'].startswith('PROJCRS')


def test_an_ensemble_has_all_its_models(tmp_path):
    made = provenance(tmp_path)
    made = replace(made, checkpoints=made.checkpoints * 2)
    assets = stac_item([], made, grid(), 'town')['assets']
    assert list(assets) == ['model', 'model-2']


def test_names_are_such_as_the_extension_takes(tmp_path):
    made = provenance(tmp_path, config='/x/42!.py')
    properties = stac_item([], made, grid(), 'town')['properties']
    assert properties['mlm:name'] == 'geo_mm model'
    assert json.dumps(properties)
