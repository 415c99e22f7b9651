"""The viewer: tiles and objects in pixels of the scene, the server, and the page in a browser."""

import io
import json
import urllib.error
import urllib.request

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image

from geo_mm.errors import GeoMMError, LabelError
from geo_mm.viewer import ViewOptions, view
from geo_mm.viewer.layers import Filter, ShownScene
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, noise, write_raster
from tests.test_viewer.browser import Browser, chromium

ROTATED = Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
EVERYTHING = (0, 0, 700, 700)


def pixels(tile: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tile)).convert('RGBA'))


def features(shown: ShownScene, name: str = 'prediction', **chosen) -> list[dict]:
    found = json.loads(shown.layers[name].within(EVERYTHING, 1.0, Filter(**chosen)))
    return found['features']


def labelled(path, transform=TRANSFORM, **more):
    """Two boxes with a confidence, in pixels of a grid."""
    write_labels(
        path, [box(10, 20, 40, 50), box(100, 60, 140, 90)], ['a', 'b'], transform=transform
    )
    frame = gpd.read_file(path)
    frame['score'] = [0.3, 0.9]
    for key, value in more.items():
        frame[key] = value
    frame.to_file(path)
    return path


def test_tiles_of_the_image_are_its_pixels(tmp_path):
    data = noise((3, 300, 400))
    data[:, :10] = 0
    shown = ShownScene(write_raster(tmp_path / 'a.tif', data, nodata=0))
    tiles = shown.layers['image']
    tile = pixels(tiles.tile(0, 1, 1, Filter()))
    assert (tile[..., 3] == 255).nonzero()[0].max() == 300 - 256 - 1
    assert (tile[..., 3] == 255).nonzero()[1].max() == 400 - 256 - 1
    assert not pixels(tiles.tile(0, 0, 0, Filter()))[:10].any()
    # Stretched as the whole scene is, in each tile alike.
    seen, value = tile[0, 0, 0], data[0, 256, 256]
    low, high = np.percentile(data[0][data[0] > 0], (2, 98))
    assert abs(int(seen) - np.clip((value - low) / (high - low), 0, 1) * 255) < 2
    half = pixels(tiles.tile(1, 0, 0, Filter()))
    assert (half[..., 3] > 0).sum(axis=0).max() == (300 - 10) // 2


def test_coarse_tiles_come_from_memory(tmp_path):
    """A stripe at a known place of a scene that is larger than the overview."""
    data = np.full((1, 64, 5000), 50, np.uint8)
    data[..., 4000:4200] = 200
    tiles = ShownScene(write_raster(tmp_path / 'a.tif', data)).layers['image']
    tile = pixels(tiles.tile(4, 0, 0, Filter()))  # a pixel is 16 of the scene
    columns = np.flatnonzero(tile[0, :, 0] > 128) * 16
    assert abs(columns.min() - 4000) <= 16


def test_class_rasters_have_the_colours_of_their_classes(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 60, 80)))
    classes = np.zeros((60, 80), np.uint8)
    classes[10:20, 10:20], classes[30:40, 30:40], classes[50:] = 1, 2, 255
    result = write_raster(tmp_path / 'out.tif', classes)
    confidence = np.full((60, 80), 200, np.uint8)  # 0.8
    confidence[10:20, 10:20] = 100  # 0.4
    write_raster(tmp_path / 'out_confidence.tif', confidence)
    shown = ShownScene(image, result)
    assert shown.classes.names == ('background', '1', '2')
    tile = pixels(shown.layers['prediction'].tile(0, 0, 0, Filter()))
    assert tuple(tile[15, 15]) == (*shown.classes.colours[1], 255)
    assert tuple(tile[35, 35]) == (*shown.classes.colours[2], 255)
    assert not tile[0, 0, 3] and not tile[55, 5, 3]
    sure = pixels(shown.layers['prediction'].tile(0, 0, 0, Filter(least=0.5)))
    assert not sure[15, 15, 3] and sure[35, 35, 3]
    some = pixels(shown.layers['prediction'].tile(0, 0, 0, Filter(hidden=frozenset([2]))))
    assert some[15, 15, 3] and not some[35, 35, 3]


