from xml.etree import ElementTree

from geo_mm.classes import ClassSet
from geo_mm.formats import category_style, class_style, share_style, write_style

ROAD = 'road & "rail" <x> ñ'
CLASSES = ClassSet(('background', ROAD), ((230, 159, 0), (0, 114, 178)), 'background')


def categories(style):
    """Value to label, fill and line of each category of polygons."""
    renderer = ElementTree.fromstring(style).find('renderer-v2')
    symbols = {symbol.get('name'): symbol for symbol in renderer.find('symbols')}
    found = {}
    for category in renderer.find('categories'):
        symbol = symbols[category.get('symbol')]
        assert symbol.get('type') == 'fill'
        layers = [
            {item.get('name'): item.get('value') for item in layer.iter('Option')}
            for layer in symbol.findall('layer')
        ]
        fill, line = layers[0]['color'], layers[-1]['outline_color']
        found[category.get('value')] = category.get('label'), fill, line
    return renderer.get('attr'), found


def test_a_raster_is_painted_by_value_but_for_the_background():
    root = ElementTree.fromstring(class_style(CLASSES))
    renderer = root.find('pipe/rasterrenderer')
    assert (renderer.get('type'), renderer.get('band')) == ('paletted', '1')
    assert [dict(entry.items()) for entry in renderer.find('colorPalette')] == [
        {'value': '0', 'label': 'background', 'color': '#e69f00', 'alpha': '0'},
        {'value': '1', 'label': ROAD, 'color': '#0072b2', 'alpha': '255'},
    ]


def test_polygons_are_painted_by_class_name_without_the_background():
    column, found = categories(class_style(CLASSES))
    assert column == 'class'
    assert found == {ROAD: (ROAD, '0,114,178,90', '0,114,178,255')}


def test_polygons_by_another_attribute():
    style = category_style('result', {'tp': ('true positive', (0, 158, 115))})
    assert categories(style) == (
        'result',
        {'tp': ('true positive', '0,158,115,90', '0,158,115,255')},
    )


def test_outlines_have_a_dark_rim():
    """A green line cannot be seen on grass."""
    symbol = ElementTree.fromstring(class_style(CLASSES)).find('renderer-v2/symbols/symbol')
    wide, narrow = (
        {item.get('name'): item.get('value') for item in layer.iter('Option')}
        for layer in symbol.findall('layer')
    )
    assert wide['outline_color'].startswith('20,20,20')
    assert float(wide['outline_width']) > float(narrow['outline_width'])


def test_polygons_have_labels_when_zoomed_in_and_map_tips():
    root = ElementTree.fromstring(class_style(CLASSES))
    assert root.get('labelsEnabled') == '1'
    assert root.find('labeling/settings/text-style').get('fieldName').startswith('"class"')
    # By size on the screen: QGIS has no scale for layers without a CRS.
    rendering = root.find('labeling/settings/rendering')
    assert rendering.get('minFeatureSize') == '8' and rendering.get('scaleVisibility') is None
    assert '"class"' in root.findtext('mapTip') and 'area_m2' in root.findtext('mapTip')


def test_shares_are_a_ramp_from_0_to_100_percent():
    renderer = ElementTree.fromstring(share_style(3)).find('pipe/rasterrenderer')
    assert (renderer.get('type'), renderer.get('band')) == ('singlebandpseudocolor', '3')
    items = [(item.get('value'), item.get('label')) for item in renderer.iter('item')]
    assert items == [
        ('0', '0 %'),
        ('0.25', '25 %'),
        ('0.5', '50 %'),
        ('0.75', '75 %'),
        ('1', '100 %'),
    ]


def test_it_lies_where_qgis_looks_for_it(tmp_path):
    """The file's name with another suffix: QgsMapLayer::styleURI."""
    path = write_style(class_style(CLASSES), tmp_path / 'town.v2.tif')
    assert path == tmp_path / 'town.v2.qml'
    assert path.read_text(encoding='utf-8').startswith('<!DOCTYPE qgis')
    assert ElementTree.parse(path).getroot().tag == 'qgis'
