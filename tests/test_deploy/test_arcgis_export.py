"""Packages for ArcGIS: their raster function, driven as ArcGIS does, gives the engine's result.

The host is a stand-in (``tests/data/arcgis_host.py``): this is not a test in ArcGIS Pro.
"""

import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from rasterio.features import shapes

import geo_mm
from geo_mm.deploy import export_model, raster_function
from geo_mm.inference import Predictor, TrainedModel
from geo_mm.raster import Scene, Window
from tests.data.arcgis_host import Host
from tests.data.models import pixel_files, spec_of
from tests.data.narrow import narrow_files

pytest.importorskip('onnxruntime')

TILES = [(64, 0, 1), (64, 16, 4), (320, 80, 9)]  # side, padding, chips of a batch


def scene(bands, height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(1, 250, (bands, height, width), np.uint8)
    pixels[:, 10:20, 30:45] = 0
    return pixels


@pytest.fixture(scope='module')
def pixel_model(tmp_path_factory):
    """Three classes by the largest of three bands; a package of it, and the engine's result."""
    folder = tmp_path_factory.mktemp('pixels')
    bands = ('B1', 'B2', 'B3')
    spec = spec_of('pixels', ('road', 'background', 'water'), bands, nodata=0, gsd=2.0)
    checkpoint = pixel_files(folder, spec, np.eye(3).tolist())[1]
    (package,) = export_model(
        checkpoint, folder, formats='dlpk', tile=64, name='lakes', trust_checkpoint=True
    )
    pixels = scene(3, 90, 150)
    found = Predictor(checkpoint, device='cpu', trust_checkpoint=True).predict(pixels, gsd=2.0)
    return package, pixels, found.classes


@pytest.mark.parametrize(('side', 'padding', 'batch'), TILES)
def test_classes_are_those_of_the_engine(tmp_path, pixel_model, side, padding, batch):
    package, pixels, expected = pixel_model
    host = Host(package, tmp_path, tile_size=side, padding=padding, batch_size=batch)
    step = host.function.side - 2 * host.function.padding
    assert host.configuration['tx'] == host.configuration['ty'] == step * int(batch**0.5)
    valid = (pixels != 0).any(0)
    found = host.classify(pixels, valid)
    # 0 is the background and no data; the others are 1 and so on.
    np.testing.assert_array_equal(found, np.where(valid, np.array([1, 0, 2])[expected % 3], 0))
    assert {1, 2} <= set(np.unique(found)) and not found[10:20, 30:45].any()


def test_the_definition(tmp_path, pixel_model):
    host = Host(pixel_model[0], tmp_path)
    assert host.emd['ModelType'] == 'ImageClassification' and host.emd['Padding'] == 64
    assert [(item['Value'], item['Name']) for item in host.emd['Classes']] == [
        (1, 'road'),
        (2, 'water'),
    ]
    assert list(host.parameters)[:3] == ['raster', 'model', 'device']
    assert host.configuration['extractBands'] == (0, 1, 2)
    host.classify(*(np.zeros((3, 5, 5), np.uint8), np.zeros((5, 5), bool)))
    (road, water) = (row['attributes'] for row in host.table['features'])
    assert (road['Value'], water['Class'], len(water)) == (1, 'water', 6)


def test_a_threshold_of_nothing_is_one(tmp_path, networks):
    package, _ = networks('mask-rcnn_r50_fpn')
    assert Host(package, tmp_path / 'own').function.threshold == 0.5
    assert Host(package, tmp_path / 'none', threshold=0).function.threshold == 0


def test_describe_reads_what_export_writes(pixel_model):
    found = geo_mm.describe(pixel_model[0])
    assert found.needs == '2 m, 3 bands B1, B2, B3, 8-bit values'
    assert found.spec.function == 'GeoMMPixelClassifier.py'
    assert 'geo-mm predict takes it' in str(found)


@pytest.mark.parametrize('suffix', ['dlpk', 'emd'])
def test_predict_takes_what_export_writes(tmp_path, pixel_model, suffix):
    package, pixels, expected = pixel_model
    if suffix == 'emd':
        Host(package, tmp_path)  # which unpacks it
        (package,) = tmp_path.glob('*.emd')
    found = Predictor(package).predict(pixels, gsd=2.0)
    np.testing.assert_array_equal(found.classes, expected)


def chips(pixels, valid, side, padding):
    """Chips as the host cuts them, with the row and column of what is inside their border."""
    step = side - 2 * padding
    around = [(padding, side)] * 2
    pixels, valid = np.pad(pixels, [(0, 0), *around]), np.pad(valid, around)
    for y in range(0, valid.shape[0] - padding - side, step):
        for x in range(0, valid.shape[1] - padding - side, step):
            where = slice(y, y + side), slice(x, x + side)
            yield y, x, pixels[(slice(None), *where)], valid[where]


def with_torch(model, pixels, valid):
    """What the engine's model says of a chip."""
    window = Window(0, 0, *valid.shape[::-1])
    prepared = model.prepare(Scene.from_array(pixels), window, pixels, valid)
    return model.predict([prepared])[0]


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """A package of a small network by its name, and the network in PyTorch."""

    @cache
    def made(name):
        folder = tmp_path_factory.mktemp(name)
        checkpoint = narrow_files(folder, name)[1]
        (package,) = export_model(checkpoint, folder, formats='dlpk', tile=192)
        return package, TrainedModel(checkpoint, device='cpu', tile=192)

    return made


@pytest.mark.parametrize(
    ('side', 'padding', 'stride', 'expected'),
    [
        (512, 128, 64, (512, 128)),
        (192, 48, 64, (256, 64)),
        (320, 80, 64, (320, 64)),
        (320, 80, 16, (320, 80)),
        (64, 0, 64, (64, 0)),
        (64, 1, 64, (192, 64)),
    ],
)
def test_chips_begin_at_multiples_of_the_stride(side, padding, stride, expected):
    assert raster_function.layout(side, padding, stride) == expected


@pytest.mark.parametrize(('side', 'padding'), [(64, 8), (96, 16), (128, 40)])
def test_a_network_that_looks_around(tmp_path, networks, side, padding):
    package, model = networks('unet')
    pixels = scene(4, 70, 100)
    valid = (pixels != 0).any(0)
    host = Host(package, tmp_path, tile_size=side, padding=padding)
    side, padding = host.function.side, host.function.padding
    assert not padding % model.stride and not side % model.stride
    found = host.classify(pixels, valid)
    expected = np.zeros((300, 300), np.uint8)
    for y, x, chip, known in chips(pixels, valid, side, padding):
        core = (slice(padding, -padding),) * 2
        classes = with_torch(model, chip, known).pred_sem_seg.data[0].numpy()[core]
        expected[y : y + len(classes), x : x + len(classes)] = classes * known[core]
    assert np.mean(found == expected[:70, :100]) > 0.9999
    assert 0.02 < found.mean() < 0.98


def test_the_function_stands_alone():
    """ArcGIS has neither geo_mm nor torch."""
    code = (
        'import sys, importlib.util as u\n'
        f's = u.spec_from_file_location("f", {raster_function.__file__!r})\n'
        'm = u.module_from_spec(s); s.loader.exec_module(m)\n'
        'sys.exit(sorted({"torch", "geo_mm", "onnxruntime", "rasterio"} & set(sys.modules)) or 0)'
    )
    done = subprocess.run([sys.executable, '-I', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source = Path(raster_function.__file__).read_text()
    assert 'import geo_mm' not in source and 'from geo_mm' not in source


def test_outlines_are_those_of_gdal():
    random = np.random.default_rng(0)
    for _ in range(40):
        mask = random.random((9, 12)) > random.random()
        rings = [shapely.Polygon(ring) for ring in raster_function.outlines(mask)]
        assert all(ring.is_valid for ring in rings)
        found = shapely.Polygon()
        for ring in rings:
            found = found.symmetric_difference(ring)  # holes are rings of their own
        expected = [shapely.geometry.shape(s) for s, _ in shapes(mask.astype('u1'), mask=mask)]
        assert found.equals(shapely.union_all(expected))


def test_outer_rings_are_clockwise_as_seen():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    outer, hole = sorted(raster_function.outlines(mask), key=len, reverse=True)[:2]
    areas = [
        sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) / 2 for ring in (outer, hole)
    ]
    assert sorted(areas) == [-1, 9]


def test_masks_are_pasted_as_mmdet_does():
    torch = pytest.importorskip('torch')
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    mask = np.random.default_rng(0).random((28, 28), np.float32)
    box = (3.3, -2.2, 17.9, 21.4)
    expected = _do_paste_mask(torch.tensor(mask)[None, None], torch.tensor([box]), 30, 25, False)
    found = raster_function.pasted(mask, box, 30, 25)
    np.testing.assert_allclose(found, expected[0][0].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'side', 'padding'),
    [
        ('faster-rcnn_r50_fpn', 96, 16),
        ('mask-rcnn_r50_fpn', 64, 0),
        ('mask-rcnn_r50_fpn', 96, 16),
        ('mask-rcnn_r50_fpn', 256, 64),
    ],
)
def test_objects_are_those_of_the_model_in_each_chip(tmp_path, networks, name, side, padding):
    package, model = networks(name)
    pixels = scene(4, 48, 72)
    valid = (pixels != 0).any(0)
    how = dict(tile_size=side, padding=padding, batch_size=1, threshold=0.7)
    host = Host(package, tmp_path, **how)
    kind = 'InstanceDetection' if name.startswith('mask') else 'ObjectDetection'
    assert host.emd['ModelType'] == kind
    found = host.detect(pixels, valid)
    side, padding = host.function.side, host.function.padding
    number = 0
    for y, x, chip, known in chips(pixels, valid, side, padding):
        instances = with_torch(model, chip, known).pred_instances
        for each in range(len(instances)):
            left, top, right, bottom = instances.bboxes[each].tolist()
            middle = np.array([left + right, top + bottom]) / 2
            score = float(instances.scores[each])
            if score < 0.7 or (middle < padding).any() or (middle >= side - padding).any():
                continue
            outline = shapely.box(left, top, right, bottom)
            if 'masks' in instances:
                mask = instances.masks[each].numpy()
                outline = shapely.union_all(
                    [shapely.geometry.shape(s) for s, _ in shapes(mask.astype('u1'), mask=mask)]
                )
            if outline.is_empty:
                continue
            number += 1
            outline = shapely.transform(outline, lambda xy, to=(x, y): xy + to - padding)
            value = int(instances.labels[each]) + 1
            assert any(is_it(feature, value, score, outline) for feature in found)
    assert len(found) == number > 0


def is_it(feature, value, score, outline):
    """Whether a feature is an object, to 0.01 % in confidence and 0.99 in IoU."""
    attributes = feature['attributes']
    if attributes['Classvalue'] != value or abs(attributes['Confidence'] - 100 * score) > 0.01:
        return False
    own = shapely.Polygon()
    for ring in feature['rings']:
        own = own.symmetric_difference(shapely.Polygon(ring))
    return own.intersection(outline).area >= 0.99 * own.union(outline).area
