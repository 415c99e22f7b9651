import json
import os
import sys
import tempfile
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from PIL import Image
from rasterio.features import rasterize

from geo_mm.errors import ConfigError, OutputError, SceneError, SpecError
from geo_mm.formats.provenance import read_provenance
from geo_mm.inference import Predictor
from geo_mm.inference.options import PredictOptions
from geo_mm.paths import file_sha256
from geo_mm.raster import Scene, Window
from tests.data.models import object_files, paint, pixel_files, spec_of
from tests.data.narrow import narrow_files
from tests.data.rasters import TRANSFORM, UTM_17N, noise, write_raster

CLASSES = ('background', 'bright', 'green')
PIXELS = spec_of('pixels', CLASSES, ('Red', 'NIR'), mean=(127.5, 99.75), std=(10.0, 10.0), gsd=0.5)
OBJECTS = spec_of('objects', ['even', 'odd'], ['id'], dtype='uint16')
MAGENTA = (255, 0, 255)


def predictor(files, **kwargs):
    return Predictor(files[1], device='cpu', **{'tile': 64, **kwargs})


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
    assert [path.name for path in result.files] == ['town.tif', 'town_quicklook.png', 'town.json']
    assert sorted(os.listdir(tmp_path / 'out')) == [
        'town.json',
        'town.qgz',
        'town.qlr',
        'town.qml',
        'town.tif',
        'town.tif.aux.xml',
        'town.tif.vat.cpg',
        'town.tif.vat.dbf',
        'town_quicklook.pgw',
        'town_quicklook.png',
        'town_quicklook.png.aux.xml',
    ]
    expected = expected_classes(image)
    expected[:30, :20] = 255
    np.testing.assert_array_equal(read(result.files[0]), expected)
    assert result.counts == {n: int((expected == i).sum()) for i, n in enumerate(CLASSES)}
    assert sum(done for done, _ in steps) == steps[0][1] == 4


def test_summary_and_tags_say_how_it_was_made(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 'town.tif', image)
    result = predictor(pixel_model, overlap=8).predict(scene, tmp_path / 'out')
    summary = json.loads(result.files[-1].read_text())
    assert summary['scene'] == [str(scene)]
    assert summary['counts'] == result.counts
    assert summary['input_spec']['classes'] == list(CLASSES)
    record = read_provenance(result.files[0])
    assert record == read_provenance(result.files[-1])
    assert record.checkpoints[0].path == str(pixel_model[1])
    assert record.checkpoints[0].sha256 == file_sha256(pixel_model[1])
    assert (record.options['tile'], record.options['overlap']) == (64, 8)
    assert record.spec == PIXELS


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
    assert read_provenance(result.files[0]).options['nodata'] == 255


def test_finer_scene_is_read_at_the_trained_gsd(tmp_path, pixel_model, image):
    fine = image.repeat(2, axis=1).repeat(2, axis=2)
    scene = write_scene(tmp_path / 'in' / 's.tif', fine, transform=TRANSFORM @ Affine.scale(0.5))
    result = predictor(pixel_model, grid='model').predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))
    with rasterio.open(result.files[0]) as dataset:
        assert dataset.transform.almost_equals(TRANSFORM)


@pytest.mark.parametrize('factor', [0.5, 1.7])
def test_result_lies_in_the_pixels_of_the_scene(tmp_path, pixel_model, factor):
    """Large even areas, so that resampling to and fro changes nothing inside them."""
    own = np.zeros((2, 130, 170), 'uint8') + 100
    own[0, :60, :90], own[1, 60:, 90:], own[:, 60:, :90] = 200, 220, 0
    transform = TRANSFORM @ Affine.scale(factor)
    scene = write_scene(tmp_path / 'in' / 's.tif', own, transform=transform)
    result = predictor(pixel_model).predict(scene, tmp_path / 'out')
    found = read(result.files[0])
    with rasterio.open(result.files[0]) as dataset:
        assert dataset.transform.almost_equals(transform)
    expected = expected_classes(own)
    expected[(own == 0).all(0)] = 255
    away = np.ones(found.shape, bool)
    away[57:63] = away[:, 87:93] = False
    np.testing.assert_array_equal(found[away], expected[away])


