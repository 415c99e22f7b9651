"""Layers as predictions leave them: polygons of classes, formats, STAC items."""

import json
import os
import sys
import zipfile
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize

from geo_mm.errors import OutputError
from geo_mm.formats.provenance import read_provenance
from geo_mm.inference import Predictor
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.polygons import PolygonTables
from geo_mm.paths import file_sha256
from geo_mm.raster import Grid
from tests.data.models import object_files, paint, pixel_files, spec_of
from tests.data.rasters import TRANSFORM, UTM_17N, write_raster

CLASSES = ('background', 'bright', 'green')
SPEC = spec_of('pixels', CLASSES, ('Red', 'NIR'), mean=(127.5, 99.75), std=(10.0, 10.0))
BESIDE = (
    's.qgz',
    's.qlr',
    's.qml',
    's.tif.aux.xml',
    's.tif.vat.cpg',
    's.tif.vat.dbf',
    's_quicklook.pgw',
    's_quicklook.png.aux.xml',
)
FORMATS = ('gpkg', 'geojson', 'parquet', 'fgb')
COLUMNS = ['class', 'class_id', 'pixels', 'area_m2', 'geometry']


def outlined(classes, crs=UTM_17N, transform=TRANSFORM, strip=300, **options):
    grid = Grid(transform, *classes.shape[::-1], crs and rasterio.crs.CRS.from_user_input(crs))
    tables = PolygonTables(grid, SPEC.classes, PredictOptions(polygons=True, **options))
    found = [
        tables.add(classes[n : n + strip].astype('uint8')) for n in range(0, len(classes), strip)
    ]
    found = [table for table in (*found, tables.finish())]
    full = [table for table in found if len(table)] or found[:1]
    return pd.concat(full, ignore_index=True)


def drawn(polygons, shape, transform=TRANSFORM):
    """The class raster that polygons make."""
    pairs = zip(polygons.geometry, polygons['class_id'], strict=True)
    return rasterize(pairs, shape, transform=transform)


@pytest.fixture
def classes():
    """Speckles over more rows than are read at once, an open edge and a hole without data."""
    rng = np.random.default_rng(0)
    classes = rng.choice(3, (1100, 70), p=[0.5, 0.3, 0.2])
    classes[300:900, 20:40], classes[505:520, 25:30] = 1, 255
    return classes


def test_polygons_are_the_raster_without_the_background(classes):
    found = outlined(classes)
    assert found.columns.tolist() == COLUMNS and found.crs == UTM_17N
    assert found.geom_type.unique().tolist() == ['Polygon']
    np.testing.assert_array_equal(drawn(found, classes.shape), np.where(classes > 2, 0, classes))
    np.testing.assert_array_equal(found.area / 0.25, found['pixels'])
    assert found.groupby('class')['pixels'].sum().to_dict() == {
        'bright': (classes == 1).sum(),
        'green': (classes == 2).sum(),
    }


@pytest.mark.parametrize(('crs', 'least'), [(UTM_17N, 5.0), (None, 20.0)])
def test_small_regions_are_left_out_by_area_on_the_ground_or_in_pixels(classes, crs, least):
    everything = outlined(classes, crs)
    found = outlined(classes, crs, min_area=least)
    sizes = everything['area_m2' if crs else 'pixels']
    assert sizes.min() < least <= sizes.max()
    assert found['pixels'].tolist() == everything['pixels'][sizes >= least].tolist()


def test_simplified_neighbours_keep_their_border():
    rows, cols = np.mgrid[:600, :700]
    classes = np.where(cols > 20 + rows, 1, 2)  # the border goes through two strips
    classes[:, :5] = 0
    stairs, found = outlined(classes), outlined(classes, simplify=1.5)
    assert shapely.get_num_coordinates(stairs.geometry).sum() > 2000
    assert shapely.get_num_coordinates(found.geometry).sum() < 20
    one, other = found.geometry
    assert one.intersection(other).area == 0
    assert shapely.union_all([one, other]).area == 600 * 695 / 4
    assert sorted(found['pixels']) == sorted(stairs['pixels'])
    np.testing.assert_allclose(found['area_m2'] / found.area, 1, atol=2e-3)


TURNED = shapely.Polygon([(20, 10), (60, 25), (50, 52), (10, 37)])


