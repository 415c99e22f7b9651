import json
import os
import warnings
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from geo_mm.engine.launch import load_config
from geo_mm.errors import ConfigError, OutputError, SceneError, SpecError
from geo_mm.inference import Predictor
from tests.data.models import object_files, paint, pixel_files, spec_of
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

CLASSES = ('background', 'bright', 'green')
PIXELS = spec_of('pixels', CLASSES, ('Red', 'NIR'), mean=(127.5, 99.75), std=(10.0, 10.0), gsd=0.5)
OBJECTS = spec_of('objects', ['even', 'odd'], ['id'], dtype='uint16')
MAGENTA = (255, 0, 255)


def predictor(files, **kwargs):
    return Predictor(load_config(files[0]), files[1], device='cpu', **{'tile': 64, **kwargs})


@pytest.fixture(scope='module')
def pixel_model(tmp_path_factory):
    return pixel_files(tmp_path_factory.mktemp('pixels'), PIXELS, [[0, 0], [1, 0], [0, 1]])


@pytest.fixture(scope='module')
def object_model(tmp_path_factory):
    return object_files(tmp_path_factory.mktemp('objects'), OBJECTS)


@pytest.fixture
def image():
    return noise((2, 90, 120))


def write_scene(path, image, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_raster(path, image, **{'descriptions': ['Red', 'NIR'], 'nodata': 0, **kwargs})


def expected_classes(image):
    red, nir = image[0] - 127.5, image[1] - 99.75
    return np.stack([np.zeros_like(red), red, nir]).argmax(0)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_pixels_end_to_end(tmp_path, pixel_model, image):
    image[:, :30, :20] = 0
    scene = write_scene(tmp_path / 'in' / 'town.tif', image)
    steps = []
    result = predictor(pixel_model).predict(
        scene, tmp_path / 'out', progress=lambda done, total: steps.append((done, total))
    )
    assert [path.name for path in result.files] == ['town.tif', 'town.png', 'town.json']
    assert sorted(os.listdir(tmp_path / 'out')) == [
        'town.json',
        'town.png',
        'town.tif',
        'town.tif.aux.xml',
    ]
    expected = expected_classes(image)
    expected[:30, :20] = 255
    np.testing.assert_array_equal(read(result.files[0]), expected)
    assert result.counts == {n: int((expected == i).sum()) for i, n in enumerate(CLASSES)}
    assert sum(done for done, _ in steps) == steps[0][1] == 6


def test_summary_and_tags_say_how_it_was_made(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 'town.tif', image)
    result = predictor(pixel_model, overlap=8).predict(scene, tmp_path / 'out')
    summary = json.loads(result.files[-1].read_text())
    assert summary['scene'] == [str(scene)]
    assert summary['checkpoint'] == str(pixel_model[1])
    assert len(summary['checkpoint_sha256']) == 64
    assert (summary['tile'], summary['overlap']) == (64, 8)
    assert summary['counts'] == result.counts
    assert summary['input_spec']['classes'] == list(CLASSES)
    with rasterio.open(result.files[0]) as dataset:
        tag = json.loads(dataset.tags()['GEO_MM_PROVENANCE'])
    assert tag == {key: value for key, value in summary.items() if key != 'counts'}


def test_bands_are_found_by_name(tmp_path, pixel_model, image):
    stack = np.stack([image[1], np.full_like(image[0], 7), image[0]])
    scene = write_scene(tmp_path / 'in' / 's.tif', stack, descriptions=['nir', 'Green', 'RED'])
    result = predictor(pixel_model).predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))


def test_bands_of_several_files(tmp_path, pixel_model, image):
    paths = [
        write_scene(tmp_path / 'in' / f'{name}.tif', band, descriptions=[name])
        for name, band in zip(('NIR', 'Red'), image[::-1], strict=True)
    ]
    result = predictor(pixel_model).predict(paths, tmp_path / 'out')
    assert result.files[0].name == 'NIR.tif'
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))


def test_band_tagged_as_alpha_that_the_model_was_trained_on(tmp_path, pixel_model, image):
    colors = {'colorinterp': ['red', 'alpha']}
    scene = write_scene(tmp_path / 'in' / 's.tif', image, **colors)
    result = predictor(pixel_model).predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))