def test_rasters_in_another_grid_are_placed(tmp_path):
    """Label pixels of 1 m on a rotated image of 0.5 m."""
    image = write_raster(tmp_path / 'a.tif', noise((3, 64, 64)), transform=ROTATED)
    coarse = ROTATED @ Affine.scale(2)
    classes = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % 3
    truth = write_raster(tmp_path / 'truth.tif', classes, transform=coarse)
    shown = ShownScene(image, None, truth)
    tile = pixels(shown.layers['truth'].tile(0, 0, 0, Filter()))[:64, :64]
    expected = np.repeat(np.repeat(classes, 2, axis=0), 2, axis=1)
    assert np.array_equal(tile[..., 3] > 0, expected > 0)
    assert (tile[expected == 2][:, :3] == shown.classes.colours[2]).all()


@pytest.mark.parametrize('transform', [TRANSFORM, ROTATED], ids=['north up', 'rotated'])
def test_objects_are_in_pixels_of_the_scene(tmp_path, transform):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)), transform=transform)
    shown = ShownScene(image, labelled(tmp_path / 'out.gpkg', transform))
    sure, unsure = features(shown)  # the surest first
    assert sure['properties']['box'] == [100, 60, 140, 90]
    assert sure['properties']['confidence'] == 0.9
    assert shapely.geometry.shape(unsure['geometry']).bounds == (10, -50, 40, -20)
    assert [each['properties']['confidence'] for each in features(shown, least=0.5)] == [0.9]
    number = shown.classes.index('b')
    (rest,) = features(shown, hidden=frozenset([number]))
    assert rest['properties']['class'] == shown.classes.index('a')


def test_a_feature_of_several_parts_is_one_object(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)))
    parts = shapely.union(box(10, 20, 40, 50), box(60, 20, 70, 50))
    result = write_labels(tmp_path / 'out.gpkg', [parts, box(100, 60, 140, 90)], ['a', 'b'])
    shown = ShownScene(image, result)
    assert shown.layers['prediction'].info()['count'] == 2
    found = {each['properties']['fid']: each for each in features(shown)}
    assert [found[fid]['properties']['box'] for fid in sorted(found)] == [
        [10, 20, 70, 50],
        [100, 60, 140, 90],
    ]
    drawn = shapely.geometry.shape(found[min(found)]['geometry'])
    assert drawn.area == 30 * 30 + 10 * 30


def test_pictures_without_a_crs_are_shown_too(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)), crs=None, transform=None)
    down = Affine.scale(1, -1)  # as QGIS counts rows
    result = write_labels(tmp_path / 'out.gpkg', [box(10, 20, 40, 50)], transform=down, crs=None)
    shown = ShownScene(image, result)
    assert features(shown)[0]['properties']['box'] == [10, 20, 40, 50]
    assert shown.info()['crs'] is None and shown.info()['north'] is None


def test_a_layer_that_cannot_be_placed_is_an_error(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)))
    result = write_labels(tmp_path / 'out.gpkg', [box(10, 20, 40, 50)], crs=None)
    with pytest.raises(LabelError, match='has a CRS and'):
        ShownScene(image, result)


def test_confidences_that_are_text_are_none_and_too_many_classes_an_error(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)))
    shown = ShownScene(image, labelled(tmp_path / 'out.gpkg', score=['high', '0.5']))
    assert sorted(f['properties']['confidence'] for f in features(shown)) == [0, 0.5]
    names = [f'tree {number}' for number in range(300)]
    shapes = [box(10, 20, 40, 50)] * 300
    result = write_labels(tmp_path / 'many.gpkg', shapes, names)
    with pytest.raises(LabelError, match='300 classes'):
        ShownScene(image, result)


def test_of_very_many_objects_the_largest_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr('geo_mm.viewer.layers._MOST', 2)
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)))
    shapes = [box(10 * i, 10, 10 * i + i, 20) for i in range(1, 9)]
    shown = ShownScene(image, None, write_labels(tmp_path / 't.gpkg', shapes))
    found = json.loads(shown.layers['truth'].within(EVERYTHING, 1.0, Filter()))
    assert found['total'] == 8
    assert sorted(f['properties']['box'][0] for f in found['features']) == [70, 80]


