"""The Processing algorithms in QGIS itself, without a screen."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import geopandas as gpd
import pytest
from shapely import box

import geo_mm
from tests.data.models import object_files, paint, spec_of
from tests.data.rasters import UTM_17N, write_raster

ROOT = Path(__file__).parents[2]
PYTHON = '/usr/bin/python3'  # the one that Debian's QGIS comes with

HOST = r"""
import json, os, sys
os.environ['QT_QPA_PLATFORM'] = 'offscreen'
from qgis.core import *
QgsApplication.setOrganizationName('geo_mm_test')
app = QgsApplication([], False, sys.argv[2])  # settings of its own
app.initQgis()
sys.path += ['/usr/share/qgis/python/plugins', sys.argv[1]]
from processing.core.Processing import Processing
import processing
Processing.initialize()
import geo_mm_qgis
plugin = geo_mm_qgis.classFactory(None)
plugin.initProcessing()
provider = QgsApplication.processingRegistry().providerById('geo_mm')
names = [each.id() for each in provider.algorithms()]

class Feedback(QgsProcessingFeedback):
    def __init__(self, cancel):
        super().__init__(False)
        self.cancel_at_once, self.steps, self.text = cancel, [], []
        self.progressChanged.connect(self.steps.append)
    def pushInfo(self, line):
        self.text.append(line)
    def isCanceled(self):
        return self.cancel_at_once

out = [names]
for step in json.loads(sys.stdin.read()):
    context, feedback = QgsProcessingContext(), Feedback(step.get('cancel', False))
    context.setProject(QgsProject.instance())
    try:
        found = processing.run(step['id'], step['parameters'], context=context, feedback=feedback)
    except QgsProcessingException as error:
        found = {'error': str(error)}
    layers = []
    for path, details in context.layersToLoadOnCompletion().items():
        layer = QgsVectorLayer(path, details.name, 'ogr')
        layer = layer if layer.isValid() else QgsRasterLayer(path, details.name)
        layers.append([details.name, layer.isValid(), layer.renderer().type()])
    out.append({'found': found, 'layers': layers, 'steps': feedback.steps, 'text': feedback.text})
print('RESULT' + json.dumps(out))
os._exit(0)  # QGIS 3.22 may crash while it ends
"""


def in_qgis(folder, *steps):
    """What each step gave: outputs, layers to load with the kind of their style, progress."""
    done = subprocess.run(
        [PYTHON, '-c', HOST, str(ROOT / 'tools' / 'qgis'), str(folder / 'profile')],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, 'XDG_CONFIG_HOME': str(folder / 'settings')},
        timeout=300,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith('RESULT')), None)
    assert line is not None, done.stdout + done.stderr
    return json.loads(line.removeprefix('RESULT'))


@pytest.fixture(scope='module')
def qgis():
    if (
        not Path(PYTHON).exists()
        or subprocess.run(
            [PYTHON, '-c', 'import qgis.core, processing'],
            env={'PYTHONPATH': '/usr/share/qgis/python/plugins', 'QT_QPA_PLATFORM': 'offscreen'},
            capture_output=True,
        ).returncode
    ):
        pytest.skip('QGIS is not installed')


def step(name, **parameters):
    return {'id': f'geo_mm:{name}', 'parameters': parameters}


@pytest.mark.slow
def test_describe_predict_and_evaluate(qgis, tmp_path):
    model = object_files(tmp_path, spec_of('objects', ('roof',), dtype='uint16'))[1]
    boxes = [(5, 5, 12, 9), (30, 20, 40, 30)]
    image = write_raster(tmp_path / 'town.tif', paint((50, 60), boxes))
    truth = tmp_path / 'roofs.gpkg'
    shapes = [box(5e5 + a / 2, 4e6 - d / 2, 5e5 + c / 2, 4e6 - b / 2) for a, b, c, d in boxes]
    gpd.GeoDataFrame({'class': ['roof'] * 2}, geometry=shapes, crs=UTM_17N).to_file(truth)
    predict = dict(MODEL=str(model), IMAGE=str(image), MORE='--trust-checkpoint --device cpu')
    definition = tmp_path / 'roofs.emd'
    definition.write_text('{"ModelType": "ObjectDetection", "ExtractBands": [0]}')
    names, early, wrong, chosen, described, failed, made, scored, cancelled = in_qgis(
        tmp_path,
        step('describe', MODEL=str(model)),
        step('environment', PYTHON='/bin/false'),
        step('environment', PYTHON=sys.executable),
        step('describe', MODEL=str(definition), IMAGE=str(image)),
        step('describe', MODEL=str(tmp_path / 'none.emd')),
        step('predict', **predict, OUTPUT=str(tmp_path / 'out')),
        step(
            'evaluate',
            RESULT=str(tmp_path / 'out' / 'town.gpkg'),
            TRUTH=str(truth),
            OUTPUT=str(tmp_path / 'scores'),
        ),
        step('predict', **predict, OUTPUT=str(tmp_path / 'no')) | {'cancel': True},
    )
    assert len(names) == 5
    assert 'Choose the Python of geo_mm' in early['found']['error']
    assert 'geo_mm is not installed in /bin/false' in wrong['found']['error']
    assert chosen['found'] == {'VERSION': f'geo_mm {geo_mm.__version__}'}
    assert 'it fits' in described['found']['TEXT']
    assert failed['found']['error'].startswith(f'error: {tmp_path / "none.emd"}: no such file')
    assert made['layers'] == [['town', True, 'categorizedSymbol']] and made['steps'][-1] == 100
    assert [name for name, *_ in scored['layers']] == ['matches']
    metrics = json.loads((tmp_path / 'scores' / 'metrics.json').read_text())
    assert '"f1": 1.0' in json.dumps(metrics)
    assert 'cancelled' in cancelled['found']['error']


def test_the_zip_holds_one_folder(tmp_path):
    spec = importlib.util.spec_from_file_location('pack', ROOT / 'tools' / 'qgis' / 'pack.py')
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    with zipfile.ZipFile(pack.pack(tmp_path / 'a.zip')) as archive:
        names = archive.namelist()
    assert {name.split('/')[0] for name in names} == {'geo_mm_qgis'}
    assert {'geo_mm_qgis/metadata.txt', 'geo_mm_qgis/LICENSE'} <= set(names)
