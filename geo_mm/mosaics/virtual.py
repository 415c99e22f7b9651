"""Results as they are, described together: a virtual raster, and a STAC collection."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
import shapely
from affine import Affine

from geo_mm.classes import ClassSet
from geo_mm.mosaics.results import Result
from geo_mm.paths import write_text
from geo_mm.raster import Grid
from geo_mm.stores import gdal_name, in_store, listed, url

logger = logging.getLogger(__name__)


def write_vrt(path: Path, results: Sequence[Result], grid: Grid) -> Path | None:
    """Writes a virtual raster of class rasters, which GDAL and QGIS open as one.

    Where scenes overlap, the one that was predicted last is on top.

    Args:
        path: What to write, ``.vrt``.
        results: Those with rasters.
        grid: Of the whole.

    Returns:
        The path; None, with a warning, if their pixels are not of one size and CRS.

    Raises:
        OutputError: If it cannot be written.
    """
    for result in results:
        own: Affine = ~grid.transform @ result.grid.transform
        alike = np.allclose((own.a, own.b, own.d, own.e), (1, 0, 0, 1))
        if result.grid.crs != grid.crs or not alike:
            logger.warning(
                '%s has pixels of another CRS, size or direction than the others, so there is no '
                '%s; without --virtual one raster is made of them',
                result.name,
                path.name,
            )
            return None
    classes = results[0].classes
    root = Element('VRTDataset', rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    SubElement(root, 'SRS').text = '' if grid.crs is None else grid.crs.to_wkt()
    SubElement(root, 'GeoTransform').text = ', '.join(map(repr, grid.transform.to_gdal()))
    band = SubElement(root, 'VRTRasterBand', dataType='Byte', band='1')
    SubElement(band, 'Description').text = 'class'
    SubElement(band, 'NoDataValue').text = str(classes.ignore)
    SubElement(band, 'ColorInterp').text = 'Palette'
    _add_classes(band, classes)
    for result in sorted(results, key=lambda result: result.started):
        _add_source(band, result, grid, path)
    indent(root)
    return write_text(path, tostring(root, encoding='unicode') + '\n')


def _add_classes(band: Element, classes: ClassSet) -> None:
    colours, names = SubElement(band, 'ColorTable'), SubElement(band, 'CategoryNames')
    for red, green, blue in classes.colours:
        SubElement(colours, 'Entry', c1=str(red), c2=str(green), c3=str(blue), c4='255')
    for name in classes.names:
        SubElement(names, 'Category').text = name


def _add_source(band: Element, result: Result, grid: Grid, vrt: Path) -> None:
    own: Affine = ~grid.transform @ result.grid.transform
    raster = result.raster()
    assert raster is not None  # of results with rasters alone
    name, relative = _name_beside(raster, vrt)
    source = SubElement(band, 'ComplexSource')
    file = SubElement(source, 'SourceFilename', relativeToVRT=str(int(relative)))
    file.text = name
    SubElement(source, 'SourceBand').text = '1'
    for tag, x, y in (('SrcRect', 0.0, 0.0), ('DstRect', own.c, own.f)):
        place = {'xOff': f'{x:.9g}', 'yOff': f'{y:.9g}'}
        size = {'xSize': str(result.grid.width), 'ySize': str(result.grid.height)}
        SubElement(source, tag, {**place, **size})
    SubElement(source, 'NODATA').text = str(result.classes.ignore)


def _name_beside(path: Path, other: Path) -> tuple[str, bool]:
    """What a file is called in another, and whether it is seen from there."""
    if in_store(path):
        return gdal_name(path), False
    return Path(os.path.relpath(path, other.parent)).as_posix(), True


def write_collection(path: Path, results: Sequence[Result], beside: Sequence[Path]) -> Path | None:
    """Writes a STAC collection of the items of results.

    Args:
        path: What to write, ``.json``.
        results: Of which those are in it that have an item (``geo-mm predict --stac``).
        beside: Files on all of them, which become its assets.

    Returns:
        The path; None if there are no items.

    Raises:
        OutputError: If it cannot be written.
    """
    import pystac

    there = {file.name for file in listed(results[0].folder)}
    results = [result for result in results if f'{result.name}.stac.json' in there]
    if not results:
        return None
    shapes = [result.grid.lonlat_footprint() for result in results]
    bounds = shapely.total_bounds([shape for shape in shapes if shape is not None])
    times = sorted(result.started for result in results)
    first, last = map(pystac.utils.str_to_datetime, (times[0], times[-1]))
    extent = pystac.Extent(
        pystac.SpatialExtent([[float(value) for value in bounds.round(7)]]),
        pystac.TemporalExtent([[first, last]]),
    )
    description = f'Predictions of {len(results)} scenes, with geo_mm'
    collection = pystac.Collection(path.stem.removesuffix('.collection'), description, extent)
    for file in beside:
        collection.add_asset(file.name, pystac.Asset(f'./{file.name}', roles=['data']))
    for result in results:
        item = result.folder / f'{result.name}.stac.json'
        name, relative = _name_beside(item, path)
        href = f'./{name}' if relative and not name.startswith('.') else url(name)
        collection.add_link(pystac.Link('item', href, 'application/geo+json', result.name))
    found = collection.to_dict(include_self_link=False, transform_hrefs=False)
    return write_text(path, json.dumps(found, indent=2) + '\n')