@pytest.mark.parametrize('stretch', [1.0, 0.5])
def test_walls_of_the_classes_named_meet_at_right_angles_on_the_ground(stretch):
    """Pixels that are twice as high as wide on the ground, too."""
    transform = TRANSFORM @ Affine.scale(stretch, 1)
    shape = shapely.transform(TURNED, lambda xy: xy / (stretch, 1))
    classes = rasterize([(shape, 1)], (64, int(80 / stretch)))
    classes[:, :3] = 2
    found = outlined(classes, transform=transform, regularise=['bright'], simplify=1.5)
    building = found.geometry[found['class'] == 'bright'].item()
    xy = shapely.get_coordinates(building)
    edges = np.diff(xy, axis=0)
    assert len(edges) == 4
    turns = (edges[:-1] * edges[1:]).sum(axis=1) / np.hypot(*edges[:-1].T) / np.hypot(*edges[1:].T)
    np.testing.assert_allclose(turns, 0, atol=2e-3)  # UTM is as little true to scale
    assert shapely.get_num_coordinates(found.geometry[found['class'] == 'green'].item()) == 5


def test_what_cannot_be_rectangular_is_simplified():
    triangle = shapely.Polygon([(5, 5), (55, 30), (5, 55)])
    classes = rasterize([(triangle, 1)], (60, 60))
    (simple,) = outlined(classes, simplify=1.5).geometry
    (found,) = outlined(classes, simplify=1.5, regularise=['bright']).geometry
    assert found.equals(simple)


def test_no_class_but_the_background_gives_a_valid_layer():
    for outputs in {}, {'simplify': 1.0, 'regularise': ['bright'], 'min_area': 3}:
        found = outlined(np.zeros((30, 40)), **outputs)
        assert found.columns.tolist() == COLUMNS and len(found) == 0 and found.crs == UTM_17N


@pytest.fixture(scope='module')
def pixel_model(tmp_path_factory):
    return pixel_files(tmp_path_factory.mktemp('pixels'), SPEC, [[0, 0], [1, 0], [0, 1]])[1]


@pytest.fixture(scope='module')
def object_model(tmp_path_factory):
    spec = spec_of('objects', ['even', 'odd'], ['id'], dtype='uint16')
    return object_files(tmp_path_factory.mktemp('objects'), spec, with_masks=True)[1]


@pytest.fixture
def scene(tmp_path):
    """Left bright, a green square of 20 x 15 pixels with a hole of one, no data below."""
    image = np.full((2, 90, 120), 1, 'uint8')
    image[0, :, :30], image[1, 20:35, 50:70], image[1, 25, 60], image[:, 80:] = 200, 200, 1, 0
    (tmp_path / 'in').mkdir()
    return write_raster(tmp_path / 'in' / 's.tif', image, nodata=0, descriptions=['Red', 'NIR'])


def predict(model, scene, folder, **options):
    return Predictor(model, device='cpu', tile=64, **options).predict(scene, folder)


def read(path):
    return gpd.read_parquet(path) if path.suffix == '.parquet' else gpd.read_file(path)


def test_polygons_in_all_formats_beside_the_raster(tmp_path, pixel_model, scene):
    pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    result = predict(pixel_model, scene, tmp_path / 'out', polygons=True, formats=FORMATS)
    names = ['s.tif', *(f's.{suffix}' for suffix in FORMATS), 's_quicklook.png', 's.json']
    assert [path.name for path in result.files] == names
    assert sorted(os.listdir(tmp_path / 'out')) == sorted([*names, *BESIDE])
    record = read_provenance(result.files[0])
    for path in result.files[1:5]:
        found = read(path)
        assert found.columns.tolist() == COLUMNS
        assert found.crs == ('EPSG:4326' if path.suffix == '.geojson' else UTM_17N)
        assert sorted(found['pixels']) == [299, 2400]
        assert dict(zip(found['class'], found['class_id'], strict=True)) == {
            'bright': 1,
            'green': 2,
        }
        np.testing.assert_allclose(found.to_crs(UTM_17N).area, found['pixels'] / 4, rtol=1e-4)
        assert read_provenance(path) == record
    assert pyogrio.list_layers(result.files[1])[:, 0].tolist() == ['polygons', 'layer_styles']
    # Another run without them takes the old ones away.
    predict(pixel_model, scene, tmp_path / 'out')
    assert len(os.listdir(tmp_path / 'out')) == 11


def test_polygons_have_the_mean_confidence_of_their_pixels(tmp_path, pixel_model, scene):
    result = predict(pixel_model, scene, tmp_path / 'out', polygons=True, confidence=True)
    found = gpd.read_file(tmp_path / 'out' / 's.gpkg', layer='polygons')
    with rasterio.open(result.files[1]) as dataset:
        shares = dataset.read(1) * dataset.scales[0]
    for polygon, confidence in zip(found.geometry, found['confidence'], strict=True):
        inside = rasterize([(polygon, 1)], shares.shape, transform=TRANSFORM).astype(bool)
        assert confidence == pytest.approx(shares[inside].mean(), abs=1e-4)


