"""Class names that a raster carries."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from geo_mm.errors import LabelError


def class_names_of(path: str | os.PathLike) -> dict[int, str]:
    """Class numbers and names in the ``.aux.xml`` file beside a raster.

    GDAL's raster attribute table is used if it has values and names, else its
    list of category names. Rasters without such a file give an empty dict.

    Raises:
        LabelError: If the file is no XML.
    """
    sidecar = Path(f'{os.fspath(path)}.aux.xml')
    if not sidecar.is_file():
        return {}
    try:
        root = ElementTree.parse(sidecar).getroot()
    except ElementTree.ParseError as error:
        raise LabelError(
            f'{sidecar}: cannot be read: {error}',
            fix='delete it, or give the names with class_names (--classes)',
        ) from error
    band = root.find("PAMRasterBand[@band='1']")
    if band is None:
        return {}
    return _from_table(band.find('GDALRasterAttributeTable')) or _from_categories(band)


def parse_class_names(texts: Sequence[str]) -> dict[int, str]:
    """Names given as ``water land`` (from class 0 on) or as ``1=water 2=land``.

    Raises:
        LabelError: If the two forms are mixed, or a number or name occurs twice.
    """
    numbered = [text for text in texts if text.partition('=')[0].strip().isdigit() and '=' in text]
    if not numbered:
        pairs = [(index, text.strip()) for index, text in enumerate(texts)]
    elif len(numbered) == len(texts):
        pairs = [
            (int(number), name.strip()) for number, _, name in (t.partition('=') for t in texts)
        ]
    else:
        raise LabelError(f'class names {list(texts)}', 'all as NAME, or all as NUMBER=NAME')
    names = dict(pairs)
    if len(names) < len(pairs) or len(set(names.values())) < len(pairs) or '' in names.values():
        raise LabelError(f'class names {list(texts)}', 'every number and every name once')
    return names


def common_classes(
    pred: Mapping[int, str], truth: Mapping[int, str]
) -> tuple[dict[int, str], dict[int, str]]:
    """Names by which the class numbers of prediction and truth are compared.

    If both rasters name their classes, the names decide, so the numbers may
    differ. If one does, its names hold for both.

    Returns:
        Number to name, for the prediction and for the truth.
    """
    return dict(pred or truth), dict(truth or pred)


def _from_table(table: ElementTree.Element | None) -> dict[int, str]:
    if table is None:
        return {}
    # Field usages of GDAL's GDALRATFieldUsage: 2 name, 5 single value.
    columns = {}
    for field in table.findall('FieldDefn'):
        columns.setdefault(field.findtext('Usage'), int(field.get('index', 0)))
    if '2' not in columns or '5' not in columns:
        return {}
    names = {}
    for row in table.findall('Row'):
        cells = [cell.text or '' for cell in row.findall('F')]
        names[int(float(cells[columns['5']]))] = cells[columns['2']]
    return names


def _from_categories(band: ElementTree.Element) -> dict[int, str]:
    categories = band.findall('CategoryNames/Category')
    return {value: each.text for value, each in enumerate(categories) if each.text}
