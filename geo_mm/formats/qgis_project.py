"""QGIS projects and layer files that open results over their scene, in order and styled."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rasterio.crs import CRS

from geo_mm.formats.layers import LAYER_FORMATS
from geo_mm.paths import atomic_write, is_local, reported, write_text
from geo_mm.raster import Grid
from geo_mm.stores import folder_path, gdal_name, in_store

_VERSION = '3.22.0'
_ZIP_TIME = (2000, 1, 1, 0, 0, 0)  # the same layers give the same bytes


@dataclass(frozen=True)
class ProjectLayer:
    """A layer of a project.

    Attributes:
        path: Its file; a raster if it ends in ``.tif`` or no vector suffix.
        title: Name in the list of layers.
        style: QML, or None for QGIS's own choice.
        layer: Layer in the file, for vector files with several.
        visible: Whether it is shown at first.
        opacity: Of a raster with a style, 0..1.
        crs: Of the layer, if it is not that of the project.
    """

    path: str | os.PathLike
    title: str
    style: str | None = None
    layer: str | None = None
    visible: bool = True
    opacity: float = 1.0
    crs: CRS | None = None

    @property
    def is_vector(self) -> bool:
        return Path(self.path).suffix.lower() in LAYER_FORMATS


def write_project(
    path: str | os.PathLike, layers: Sequence[ProjectLayer], grid: Grid, home: str | os.PathLike
) -> Path:
    """Write a QGIS project (``.qgz``).

    Args:
        path: The file.
        layers: From the uppermost down.
        grid: Of the scene; its CRS and extent are those of the project.
        home: The folder that the project is going to be in; files are named
            relative to it.

    Returns:
        The path.

    Raises:
        OutputError: If it cannot be written.
    """
    path = Path(path)
    root = Element('qgis', projectname=path.stem, version=_VERSION)
    SubElement(root, 'title').text = path.stem
    _add_crs(SubElement(root, 'projectCrs'), grid.crs)
    _add_tree(root, layers)
    canvas = SubElement(root, 'mapcanvas', name='theMapCanvas', annotationsVisible='1')
    extent = SubElement(canvas, 'extent')
    for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), _extent(grid), strict=True):
        SubElement(extent, key).text = repr(value)
    _add_crs(SubElement(canvas, 'destinationsrs'), grid.crs)
    found = SubElement(root, 'projectlayers')
    for number, layer in enumerate(layers):
        found.append(_map_layer(layer, number, grid, home))
    properties = SubElement(root, 'properties')
    SubElement(SubElement(properties, 'Paths'), 'Absolute', type='bool').text = 'false'
    if grid.crs is not None:
        # Without it QGIS passes over the project's CRS and reprojects no layer.
        enabled = SubElement(SubElement(properties, 'SpatialRefSys'), 'ProjectionsEnabled')
        enabled.set('type', 'int')
        enabled.text = '1'
    ElementTree.indent(root)
    entry = zipfile.ZipInfo(f'{path.stem}.qgs', _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        reported(path),
        atomic_write(path, sync=False) as partial,
        zipfile.ZipFile(partial, 'w') as archive,
    ):
        archive.writestr(entry, ElementTree.tostring(root, encoding='utf-8'))
    return path


def write_layer_file(
    path: str | os.PathLike, layers: Sequence[ProjectLayer], grid: Grid, home: str | os.PathLike
) -> Path:
    """Write a QGIS layer file (``.qlr``), to be dropped into a project of one's own.

    Arguments, return value and errors are those of :func:`write_project`.
    """
    path = Path(path)
    root = Element('qlr')
    _add_tree(root, layers)
    found = SubElement(root, 'maplayers')
    for number, layer in enumerate(layers):
        found.append(_map_layer(layer, number, grid, home))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding='unicode')
    return write_text(path, f'<!DOCTYPE qgis-layer-definition>\n{text}\n')


def _extent(grid: Grid) -> tuple[float, float, float, float]:
    """Of what is drawn, a picture below zero."""
    return replace(grid, transform=grid.vector_transform).bounds


def _key(layer: ProjectLayer, number: int) -> str:
    # QGIS gives layers with an id of ten letters or fewer another one.
    return f'geo_mm_layer_{number}_{Path(layer.path).stem}'


def _add_tree(root: Element, layers: Sequence[ProjectLayer]) -> None:
    tree = SubElement(root, 'layer-tree-group')
    for number, layer in enumerate(layers):
        SubElement(
            tree,
            'layer-tree-layer',
            id=_key(layer, number),
            name=layer.title,
            checked='Qt::Checked' if layer.visible else 'Qt::Unchecked',
            expanded='1',
        )


def _map_layer(layer: ProjectLayer, number: int, grid: Grid, home: str | os.PathLike) -> Element:
    found = Element('maplayer', type='vector' if layer.is_vector else 'raster')
    if layer.is_vector:
        found.set('geometry', 'Polygon')
    SubElement(found, 'id').text = _key(layer, number)
    source = _relative(layer.path, home)
    SubElement(found, 'datasource').text = (
        f'{source}|layername={layer.layer}' if layer.layer else source
    )
    SubElement(found, 'layername').text = layer.title
    _add_crs(SubElement(found, 'srs'), layer.crs or grid.crs)
    SubElement(found, 'provider', encoding='UTF-8').text = 'ogr' if layer.is_vector else 'gdal'
    if layer.style is not None:
        style = ElementTree.fromstring(layer.style)
        if labels_enabled := style.get('labelsEnabled'):
            found.set('labelsEnabled', labels_enabled)
        polygons = {'renderer-v2', 'labeling', 'mapTip', 'layerGeometryType'}
        for child in style:
            # A style of ours has the parts for rasters and for polygons.
            if (child.tag in polygons) == layer.is_vector:
                found.append(child)
        for renderer in found.iter('rasterrenderer'):
            renderer.set('opacity', f'{layer.opacity:g}')
    return found


def _add_crs(parent: Element, crs: CRS | None) -> None:
    if crs is None:
        return
    system = SubElement(parent, 'spatialrefsys', nativeFormat='Wkt')
    SubElement(system, 'wkt').text = crs.to_wkt(version='WKT2_2019')
    if (code := crs.to_authority()) is not None:
        SubElement(system, 'authid').text = ':'.join(code)


def _relative(path: str | os.PathLike, home: str | os.PathLike) -> str:
    """A file as seen from the project; URLs and the like stay as they are."""
    text = gdal_name(path)  # QGIS has GDAL open it
    if in_store(text) or in_store(home):
        return f'./{Path(text).name}' if Path(text).parent == folder_path(home) else text
    if not is_local(text):
        return text
    try:
        found = Path(os.path.relpath(text, home)).as_posix()
    except ValueError:  # on another drive
        return text
    return found if found.startswith('.') else f'./{found}'
