from xml.etree import ElementTree

from geo_mm.formats import class_style, share_style, write_style

CLASSES = {0: ('background', (230, 159, 0)), 3: ('road & "rail" <x> ñ', (0, 114, 178))}


def test_a_raster_is_painted_by_value():
    root = ElementTree.fromstring(class_style(CLASSES, clear=[0]))
    assert root.tag == 'qgis'
    renderer = root.find('pipe/rasterrenderer')
    assert (renderer.get('type'), renderer.get('band')) == ('paletted', '1')
    assert [dict(entry.items()) for entry in renderer.find('colorPalette')] == [
        {'value': '0', 'label': 'background', 'color': '#e69f00', 'alpha': '0'},
        {'value': '3', 'label': 'road & "rail" <x> ñ', 'color': '#0072b2', 'alpha': '255'},
    ]


def test_polygons_are_painted_by_class_name():
    root = ElementTree.fromstring(class_style(CLASSES))
    renderer = root.find('renderer-v2')
    assert (renderer.get('type'), renderer.get('attr')) == ('categorizedSymbol', 'class')
    symbols = {symbol.get('name'): symbol for symbol in renderer.find('symbols')}
    found = {}
    for category in renderer.find('categories'):
        symbol = symbols[category.get('symbol')]
        assert symbol.get('type') == 'fill' and symbol.find('layer').get('class') == 'SimpleFill'
        options = {item.get('name'): item.get('value') for item in symbol.iter('Option')}
        found[category.get('value')] = options['color'], options['outline_color']
    assert found == {
        'background': ('230,159,0,110', '230,159,0,255'),
        'road & "rail" <x> ñ': ('0,114,178,110', '0,114,178,255'),
    }
    assert root.find('layerGeometryType').text == '2'


def test_shares_go_from_black_to_white():
    renderer = ElementTree.fromstring(share_style(0, 250)).find('pipe/rasterrenderer')
    contrast = {item.tag: item.text for item in renderer.find('contrastEnhancement')}
    assert (contrast['minValue'], contrast['maxValue']) == ('0', '250')


def test_it_lies_where_qgis_looks_for_it(tmp_path):
    """The file's name with another suffix: QgsMapLayer::styleURI."""
    path = write_style(class_style(CLASSES), tmp_path / 'town.v2.tif')
    assert path == tmp_path / 'town.v2.qml'
    assert path.read_text(encoding='utf-8').startswith('<!DOCTYPE qgis')
    assert ElementTree.parse(path).getroot().tag == 'qgis'
