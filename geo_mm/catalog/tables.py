"""Rows of a catalog file: CSV as spreadsheets save it, or a layer of a GIS."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError

from geo_mm.classes import default_colours
from geo_mm.errors import CatalogError
from geo_mm.formats.layers import write_layer
from geo_mm.formats.qml import category_style
from geo_mm.labels.reading import polygon_text, read_parquet
from geo_mm.paths import write_text
from geo_mm.raster.handles import layer_source, without_side_files
from geo_mm.raster.projection import LONLAT
from geo_mm.stores import in_store, read_bytes

SUFFIXES = ('.csv', '.geojson', '.gpkg', '.parquet')

GEOMETRY = 'geometry'
"""In the column ``aoi`` of a layer: the geometry of the row."""


def read_table(path: str) -> list[dict]:
    """The rows of a table, by column; cells without content are left out.

    Raises:
        CatalogError: If there is no such file, or it is no table.
    """
    if not in_store(path) and not Path(path).is_file():
        raise CatalogError(f'{path}: no such catalog file', f'one of {", ".join(SUFFIXES)}')
    read = _csv_rows if path.lower().endswith('.csv') else _layer_rows
    try:
        rows = read(path)
    except (OSError, ValueError, csv.Error, DataSourceError, DataLayerError, FieldError) as error:
        raise CatalogError(
            f'{path}: not a readable catalog: {error}',
            'a table with one row per scene',
            'open it in a spreadsheet or GIS and save it again',
        ) from error
    return [{key: _plain(value) for key, value in row.items() if _is_set(value)} for row in rows]


def write_table(
    rows: Sequence[Mapping], outlines: Sequence[shapely.Geometry | None], path: str | os.PathLike
) -> Path:
    """Writes the rows of a table, completely or not at all.

    Columns without any content are left out.

    Args:
        rows: Values by column.
        outlines: The geometry of each row in longitude and latitude, or None.
        path: Where to; the suffix chooses the format.

    Raises:
        OutputError: If it cannot be written.
    """
    names = dict.fromkeys(key for row in rows for key in row if _is_set(row[key]))
    table = pd.DataFrame({name: [row.get(name) for row in rows] for name in names})
    if Path(path).suffix.lower() == '.csv':
        return write_text(path, table.to_csv(index=False))
    frame = gpd.GeoDataFrame(table, geometry=list(outlines), crs=LONLAT)
    found = [str(split) for split in dict.fromkeys(table.get('split', [])) if _is_set(split)]
    colours = dict(zip(found, default_colours(len(found)), strict=True))
    style = category_style('split', {name: (name, colours[name]) for name in found})
    return write_layer(
        frame, path, 'catalog', geometry_type='MultiPolygon', style=style if found else None
    )


def _csv_rows(path: str) -> list[dict]:
    text = _decoded(read_bytes(path))
    header = text.partition('\n')[0]
    # In countries with a decimal comma, spreadsheets put semicolons between cells.
    delimiter = max(',;\t', key=header.count)
    return list(csv.DictReader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True))


def _decoded(content: bytes) -> str:
    """Text of a file from whichever spreadsheet: UTF-8, UTF-16, or Western European."""
    if content[:2] in (b'\xff\xfe', b'\xfe\xff'):
        return content.decode('utf-16')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return content.decode('cp1252', errors='replace')


@without_side_files()
def _layer_rows(path: str) -> list[dict]:
    if '!' in path:
        raise ValueError("the '!' in its path stands for a file inside an archive; rename it")
    table, geometry = _layer(path)
    columns = {name: table[name].tolist() for name in table}
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    if 'aoi' in table and (table['aoi'] == GEOMETRY).any():
        own = geometry()
        own = own if own.crs is None else own.to_crs(LONLAT)
        for row, polygon in zip(rows, own, strict=True):
            if row['aoi'] == GEOMETRY:
                row['aoi'] = None if polygon is None else polygon_text(polygon)
    return rows


def _layer(path: str) -> tuple[pd.DataFrame, Callable[[], gpd.GeoSeries]]:
    """The columns of a layer, and what reads its geometries."""
    if path.lower().endswith('.parquet'):  # not every GDAL reads it
        frame = read_parquet(path, path, None)
        return pd.DataFrame(frame.drop(columns=frame.geometry.name)), lambda: frame.geometry
    name = layer_source(path)
    table = pyogrio.read_dataframe(name, layer=0, read_geometry=False)
    return table, lambda: pyogrio.read_dataframe(name, layer=0, columns=[]).geometry


def _plain(value: object) -> object:
    """Numbers of a layer's columns, such as years, as the text that they are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


def _is_set(value: object) -> bool:
    if isinstance(value, str):  # most of them
        return bool(value)
    return value is not None and (isinstance(value, np.ndarray) or value == value)  # NaN, NaT
