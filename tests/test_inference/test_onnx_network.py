"""Whole scenes by ONNX files: the results of PyTorch, without PyTorch."""

import json
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from geo_mm import export_model
from geo_mm.cli import main
from geo_mm.deploy.description import describe
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference import Predictor
from geo_mm.raster import Scene
from tests.data.chips import CONFIGS
from tests.data.models import pixel_files, spec_of
from tests.data.narrow import narrow_files
from tests.data.rasters import noise, write_raster

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

WEIGHTS = [1.0, -1.0, 0.5137, 0.2219]  # no pixel is on the border of two classes
BANDS = ('B1', 'B2', 'B3', 'B4')
WITHOUT_TORCH = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'onnx'):
    sys.modules[name] = None  # importing it is an error
from geo_mm.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    pixels = noise((4, 100, 150))
    pixels[:, 20:40, 30:80] = 0
    path = tmp_path_factory.mktemp('image') / 'scene.tif'
    return write_raster(path, pixels, nodata=0, descriptions=BANDS)


def exported(folder, files, *formats):
    return [files[1], *export_model(files[1], folder / 'out', formats=formats or 'onnx', tile=64)]


@pytest.fixture(scope='module')
def pixel_model(tmp_path_factory):
    """Checkpoint and ONNX file of a model that looks at single pixels."""
    folder = tmp_path_factory.mktemp('pixels')
    own = dict(mean=(120.0,) * 4, std=(50.0,) * 4, receptive_radius=0)
    spec = spec_of('pixels', ['background', 'bright'], BANDS, **own)
    return exported(folder, pixel_files(folder, spec, [[0.0] * 4, WEIGHTS]))


@pytest.fixture(scope='module')
def mask_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('masks')
    return exported(folder, narrow_files(folder, 'mask-rcnn_r50_fpn', dtype='uint8'))


def by_command(model, image, out, *options):
    """Predicts in a process that cannot import torch."""
    command = [sys.executable, '-c', WITHOUT_TORCH, 'predict', model, image, '-o', out]
    done = subprocess.run(
        [*map(str, command), '--tile', '64', *options],
        cwd=CONFIGS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_classes_of_a_scene_without_torch(tmp_path, pixel_model, image):
    checkpoint, model = pixel_model
    by_command(model, image, tmp_path, '--tta', 'd4', '--confidence', '--stac')
    expected = Predictor(checkpoint, device='cpu', tile=64, tta='d4', confidence=True)
    expected = expected.predict(image)
    with rasterio.open(tmp_path / 'scene.tif') as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected.classes)
    assert len(np.unique(expected.classes)) == 3  # and where there is no data
    with rasterio.open(tmp_path / 'scene_confidence.tif') as dataset:
        steps = dataset.read(1)
    known = steps != 255
    np.testing.assert_array_equal(known, np.isfinite(expected.confidence))
    np.testing.assert_allclose(steps[known] / 250, expected.confidence[known], atol=1 / 250)
    assert (tmp_path / 'scene_quicklook.png').exists()
    record = json.loads((tmp_path / 'scene.json').read_text())['provenance']
    assert record['model'] == {
        'architecture': 'BandsAsFeatures + FCNHead',
        'parameters': 10,
        'masks': False,
    }
    assert record['checkpoints'][0]['path'] == str(model)


def test_objects_of_a_scene_without_torch(tmp_path, mask_model, image):
    checkpoint, model = mask_model
    by_command(model, image, tmp_path, '--suppress', 'none', '--score', '0.9')
    how = dict(device='cpu', tile=64, suppress='none', score=0.9)
    expected = Predictor(checkpoint, **how).predict(image).objects
    found = gpd.read_file(tmp_path / 'scene.gpkg')
    assert len(found) == len(expected) > 20
    tree = shapely.STRtree(expected.geometry.to_numpy())
    for row in found.itertuples():
        near = expected.iloc[tree.query(row.geometry, 'intersects')]
        near = near[near['class'] == row[found.columns.get_loc('class') + 1]]
        common = near.intersection(row.geometry).area / near.union(row.geometry).area
        best = near.loc[common.idxmax()]
        assert common.max() >= 0.99
        assert abs(best['score'] - row.score) <= 1e-4


