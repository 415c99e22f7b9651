"""What an evaluation writes, and how scenes are paired."""

import json
import re
import zipfile
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image

from geo_mm.errors import CatalogError, OutputError
from geo_mm.evaluation import ObjectSettings, evaluate_objects, evaluate_pixels
from geo_mm.evaluation.maps import RESULT_COLORS, Backdrop, object_picture, pixel_pictures
from geo_mm.evaluation.records import parse_class_names, raster_names
from geo_mm.evaluation.report import write_report
from geo_mm.evaluation.scenes import pair_scenes
from geo_mm.evaluation.tables import object_tables
from geo_mm.raster import Grid
from tests.data.rasters import TRANSFORM, write_raster


def layer(*boxes, **columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns, geometry=[shapely.box(*b) for b in boxes], crs='EPSG:32617')


@pytest.fixture
def objects():
    pred = layer((0, 0, 40, 40), (200, 0, 240, 40), (0, 0, 40, 39), score=[0.9, 0.8, 0.7])
    truth = layer((0, 0, 40, 40), (0, 200, 40, 240))
    return evaluate_objects(
        [('<a> & b', pred, truth)], ObjectSettings(coco=True, size_limits=[500])
    )


def test_objects_leave_numbers_page_and_features(objects, tmp_path):
    files = write_report(objects, tmp_path / 'new' / 'folder')
    assert sorted(path.name for path in files) == [
        'matches.gpkg',
        'matches.qml',
        'metrics.json',
        'report.html',
    ]
    metrics = json.loads(files[0].read_text(), parse_constant=pytest.fail)
    assert metrics['overall']['true_positives'] == 1
    assert metrics['overall']['duplicates'] == 1
    assert metrics['sizes'][1]['to_m2'] is None
    features = pyogrio.read_dataframe(files[2])
    assert sorted(features['result']) == sorted(RESULT_COLORS)
    assert features.crs == 'EPSG:32617'
    assert not list(files[0].parent.glob('.*'))


def test_the_page_needs_nothing_from_outside_and_escapes_names(objects, tmp_path):
    write_report(objects, tmp_path, title='<b>pred</b>')
    page = (tmp_path / 'report.html').read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert 'http' not in page and '@import' not in page
    assert '&lt;b&gt;pred' in page and '&lt;a&gt; &amp; b' in page
    assert '<b>pred' not in page


def test_several_scenes_leave_one_layer_each(tmp_path):
    pair = layer((0, 0, 1, 1)), layer((0, 0, 1, 1))
    files = write_report(evaluate_objects([('a', *pair), ('b', *pair)]), tmp_path)
    assert [path.name for path in files[2:]] == [
        'a_matches.gpkg',
        'a_matches.qml',
        'b_matches.gpkg',
        'b_matches.qml',
    ]


def test_pixels_leave_numbers_and_page(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.eye(4, dtype=np.uint8))
    truth = write_raster(tmp_path / 'truth.tif', np.ones((4, 4), np.uint8))
    files = write_report(evaluate_pixels([('s', pred, truth)]), tmp_path / 'out')
    assert [path.name for path in files] == ['metrics.json', 'report.html']
    assert json.loads(files[0].read_text())['overall']['accuracy'] == 0.25
    assert files[1].read_text().count('data:image/png;base64,') == 3


def test_the_report_says_what_was_scored(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.eye(4, dtype=np.uint8))
    result = evaluate_pixels([('s', pred, pred)], area=(0.25, 0, 1, 1))
    files = write_report(result, tmp_path / 'out')
    metrics = json.loads(files[0].read_text())
    assert (metrics['area'], metrics['aoi']) == ([0.25, 0, 1, 1], None)
    assert metrics['overall']['pixels'] == 12
    assert 'Only the part (0.25, 0, 1, 1) of each scene' in files[1].read_text()
    write_report(evaluate_pixels([('s', pred, pred)]), tmp_path / 'out')
    assert 'All of each scene is scored' in files[1].read_text()


