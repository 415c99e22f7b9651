"""Rows of a catalog file: CSV as spreadsheets save it, GeoJSON or GeoPackage."""

import csv
import io
from pathlib import Path

import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FieldError

from geo_mm.errors import CatalogError
from geo_mm.gdal import without_side_files

SUFFIXES = ('.csv', '.geojson', '.gpkg')


def read_table(path: str) -> list[dict]:
    """The rows of a table, by column; cells without content are left out.

    Raises:
        CatalogError: If there is no such file, or it is no table.
    """
    if not Path(path).is_file():
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


def _csv_rows(path: str) -> list[dict]:
    text = _decoded(Path(path).read_bytes())
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
    return pyogrio.read_dataframe(path, layer=0, read_geometry=False).to_dict('records')


def _plain(value: object) -> object:
    """Numbers of a layer's columns, such as years, as the text that they are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


def _is_set(value: object) -> bool:
    missing = value is None or (isinstance(value, str) and not value)
    return not missing and value == value  # NaN and NaT are not equal to themselves