def test_scene_of_a_gsd_far_from_the_trained_one(tmp_path, pixel_model, image):
    transform = TRANSFORM @ Affine.scale(5)
    scene = write_scene(tmp_path / 'in' / 's.tif', image, transform=transform)
    with pytest.raises(SpecError, match=r'2\.5 m per pixel(.|\n)*--force'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')
    result = predictor(pixel_model, force=True).predict(scene, tmp_path / 'out')
    assert read_provenance(result.files[0]).options['force'] is True


def test_scene_of_another_data_type(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image.astype('uint16'))
    with pytest.raises(SpecError, match=r'uint16 pixels(.|\n)*uint8'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')
    result = predictor(pixel_model, force=True).predict(scene, tmp_path / 'out')
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))


def test_window(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    left, top = TRANSFORM @ (30, 20)
    right, bottom = TRANSFORM @ (77, 65)
    ours = predictor(pixel_model)
    result = ours.predict(scene, tmp_path / 'out', window=(left, bottom, right, top))
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image)[20:65, 30:77])
    with rasterio.open(result.files[0]) as dataset:
        assert dataset.bounds == (left, bottom, right, top)
    with pytest.raises(SceneError, match='touches none of its pixels'):
        ours.predict(scene, tmp_path / 'out', window=(0, 0, 1, 1))


def test_aoi_is_followed_exactly_and_tiles_outside_cost_nothing(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    corners = [TRANSFORM @ xy for xy in ((5, 5), (60.3, 5), (5, 60.3))]
    aoi = gpd.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=UTM_17N)
    aoi.to_crs(4326).to_file(tmp_path / 'aoi.geojson')
    ours, batches = predictor(pixel_model, tile=32, overlap=0), []
    hook = ours.models[0].model.register_forward_hook(lambda *a: batches.append(len(a[-1])))
    result = ours.predict(scene, tmp_path / 'out', aoi=tmp_path / 'aoi.geojson')
    hook.remove()
    inside = rasterize([shapely.Polygon([(5, 5), (60.3, 5), (5, 60.3)])], (90, 120)).astype(bool)
    found = read(result.files[0])
    differing = (found != 255) != inside
    assert differing.sum() <= 3  # centres on the edge, after going through degrees
    np.testing.assert_array_equal(
        found[inside & ~differing], expected_classes(image)[inside & ~differing]
    )
    assert sum(batches) == 6  # of twelve


def test_confidence_and_probabilities(tmp_path, pixel_model, image):
    image[:, :9] = 0
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    red, nir = (image[0] - 127.5) / 10, (image[1] - 99.75) / 10
    shares = np.exp(np.stack([0 * red, red, nir]))
    shares /= shares.sum(axis=0)
    result = predictor(pixel_model, confidence=True, probabilities='float32').predict(
        scene, tmp_path / 'out'
    )
    names = [path.name for path in result.files]
    assert names == [
        's.tif',
        's_confidence.tif',
        's_probabilities.tif',
        's_quicklook.png',
        's.json',
    ]
    with rasterio.open(result.files[2]) as dataset:
        assert dataset.descriptions == CLASSES
        found = dataset.read()
    assert np.isnan(found[:, :9]).all()
    np.testing.assert_allclose(found[:, 9:], shares[:, 9:], atol=1e-6)
    with rasterio.open(result.files[1]) as dataset:
        assert dataset.nodata == 255
        np.testing.assert_allclose(dataset.read(1)[9:] / 250, shares.max(0)[9:], atol=0.0021)
    # They open on the first class that is not the background.
    style = ElementTree.parse(tmp_path / 'out' / 's_probabilities.qml')
    assert style.find('pipe/rasterrenderer').get('band') == '2'
    # Another run without them takes the old ones away.
    predictor(pixel_model).predict(scene, tmp_path / 'out')
    assert len(os.listdir(tmp_path / 'out')) == 11