def recorded(path, classes, palette):
    """The record of a prediction by a model."""
    spec = {'classes': classes, 'palette': palette, 'background': None}
    provenance = {'checkpoints': [{'path': '/m/best.pth'}], 'started': '2026-11-25T10:00:00'}
    record = {'scene': ['s.tif'], 'input_spec': spec, 'provenance': provenance}
    path.with_suffix('.json').write_text(json.dumps(record))


@pytest.fixture
def two_classes(tmp_path):
    """Water in green and trees in red, as a model may paint them; folders of equal file names."""
    for folder in ('out', 'labels'):
        (tmp_path / folder).mkdir()
    pred = write_raster(tmp_path / 'out/town.tif', np.array([[0, 1]], np.uint8))
    truth = write_raster(tmp_path / 'labels/town.tif', np.array([[0, 0]], np.uint8))
    recorded(tmp_path / 'out/town.tif', ['water', 'tree'], [[0, 250, 0], [250, 0, 0]])
    return evaluate_pixels([('town', pred, truth)])


def test_classes_have_the_colours_of_the_model(two_classes, tmp_path):
    assert two_classes.class_set.colours == ((0, 250, 0), (250, 0, 0))
    panels = pixel_pictures(two_classes.scenes[0].sketch, two_classes.class_set)
    found = np.asarray(panels['prediction'])
    assert found[0, [0, -1]].tolist() == [[0, 250, 0], [250, 0, 0]]
    page = write_report(two_classes, tmp_path)[1].read_text()
    assert '<i style="background:rgb(0,250,0)"></i><span>water</span></th>' in page


def test_rasters_of_others_have_the_colours_of_their_table(tmp_path):
    path = write_raster(tmp_path / 'a.tif', np.array([[0, 1]], np.uint8))
    with rasterio.open(path, 'r+') as dataset:
        dataset.write_colormap(1, {0: (10, 20, 30, 255), 1: (40, 50, 60, 255)})
    result = evaluate_pixels([('a', path, path)])
    assert result.class_set.colours == ((10, 20, 30), (40, 50, 60))


def test_the_page_names_model_date_and_folders(two_classes, tmp_path):
    page = write_report(two_classes, tmp_path)[1].read_text()
    assert 'Predicted by best.pth on 2026-11-25.' in page
    assert 'Prediction out/town.tif, ground truth labels/town.tif.' in page
    assert re.search(r'Evaluated with geo_mm \S+ on \d{4}-\d\d-\d\d', page)


def test_tables_can_be_scrolled_by_keyboard_and_have_row_headers(objects, tmp_path):
    page = write_report(objects, tmp_path)[1].read_text()
    tables = page.count('<table>')
    assert tables == 4
    assert len(re.findall(r'<div class="scroll" role="region" tabindex="0"', page)) == tables
    assert page.count('<tr>') + page.count('<tr class=total>') == tables + page.count('scope="row"')
    assert 'overflow-wrap: anywhere' in page


def test_areas_of_a_table_have_one_unit(tmp_path):
    truth = layer((0, 0, 200, 100), (300, 0, 310, 10), **{'class': ['park', 'shed']})
    table = object_tables(evaluate_objects([('s', truth, truth)]))[0]
    assert table.columns[-2:] == ('true area, ha', 'pred. area, ha')
    assert [row[-1] for row in table.rows] == ['1.99', '0.01', '2.00']


def test_page_and_table_count_duplicates_alike(objects, tmp_path):
    page = write_report(objects, tmp_path)[1].read_text()
    counts = objects.scores.overall.counts
    assert (counts.false_positives, counts.duplicates) == (2, 1)
    assert 'True positives: 1. False positives: 2 (duplicates: 1).' in page


def test_matches_open_in_the_colours_of_the_report(objects, tmp_path):
    files = {path.name: path for path in write_report(objects, tmp_path)}
    style = files['matches.qml'].read_text()
    for result, (red, green, blue) in RESULT_COLORS.items():
        assert f'value="{result}"' in style
        assert f'{red},{green},{blue},255' in style
    held = pyogrio.read_dataframe(files['matches.gpkg'], layer='layer_styles')
    assert 'attr="result"' in held['styleQML'][0]