def test_missing_band(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image, descriptions=['Red', 'Green'])
    with pytest.raises(SpecError, match='missing: NIR'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_nodata_that_the_scene_does_not_declare(tmp_path, pixel_model, image):
    image[:, :20] = 255
    scene = write_scene(tmp_path / 'in' / 's.tif', image, nodata=None)
    result = predictor(pixel_model, nodata=255).predict(scene, tmp_path / 'out')
    expected = expected_classes(image)
    expected[:20] = 255
    np.testing.assert_array_equal(read(result.files[0]), expected)
    assert json.loads(result.files[-1].read_text())['nodata'] == 255


def test_finer_scene_is_read_at_the_trained_gsd(tmp_path, pixel_model, image):
    fine = image.repeat(2, axis=1).repeat(2, axis=2)
    scene = write_scene(tmp_path / 'in' / 's.tif', fine, transform=TRANSFORM @ Affine.scale(0.5))
    result = predictor(pixel_model).predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))
    with rasterio.open(result.files[0]) as dataset:
        assert dataset.transform.almost_equals(TRANSFORM)


def test_scene_without_georeference_for_a_model_bound_to_a_gsd(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image, crs=None, transform=None)
    with pytest.raises(SpecError, match='no georeference'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')


def test_picture_without_georeference_is_predicted_without_a_warning(tmp_path, image):
    files = pixel_files(tmp_path / 'm', replace(PIXELS, gsd=None), [[0, 0], [1, 0], [0, 1]])
    scene = write_scene(tmp_path / 'in' / 's.tif', image, crs=None, transform=None)
    ours = predictor(files)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        result = ours.predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))


def test_quicklook_shows_classes_missing_data_and_a_legend(tmp_path, pixel_model, image):
    image[:, 40:, 60:] = 0
    image[:, :40] = 1  # background
    image[0, 40:, :60] = 254  # bright
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    result = predictor(pixel_model).predict(scene, tmp_path / 'out')
    picture = Image.open(result.files[1]).convert('RGB')
    assert picture.height > 90  # the legend stands below
    assert {picture.getpixel((x, y)) for x in (61, 100) for y in (41, 80)} == {MAGENTA}
    legend = picture.crop((0, 90, picture.width, picture.height))
    assert {color for _, color in legend.getcolors(10_000)} >= set(PIXELS.palette)
    # Bands shown: Red for all three, so pixels without a class colour are grey.
    assert len(set(picture.getpixel((30, 20)))) == 1
    assert len(set(picture.getpixel((30, 60)))) == 3


def test_objects_end_to_end(tmp_path, object_model):
    boxes = [[3, 4, 20, 14], [55, 50, 70, 66], [100, 60, 110, 75]]
    scene = write_raster(tmp_path / 's.tif', paint((90, 120), boxes), descriptions=['id'])
    result = predictor(object_model).predict(scene, tmp_path / 'out')
    assert [path.name for path in result.files] == ['s.gpkg', 's.geojson', 's.png', 's.json']
    assert result.counts == {'even': 1, 'odd': 2}
    objects = gpd.read_file(result.files[0], layer='objects')
    assert objects.crs == UTM_17N
    assert objects.geom_type.unique().tolist() == ['Polygon']
    corner = TRANSFORM @ (3, 14) + TRANSFORM @ (20, 4)
    assert objects.geometry.bounds.min().tolist()[:1] == [corner[0]]
    assert {tuple(row) for row in objects.geometry.bounds.to_numpy()} >= {corner}
    on_earth = gpd.read_file(result.files[1])
    assert on_earth.crs == 'EPSG:4326'
    shift = on_earth.to_crs(UTM_17N).geometry.distance(objects.geometry)
    assert shift.max() < 0.01
    assert Image.open(result.files[2]).size[0] == 200  # wide enough for the legend


def test_scene_without_objects_gives_a_valid_layer(tmp_path, object_model):
    scene = write_raster(tmp_path / 's.tif', np.zeros((50, 60), 'uint16'), descriptions=['id'])
    result = predictor(object_model).predict(scene, tmp_path / 'out')
    objects = gpd.read_file(result.files[0])
    assert len(objects) == 0
    assert objects.crs == UTM_17N
    assert objects.columns.tolist() == ['class', 'class_id', 'score', 'area_m2', 'geometry']
    assert result.counts == {'even': 0, 'odd': 0}


