"""Which scenes belong together with which labels, area and split.

A catalog is a table: one row per scene. It can be written in a config as a
list of dicts, as glob patterns, or kept in a CSV, GeoJSON or GeoPackage file
with the same column names.
"""

import csv
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pyogrio

from geo_mm.errors import CatalogError

# What GDAL opens without a file of that name: URLs, its virtual file systems,
# and subdatasets such as NETCDF:"file.nc":red.
_VIRTUAL = re.compile(r'/vsi|\w+://|[A-Za-z0-9_]{2,}:')


@dataclass(frozen=True)
class CatalogEntry:
    """One scene with what is known about it.

    Attributes:
        image: The scene's file, or several co-registered files.
        labels: Vector layer or label raster, or None.
        split: Name of the split it belongs to, such as ``train``; None
            belongs to every split.
        aoi: Polygon file; nothing outside it is read, learned or scored.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of the scene:
            only this part is used, and nothing outside it is ever read.
        layer: Layer of the label file, where it has several.
        name: Name in messages and results; default the image's stem.
    """

    image: str | tuple[str, ...]
    labels: str | None = None
    split: str | None = None
    aoi: str | None = None
    area: tuple[float, float, float, float] | None = None
    layer: str | None = None
    name: str | None = None


COLUMNS = tuple(field.name for field in fields(CatalogEntry))


def read_catalog(
    scenes: str | os.PathLike | Mapping | Sequence,
    *,
    root: str | os.PathLike = '',
    split: str | None = None,
) -> list[CatalogEntry]:
    """Reads a catalog and picks one split.

    Args:
        scenes: A catalog file (``.csv``, ``.geojson``, ``.gpkg``), or one or
            several entries: dicts with the fields of :class:`CatalogEntry`,
            or plain image paths. ``image`` may be a glob pattern; ``labels``
            and ``aoi`` may then hold ``{stem}``, the image's name without
            suffix.
        root: Folder that relative paths start from. Paths in a catalog file
            start from that file's folder.
        split: Keep only the entries of this split, and those without one.

    Raises:
        CatalogError: For an unknown column, a pattern without match, a
            missing file or a split without scenes.
    """
    root = Path(root)
    if isinstance(scenes, str | os.PathLike) and _is_table(scenes):
        path = _absolute(str(scenes), root)
        rows, root, where = _read_table(path), Path(path).parent, str(path)
    else:
        rows = [scenes] if isinstance(scenes, str | os.PathLike | Mapping) else list(scenes)
        where = 'scenes'
    entries = [entry for i, row in enumerate(rows) for entry in _entries(row, root, where, i)]
    if not entries:
        raise CatalogError(f'{where}: no scenes', 'at least one entry with an `image`')
    chosen = [entry for entry in entries if split is None or entry.split in (None, split)]
    if not chosen:
        found = sorted({str(entry.split) for entry in entries})
        raise CatalogError(
            f'{where}: no scene belongs to split {split!r}',
            f'one of the splits found: {", ".join(found)}',
        )
    return chosen


def _is_table(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() in ('.csv', '.geojson', '.gpkg')


def _read_table(path: str) -> list[dict]:
    if not Path(path).is_file():
        raise CatalogError(f'{path}: no such catalog file', 'a .csv, .geojson or .gpkg table')
    if path.lower().endswith('.csv'):
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
    else:
        rows = pyogrio.read_dataframe(path, read_geometry=False).to_dict('records')
    return [{key: value for key, value in row.items() if _is_set(value)} for row in rows]


def _is_set(value: object) -> bool:
    return value not in (None, '') and value == value  # NaN is not equal to itself


def _entries(row: object, root: Path, where: str, number: int) -> list[CatalogEntry]:
    """The entries that one row stands for: several if it is a pattern."""
    row = {'image': row} if isinstance(row, str | os.PathLike) else dict(row)
    row = {key: os.fspath(v) if isinstance(v, os.PathLike) else v for key, v in row.items()}
    unknown = [key for key in row if key not in COLUMNS]
    if unknown or 'image' not in row:
        raise CatalogError(
            f'{where}: entry {number} has the columns {", ".join(map(str, row))}',
            f'`image` and optionally {", ".join(COLUMNS[1:])}',
            f'rename or remove {", ".join(map(str, unknown))}' if unknown else 'add `image`',
        )
    for key in COLUMNS[1:4]:
        if not isinstance(row.get(key), str | None):
            raise CatalogError(
                f'{where}: entry {number} has {key}={row[key]!r}', 'one text', f'correct `{key}`'
            )
    area = row.pop('area', None)
    entry = CatalogEntry(**{key: v for key, v in row.items() if key != 'image'}, image=())
    entry = replace(entry, area=_parse_area(area, where, number))
    return [_resolve(entry, image, root, where) for image in _images(row['image'], root, where)]


def _images(image: str | Sequence[str], root: Path, where: str) -> list[str | tuple[str, ...]]:
    if not isinstance(image, str):
        return [tuple(_existing(str(path), root, where) for path in image)]
    if not glob.has_magic(image) or _VIRTUAL.match(image):
        return [_existing(image, root, where)]
    # Sorted, so that the chips do not depend on the file system's order.
    found = sorted(glob.glob(_absolute(image, root), recursive=True))
    if not found:
        raise CatalogError(
            f'{where}: no file matches {_absolute(image, root)}',
            fix='correct the pattern; relative ones start from data_root',
        )
    return list(found)


def _resolve(
    entry: CatalogEntry, image: str | tuple[str, ...], root: Path, where: str
) -> CatalogEntry:
    stem = Path(image if isinstance(image, str) else image[0]).stem
    paths = {
        key: _existing(value.replace('{stem}', stem), root, where)
        for key in ('labels', 'aoi')
        if (value := getattr(entry, key)) is not None
    }
    return replace(entry, image=image, name=entry.name or stem, **paths)


def _existing(path: str, root: Path, where: str) -> str:
    path = _absolute(path, root)
    if not _VIRTUAL.match(path) and not Path(path).exists():
        raise CatalogError(
            f'{where}: no such file: {path}',
            fix='correct the path; relative paths start from '
            f'{root.absolute() if str(root) else Path.cwd()}',
        )
    return path


def _absolute(path: str, root: Path) -> str:
    return path if _VIRTUAL.match(path) else os.path.abspath(root / Path(path).expanduser())


def _parse_area(area: object, where: str, number: int) -> tuple | None:
    if area is None:
        return None
    try:
        parts = area.replace(',', ' ').split() if isinstance(area, str) else area
        left, top, right, bottom = map(float, parts)
    except (TypeError, ValueError):
        left = top = right = bottom = 0.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise CatalogError(
            f'{where}: entry {number} has area {area!r}',
            'left, top, right, bottom as fractions of the scene, 0 <= left < right <= 1',
            'the western two thirds are (0, 0, 0.667, 1)',
        )
    return left, top, right, bottom
