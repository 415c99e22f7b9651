"""tools/evaluate.py as it is called."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from sklearn import metrics as sklearn_metrics

import geo_mm
from geo_mm.cli import main
from geo_mm.formats import write_layer
from tests.data.rasters import noise, write_raster
from tests.test_evaluation.test_against_pycocotools import CLASSES, coco_eval, make_scene

ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """What subprocess.run returns."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def evaluate(capsys, monkeypatch):
    """Runs the tool in this process; a process of its own would import for seconds."""
    monkeypatch.setenv('COLUMNS', '60')

    def run(*arguments) -> Done:
        try:
            status = main(['evaluate', *map(str, arguments)])
        except SystemExit as error:
            status = error.code
        return Done(status, *capsys.readouterr())

    return run


def test_as_a_user_runs_it(layers, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'evaluate.py', *layers, '-o', tmp_path / 'out'],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(ROOT), 'PATH': '', 'COLUMNS': '60'},
    )
    assert done.returncode == 0, done.stderr
    assert 'Objects by class, IoU 0.5' in done.stdout
    assert (tmp_path / 'out' / 'report.html').exists()


@pytest.fixture
def layers(tmp_path):
    boxes = [shapely.box(x, 0, x + 10, 10) for x in (0, 20, 40)]
    truth = gpd.GeoDataFrame({'class': ['car', 'car', 'tree']}, geometry=boxes, crs='EPSG:32617')
    pred = truth.iloc[:2].assign(score=[0.9, 0.4])
    return (
        write_layer(pred, tmp_path / 'pred.gpkg'),
        write_layer(truth, tmp_path / 'truth.geojson'),
    )


def test_objects(evaluate, layers, tmp_path):
    out = tmp_path / 'out'
    run = evaluate(*layers, '-o', out, '--coco', '--size-classes', '50,200', '--min-score', '0.5')
    assert run.returncode == 0, run.stderr
    overall = json.loads((out / 'metrics.json').read_text())['overall']
    assert (overall['truth'], overall['predicted'], overall['true_positives']) == (3, 1, 1)
    assert overall['ap'] == 0.5  # cars 1, trees 0
    assert 'Objects by class, IoU 0.5' in run.stdout
    # Numbers are not cut, however narrow the terminal.
    assert '…' not in run.stdout
    for path in (out / 'report.html', out / 'matches.gpkg'):
        assert path.stat().st_size > 1000


def test_python_gives_what_the_command_does(evaluate, layers, tmp_path):
    run = evaluate(*layers, '-o', tmp_path / 'out', '--iou', '0.6')
    assert run.returncode == 0, run.stderr
    written = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    result = geo_mm.evaluate_files(*map(str, layers), geo_mm.ObjectSettings(iou=0.6))
    assert written['overall'] == json.loads(json.dumps(result.to_dict()))['overall']


def test_names_with_brackets_are_not_markup(evaluate, tmp_path):
    boxes = [shapely.box(x, 0, x + 10, 10) for x in (0, 20)]
    frame = gpd.GeoDataFrame({'class': ['[/red]', '[b] :car:']}, geometry=boxes, crs='EPSG:32617')
    folder = tmp_path / '[in]'
    folder.mkdir()
    files = [write_layer(frame.assign(score=0.9), folder / name) for name in ('a.gpkg', 'b.gpkg')]
    run = evaluate(*files, '-o', tmp_path / '[out]')
    assert run.returncode == 0, run.stderr
    assert '[/red] ' in run.stdout and '[b] :car:' in run.stdout
    assert f'  {tmp_path}/[out]/report.html' in run.stdout


def test_objects_on_an_image(evaluate, layers, tmp_path):
    image = write_raster(tmp_path / 'image.tif', np.ones((3, 50, 60), np.uint8))
    run = evaluate(*layers, '-o', tmp_path / 'out', '--image', image)
    assert run.returncode == 0, run.stderr