def test_unwritable_folder(objects, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='cannot be written'):
        write_report(objects, tmp_path / 'file' / 'folder')


def _has(image: Image.Image, color, box) -> bool:
    pixels = np.asarray(image.crop(box)).reshape(-1, 3)
    return bool((np.abs(pixels.astype(int) - color).max(axis=1) < 12).any())


def test_the_picture_shows_each_result_in_its_colour_and_place(objects):
    image = object_picture(objects.scenes[0].features)
    width, height = image.size
    half = width // 2, height // 2
    assert width == height == 1600
    # North is up: the false negative is at the upper left, the false positive at the lower right.
    assert _has(image, RESULT_COLORS['false negative'], (0, 0, *half))
    assert _has(image, RESULT_COLORS['false positive'], (*half, width, height))
    assert _has(image, RESULT_COLORS['duplicate'], (0, half[1], half[0], height))
    assert not _has(image, RESULT_COLORS['false negative'], (*half, width, height))


def test_objects_lie_on_the_backdrop_where_they_are():
    truth = layer((500_010, 3_999_980, 500_014, 3_999_990))
    features = evaluate_objects([('s', layer(), truth)]).scenes[0].features
    backdrop = Backdrop(np.full((60, 100, 3), 200, np.uint8), Grid(TRANSFORM, 100, 60, None))
    image = object_picture(features, backdrop)
    assert image.size == (100, 60)
    missed = np.abs(np.asarray(image).astype(int) - RESULT_COLORS['false negative']).max(2) < 60
    rows, cols = np.nonzero(missed)
    # 10 m to 14 m east, 10 m to 20 m south of the corner, at 0.5 m.
    assert abs(cols.min() - 20) <= 2 and abs(cols.max() - 28) <= 2
    assert abs(rows.min() - 20) <= 2 and abs(rows.max() - 40) <= 2


def test_the_border_of_the_scored_area_is_drawn():
    truth = layer((500_010, 3_999_980, 500_014, 3_999_990))
    aoi = layer((500_005, 3_999_975, 500_030, 3_999_995))
    scene = evaluate_objects([('s', layer(), truth)], aoi=aoi).scenes[0]
    backdrop = Backdrop(np.full((60, 100, 3), 255, np.uint8), Grid(TRANSFORM, 100, 60, None))
    image = np.asarray(object_picture(scene.features, backdrop, scene.areas)).max(axis=2)
    # 5 m to 30 m east, 5 m to 25 m south of the corner, at 0.5 m.
    assert image[30, 9:12].min() < 160 and image[30, 59:62].min() < 160
    assert image[9:12, 40].min() < 160 and image[49:52, 40].min() < 160
    assert (image[:8] > 200).all() and (image[:, 63:] > 200).all()


@pytest.mark.parametrize(('side', 'expected'), [(1, 1200), (599, 1198), (700, 700), (1300, 650)])
def test_maps_of_classes_are_large(tmp_path, side, expected):
    pred = write_raster(tmp_path / 'pred.tif', np.zeros((1, side), np.uint8))
    result = evaluate_pixels([('s', pred, pred)])
    pictures = pixel_pictures(result.scenes[0].sketch, result.class_set)
    assert pictures['errors'].width == expected


def test_a_layer_without_features_has_a_picture():
    features = evaluate_objects([('s', layer(), layer())]).scenes[0].features
    assert object_picture(features).size[0] > 0


def test_pixel_pictures_show_errors_in_red(tmp_path):
    pred = write_raster(tmp_path / 'pred.tif', np.array([[0, 1]], np.uint8))
    truth = write_raster(tmp_path / 'truth.tif', np.array([[0, 0]], np.uint8))
    result = evaluate_pixels([('s', pred, truth)])
    pictures = pixel_pictures(result.scenes[0].sketch, result.class_set)
    errors = np.asarray(pictures['errors'])
    assert errors[0, 0].tolist() == [235, 238, 240]
    assert errors[0, -1].tolist() == [213, 60, 0]


