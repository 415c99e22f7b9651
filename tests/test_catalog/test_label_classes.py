"""Classes as the user maps them from attribute and pixel values."""

import numpy as np
import pytest

from geo_mm.catalog import CatalogEntry, SceneOptions, open_labelled
from geo_mm.catalog.label_classes import find_classes, of_training_set
from geo_mm.classes import ClassSet
from geo_mm.errors import ConfigError
from geo_mm.raster import Window
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster

ROOFS = ['tin', 'tin', 'tile', 'slate', None]


@pytest.fixture
def roofs(tmp_path):
    """A scene with five roofs."""
    image = write_raster(tmp_path / 'town.tif', noise((3, 60, 60)))
    shapes = [box(10 * n, 0, 10 * n + 8, 10) for n in range(5)]
    labels = write_labels(tmp_path / 'roofs.gpkg', shapes, ROOFS, column='roof')
    return [CatalogEntry(str(image), str(labels))]


@pytest.fixture
def cover(tmp_path):
    """A scene with a label raster of the values -1, 1, 2 and 7."""
    image = write_raster(tmp_path / 'town.tif', noise((3, 20, 20)))
    values = np.repeat(np.array([-1, 1, 2, 7], np.int16), 100).reshape(20, 20)
    return [CatalogEntry(str(image), str(write_raster(tmp_path / 'cover.tif', values)))]


def classes_of_pixels(entry, found):
    labelled = open_labelled(entry, found.classes.names, SceneOptions(), found.options)
    return labelled.labels.classes(Window(0, 0, 20, 20))[:, 0].tolist()


def test_several_values_are_one_class_and_others_are_left_out(roofs):
    mapping = {'tile': 'mineral', 'slate': 'mineral'}
    found = find_classes(roofs, objects=True, column='roof', mapping=mapping)
    assert found.classes.names == ('mineral',)
    assert found.options.class_map == {**mapping, 'tin': None, '<null>': 'ignore'}
    assert 'tin: not in class_mapping' in found.notes['class_map']
    labelled = open_labelled(roofs[0], ('mineral',), SceneOptions(), found.options, objects=True)
    assert sorted(labelled.points()[1].tolist()) == [-1, 0, 0]


def test_classes_stand_in_the_order_of_the_mapping(roofs):
    mapping = {'slate': 'hard', 'tin': 'soft', 'tile': 'hard', '<null>': 'soft'}
    found = find_classes(roofs, objects=False, column='roof', mapping=mapping)
    assert found.classes.names == ('background', 'hard', 'soft')
    assert found.options.class_map == mapping


@pytest.mark.parametrize('one', [1, '1', 1.0])
def test_values_of_pixels_may_be_texts_and_others_are_ignored(cover, one):
    found = find_classes(cover, objects=False, mapping={one: 'water', 7: 'land'})
    assert found.classes.names == ('water', 'land')
    assert classes_of_pixels(cover[0], found) == [255] * 5 + [0] * 5 + [255] * 5 + [1] * 5


def test_classes_of_a_training_set_are_mapped_by_name_or_value():
    known = ClassSet(('Palm', 'Date palm', 'Shrub'))
    values = {1: 'Palm', 7: 'Date palm', 9: 'Shrub'}
    found = of_training_set(known, True, {1: 'tree', 'Date palm': 'tree'}, values)
    assert found.classes.names == ('tree',)
    assert found.options.class_map == {'Palm': 'tree', 'Date palm': 'tree', 'Shrub': None}


def test_the_background_of_a_training_set_stays_one():
    known = ClassSet(('background', 'road', 'roof'), background='background')
    found = of_training_set(known, False, {2: 'roof'}, {1: 'road', 2: 'roof'})
    assert found.classes.names == ('background', 'roof')
    assert found.options.class_map == {'road': None}


@pytest.mark.parametrize(
    ('mapping', 'column', 'message'),
    [
        ({'tinn': 'metal'}, 'roof', r'nothing is labelled as metal(?s:.*)tin, tile, slate'),
        ({'tin': 'metal'}, None, 'no column is called class(?s:.*)roof'),
        ({'tin': 'ignore'}, 'roof', 'class_mapping without a class'),
        ({'tinn': 'tin'}, 'roof', r'class_mapping of tinn, none of which occurs(?s:.*)slate'),
    ],
)
def test_mappings_that_do_not_fit_are_errors(roofs, mapping, column, message):
    with pytest.raises(ConfigError, match=message):
        find_classes(roofs, objects=True, column=column, mapping=mapping)


def test_values_that_do_not_occur_are_named(roofs):
    found = find_classes(
        roofs, objects=True, column='roof', mapping={'tin': 'metal', 'zinc': 'metal'}
    )
    assert found.classes.names == ('metal',)
    assert 'zinc: in class_mapping, does not occur' in found.notes['class_map']


def test_names_of_pixel_values_are_errors(cover):
    with pytest.raises(ConfigError, match=r"the value 'sea'(?s:.*)-1, 1, 2, 7 occur"):
        find_classes(cover, objects=False, mapping={1: 'water', 'sea': 'water'})
