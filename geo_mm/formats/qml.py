"""QGIS styles with the colours of the classes, in the file that QGIS looks for."""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

_VERSION = '3.28.0'
"""QGIS whose form of style this is; later ones convert it."""

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_FILL = 110  # opacity of polygons, 0..255, so that the image shows through


def class_style(
    classes: Mapping[int, tuple[str, Sequence[int]]],
    *,
    clear: Collection[int] = (),
    column: str = 'class',
) -> str:
    """A QGIS style (QML) for rasters and polygons of classes.

    QGIS takes the style of ``town.tif`` and of ``town.gpkg`` from the same
    file, ``town.qml``. This one therefore says both: how a raster is painted
    (``<pipe>``, by value), and how polygons are (``<renderer-v2>``, by the
    name of the class). QGIS reads of it what the layer needs.

    Args:
        classes: Class value to name and colour ``(r, g, b)`` 0..255.
        clear: Values to show as nothing in a raster, such as the background.
        column: Attribute of the polygons that holds the class name.

    Returns:
        XML.
    """
    root = Element('qgis', version=_VERSION, styleCategories='Symbology')
    _add_polygon_style(root, classes, column)
    _add_raster_style(root, classes, clear)
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding='unicode') + '\n'


def share_style(low: float = 0, high: float = 1) -> str:
    """A QGIS style for a raster of confidences or probabilities: dark to bright.

    Args:
        low: Value shown black, in the raster's own numbers.
        high: Value shown white.

    Returns:
        XML.
    """
    root = Element('qgis', version=_VERSION, styleCategories='Symbology')
    pipe = SubElement(root, 'pipe')
    renderer = SubElement(
        pipe,
        'rasterrenderer',
        type='singlebandgray',
        grayBand='1',
        gradient='BlackToWhite',
        opacity='1',
        alphaBand='-1',
        nodataColor='',
    )
    SubElement(renderer, 'rasterTransparency')
    contrast = SubElement(renderer, 'contrastEnhancement')
    for tag, value in (
        ('minValue', f'{low:g}'),
        ('maxValue', f'{high:g}'),
        ('algorithm', 'StretchToMinimumMaximum'),
    ):
        SubElement(contrast, tag).text = value
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding='unicode') + '\n'


def write_style(style: str, path: str | PathLike) -> Path:
    """Write a style beside a raster or vector file, where QGIS looks for it.

    Args:
        style: What :func:`class_style` or :func:`share_style` made.
        path: The file that it is the style of.

    Returns:
        Path of the style.
    """
    path = Path(path).with_suffix('.qml')
    path.write_text(style, encoding='utf-8')
    return path


def _add_polygon_style(root: Element, classes: Mapping, column: str) -> None:
    renderer = SubElement(
        root,
        'renderer-v2',
        type='categorizedSymbol',
        attr=column,
        symbollevels='0',
        enableorderby='0',
        forceraster='0',
    )
    categories, symbols = SubElement(renderer, 'categories'), SubElement(renderer, 'symbols')
    for number, (name, colour) in enumerate(classes.values()):
        SubElement(
            categories,
            'category',
            type='string',
            value=name,
            label=name,
            symbol=str(number),
            render='true',
        )
        symbol = SubElement(
            symbols, 'symbol', type='fill', name=str(number), alpha='1', clip_to_extent='1'
        )
        layer = SubElement(symbol, 'layer', {'class': 'SimpleFill'}, enabled='1', locked='0')
        layer.set('pass', '0')
        options = SubElement(layer, 'Option', type='Map')
        rgb = ','.join(str(part) for part in colour)
        for key, value in (
            ('color', f'{rgb},{_FILL}'),
            ('style', 'solid'),
            ('outline_color', f'{rgb},255'),
            ('outline_style', 'solid'),
            ('outline_width', '0.4'),
            ('outline_width_unit', 'MM'),
            ('joinstyle', 'miter'),
        ):
            SubElement(options, 'Option', type='QString', name=key, value=value)
    SubElement(root, 'layerGeometryType').text = '2'  # Qgis::GeometryType::Polygon


def _add_raster_style(root: Element, classes: Mapping, clear: Collection[int]) -> None:
    pipe = SubElement(root, 'pipe')
    renderer = SubElement(
        pipe,
        'rasterrenderer',
        type='paletted',
        band='1',
        opacity='1',
        alphaBand='-1',
        nodataColor='',
    )
    SubElement(renderer, 'rasterTransparency')
    palette = SubElement(renderer, 'colorPalette')
    for value, (name, colour) in classes.items():
        red, green, blue = colour
        SubElement(
            palette,
            'paletteEntry',
            value=str(value),
            label=name,
            color=f'#{red:02x}{green:02x}{blue:02x}',
            alpha='0' if value in clear else '255',
        )
