"""Attribute tables of class rasters, as GDAL, QGIS and ArcGIS read them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyogrio
import rasterio
from rasterio.windows import Window as RasterioWindow

from geo_mm.paths import discard, hidden_beside
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.projection import ground_areas

VAT_SUFFIXES = ('.vat.dbf', '.vat.cpg')
"""What Esri's programs call the table of ``town.tif``: ``town.tif.vat.dbf``."""

_ROWS = 64  # counted at once; the area of a pixel is that of the middle of so many rows

# GDAL's GDALRATFieldType and GDALRATFieldUsage of each column.
_FIELDS = {
    'Value': (0, 5),
    'Class': (2, 2),
    'Count': (0, 1),
    'Area_m2': (1, 0),
    'Red': (0, 6),
    'Green': (0, 7),
    'Blue': (0, 8),
    'Alpha': (0, 9),
}


@dataclass(frozen=True)
class AttributeTable:
    """The classes of a raster, one row for each.

    Attributes:
        rows: ``Value``, ``Class`` (its name), ``Count`` (pixels), ``Area_m2``
            (on the ellipsoid, missing if the raster is not georeferenced),
            and ``Red``, ``Green``, ``Blue``, ``Alpha`` if there are colours.
        names: Class number to name.
    """

    rows: pd.DataFrame
    names: Mapping[int, str]

    @classmethod
    def of(
        cls,
        dataset: rasterio.DatasetReader,
        names: Mapping[int, str],
        colors: Mapping[int, Sequence[int]],
    ) -> 'AttributeTable':
        """Count the pixels of each class of a raster.

        Args:
            dataset: One band of integers.
            names: Class number to name; others are called by their number.
            colors: Class number to (red, green, blue) or (red, green, blue, alpha).
        """
        values = sorted({*names, *colors})
        counts, areas = _measured(dataset, values)
        rows = pd.DataFrame(
            {
                'Value': values,
                'Class': [names.get(value, str(value)) for value in values],
                'Count': counts,
                'Area_m2': areas,
            }
        )
        if np.isnan(areas).any():
            rows = rows.drop(columns='Area_m2')
        if colors:
            table = [(*colors.get(value, (0, 0, 0, 0)), 255)[:4] for value in values]
            rows[['Red', 'Green', 'Blue', 'Alpha']] = np.array(table, np.int64).reshape(-1, 4)
        return cls(rows, names)

    def write_pam(self, path: Path) -> None:
        """Write it as GDAL keeps it beside a raster (``.aux.xml``).

        CategoryNames is a plain list from class 0 on, shown by gdalinfo.
        """
        root = ElementTree.Element('PAMDataset')
        band = ElementTree.SubElement(root, 'PAMRasterBand', band='1')
        if self.names and min(self.names) >= 0:
            categories = ElementTree.SubElement(band, 'CategoryNames')
            for value in range(max(self.names) + 1):
                name = self.names.get(value, '')
                ElementTree.SubElement(categories, 'Category').text = name
        table = ElementTree.SubElement(band, 'GDALRasterAttributeTable', tableType='thematic')
        for index, name in enumerate(map(str, self.rows)):
            field = ElementTree.SubElement(table, 'FieldDefn', index=str(index))
            kind, usage = _FIELDS[name]
            for tag, text in (('Name', name), ('Type', kind), ('Usage', usage)):
                ElementTree.SubElement(field, tag).text = str(text)
        for index, cells in enumerate(self.rows.itertuples(index=False)):
            row = ElementTree.SubElement(table, 'Row', index=str(index))
            for cell in cells:
                ElementTree.SubElement(row, 'F').text = str(cell)
        ElementTree.indent(root)
        path.write_bytes(ElementTree.tostring(root, encoding='utf-8'))

    def write_vat(self, raster: Path) -> None:
        """Write it as Esri's programs keep it, beside a raster that is complete."""
        partial = hidden_beside(raster.with_suffix('.dbf'))
        try:
            pyogrio.write_dataframe(
                self.rows,
                partial,
                driver='ESRI Shapefile',
                encoding='UTF-8',
                # The day of writing would change the bytes of the same table.
                layer_options={'DBF_DATE_LAST_UPDATE': '2000-01-01'},
            )
            for suffix in VAT_SUFFIXES:
                os.replace(partial.with_suffix(Path(suffix).suffix), f'{raster}{suffix}')
        finally:
            discard(partial)
            discard(partial.with_suffix('.cpg'))


def _measured(
    dataset: rasterio.DatasetReader, values: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (int64) and square metres of each class."""
    counts, areas = np.zeros(len(values), np.int64), np.zeros(len(values))
    known = np.array(values)
    grid = Grid(dataset.transform, dataset.width, dataset.height, dataset.crs)
    for top in range(0, grid.height, _ROWS):
        strip = RasterioWindow(0, top, grid.width, min(_ROWS, grid.height - top))
        found, pixels = _counted(dataset.read(1, window=strip))
        at = np.searchsorted(found, known).clip(max=len(found) - 1)
        here = np.where(found[at] == known, pixels[at], 0)
        counts += here
        areas += here * _pixel_area(grid, strip)
    return counts, areas.round(2)


def _counted(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, in order, and how often each does."""
    if band.dtype != np.uint8:
        return np.unique(band, return_counts=True)
    counts = np.bincount(band.ravel(), minlength=256)  # does not sort
    found = np.flatnonzero(counts)
    return found, counts[found]


def _pixel_area(grid: Grid, strip: RasterioWindow) -> float:
    """Mean area of the pixels of some rows in m2, NaN if not georeferenced."""
    part = grid.crop(Window(strip.col_off, strip.row_off, strip.width, strip.height))
    return float(ground_areas(np.array([part.footprint]), grid.crs)[0]) / part.window.area
