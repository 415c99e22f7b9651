"""QGIS styles with the colours of the classes, in the file that QGIS looks for."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from geo_mm.classes import ClassSet, Colour
from geo_mm.paths import write_text

_VERSION = '3.22.0'
"""QGIS whose form of style this is; later ones convert it."""

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_FILL = 90  # opacity of polygons, 0..255, so that the image shows through
_LABELLED = 8  # mm on the screen from which on a polygon has a label; scales need a CRS

# Matplotlib's viridis: as bright as it is high, also for the colour-blind.
_RAMP = ('#440154', '#3b528b', '#21918c', '#5ec962', '#fde725')

_CONFIDENCE = "coalesce(attribute('confidence'), attribute('score'))"
_LABEL = f""""class" || coalesce(' ' || round({_CONFIDENCE} * 100) || ' %', '')"""
# Columns that a layer does not have are left out.
_TIP = (
    '<b>[% "class" %]</b>'
    f"[% coalesce('<br>confidence ' || round({_CONFIDENCE} * 100) || ' %', '') %]"
    "[% coalesce('<br>' || format_number(attribute('area_m2'), 1) || ' m²', '') %]"
)


def class_style(classes: ClassSet) -> str:
    """A QGIS style (QML) for rasters and polygons of classes.

    QGIS takes the style of ``town.tif`` and of ``town.gpkg`` from the same
    file, ``town.qml``. This one therefore says both: how a raster is painted
    (``<pipe>``, by value), and how polygons are (``<renderer-v2>``, by the
    name of the class). QGIS reads of it what the layer needs. The background
    is clear in a raster, and no category of polygons.

    Returns:
        XML.
    """
    shown = {
        name: (name, classes.colours[classes.index(name)]) for name in classes.foreground_names
    }
    root = _polygon_style('class', shown)
    entries = _paletted(root)
    for value, name, colour in classes.items():
        alpha = '0' if name == classes.background else '255'
        SubElement(
            entries, 'paletteEntry', value=str(value), label=name, color=_hex(colour), alpha=alpha
        )
    return _text(root)


def category_style(column: str, categories: Mapping[str, tuple[str, Colour]]) -> str:
    """A QGIS style for polygons by the value of an attribute.

    Args:
        column: The attribute.
        categories: Value to its name in the legend and its colour.

    Returns:
        XML.
    """
    return _text(_polygon_style(column, categories))


def share_style(band: int = 1) -> str:
    """A QGIS style for a raster of confidences or probabilities: a ramp from 0 to 100 %.

    Args:
        band: The band shown, from 1 on.

    Returns:
        XML.
    """
    root = Element('qgis', version=_VERSION, styleCategories='Symbology')
    renderer = SubElement(
        SubElement(root, 'pipe'),
        'rasterrenderer',
        type='singlebandpseudocolor',
        band=str(band),
        classificationMin='0',
        classificationMax='1',
        opacity='1',
        alphaBand='-1',
        nodataColor='',
    )
    SubElement(renderer, 'rasterTransparency')
    shader = SubElement(
        SubElement(renderer, 'rastershader'),
        'colorrampshader',
        colorRampType='INTERPOLATED',
        classificationMode='1',
        clip='0',
        minimumValue='0',
        maximumValue='1',
    )
    for step, colour in enumerate(_RAMP):
        share = step / (len(_RAMP) - 1)
        SubElement(
            shader,
            'item',
            value=f'{share:g}',
            label=f'{share * 100:.0f} %',
            color=colour,
            alpha='255',
        )
    return _text(root)


def write_style(style: str, path: str | PathLike) -> Path:
    """Write a style beside a raster or vector file, where QGIS looks for it.

    Args:
        style: What :func:`class_style` or :func:`share_style` made.
        path: The file that it is the style of.

    Returns:
        Path of the style.
    """
    return write_text(Path(path).with_suffix('.qml'), style)


def _polygon_style(column: str, categories: Mapping[str, tuple[str, Colour]]) -> Element:
    root = Element(
        'qgis',
        version=_VERSION,
        styleCategories='Symbology|Labeling|MapTips',
        labelsEnabled='1',
    )
    renderer = SubElement(
        root,
        'renderer-v2',
        type='categorizedSymbol',
        attr=column,
        symbollevels='0',
        enableorderby='0',
        forceraster='0',
    )
    entries, symbols = SubElement(renderer, 'categories'), SubElement(renderer, 'symbols')
    for number, (value, (label, colour)) in enumerate(categories.items()):
        SubElement(
            entries,
            'category',
            type='string',
            value=value,
            label=label,
            symbol=str(number),
            render='true',
        )
        _add_symbol(symbols, str(number), colour)
    _add_labels(root)
    SubElement(root, 'mapTip').text = _TIP
    SubElement(root, 'layerGeometryType').text = '2'  # Qgis::GeometryType::Polygon
    return root


def _add_symbol(symbols: Element, name: str, colour: Colour) -> None:
    """A line with a dark rim, which shows on ground of its own colour, too."""
    symbol = SubElement(symbols, 'symbol', type='fill', name=name, alpha='1', clip_to_extent='1')
    rgb = ','.join(map(str, colour))
    for fill, line, width in (
        (f'{rgb},{_FILL}', '20,20,20,200', '0.9'),
        (f'{rgb},0', f'{rgb},255', '0.46'),
    ):
        layer = SubElement(symbol, 'layer', {'class': 'SimpleFill'}, enabled='1', locked='0')
        layer.set('pass', '0')
        options = SubElement(layer, 'Option', type='Map')
        for key, value in (
            ('color', fill),
            ('style', 'solid'),
            ('outline_color', line),
            ('outline_style', 'solid'),
            ('outline_width', width),
            ('outline_width_unit', 'MM'),
            ('joinstyle', 'miter'),
        ):
            SubElement(options, 'Option', type='QString', name=key, value=value)


def _add_labels(root: Element) -> None:
    settings = SubElement(SubElement(root, 'labeling', type='simple'), 'settings')
    text = SubElement(
        settings,
        'text-style',
        fieldName=_LABEL,
        isExpression='1',
        fontSize='8',
        fontSizeUnit='Point',
        textColor='20,20,20,255',
        textOpacity='1',
    )
    SubElement(
        text,
        'text-buffer',
        bufferDraw='1',
        bufferSize='0.8',
        bufferSizeUnits='MM',
        bufferColor='255,255,255,255',
        bufferOpacity='1',
    )
    SubElement(
        settings,
        'rendering',
        drawLabels='1',
        minFeatureSize=str(_LABELLED),
    )


def _paletted(root: Element) -> Element:
    """A renderer of values of band 1; returns where the values belong."""
    renderer = SubElement(
        SubElement(root, 'pipe'),
        'rasterrenderer',
        type='paletted',
        band='1',
        opacity='1',
        alphaBand='-1',
        nodataColor='',
    )
    SubElement(renderer, 'rasterTransparency')
    return SubElement(renderer, 'colorPalette')


def _hex(colour: Sequence[int]) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*colour)


def _text(root: Element) -> str:
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding='unicode') + '\n'
