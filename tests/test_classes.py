import json

import pytest

from geo_mm.classes import IGNORE, ClassSet, default_colours
from geo_mm.errors import ConfigError

LAND = ClassSet(('soil', 'tree', 'water'), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), 'soil')


def test_indices_names_and_colours_go_together():
    assert len(LAND) == 3
    assert list(LAND.items()) == [
        (0, 'soil', (1, 2, 3)),
        (1, 'tree', (4, 5, 6)),
        (2, 'water', (7, 8, 9)),
    ]
    assert LAND.index('water') == 2
    assert LAND.ignore == IGNORE == 255


def test_the_background_is_no_foreground():
    assert LAND.background_index == 0
    assert LAND.foreground == (1, 2)
    assert LAND.foreground_names == ('tree', 'water')
    without = ClassSet(('tree', 'water'))
    assert without.background_index is None
    assert without.foreground == (0, 1)


def test_classes_without_colours_get_distinct_ones():
    classes = ClassSet(('a', 'b', 'c'))
    assert classes.colours == default_colours(3)
    assert len(set(default_colours(12))) == 12
    assert default_colours(13)[12] == default_colours(1)[0]


def test_metainfo_of_mm_datasets_both_ways():
    metainfo = {'classes': ['soil', 'tree', 'water'], 'palette': [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}
    classes = ClassSet.from_metainfo(metainfo, 'soil')
    assert classes == LAND
    assert classes.to_metainfo() == {**metainfo, 'classes': ('soil', 'tree', 'water')}
    assert ClassSet.from_metainfo({'classes': ('a',)}).colours == default_colours(1)


def test_json_both_ways():
    assert ClassSet.from_dict(json.loads(json.dumps(LAND.to_dict()))) == LAND


def test_a_record_may_name_a_background_that_is_no_class():
    record = {'classes': ['tree'], 'background': 'background', 'gsd': 0.5}
    assert ClassSet.from_dict(record) == ClassSet(('tree',))


def test_a_single_name_is_one_class():
    assert ClassSet('tree').names == ('tree',)


def test_equal_sets_are_equal_however_they_were_given():
    again = ClassSet(['soil', 'tree', 'water'], [[1, 2, 3], [4, 5, 6], [7, 8, 9]], 'soil')
    assert again == LAND
    assert hash(again) == hash(LAND)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((('a', 'b'), ((1, 2, 3),)), '1 colours for the 2 classes a, b'),
        ((('a', 'b', 'a'),), 'class a occurs more than once in a, b, a'),
        ((('a',), ((1, 2, 256),)), r"colour \(1, 2, 256\) of class 'a'"),
        ((('a',), ((1, 2),)), r"colour \(1, 2\) of class 'a'"),
        ((('a', 3),), '3 as the name of a class'),
        ((('a', ''),), "'' as the name of a class"),
        ((('a',), (), 'b'), "background class 'b' is not one of a"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ClassSet(*arguments)


@pytest.mark.parametrize('name', ['a\x00', 'a\tb', '\x1b[2J', 'a\x85', '\udcff'])
def test_control_characters_are_refused(name):
    with pytest.raises(ConfigError, match='control characters'):
        ClassSet(('road', name))


def test_any_writing_is_accepted():
    names = ('道路', 'مسکونی\u200cنشین', 'a\xa0b', 'ñ', '🌳')
    assert ClassSet(names).names == names


def test_an_unknown_class_is_named():
    with pytest.raises(ConfigError, match=r"no class 'road'\n  expected: one of soil, tree, water"):
        LAND.index('road')
