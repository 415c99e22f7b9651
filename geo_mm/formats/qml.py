"""QGIS styles with the colours of the classes, in the file that QGIS looks for."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement, fromstring

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


_RAMP_STYLE = """
<qgis version="{version}" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandpseudocolor" band="{band}" classificationMin="0"
        classificationMax="1" opacity="1" alphaBand="-1" nodataColor="">
      <rasterTransparency />
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0"
            minimumValue="0" maximumValue="1" />
      </rastershader>
    </rasterrenderer>
  </pipe>
</qgis>"""

_PALETTE = """
<pipe>
  <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
    <rasterTransparency />
    <colorPalette />
  </rasterrenderer>
</pipe>"""

_POLYGONS = """
<qgis version="{version}" styleCategories="Symbology|Labeling|MapTips" labelsEnabled="1">
  <renderer-v2 type="categorizedSymbol" attr="" symbollevels="0" enableorderby="0" forceraster="0">
    <categories />
    <symbols />
  </renderer-v2>
  <labeling type="simple">
    <settings>
      <text-style fieldName="" isExpression="1" fontSize="8" fontSizeUnit="Point"
          textColor="20,20,20,255" textOpacity="1">
        <text-buffer bufferDraw="1" bufferSize="0.8" bufferSizeUnits="MM"
            bufferColor="255,255,255,255" bufferOpacity="1" />
      </text-style>
      <rendering drawLabels="1" minFeatureSize="{labelled}" />
    </settings>
  </labeling>
  <mapTip />
  <layerGeometryType>2</layerGeometryType>
</qgis>"""  # 2: Qgis::GeometryType::Polygon

# A line with a dark rim, which shows on ground of its own colour, too.
_SYMBOL = """
<symbol type="fill" name="{name}" alpha="1" clip_to_extent="1">
  <layer class="SimpleFill" enabled="1" locked="0" pass="0">
    <Option type="Map">{rim}</Option>
  </layer>
  <layer class="SimpleFill" enabled="1" locked="0" pass="0">
    <Option type="Map">{line}</Option>
  </layer>
</symbol>"""


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
    pipe = fromstring(_PALETTE)
    root.append(pipe)
    entries = _part(pipe, './/colorPalette')
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
    root = fromstring(_RAMP_STYLE.format(version=_VERSION, band=band))
    shader = _part(root, './/colorrampshader')
    for step, colour in enumerate(_RAMP):
        share = step / (len(_RAMP) - 1)
        label = f'{share * 100:.0f} %'
        SubElement(shader, 'item', value=f'{share:g}', label=label, color=colour, alpha='255')
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
    root = fromstring(_POLYGONS.format(version=_VERSION, labelled=_LABELLED))
    _part(root, 'renderer-v2').set('attr', column)
    _part(root, './/text-style').set('fieldName', _LABEL)
    _part(root, 'mapTip').text = _TIP
    entries, symbols = _part(root, './/categories'), _part(root, './/symbols')
    for number, (value, (label, colour)) in enumerate(categories.items()):
        known = {'value': value, 'label': label, 'symbol': str(number), 'render': 'true'}
        SubElement(entries, 'category', {'type': 'string', **known})
        rgb = ','.join(map(str, colour))
        rim = _fill(f'{rgb},{_FILL}', '20,20,20,200', '0.9')
        line = _fill(f'{rgb},0', f'{rgb},255', '0.46')
        symbols.append(fromstring(_SYMBOL.format(name=number, rim=rim, line=line)))
    return root


def _fill(colour: str, outline: str, width: str) -> str:
    """The options of a fill, as XML."""
    options = {
        'color': colour,
        'style': 'solid',
        'outline_color': outline,
        'outline_style': 'solid',
        'outline_width': width,
        'outline_width_unit': 'MM',
        'joinstyle': 'miter',
    }
    return ''.join(
        f'<Option type="QString" name="{key}" value="{value}" />' for key, value in options.items()
    )


def _part(root: Element, path: str) -> Element:
    found = root.find(path)
    assert found is not None  # it is in the template
    return found


def _hex(colour: Sequence[int]) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*colour)


def _text(root: Element) -> str:
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding='unicode') + '\n'