def test_array_in_and_arrays_out(tmp_path, pixel_model, image):
    image[:, :10] = 255
    result = predictor(pixel_model, nodata=255, confidence=True).predict(
        image, transform=TRANSFORM, crs=UTM_17N, bands=['Red', 'NIR']
    )
    expected = expected_classes(image)
    expected[:10] = 255
    np.testing.assert_array_equal(result.classes, expected)
    assert result.files == ()
    assert result.grid.transform == TRANSFORM
    assert np.isnan(result.confidence[:10]).all()
    assert result.confidence[10:].min() > 1 / 3
    assert result.counts['bright'] == (expected == 1).sum()
    shown = result._repr_html_()  # in notebooks
    assert 'data:image/png' in shown and f'{result.counts["bright"]:,} pixels' in shown


def test_objects_of_an_array(object_model):
    image = paint((90, 120), [[3, 4, 20, 14], [55, 50, 70, 66]])[None]
    result = predictor(object_model).predict(image, transform=TRANSFORM, crs=UTM_17N, bands=['id'])
    assert result.objects.crs == UTM_17N
    assert sorted(result.objects['class']) == ['even', 'odd']
    assert result.classes is None


def test_array_touches_no_disk(pixel_model, image):
    """Not even the folder for temporary files."""
    ours = predictor(pixel_model, polygons=True, confidence=True, probabilities='float32')

    written, watching = [], False

    def watch(event, args):
        if watching and event == 'open' and set(args[1] or '') & set('wax+'):
            written.append(args[0])

    sys.addaudithook(watch)
    watching = True
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, 'mkdtemp', None)
            result = ours.predict(image, transform=TRANSFORM, crs=UTM_17N, bands=['Red', 'NIR'])
    finally:
        watching = False
    assert written == []
    assert len(result.polygons)


def test_what_is_in_memory_is_written_as_files_are(tmp_path, pixel_model, image):
    image[:, :10] = 0
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model, polygons=True, confidence=True, probabilities='float32')
    files, held = ours.predict(scene, tmp_path / 'out'), ours.predict(scene)
    (tmp_path / 'held').mkdir()
    for path in files.files:
        there = tmp_path / 'held' / path.name
        if path.suffix == '.tif':
            kind = path.stem.partition('_')[2] or 'classes'
            held.to_cog(there, kind)
            with rasterio.open(path) as one, rasterio.open(there) as other:
                np.testing.assert_array_equal(one.read(), other.read())
                assert one.descriptions == other.descriptions
        elif path.suffix == '.gpkg':
            held.to_layer(there)
            assert_geodataframe_equal(gpd.read_file(path), gpd.read_file(there))
        elif path.suffix == '.png':
            held.to_quicklook(there)
            assert path.read_bytes() == there.read_bytes()
    with pytest.raises(OutputError, match='polygons are not in memory'):
        replace(held, polygons=None, objects=None).to_layer(tmp_path / 'x.gpkg')


def test_tile_is_no_larger_than_the_scene(tmp_path, pixel_model, image):
    """Rounded up to a multiple of 64, which any network divides by."""
    ours, shapes = predictor(pixel_model, tile=512), []
    backbone = ours.models[0].model.backbone
    hook = backbone.register_forward_hook(lambda _, x, __: shapes.append(x[0].shape[2:]))
    result = ours.predict(write_scene(tmp_path / 'in' / 's.tif', image))
    hook.remove()
    assert shapes == [(128, 128)]  # 90 x 120
    np.testing.assert_array_equal(result.classes, expected_classes(image))


def test_views_of_tiles_that_are_not_square(tmp_path, pixel_model, object_model):
    image = noise((2, 60, 200))
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    found = predictor(pixel_model, tile=512, tta='d4').predict(scene).classes
    np.testing.assert_array_equal(found, expected_classes(image))
    boxes = [[3, 4, 20, 14], [55, 30, 70, 56], [180, 10, 198, 25]]
    scene = write_raster(tmp_path / 'o.tif', paint((60, 200), boxes), descriptions=['id'])
    plain = predictor(object_model, tile=512).predict(scene).objects
    views = predictor(object_model, tile=512, tta='d4').predict(scene).objects
    assert_geodataframe_equal(plain, views, check_less_precise=True)