@pytest.fixture
def town(tmp_path):
    """Image, predicted boxes with confidences, and a class raster as truth."""
    image = write_raster(tmp_path / 'town.tif', noise((4, 300, 500), 'uint16'))
    truth = np.zeros((300, 500), np.uint8)
    truth[20:50, 10:40] = 1
    write_raster(tmp_path / 'truth.tif', truth)
    return image, labelled(tmp_path / 'out.gpkg'), tmp_path / 'truth.tif'


def test_the_server_answers_this_machine_alone(town):
    with view(*town) as viewer:

        def status(path: str, **headers: str) -> int:
            request = urllib.request.Request(viewer.url + path, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        assert status('') == status('view.json') == status('tiles/image/-1/0/0.png') == 200
        assert status('', Host='evil.example:80') == 403
        for path in (
            'tiles/none/0/0/0.png',
            '../pyproject.toml',
            'leaflet/../server.py',
            'tiles/image/x/0/0.png',
            'tiles/image/-9000000000/0/0.png',
            f'tiles/image/-1/{10**12}/0.png',
            'objects/truth?box=0,0,1,1&pixel=1',
        ):
            assert status(path) == 404, path
        with pytest.raises(GeoMMError, match='port'):
            view(*town, port=int(viewer.url.rstrip('/').rpartition(':')[2]))
        assert viewer.url in viewer._repr_html_()


def test_other_attributes_can_be_named(tmp_path):
    image = write_raster(tmp_path / 'a.tif', noise((3, 100, 200)))
    result = labelled(tmp_path / 'out.gpkg', kind=['x', 'y'], sure=[0.1, 0.2])
    options = ViewOptions(class_column='kind', score_column='sure')
    shown = ShownScene(image, result, options=options)
    assert shown.classes.names == ('x', 'y')
    assert features(shown)[0]['properties']['confidence'] == 0.2


@pytest.mark.skipif(chromium() is None, reason='there is no Chromium')
@pytest.mark.parametrize('width', [1280, 400])
def test_the_page_in_a_browser(town, width):
    with view(*town) as viewer, Browser(viewer.url, width) as page:
        page.wait('window.viewer && document.querySelectorAll("#list button").length == 2')
        assert page.ask('document.documentElement.scrollWidth') == width
        page.wait('document.querySelectorAll("#map .leaflet-tile-loaded").length >= 4')
        # The surest object is the first; a click shows it as a whole, and not much else.
        page.ask('button = document.querySelector("#list button"); button.focus(); button.click()')
        page.wait('!button.isConnected')
        # By keyboard one goes on from the entry, which was made anew.
        assert page.ask('document.activeElement.textContent') == page.ask('button.textContent')
        view_of = 'JSON.stringify(viewer.map.getBounds().toBBoxString())'
        west, south, east, north = map(float, page.ask(view_of).strip('"').split(','))
        assert west < 100 < 140 < east and south < -90 < -60 < north
        assert east - west < 500 or width < 1280
        page.ask('viewer.map.fitBounds([[-300, 0], [0, 500]]); 0')
        page.ask('document.querySelector("#least").value = 0.5')
        page.ask('document.querySelector("#least").dispatchEvent(new Event("input"))')
        page.wait('document.querySelectorAll("#list button").length == 1')
        # Left of the border there is the prediction, right of it the truth.
        clip = 'getComputedStyle(viewer.map.getPane("%s")).clipPath'
        before = page.ask(clip % 'truth')
        page.ask(
            'document.querySelector("#swipe").dispatchEvent('
            'new KeyboardEvent("keydown", {key: "ArrowLeft"}))'
        )
        assert page.ask(clip % 'truth') != before
        page.ask('document.querySelector("#right").value = "none"')
        page.ask('document.querySelector("#right").dispatchEvent(new Event("change"))')
        assert page.ask('viewer.map.getPane("truth").style.display') == 'none'
        # What is said of the place under the cursor covers nothing.
        page.call('Input.dispatchMouseEvent', type='mouseMoved', x=100, y=100)
        page.wait('document.querySelector("#where").textContent')
        edges = 'JSON.stringify(document.querySelector("%s").getBoundingClientRect())'
        where, scale = (json.loads(page.ask(edges % name)) for name in ('#where', '#scale'))
        assert where['right'] <= scale['left'] or where['bottom'] <= scale['top']
        assert page.ask('document.querySelector("#trouble").hidden')
        assert page.problems() == []
        assert {host for host in page.hosts()} == {viewer.url.split('/')[2]}