# Pairs and names


def test_two_single_files_belong_together(tmp_path):
    for name in ('a.gpkg', 'b.geojson'):
        (tmp_path / name).touch()
    paths = str(tmp_path / 'a.gpkg'), str(tmp_path / 'b.geojson')
    assert pair_scenes(*paths) == [('a', *paths)]


def test_patterns_pair_by_name(tmp_path):
    for name in ('p/y.tif', 'p/x.tif', 'p/x.tif.aux.xml', 't/x.gpkg', 't/y.gpkg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pairs = pair_scenes(f'{tmp_path}/p/*', f'{tmp_path}/t/*')
    assert [name for name, *_ in pairs] == ['x', 'y']
    assert pairs[0][1:] == (f'{tmp_path}/p/x.tif', f'{tmp_path}/t/x.gpkg')


def test_files_left_over_are_named(tmp_path):
    for name in ('p_a.tif', 'p_b.tif', 't_a.tif'):
        (tmp_path / name).touch()
    with pytest.raises(CatalogError, match=r'without ground truth: p_a, p_b[\s\S]*prediction: t_a'):
        pair_scenes(f'{tmp_path}/p_*', f'{tmp_path}/t_*')


def test_patterns_and_files_that_do_not_exist(tmp_path):
    with pytest.raises(CatalogError, match='no file matches'):
        pair_scenes(f'{tmp_path}/*.tif', f'{tmp_path}/*.tif')
    with pytest.raises(CatalogError, match=r'none\.tif: no such file'):
        pair_scenes(f'{tmp_path}/none.tif', f'{tmp_path}/none.tif')


def test_two_files_of_one_name(tmp_path):
    for name in ('a.gpkg', 'a.geojson'):
        (tmp_path / name).touch()
    with pytest.raises(CatalogError, match='both called a'):
        pair_scenes(f'{tmp_path}/*', f'{tmp_path}/*')


def test_category_names_without_a_table(tmp_path):
    (tmp_path / 'a.tif.aux.xml').write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>land</Category>'
        '<Category></Category><Category>ice</Category></CategoryNames></PAMRasterBand></PAMDataset>'
    )
    assert raster_names(tmp_path / 'a.tif') == {0: 'land', 2: 'ice'}
    assert raster_names(tmp_path / 'b.tif') == {}


def test_class_names_as_written_on_the_command_line():
    assert parse_class_names(['land', 'water']) == {0: 'land', 1: 'water'}
    assert parse_class_names(['1=water', '7=ice']) == {1: 'water', 7: 'ice'}


def test_a_project_shows_matches_of_another_crs_on_the_image(objects, tmp_path):
    image = write_raster(tmp_path / 'image.tif', np.ones((3, 50, 60), np.uint8), crs='EPSG:3857')
    grid = Grid(TRANSFORM, 60, 50, rasterio.CRS.from_epsg(3857))
    backdrop = Backdrop(np.zeros((50, 60, 3), np.uint8), grid, str(image))
    files = write_report(objects, tmp_path / 'out', images={'<a> & b': backdrop})
    assert files[-1] == tmp_path / 'out' / 'matches.qgz'
    with zipfile.ZipFile(files[-1]) as archive:
        root = ElementTree.fromstring(archive.read('matches.qgs'))
    assert root.findtext('projectCrs/spatialrefsys/authid') == 'EPSG:3857'
    assert root.findtext('properties/SpatialRefSys/ProjectionsEnabled') == '1'
    layers = root.findall('projectlayers/maplayer')
    assert [item.findtext('datasource') for item in layers] == [
        './matches.gpkg|layername=matches',
        '../image.tif',
    ]
    assert layers[0].findtext('srs/spatialrefsys/authid') == 'EPSG:32617'