def test_no_picture_if_none_is_wanted(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    result = predictor(pixel_model, quicklook=False).predict(scene, tmp_path / 'out')
    assert [path.name for path in result.files] == ['s.tif', 's.json']


def test_an_ensemble_reads_each_tile_once(tmp_path, pixel_model, image, monkeypatch):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    both, read = Predictor([pixel_model[1]] * 2, device='cpu', tile=64), []
    original = Scene.read
    monkeypatch.setattr(
        Scene, 'read', lambda *args, **kwargs: read.append(args) or original(*args, **kwargs)
    )
    both.predict(scene)
    assert len(read) == 4


def test_scene_object(tmp_path, pixel_model, image):
    scene = Scene.open(write_scene(tmp_path / 'in' / 's.tif', image))
    part = scene.crop(Window(10, 20, 50, 40))
    result = predictor(pixel_model).predict(part)
    np.testing.assert_array_equal(result.classes, expected_classes(image)[20:60, 10:60])


def test_array_of_two_dimensions(pixel_model, image):
    with pytest.raises(SceneError, match=r'shape \(90, 120\)'):
        predictor(pixel_model).predict(image[0])


def test_ensemble_and_views(tmp_path, pixel_model, image):
    other = pixel_files(tmp_path / 'm', PIXELS, [[0, 0], [-1, 0], [0, 1]])
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    both = Predictor([pixel_model[1], other[1]], device='cpu', tile=64, tta='flip')
    result = both.predict(scene, tmp_path / 'out')
    red, nir = (image[0] - 127.5) / 10, (image[1] - 99.75) / 10
    shares = [np.exp(np.stack([0 * red, sign * red, nir])) for sign in (1, -1)]
    mean = sum(values / values.sum(axis=0) for values in shares)
    best, second = np.sort(mean, axis=0)[:-3:-1]
    sure = best - second > 1e-6
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(read(result.files[0])[sure], mean.argmax(0)[sure])
    models = read_provenance(result.files[0]).checkpoints
    assert [record.path for record in models] == [str(pixel_model[1]), str(other[1])]


def test_what_is_for_pixels_only(object_model):
    with pytest.raises(ConfigError, match='finds objects, and confidence is for pixels'):
        predictor(object_model, confidence=True)
    with pytest.raises(ConfigError, match='polygons, simplify is for pixels'):
        predictor(object_model, polygons=True, simplify=1)


def test_sixteen_bits(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model, amp=True)
    assert ours.models[0].amp is torch.bfloat16
    found = read(ours.predict(scene, tmp_path / 'out').files[0])
    assert (found == expected_classes(image)).mean() > 0.99


def test_unfinished_run_is_refused_with_other_settings_and_goes_on_with_the_same(
    tmp_path, pixel_model, image
):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    seen = []

    def interrupted(done, total):
        seen.append(total)
        if len(seen) == 6:  # the first row has five tiles
            raise KeyboardInterrupt

    settings = dict(tile=32, overlap=8, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        predictor(pixel_model, **settings).predict(scene, tmp_path / 'out', progress=interrupted)
    assert os.listdir(tmp_path / 'out') == ['.s.unfinished']
    for changes, message in (
        ({'overlap': 9}, 'overlap was 8 and is 9'),
        ({'tta': 'flip'}, 'tta was "none" and is "flip"'),
        ({'batch_size': 2}, 'batch_size was 1 and is 2'),
    ):
        with pytest.raises(OutputError, match=message):
            predictor(pixel_model, **settings | changes).predict(scene, tmp_path / 'out')
    totals = set()
    result = predictor(pixel_model, **settings).predict(
        scene, tmp_path / 'out', progress=lambda _, total: totals.add(total)
    )
    assert totals == {seen[0] - 5}  # the first row of five tiles is not computed again
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))
    assert len(os.listdir(tmp_path / 'out')) == 11


