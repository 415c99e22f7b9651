import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from geo_mm.formats import stac_item, write_stac_item
from geo_mm.paths import file_sha256
from geo_mm.raster import Grid, RasterMetadata, RasterWriter
from tests.data.provenance import CLASSES, provenance
from tests.data.rasters import TRANSFORM

pystac = pytest.importorskip('pystac', reason='pystac makes the items')

SCHEMAS = Path(__file__).parents[1] / 'data' / 'stac'
MODEL = {'architecture': 'UNet', 'parameters': 31_000, 'masks': True, 'pretrained': None}


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
        metadata=RasterMetadata(
            colors=dict(enumerate(made.spec.classes.colours)),
            class_names=dict(enumerate(made.spec.classes.names)),
            band_names=['class'],
            tags=made.tags(),
        ),
    ) as writer:
        writer.write(np.ones((70, 90), 'uint8'))
    (folder / 'town.png').write_bytes(b'png')
    return [path, folder / 'town.png']


@pytest.fixture
def item(tmp_path):
    made = provenance(tmp_path)
    path = write_stac_item(tmp_path, result(tmp_path, made), made, grid(), 'town', home=tmp_path)
    assert path.name == 'town.stac.json'
    return pystac.Item.from_file(path)


def validate(item):
    """Against the core's schemas, which pystac brings along, and the extensions', which
    are in ``tests/data/stac``."""
    pytest.importorskip('jsonschema', reason='pystac validates with it')
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()
    for path in SCHEMAS.glob('*.json'):
        name, version = path.stem.rsplit('-', 1)
        address = f'https://stac-extensions.github.io/{name}/{version}/schema.json'
        validator.schema_cache[address] = json.loads(path.read_text())
    # Only of proj:projjson, which is not used; the core's come with pystac.
    validator.schema_cache['https://proj.org/schemas/v0.7/projjson.schema.json'] = {
        '$schema': 'http://json-schema.org/draft-07/schema#'
    }
    validator.validate_core(item, pystac.STACObjectType.ITEM, '1.1.0')
    for address in item['stac_extensions']:
        validator.validate_extension(item, pystac.STACObjectType.ITEM, '1.1.0', address)


@pytest.mark.parametrize('task', ['pixels', 'objects'])
@pytest.mark.parametrize('crs', ['EPSG:32617', None])
def test_items_are_valid_by_all_schemas(tmp_path, task, crs):
    made = provenance(tmp_path, task, model=MODEL)
    files = result(tmp_path, made, crs)
    if task == 'objects':
        files = files[1:]  # no raster
    path = write_stac_item(tmp_path, files, made, grid(crs), 'town')
    validate(json.loads(path.read_text()))


def test_a_wrong_item_is_not_valid(item):
    wrong = item.to_dict()
    wrong['properties']['mlm:tasks'] = ['mapping']
    with pytest.raises(pystac.errors.STACValidationError, match='mlm'):
        validate(wrong)


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
    assert sources == ['scene.tif']


def test_bands_and_classes(item):
    asset = item.assets['town.tif']
    (band,) = asset.extra_fields['bands']
    assert (band['name'], band['data_type'], band['nodata']) == ('class', 'uint8', 255)
    classes = asset.extra_fields['classification:classes']
    assert [entry['title'] for entry in classes] == list(CLASSES)
    assert classes[1]['name'] == 'road-rail' and classes[0]['color_hint'] == 'E69F00'


def test_scaled_bands(tmp_path):
    made, path = provenance(tmp_path), tmp_path / 'town_confidence.tif'
    with RasterWriter(
        path, grid(), 1, 'uint8', 255, metadata=RasterMetadata(scale=0.004)
    ) as writer:
        writer.write(np.ones((70, 90), 'uint8'))
    asset = stac_item([path], made, grid(), 'town').assets[path.name]
    assert asset.title == 'Confidence'
    (band,) = asset.extra_fields['bands']
    assert (band['raster:scale'], band['raster:offset']) == (0.004, 0)


def test_processing(item, tmp_path):
    assert item.properties['processing:software']['geo_mm']
    assert item.properties['processing:lineage'].startswith(f'cd {tmp_path} && python tools/')


@pytest.mark.parametrize(
    ('task', 'masks', 'expected'),
    [
        ('pixels', False, 'semantic-segmentation'),
        ('objects', False, 'object-detection'),
        ('objects', True, 'instance-segmentation'),
    ],
)
def test_the_model(tmp_path, task, masks, expected):
    made = provenance(tmp_path, task, model={**MODEL, 'masks': masks})
    item = stac_item(result(tmp_path, made), made, grid(), 'town')
    found = item.properties
    assert (found['mlm:name'], found['mlm:architecture']) == ('unet-s5_town', 'UNet')
    assert found['mlm:tasks'] == found['mlm:output'][0]['tasks'] == [expected]
    assert found['mlm:framework_version'] == made.versions['torch']
    assert found['mlm:total_parameters'] == 31_000
    assert (found['mlm:pretrained'], found['mlm:pretrained_source']) == (False, None)
    scaling = found['mlm:input'][0]['value_scaling']
    assert [(band['mean'], band['stddev']) for band in scaling] == [(100, 10), (200, 20)]
    assert found['mlm:input'][0]['input']['shape'] == [-1, 2, 256, 256]
    assert len(found['mlm:output'][0]['classification:classes']) == 3
    weights = item.assets['model']
    assert weights.roles == ['mlm:model', 'mlm:weights']
    assert weights.href == (tmp_path / 'model.pth').as_uri()
    assert weights.ext.file.checksum == '1220' + made.checkpoints[0].sha256


def test_a_record_of_an_earlier_version_knows_less_of_the_model(tmp_path):
    made = provenance(tmp_path)
    data = made.to_dict()
    del data['model']
    item = stac_item([], type(made).from_dict(data), grid(), 'town')
    assert item.properties['mlm:architecture'] == 'unknown'
    assert 'mlm:total_parameters' not in item.properties


def test_resolution_and_title(item):
    assert item.properties['gsd'] == pytest.approx(0.5, abs=1e-3)
    assert item.properties['title'] == 'semantic segmentation of town'


def test_a_picture_lies_nowhere(tmp_path):
    made = provenance(tmp_path)
    found = stac_item(result(tmp_path, made, None), made, grid(None), 'town')
    assert found.geometry is None and found.bbox is None and 'gsd' not in found.properties


def test_a_crs_without_a_code_is_spelt_out(tmp_path):
    made = provenance(tmp_path)
    local = '+proj=tmerc +lat_0=10 +lon_0=-84 +k=1 +x_0=500000 +ellps=WGS84 +units=m'
    found = stac_item([], made, grid(local), 'town').properties
    assert found['proj:code'] is None and found['proj:wkt2'].startswith('PROJCRS')


def test_an_ensemble_has_all_its_models(tmp_path):
    made = provenance(tmp_path)
    made = replace(made, checkpoints=made.checkpoints * 2)
    assets = stac_item([], made, grid(), 'town').assets
    assert list(assets) == ['model', 'model-2']


def test_names_are_such_as_the_extension_takes(tmp_path):
    made = provenance(tmp_path, config='/x/42!.py')
    properties = stac_item([], made, grid(), 'town').properties
    assert properties['mlm:name'] == 'geo_mm model'
    assert json.dumps(properties)
