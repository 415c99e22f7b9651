import json
from contextlib import closing
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from geo_mm.errors import ConfigError
from geo_mm.inference.area import Area, SceneToPredict
from geo_mm.inference.model import probabilities
from geo_mm.inference.prediction import Job
from geo_mm.inference.runner import RowRunner
from geo_mm.inference.tasks.segmentation import largest
from geo_mm.raster import Scene, tile_plan
from tests.data.models import ensemble, pixel_files, spec_of, trained
from tests.data.provenance import provenance
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

CLASSES = ('background', 'bright', 'green')
SPEC = spec_of('pixels', CLASSES, ('Red', 'NIR'), mean=(127.5, 99.75), std=(10.0, 10.0))
WEIGHTS = [[0, 0], [1, 0], [0, 1]]


def expected_classes(image):
    """What the weights mean, in NumPy."""
    red, nir = image[0] - 127.5, image[1] - 99.75
    return np.stack([np.zeros_like(red), red, nir]).argmax(0)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return voters(pixel_files(tmp_path_factory.mktemp('model'), SPEC, WEIGHTS))


def voters(files):
    return ensemble(trained(files))


class Recorded:
    """Gives a record that is known beforehand."""

    def __init__(self, record):
        self.provenance = lambda *_: record


def predict(model, scene, path, tile=64, overlap=16):
    path.parent.mkdir(exist_ok=True)
    plan = tile_plan(scene.width, scene.height, tile, overlap)
    area, options = Area(scene, scene), model.task.options
    request = SceneToPredict(scene, name=path.stem)
    job = Job(request, area, plan, model.spec, options, Recorded(provenance(path.parent)))
    runner = RowRunner(model, model.task.merger(area, plan), area, plan, options)
    with closing(runner.strips()) as strips:
        prediction = model.task.write(job, strips, path.parent)
    assert prediction.files == (path,)
    with rasterio.open(path) as dataset:
        return dataset.read(1), prediction.counts


@pytest.mark.parametrize(
    ('width', 'height', 'tile', 'overlap'),
    [
        (97, 61, 64, 16),
        (97, 61, 64, 0),
        (97, 61, 32, 24),
        (97, 61, 23, 7),
        (97, 61, 512, 128),  # smaller than a tile
        (1, 1, 16, 4),
        (1, 77, 16, 4),
        (77, 1, 16, 12),
    ],
)
def test_each_pixel_is_right_whatever_the_tiles(tmp_path, model, width, height, tile, overlap):
    image = noise((2, height, width))
    scene = Scene.open(
        write_raster(tmp_path / 's.tif', image, nodata=0, descriptions=['Red', 'NIR'])
    )
    found, counts = predict(model, scene, tmp_path / 'out.tif', tile, overlap)
    expected = expected_classes(image)
    np.testing.assert_array_equal(found, expected)
    assert counts == {name: int((expected == i).sum()) for i, name in enumerate(CLASSES)}


def test_pixels_without_data_are_255_and_counted_nowhere(tmp_path, model):
    image = noise((2, 70, 90))
    hole = np.zeros((70, 90), bool)
    hole[:, :40] = True  # whole tiles
    hole[5::9, 50::7] = True
    image[:, hole] = 0
    image[0, 60, 60] = 0  # one band alone is data
    scene = Scene.open(
        write_raster(tmp_path / 's.tif', image, nodata=0, descriptions=['Red', 'NIR'])
    )
    found, counts = predict(model, scene, tmp_path / 'out.tif', 32, 8)
    np.testing.assert_array_equal(found == 255, hole)
    np.testing.assert_array_equal(found[~hole], expected_classes(image)[~hole])
    assert sum(counts.values()) == (~hole).sum()


def test_scene_without_any_data(tmp_path, model):
    scene = Scene.open(write_raster(tmp_path / 's.tif', np.zeros((2, 50, 40), 'uint8'), nodata=0))
    found, counts = predict(model, scene, tmp_path / 'out.tif')
    assert (found == 255).all()
    assert counts == dict.fromkeys(CLASSES, 0)


