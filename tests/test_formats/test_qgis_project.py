import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rasterio
from affine import Affine

from geo_mm.classes import ClassSet
from geo_mm.formats import ProjectLayer, class_style, write_layer_file, write_project
from geo_mm.raster import Grid
from tests.data.rasters import TRANSFORM

STYLE = class_style(ClassSet(('other', 'árbol'), background='other'))
GRID = Grid(TRANSFORM, 90, 70, rasterio.crs.CRS.from_epsg(32617))


def layers(home: Path):
    return [
        ProjectLayer(home / 'town.gpkg', 'Outlines', STYLE, 'polygons'),
        ProjectLayer(home / 'town.tif', 'Classes', STYLE, opacity=0.6),
        ProjectLayer(home.parent / 'images' / 'town.tif', 'Image'),
    ]


def project(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f'{path.stem}.qgs']
        return ElementTree.fromstring(archive.read(archive.namelist()[0]))


@pytest.fixture
def root(tmp_path):
    home = tmp_path / 'out'
    home.mkdir()
    return project(write_project(home / 'town.qgz', layers(home), GRID, home))


def test_layers_are_in_order_and_named_relative_to_the_project(root):
    assert [node.get('name') for node in root.find('layer-tree-group')] == [
        'Outlines', 'Classes', 'Image'
    ]  # fmt: skip
    ids = [node.get('id') for node in root.find('layer-tree-group')]
    assert [node.findtext('id') for node in root.find('projectlayers')] == ids
    assert min(map(len, ids)) > 10  # QGIS replaces shorter ones, and then finds no layer
    assert [node.findtext('datasource') for node in root.find('projectlayers')] == [
        './town.gpkg|layername=polygons', './town.tif', '../images/town.tif'
    ]  # fmt: skip


def test_layers_have_the_part_of_the_style_that_is_theirs(root):
    outlines, classes, image = root.find('projectlayers')
    assert outlines.find('renderer-v2') is not None and outlines.find('pipe') is None
    assert outlines.get('labelsEnabled') == '1'
    assert classes.find('pipe') is not None and classes.find('renderer-v2') is None
    assert classes.find('pipe/rasterrenderer').get('opacity') == '0.6'
    assert image.find('pipe') is None


def test_the_project_has_the_place_of_the_scene(root):
    assert root.findtext('projectCrs/spatialrefsys/authid') == 'EPSG:32617'
    extent = [float(node.text) for node in root.find('mapcanvas/extent')]
    assert extent == list(GRID.bounds)


def test_a_picture_lies_below_zero(tmp_path):
    flat = Grid(Affine.identity(), 90, 70)
    root = project(write_project(tmp_path / 'a.qgz', layers(tmp_path), flat, tmp_path))
    assert [float(node.text) for node in root.find('mapcanvas/extent')] == [0, -70, 90, 0]
    assert root.find('projectCrs/spatialrefsys') is None


def test_the_same_layers_give_the_same_bytes(tmp_path):
    paths = [tmp_path / name / 'a.qgz' for name in ('one', 'two')]
    for path in paths:
        path.parent.mkdir()
        write_project(path, layers(tmp_path / 'out'), GRID, tmp_path / 'out')
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_layer_file_has_the_same_layers(tmp_path):
    path = write_layer_file(tmp_path / 'a.qlr', layers(tmp_path), GRID, tmp_path)
    root = ElementTree.parse(path).getroot()
    assert len(root.find('maplayers')) == len(root.find('layer-tree-group')) == 3


def test_urls_stay_as_they_are(tmp_path):
    web = [ProjectLayer('https://example.org/a.tif', 'Image')]
    root = project(write_project(tmp_path / 'a.qgz', web, GRID, tmp_path))
    assert root.findtext('projectlayers/maplayer/datasource') == 'https://example.org/a.tif'


def test_a_relative_folder_gives_the_same_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = Path('out')
    home.mkdir()
    found = project(write_project(home / 'town.qgz', layers(home), GRID, home))
    assert [node.findtext('datasource') for node in found.find('projectlayers')] == [
        './town.gpkg|layername=polygons', './town.tif', '../images/town.tif'
    ]  # fmt: skip