def test_networks_of_both_kinds_are_an_ensemble(pixel_model, image):
    checkpoint, _ = pixel_model
    alone = Predictor(checkpoint, device='cpu', tile=64).predict(image)
    both = Predictor(pixel_model[::-1], tile=64).predict(image)
    np.testing.assert_array_equal(both.classes, alone.classes)


def test_an_interrupted_run_resumes(tmp_path, pixel_model, image, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    predictor = Predictor(pixel_model[1], tile=64, overlap=0, batch_size=1)
    whole = predictor.predict(image, tmp_path / 'whole')
    steps = []

    def interrupt(done, total):
        steps.append(done)
        if len(steps) == 4:  # of 6 tiles, in two rows
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.predict(image, tmp_path / 'part', progress=interrupt)
    steps.clear()
    resumed = predictor.predict(image, tmp_path / 'part', progress=lambda *s: steps.append(s))
    assert sum(done for done, _ in steps) == 3
    assert resumed.files[0].read_bytes() == whole.files[0].read_bytes()


def test_a_network_for_one_size_takes_only_tiles_of_it(tmp_path, image):
    spec = spec_of('pixels', ['background', 'bright'], BANDS, receptive_radius=0)
    files = pixel_files(tmp_path, spec, [[0.0] * 4, WEIGHTS])
    checkpoint, model = exported(tmp_path, files, 'deepness')
    expected = Predictor(checkpoint, device='cpu', tile=64).predict(image).classes
    np.testing.assert_array_equal(Predictor(model, tile=64).predict(image).classes, expected)
    # A scene smaller than the tile is filled up.
    small = Scene.open(image).read()[0][:, :30, :25]
    found = Predictor(model, tile=64).predict(small, bands=BANDS).classes
    assert found.shape == (30, 25)
    with pytest.raises(ConfigError, match='--tile 64'):
        Predictor(model, tile=128).predict(image)


def test_tiles_that_the_network_does_not_divide_are_refused(mask_model, image):
    with pytest.raises(ConfigError, match='--tile 128'):
        Predictor(mask_model[1], tile=100).predict(image)


def test_what_a_model_needs_is_described(pixel_model, image):
    text = str(describe(pixel_model[1], [image]))
    assert 'needs any GSD, 4 bands B1, B2, B3, B4, uint8' in text
    assert 'classes of pixels' in text and '10 parameters' in text


def test_settings_of_checkpoints_are_refused(pixel_model):
    with pytest.raises(ConfigError, match=r'amp, device for .*\.onnx'):
        Predictor(pixel_model[1], device='cpu', amp=True)
    with pytest.raises(ConfigError, match="the execution provider 'Abacus'"):
        Predictor(pixel_model[1], provider='Abacus')


def test_what_is_no_model_of_ours_is_refused(tmp_path, pixel_model, image, capsys):
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'no model')
    with pytest.raises(ConfigError, match=r'broken\.onnx cannot be read'):
        Predictor(broken)
    proto = onnx.load(pixel_model[1])
    onnx.helper.set_model_props(proto, {'names': '{}'})
    onnx.save(proto, tmp_path / 'theirs.onnx')
    with pytest.raises(SpecError, match='has no input specification'):
        Predictor(tmp_path / 'theirs.onnx')
    proto = onnx.load(pixel_model[1])
    facts = json.loads({item.key: item.value for item in proto.metadata_props}['geo_mm'])
    for wrong in ({'divisor': 0}, {'stride': 0}, {'about': {}}, {'threshold': 'x'}):
        onnx.helper.set_model_props(proto, {'geo_mm': json.dumps(facts | wrong)})
        onnx.save(proto, tmp_path / 'theirs.onnx')
        with pytest.raises(SpecError, match='has no input specification'):
            describe(tmp_path / 'theirs.onnx')
    with pytest.raises(SystemExit):
        main(['predict', str(tmp_path / 'none.onnx'), str(image), '-o', str(tmp_path)])
    assert 'none.onnx does not exist' in capsys.readouterr().err