def test_unfinished_run_may_be_finished_with_other_files(tmp_path, pixel_model, image):
    """What was computed does not depend on them, and may have taken hours."""
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model, polygons=True)

    def full(*_, **__):
        raise OutputError('the disk is full')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('geo_mm.inference.prediction.write_record', full)
        patch.setattr('sys.argv', ['tools/predict.py', '--polygons'])
        with pytest.raises(OutputError, match='full'):
            ours.predict(scene, tmp_path / 'out')
        steps = []
        patch.undo()
        patch.setattr('sys.argv', ['tools/predict.py', '--stac'])
        result = predictor(pixel_model, stac=True).predict(
            scene, tmp_path / 'out', progress=lambda *step: steps.append(step)
        )
    assert not steps
    assert [path.suffix for path in result.files] == ['.tif', '.png', '.json', '.json']
    record = read_provenance(result.files[0])
    assert record.command == ('geo-mm', 'predict', '--stac')
    assert (record.options['polygons'], record.options['stac']) == (False, True)


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
    assert picture.height > 450  # 5 times as large, the legend stands below
    assert {picture.getpixel((x, y)) for x in (307, 500) for y in (207, 400)} == {MAGENTA}
    legend = picture.crop((0, 450, picture.width, picture.height))
    assert {color for _, color in legend.getcolors(10_000)} >= {
        PIXELS.classes.colours[index] for index in PIXELS.classes.foreground
    }
    # Bands shown: Red for all three, so pixels without a class colour are grey.
    assert len(set(picture.getpixel((150, 100)))) == 1
    assert len(set(picture.getpixel((150, 300)))) == 3


def test_objects_end_to_end(tmp_path, object_model):
    boxes = [[3, 4, 20, 14], [55, 50, 70, 66], [100, 60, 110, 75]]
    scene = write_raster(tmp_path / 's.tif', paint((90, 120), boxes), descriptions=['id'])
    formats = ('gpkg', 'geojson')
    result = predictor(object_model, formats=formats).predict(scene, tmp_path / 'out')
    assert [path.name for path in result.files] == [
        's.gpkg',
        's.geojson',
        's_quicklook.png',
        's.json',
    ]
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
    assert Image.open(result.files[2]).size[0] == 600  # enlarged by a whole factor


def test_ensemble_and_views_of_objects(tmp_path, object_model):
    boxes = [[3, 4, 20, 14], [55, 50, 70, 66], [100, 60, 110, 75]]
    scene = write_raster(tmp_path / 's.tif', paint((90, 120), boxes), descriptions=['id'])
    alone = predictor(object_model).predict(scene).objects
    both = Predictor([object_model[1]] * 2, device='cpu', tile=64, tta='d4').predict(scene).objects
    # A detector that sees any view alike says the same sixteen times.
    assert_geodataframe_equal(both, alone, check_less_precise=True)


def test_scene_without_objects_gives_a_valid_layer(tmp_path, object_model):
    scene = write_raster(tmp_path / 's.tif', np.zeros((50, 60), 'uint16'), descriptions=['id'])
    result = predictor(object_model).predict(scene, tmp_path / 'out')
    objects = gpd.read_file(result.files[0])
    assert len(objects) == 0
    assert objects.crs == UTM_17N
    assert objects.columns.tolist() == ['class', 'class_id', 'score', 'area_m2', 'tile', 'geometry']
    assert result.counts == {'even': 0, 'odd': 0}