@pytest.mark.parametrize(
    ('crs', 'transform'),
    [
        (UTM_17N, TRANSFORM),
        ('EPSG:4326', Affine(1e-5, 0, 85.5, 0, -1e-5, 27.6)),
        (UTM_17N, Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(0.5)),
        (None, Affine.identity()),
    ],
)
def test_output_lies_where_the_scene_lies(tmp_path, model, crs, transform):
    scene = Scene.open(
        write_raster(tmp_path / 's.tif', noise((2, 33, 45)), crs=crs, transform=transform)
    )
    predict(model, scene, tmp_path / 'out.tif')
    with rasterio.open(tmp_path / 'out.tif') as dataset:
        assert (dataset.width, dataset.height) == (45, 33)
        assert dataset.transform.almost_equals(transform)
        assert dataset.crs == (rasterio.crs.CRS.from_user_input(crs) if crs else None)


def test_output_says_what_its_values_mean(tmp_path, model):
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((2, 600, 530))))
    predict(model, scene, tmp_path / 'out.tif', 256)
    with rasterio.open(tmp_path / 'out.tif') as dataset:
        assert (dataset.count, dataset.dtypes, dataset.nodata) == (1, ('uint8',), 255)
        assert dataset.profile['tiled']
        assert dataset.profile['compress'] == 'deflate'
        assert dataset.descriptions == ('class',)
        assert dataset.overviews(1)
        assert [dataset.colormap(1)[i][:3] for i in range(3)] == list(SPEC.classes.colours)
        record = json.loads(dataset.tags()['GEO_MM_PROVENANCE'])
        expected = json.loads(provenance(tmp_path).to_json())
        expected['options']['tile'] = 256  # as used
        assert record == expected
    names = ElementTree.parse(tmp_path / 'out.tif.aux.xml').iter('Category')
    assert [item.text for item in names] == list(CLASSES)


def test_error_in_the_middle_leaves_no_file(tmp_path, model):
    path = write_raster(tmp_path / 's.tif', noise((2, 300, 300)), blockysize=8)
    scene = Scene.open(path)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(Exception, match=r's\.tif'):
        predict(model, scene, tmp_path / 'out' / 'out.tif')
    left = {path.name for path in (tmp_path / 'out').iterdir()}
    assert left == {'model.pth', 'scene.tif'}  # of the record


@pytest.mark.parametrize(('threshold', 'least'), [(None, 0.3), (0.5, 0.5), (0.8, 0.8)])
def test_binary_model_decides_at_its_threshold(tmp_path, threshold, least):
    """As tools/test.py does; MMSegmentation's default is 0.3."""
    spec = spec_of('pixels', ['other', 'bright'], mean=(127.5,), std=(20.0,))
    model = voters(pixel_files(tmp_path / 'm', spec, [[1.0]], threshold=threshold))
    image = noise((1, 50, 60))
    scene = Scene.open(write_raster(tmp_path / 's.tif', image))
    found, counts = predict(model, scene, tmp_path / 'out.tif', 32, 8)
    probability = 1 / (1 + np.exp(-(image[0] - 127.5) / 20))
    np.testing.assert_array_equal(found, probability > least)
    assert counts['bright'] == (probability > least).sum()


def test_model_with_other_classes_than_the_spec_is_refused(tmp_path):
    spec = spec_of('pixels', ['a', 'b'])
    model = voters(pixel_files(tmp_path / 'm', spec, [[0.0], [1.0], [2.0]]))
    scene = Scene.open(write_raster(tmp_path / 's.tif', noise((1, 20, 20))))
    with pytest.raises(ConfigError, match=r'gives 3 classes(.|\n)*2: a, b'):
        predict(model, scene, tmp_path / 'out.tif')


def test_probabilities_are_the_softmax_of_the_logits():
    sample = SegDataSample(seg_logits=PixelData(data=torch.tensor([[[0.0]], [[np.log(3)]]])))
    np.testing.assert_allclose(probabilities(sample).ravel(), [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize('layers', [1, 2, 7, 256])
def test_the_first_of_the_largest_layers_counts(layers):
    few = np.random.default_rng(layers).integers(0, 3, (layers, 11, 13)).astype(np.float32)
    np.testing.assert_array_equal(largest(few), few.argmax(0))
