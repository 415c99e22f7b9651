"""What a prediction says about itself."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from geo_mm.evaluation.records import Record
from tests.data.rasters import write_raster

RECORD = {
    'scene': ['/data/a.tif', '/data/b.tif'],
    'window': None,
    'input_spec': {'classes': ['background', 'building'], 'background': 'background'},
}


def test_the_json_beside_a_prediction(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(RECORD))
    record = Record.of(tmp_path / 'a.gpkg')
    assert record.scene == ('/data/a.tif', '/data/b.tif')
    assert record.classes.names == ('background', 'building')
    assert record.classes.foreground_names == ('building',)
    assert not record.is_part


def test_a_rectangle_of_a_scene_is_part_of_it(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(RECORD | {'window': [0, 0, 5, 5]}))
    assert Record.of(tmp_path / 'a.gpkg').is_part


def test_the_tags_of_a_raster_without_its_json(tmp_path):
    path = write_raster(tmp_path / 'a.tif', np.zeros((2, 3), np.uint8))
    assert Record.of(path) is None
    with rasterio.open(path, 'r+') as dataset:
        dataset.update_tags(GEO_MM_PROVENANCE=json.dumps(RECORD))
    assert Record.of(path).classes.foreground_names == ('building',)


def test_the_tags_of_a_raster_hold_its_provenance(tmp_path):
    """As tools/predict.py writes them: the provenance, without the counts around it."""
    path = write_raster(tmp_path / 'a.tif', np.zeros((2, 3), np.uint8))
    provenance = {
        'inputs': [{'path': '/data/a.tif'}],
        'spec': RECORD['input_spec'] | {'palette': [[1, 2, 3], [4, 5, 6]]},
        'options': {'window': [0, 0, 5, 5]},
        'checkpoints': [{'path': '/models/best.pth'}],
        'started': '2026-11-25T10:00:00+00:00',
    }
    with rasterio.open(path, 'r+') as dataset:
        dataset.update_tags(GEO_MM_PROVENANCE=json.dumps(provenance))
    record = Record.of(path)
    assert (record.scene, record.is_part) == (('/data/a.tif',), True)
    assert (record.models, record.date) == (('best.pth',), '2026-11-25')
    assert record.classes.colours == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    'text', ['', '[]', '{}', '{"scene": 1, "input_spec": 2}', '{"type": "FeatureCollection"}', '\0']
)
def test_other_files_of_that_name_are_no_records(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    assert Record.of(tmp_path / 'a.gpkg') is None


def test_a_layer_in_memory_has_none():
    assert Record.of(gpd.GeoDataFrame(geometry=[])) is None