@pytest.mark.parametrize('crs', [None, 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_scene_without_a_place_on_earth_gets_no_geojson(tmp_path, object_model, crs):
    image = paint((50, 60), [[3, 4, 20, 14]])
    scene = write_raster(tmp_path / 's.tif', image, crs=crs, descriptions=['id'])
    with pytest.raises(OutputError, match=r's\.tif is not georeferenced(.|\n)*gpkg'):
        predictor(object_model, formats='geojson').predict(scene, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    result = predictor(object_model).predict(scene, tmp_path / 'out')
    assert [path.name for path in result.files] == ['s.gpkg', 's_quicklook.png', 's.json']
    assert len(gpd.read_file(result.files[0])) == 1


def test_name_for_the_results(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    result = predictor(pixel_model).predict(scene, tmp_path / 'out', name='north')
    assert [path.name for path in result.files] == [
        'north.tif',
        'north_quicklook.png',
        'north.json',
    ]


@pytest.mark.parametrize(
    ('name', 'stem'), [('2023/north', '2023_north'), ('..', '__'), ('.', '_'), ('a\0b', 'a_b')]
)
def test_names_that_are_no_file_names(tmp_path, pixel_model, image, name, stem):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    for _ in range(2):
        result = predictor(pixel_model).predict(scene, tmp_path / 'out', name=name)
        assert result.files[0] == tmp_path / 'out' / f'{stem}.tif'
        np.testing.assert_array_equal(read(result.files[0]), expected_classes(image))
    files = [path.name for path in (tmp_path / 'out').iterdir()]
    assert all(file.startswith((f'{stem}.', f'{stem}_')) for file in files), files


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
    with pytest.raises(OutputError, match='cannot be written: Not a directory'):
        predictor(pixel_model).predict(scene, tmp_path / 'file' / 'out')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_folder_that_may_not_be_written(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    (tmp_path / 'out').mkdir(mode=0o500)
    with pytest.raises(OutputError, match='Permission denied'):
        predictor(pixel_model).predict(scene, tmp_path / 'out')


@pytest.mark.parametrize('what', ['scene', 'aoi'])
def test_files_that_change_while_they_are_predicted(tmp_path, pixel_model, image, what):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    with rasterio.open(scene) as dataset:
        bounds = gpd.GeoDataFrame(geometry=[shapely.box(*dataset.bounds)], crs=UTM_17N)
    aoi = tmp_path / 'in' / 'aoi.gpkg'
    bounds.to_file(aoi)

    times = [*range(99)]

    def overwrite(done, total):
        if what == 'aoi':
            bounds.assign(x=1).to_file(aoi)
        else:
            write_scene(scene, image[:, ::-1].copy())
            os.utime(scene, ns=(0, times.pop()))

    for folder in (tmp_path / 'out', None):
        ours = predictor(pixel_model)
        with pytest.raises(SceneError, match='changed while it was predicted'):
            ours.predict(scene, folder, aoi=aoi, progress=overwrite)
    result = ours.predict(scene, tmp_path / 'out', aoi=aoi)
    np.testing.assert_array_equal(read(result.files[0]), expected_classes(read_bands(scene)))


def read_bands(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
def test_finished_scenes_do_not_stay_open(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    predictor(pixel_model).predict(scene, tmp_path / 'out')
    links = [f'/proc/self/fd/{number}' for number in os.listdir('/proc/self/fd')]
    assert str(scene) not in [os.readlink(link) for link in links if os.path.lexists(link)]


def test_error_in_the_middle_leaves_no_result(tmp_path, pixel_model):
    path = write_scene(tmp_path / 'in' / 's.tif', noise((2, 300, 300)), blockysize=8)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 2)
    seen = []
    with pytest.raises(SceneError, match=r's\.tif'):
        predictor(pixel_model).predict(
            path, tmp_path / 'out', progress=lambda *_: seen.append(os.listdir(tmp_path / 'out'))
        )
    assert seen
    assert os.listdir(tmp_path / 'out') == ['.s.unfinished']


def test_error_in_the_first_row_leaves_nothing(tmp_path, pixel_model):
    path = write_scene(tmp_path / 'in' / 's.tif', noise((2, 300, 300)), blockysize=8)
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 20)
    with pytest.raises(SceneError, match=r's\.tif'):
        predictor(pixel_model).predict(path, tmp_path / 'out')
    assert not os.listdir(tmp_path / 'out')


def test_error_in_the_middle_keeps_the_earlier_results(tmp_path, pixel_model, image):
    scene = write_scene(tmp_path / 'in' / 's.tif', image)
    ours = predictor(pixel_model)
    before = {path: path.read_bytes() for path in ours.predict(scene, tmp_path / 'out').files}
    with pytest.raises(KeyboardInterrupt):
        ours.predict(scene, tmp_path / 'out', progress=lambda *_: raise_(KeyboardInterrupt))
    assert {path: path.read_bytes() for path in before} == before
    assert len(os.listdir(tmp_path / 'out')) == 11


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
        ({'score': 1.5}, 'minimum confidence of 1.5'),
        ({'iou': 0}, 'IoU of 0'),
        ({'suppress': 'all'}, "suppress 'all'(.|\n)*nms, soft-nms"),
        ({'blend': 'x'}, "blend 'x'"),
        ({'tta': 'd8'}, "tta 'd8'"),
        ({'polygons': True, 'min_area': -1}, 'min_area -1'),
        ({'polygons': True, 'simplify': 0}, 'tolerance of 0'),
        ({'polygons': True, 'regularise': ['green', 'hut']}, 'regularise hut(.|\n)*bright, green'),
        ({'polygons': True, 'regularise': 'background'}, 'regularise background'),
        ({'polygons': True, 'formats': ('gpkg', 'shp')}, "format 'shp'(.|\n)*gpkg, geojson"),
        ({'polygons': True, 'formats': ()}, 'no format'),
        ({'formats': 'fgb'}, 'formats is for polygons(.|\n)*--polygons'),
        ({'min_area': 5, 'simplify': 1}, 'min_area, simplify is for polygons'),
    ],
)
def test_numbers_that_make_no_sense(pixel_model, numbers, message):
    with pytest.raises(ConfigError, match=message):
        predictor(pixel_model, **numbers)


def test_tiles_are_twice_the_chips_but_at_least_512(tmp_path, pixel_model):
    options = predictor(pixel_model, tile=None).options
    assert options.tile == 512
    assert predictor(pixel_model, tile=100, overlap=0.5).options.overlap == 50
    files = pixel_files(tmp_path, replace(PIXELS, chip_size=(300, 400)), [[0, 0], [1, 0]])
    assert predictor(files, tile=None).options.tile == 800


def test_tiles_share_a_quarter_unless_the_model_looks_less_far(pixel_model, object_model):
    assert predictor(object_model, tile=100).options.overlap == 25
    assert predictor(pixel_model, tile=100).options.overlap == 0  # each pixel by itself
    assert PredictOptions().shared(512, lambda: 45) == 96  # 2 * 45, in steps of 16
    assert PredictOptions().shared(512, lambda: 200) == 128


def test_tiles_begin_at_multiples_of_the_stride(tmp_path):
    """A network sees a pixel in another cell where they do not."""
    unet = predictor(narrow_files(tmp_path, 'unet'), overlap=10)
    found = unet.predict(np.full((4, 64, 150), 100, np.uint8))
    assert unet.models[0].stride == 16 and (found.classes != 255).all()
    assert [tile.window.col_off for tile in found.job.plan] == [0, 48, 96]


def test_tiles_that_share_too_little_for_objects(tmp_path, object_model):
    scene = write_raster(tmp_path / 's.tif', np.zeros((90, 126), 'uint16'), descriptions=['id'])
    with pytest.raises(ConfigError, match='at least 8'):
        predictor(object_model, overlap=2).predict(scene, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_the_record_names_no_options_of_other_tasks_and_the_tile_as_it_was(tmp_path):
    files = pixel_files(
        tmp_path / 'model', spec_of('pixels', ['low', 'high'], ['Red']), [[0.0], [1.0]]
    )
    scene = write_raster(tmp_path / 's.tif', noise((1, 40, 30)))
    record = Predictor(files[1], device='cpu', tile=512).predict(scene, tmp_path / 'out').provenance
    assert record.options['tile'] == 64  # the next multiple of 32
    assert not record.options.keys() & {'score', 'iou', 'suppress'}