@pytest.mark.parametrize('crs', [None, 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_scene_without_a_place_on_earth_gets_no_geojson(tmp_path, object_model, crs):
    image = paint((50, 60), [[3, 4, 20, 14]])
    scene = write_raster(tmp_path / 's.tif', image, crs=crs, descriptions=['id'])
    result = predictor(object_model).predict(scene, tmp_path / 'out')
    assert [path.name for path in result.files] == ['s.gpkg', 's.png', 's.json']
    assert len(gpd.read_file(result.files[0])) == 1


def test_name_for_the_results(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    result = predictor(pixel_model).predict(scene, tmp_path / 'out', name='north')
    assert [path.name for path in result.files] == ['north.tif', 'north.png', 'north.json']


def test_same_scene_again_replaces_the_results(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model)
    first = ours.predict(scene, tmp_path / 'out')
    first.files[0].write_bytes(b'')
    np.testing.assert_array_equal(
        read(ours.predict(scene, tmp_path / 'out').files[0]), expected_classes(image)
    )


def test_other_scene_of_the_same_name_does_not_replace_results(tmp_path, pixel_model, image):
    ours = predictor(pixel_model)
    result = ours.predict(write_scene(tmp_path / 'a' / 's.tif', image), tmp_path / 'out')
    before = {path: path.read_bytes() for path in result.files}
    other = write_scene(tmp_path / 'b' / 's.tif', image)
    with pytest.raises(OutputError, match=r'no earlier prediction of .*/b/s\.tif'):
        ours.predict(other, tmp_path / 'out')
    assert {path: path.read_bytes() for path in result.files} == before


@pytest.mark.parametrize('suffix', ['tif', 'gpkg', 'json'])
def test_files_of_the_user_are_not_replaced(tmp_path, pixel_model, image, suffix):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    mine = tmp_path / 'labels' / f's.{suffix}'
    mine.parent.mkdir()
    mine.write_text('[]')
    with pytest.raises(OutputError, match=rf's\.{suffix} exists'):
        predictor(pixel_model).predict(scene, mine.parent)
    assert mine.read_text() == '[]'


def test_folder_of_the_scene_is_refused(tmp_path, object_model):
    scene = write_raster(tmp_path / 's.tif', np.zeros((50, 60), 'uint16'), descriptions=['id'])
    with pytest.raises(OutputError, match='folder of the scene'):
        predictor(object_model).predict(scene, tmp_path / 'x' / '..')
    assert os.listdir(tmp_path) == ['s.tif']


def test_folder_that_cannot_be_made(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='cannot write there: Not a directory'):
        predictor(pixel_model).predict(scene, tmp_path / 'file' / 'out')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_folder_that_may_not_be_written(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    (tmp_path / 'out').mkdir(mode=0o500)
    with pytest.raises(OutputError, match='Permission denied'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')


def test_error_in_the_middle_leaves_nothing(tmp_path, pixel_model):
    path = write_scene(tmp_path / 'in' / 's.tif', noise((2, 300, 300)), blockysize=8)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 2)
    seen = []
    with pytest.raises(SceneError, match=r's\.tif'):
        predictor(pixel_model).predict(
            path, tmp_path / 'out', progress=lambda *_: seen.append(os.listdir(tmp_path / 'out'))
        )
    assert seen
    assert not os.listdir(tmp_path / 'out')


def test_error_in_the_middle_keeps_the_earlier_results(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model)
    before = {path: path.read_bytes() for path in ours.predict(scene, tmp_path / 'out').files}
    with pytest.raises(KeyboardInterrupt):
        ours.predict(scene, tmp_path / 'out', progress=lambda *_: raise_(KeyboardInterrupt))
    assert {path: path.read_bytes() for path in before} == before
    assert len(os.listdir(tmp_path / 'out')) == 4


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        ({'tile': 64, 'overlap': 64}, 'tiles of 64 pixels with an overlap of 64'),
        ({'tile': 64, 'overlap': -1}, 'overlap of -1'),
        ({'tile': 0}, 'tiles of 0 pixels'),
        ({'tile': -8}, 'tiles of -8 pixels'),
        ({'batch_size': 0}, 'batches of 0'),
        ({'score': 1.5}, 'least score of 1.5'),
    ],
)
def test_numbers_that_make_no_sense(pixel_model, numbers, message):
    with pytest.raises(ConfigError, match=message):
        predictor(pixel_model, **numbers)


def test_tiles_are_twice_the_chips_but_at_least_512(tmp_path, pixel_model):
    assert (predictor(pixel_model, tile=None).tile, predictor(pixel_model, tile=None).overlap) == (
        512,
        128,
    )
    files = pixel_files(tmp_path, replace(PIXELS, chip_size=(300, 400)), [[0, 0], [1, 0]])
    assert predictor(files, tile=None).tile == 800