def test_the_part_that_was_not_trained_on(evaluate, layers, tmp_path):
    # The scene is 60 m wide; the first box is centred 5 m, the second 25 m from its left edge.
    scene = tmp_path / 'scene.tif'
    write_raster(scene, np.ones((3, 50, 120), np.uint8), transform=Affine(0.5, 0, 0, 0, -0.5, 20))
    spec = {'classes': ['car', 'tree'], 'background': None}
    record = {'scene': [str(scene)], 'input_spec': spec}
    layers[0].with_suffix('.json').write_text(json.dumps(record))
    out = tmp_path / 'out'
    run = evaluate(*layers, '-o', out, '--area', '0.25', '0', '1', '1', '--image', scene)
    assert run.returncode == 0, run.stderr
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['area'] == [0.25, 0, 1, 1]
    overall = metrics['overall']
    assert (overall['truth'], overall['predicted'], overall['true_positives']) == (2, 1, 1)
    assert 'Only the part (0.25, 0, 1, 1)' in run.stdout.replace('\n', ' ')


def test_average_precision_is_that_of_pycocotools(evaluate, tmp_path):
    """The scene is one chip."""
    pred, truth = make_scene(np.random.default_rng(7), 120)
    truth['crowd'] = False
    layers = [
        write_layer(table.set_crs('EPSG:32617'), tmp_path / f'{name}.gpkg')
        for name, table in (('pred', pred), ('truth', truth[['class', 'geometry']]))
    ]
    run = evaluate(*layers, '--coco', '--boxes', '-o', tmp_path / 'out')
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['classes']
    precision = coco_eval([(pred, truth)]).eval['precision'][..., 0, 2]
    for index, name in enumerate(CLASSES):
        assert found[name]['ap'] == pytest.approx(precision[0, :, index].mean(), abs=1e-6)
        assert found[name]['ap_50_95'] == pytest.approx(precision[..., index].mean(), abs=1e-6)


def test_confusion_is_that_of_sklearn(evaluate, tmp_path):
    pred, truth = noise((2, 61, 47), seed=5) % 3
    layers = [
        write_raster(tmp_path / f'{name}.tif', raster)
        for name, raster in (('pred', pred), ('truth', truth))
    ]
    run = evaluate(*layers, '-o', tmp_path / 'out', '--classes', 'land', 'water', 'tree')
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['confusion']
    assert found == sklearn_metrics.confusion_matrix(truth.ravel(), pred.ravel()).tolist()


def test_rasters(evaluate, tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.array([[0, 1], [1, 1]], np.uint8))
    truth = write_raster(tmp_path / 'truth.tif', np.array([[0, 1], [1, 0]], np.uint8))
    out = tmp_path / 'out'
    run = evaluate(pred, truth, '-o', out, '--classes', 'land', 'water')
    assert run.returncode == 0, run.stderr
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['overall']['accuracy'] == 0.75
    assert metrics['confusion'] == [[1, 1], [0, 2]]
    assert 'water' in run.stdout


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--class-column', 'kind'], "has no column 'kind'"),
        (['--iou', '0'], 'above 0 and up to 1'),
        (['--size-classes', 'small'], 'areas in m2'),
        (['--class-map', 'x'], 'VALUE=CLASS'),
        (['--classes', 'boat'], 'no object is of class boat'),
        (['--aoi', 'none.gpkg'], 'none.gpkg'),
        (['--area', '1', '0', '0', '1'], 'fractions of the scene'),
        (['--area', '0', '0', '0.5', '1'], 'its scene is unknown'),
    ],
)
def test_mistakes_are_said_in_a_message(evaluate, layers, arguments, said):
    run = evaluate(*layers, *arguments)
    assert run.returncode == 2
    assert said in run.stderr
    assert 'Traceback' not in run.stderr


def test_objects_against_a_raster(evaluate, layers, tmp_path):
    raster = write_raster(tmp_path / 'truth.tif', np.ones((5, 5), np.uint8))
    run = evaluate(layers[0], raster)
    assert run.returncode == 2
    assert 'is a raster, but not everything compared is' in run.stderr