def test_a_project_opens_everything_over_the_image(tmp_path, pixel_model, scene):
    predict(pixel_model, scene, tmp_path / 'out', polygons=True, confidence=True)
    with zipfile.ZipFile(tmp_path / 'out' / 's.qgz') as archive:
        root = ElementTree.fromstring(archive.read('s.qgs'))
    layers = root.findall('projectlayers/maplayer')
    assert [layer.findtext('datasource') for layer in layers] == [
        './s.gpkg|layername=polygons', './s.tif', './s_confidence.tif', '../in/s.tif'
    ]  # fmt: skip
    assert (tmp_path / 'out' / 's.qlr').exists()


def test_a_stac_item_says_what_the_model_is(tmp_path, pixel_model, scene):
    result = predict(pixel_model, scene, tmp_path / 'out', stac=True)
    found = json.loads(result.files[-1].read_text())['properties']
    assert found['mlm:architecture'] == 'BandsAsFeatures + FCNHead'
    assert found['mlm:total_parameters'] == 3 * 2 + 3  # a 1x1 convolution


def test_polygons_in_memory(pixel_model, scene):
    result = predict(pixel_model, scene, None, polygons=True, formats='fgb', stac=True)
    assert result.polygons['class'].tolist() == ['green', 'bright']
    assert result.polygons.crs == UTM_17N and result.files == ()
    assert predict(pixel_model, scene, None).polygons is None


def test_objects_in_the_formats_asked_for(tmp_path, object_model):
    pytest.importorskip('pyarrow', reason='GeoParquet needs pyarrow')
    image = paint((90, 120), [[3, 4, 20, 14], [55, 50, 70, 66]])
    scene = write_raster(tmp_path / 's.tif', image, descriptions=['id'])
    result = predict(object_model, scene, tmp_path / 'out', formats=('parquet', 'fgb'))
    assert sorted(os.listdir(tmp_path / 'out')) == [
        *('s.fgb', 's.json', 's.parquet', 's.qgz', 's.qlr', 's.qml'),
        *('s_quicklook.pgw', 's_quicklook.png', 's_quicklook.png.aux.xml'),
    ]
    for path in result.files[:2]:
        assert sorted(read(path).area / 0.25) == [17 * 10, 15 * 16]


def test_parquet_without_pyarrow_is_refused_before_anything_is_computed(monkeypatch, pixel_model):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'pyarrow']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(OutputError, match=r'needs pyarrow(.|\n)*pip install pyarrow'):
        Predictor(pixel_model, device='cpu', polygons=True, formats=('gpkg', 'parquet'))


@pytest.mark.parametrize('suffix', ['parquet', 'fgb', 'stac.json'])
def test_files_of_the_user_are_not_replaced(tmp_path, pixel_model, scene, suffix):
    mine = tmp_path / 'labels' / f's.{suffix}'
    mine.parent.mkdir()
    mine.write_text('[]')
    with pytest.raises(OutputError, match=rf's\.{suffix} exists'):
        predict(pixel_model, scene, mine.parent)
    assert mine.read_text() == '[]'


def test_stac_item_of_all_files(tmp_path, pixel_model, scene):
    pystac = pytest.importorskip('pystac', reason='pystac judges the item')
    validation = pytest.importorskip('pystac.validation')
    pytest.importorskip('jsonschema', reason='pystac validates with it')
    out = tmp_path / 'out'
    result = predict(pixel_model, scene, out, polygons=True, confidence=True, stac=True)
    assert result.files[-1].name == 's.stac.json'
    item = pystac.Item.from_file(result.files[-1])
    core = item.to_dict() | {'stac_extensions': []}  # whose schemas are on the network
    assert validation.validate_dict(core)
    files = {key: asset for key, asset in item.assets.items() if key != 'model'}
    assert set(files) == set(os.listdir(out)) - {'s.stac.json'}
    for asset in files.values():
        assert asset.ext.file.checksum == f'1220{file_sha256(out / asset.href)}'
    assert item.ext.proj.shape == [90, 120]
    assert item.assets['s.gpkg'].media_type == 'application/geopackage+sqlite3'
    assert [link.href for link in item.links if link.rel == 'derived_from'] == ['../in/s.tif']
    # It goes with the other results when they are made again.
    predict(pixel_model, scene, out)
    assert 's.stac.json' not in os.listdir(out)


def test_geojson_is_in_degrees_and_turns_to_the_left(tmp_path, pixel_model, scene):
    """RFC 7946: no crs member, outer rings anticlockwise, holes clockwise."""
    result = predict(pixel_model, scene, tmp_path / 'out', polygons=True, formats='geojson')
    found = json.loads(result.files[1].read_text())
    assert 'crs' not in found
    rings = [ring for feature in found['features'] for ring in feature['geometry']['coordinates']]
    turns = [shapely.LinearRing(ring).is_ccw for ring in rings]
    assert turns == [True, False, True]
    assert all(-82 < x < -80 and 36 < y < 37 for ring in rings for x, y in ring)
