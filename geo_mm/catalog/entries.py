"""Which scenes belong together with which labels, area and split.

A catalog is a table: one row per scene. It can be written in a config as a
list of dicts, as glob patterns, or kept in a CSV, GeoJSON, GeoPackage or GeoParquet
file with the same column names.
"""

import difflib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import shapely

from geo_mm.catalog.patterns import Image, Match, existing_file, image_files
from geo_mm.catalog.tables import GEOMETRY, SUFFIXES, read_table, write_table
from geo_mm.errors import CatalogError
from geo_mm.formats.training import Reference
from geo_mm.labels.reading import is_polygon_text
from geo_mm.paths import absolute, is_local
from geo_mm.stores import folder_path

logger = logging.getLogger(__name__)

SEPARATOR = '; '
"""Between the names of several files in one cell of a table."""


@dataclass(frozen=True)
class CatalogEntry:
    """One scene with what is known about it.

    Attributes:
        image: The scene's file, or several co-registered files, or a mapping
            from roles such as ``before`` and ``after`` to files.
        labels: Vector layer or label raster, or None.
        split: Name of the split it belongs to, such as ``train``; None
            belongs to every split.
        aoi: Polygon file, or a polygon as text, ``SRID=4326;POLYGON (...)``;
            nothing outside it is learned or scored. In a table with geometries, the
            word ``geometry`` stands for that of the row.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of the scene:
            only this part is used, and nothing outside it is ever read.
        layer: Layer of the label file, where it has several.
        name: Name in messages and results; default the image's stem.
        group: Scenes of one group go to the same split, such as chips that
            overlap; None if it depends on no other scene.
        weight: How often chips are drawn here for training, relative to as much ground
            elsewhere: a number, or a raster of numbers; None counts as 1.
        columns: Other columns of the table, such as ``date``: not for training,
            but to split by, and kept when the catalog is written again.
        table: The catalog it is from, for messages.
    """

    image: Image
    labels: str | None = None
    split: str | None = None
    aoi: str | None = None
    area: tuple[float, float, float, float] | None = None
    layer: str | None = None
    name: str | None = None
    group: str | None = None
    weight: float | str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    table: str = field(default='', compare=False)


COLUMNS = tuple(
    field.name for field in fields(CatalogEntry) if field.name not in ('columns', 'table')
)


DESCRIPTIONS = (
    *('date', 'crs', 'gsd', 'width', 'height', 'bands', 'dtype', 'nodata', 'block'),
    *('header', 'valid'),
)
"""Columns that say what is in the image, in catalogs that geo_mm writes."""


def read_catalog(
    scenes: str | os.PathLike | Mapping | Sequence,
    *,
    root: str | os.PathLike = '',
    split: str | Sequence[str] | None = None,
) -> list[CatalogEntry]:
    """Reads a catalog and picks a split, or several.

    Args:
        scenes: A catalog file (``.csv``, ``.geojson``, ``.gpkg``, ``.parquet``), or one or
            several entries: dicts with the fields of :class:`CatalogEntry`,
            plain image paths, or training sets of other programs
            (:func:`geo_mm.catalog.read_training_set`), which stand for all of
            their images. ``image`` may be a glob pattern; ``labels``,
            ``aoi`` and the files of further roles may then hold ``{stem}``, the
            image's name without suffix, or ``*`` for what its own ``*`` stands
            for. In a table, the files of roles stand in columns ``image:ROLE``;
            columns that no name of ours is like are left out with a warning.
        root: Folder that relative paths start from. Paths in a catalog file
            start from that file's folder.
        split: Keep only the entries of this split, or these, and those without one.

    Raises:
        CatalogError: For a column with a name like one of ours, an unknown key
            in a config, a pattern without match, a missing file or a split
            without scenes.
    """
    root = folder_path(root)
    rows: Sequence[object]
    if isinstance(scenes, str | os.PathLike) and _is_table(scenes):
        path = absolute(str(scenes), root)
        rows, where = _known_columns(read_table(path), path), str(path)
        root = folder_path(path).parent
    else:
        rows = [scenes] if isinstance(scenes, str | os.PathLike | Mapping) else list(scenes)
        where = 'scenes'
    entries = _of_training_sets(rows, root) or [
        entry for i, row in enumerate(rows) for entry in _entries(row, root, where, i)
    ]
    if not entries:
        raise CatalogError(f'{where}: no scenes', 'at least one entry with an `image`')
    _check_roles(entries, where)
    if split is None:
        return entries
    splits = [split] if isinstance(split, str) else list(split)
    found = {entry.split for entry in entries}
    # Scenes without a split are in all of them; a misspelt one must not hide behind the others.
    lacking = [name for name in splits if name not in found]
    if not splits or (lacking and None not in found):
        raise CatalogError(
            f'{where}: no scene belongs to split {", ".join(map(repr, lacking)) or splits}',
            f'one or several of the splits found: {", ".join(sorted(map(str, found)))}',
        )
    return [entry for entry in entries if entry.split is None or entry.split in splits]


def _is_table(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def _known_columns(rows: list[dict], path: str) -> list[dict]:
    """The rows without the columns that GIS layers have for other purposes.

    Raises:
        CatalogError: If one looks like a misspelt name of ours.
    """
    for number, row in enumerate(rows):
        if None in row:
            raise CatalogError(
                f'{path}: row {number + 1} has more cells than there are columns',
                'one cell for each column',
                'put texts with a comma, such as an area, in quotes',
            )
    found = dict.fromkeys(key for row in rows for key in row)
    if not any(_is_image(key) for key in found):
        return rows  # an entry without an image is an error below
    others = [key for key in found if key not in COLUMNS and not _is_image(key)]
    for key in others:
        if key in DESCRIPTIONS:  # `height` is no misspelt `weight`
            continue
        close = difflib.get_close_matches(key.strip().lower(), COLUMNS, n=1, cutoff=0.75)
        if close and close[0] not in found:
            raise CatalogError(
                f'{path}: has a column {key!r}, but none {close[0]!r}',
                f'the columns {", ".join(COLUMNS)} (or `image:ROLE` of each role)',
                f'rename it to {close[0]!r}, or to something else if that is not meant',
            )
    if unused := [key for key in others if key not in DESCRIPTIONS]:
        logger.warning('%s: the columns %s are not used', path, ', '.join(unused))
    return [
        {key: _several(key, value) for key, value in row.items() if key not in others}
        | {'columns': {key: row[key] for key in others if key in row}}
        for row in rows
    ]


def _several(column: str, value: Any) -> Any:
    """The files in a cell, if there are several: ``b02.tif; b03.tif``."""
    if _is_image(column) and isinstance(value, str) and SEPARATOR in value:
        return value.split(SEPARATOR)
    return value


def _is_image(column: str) -> bool:
    return column == 'image' or column.startswith('image:')


def _entries(row: Any, root: Path, where: str, number: int) -> list[CatalogEntry]:
    """The entries that one row stands for: several if it is a pattern."""
    row = {'image': row} if isinstance(row, str | os.PathLike) else row
    if not isinstance(row, Mapping):
        raise CatalogError(
            f'{where}: entry {number} is {row!r}', 'a mapping, or the path of an image'
        )
    row = {key: os.fspath(v) if isinstance(v, os.PathLike) else v for key, v in row.items()}
    columns = row.pop('columns', {})
    row = _with_roles(row)
    unknown = [key for key in row if key not in COLUMNS]
    if unknown or 'image' not in row:
        raise CatalogError(
            f'{where}: entry {number} has the columns {", ".join(map(str, row))}',
            f'`image` (or `image:ROLE` of each role) and optionally {", ".join(COLUMNS[1:])}',
            f'rename or remove {", ".join(map(str, unknown))}' if unknown else 'add `image`',
        )
    for key in ('labels', 'split', 'aoi', 'layer', 'name', 'group'):
        if not isinstance(row.get(key), str | None):
            raise CatalogError(
                f'{where}: entry {number} has {key}={row[key]!r}', 'one text', f'correct `{key}`'
            )
    entry = CatalogEntry(
        **{key: v for key, v in row.items() if key not in ('image', 'area', 'weight')},
        image=(),
        columns=columns,
        area=_parse_area(row.get('area'), where, number),
        weight=_parse_weight(row.get('weight'), where, number),
        table=where,
    )
    if isinstance(row['image'], str) and 'labels' not in row:
        images = _of_training_sets([row['image']], root)
        if images:
            given = {key: found for key in ('split', 'group') if (found := getattr(entry, key))}
            if entry.aoi is not None:
                is_file = not is_polygon_text(entry.aoi)
                given['aoi'] = existing_file(entry.aoi, root, where) if is_file else entry.aoi
            return [replace(image, columns=columns, **given) for image in images]
    return [
        _resolve(entry, *found, root, where) for found in image_files(row['image'], root, where)
    ]


def _of_training_sets(rows: Sequence[object], root: Path) -> list[CatalogEntry]:
    """The images of training sets; empty if any of the rows is something else."""
    # It makes entries, and so imports this module.
    from geo_mm.catalog.training_sets import may_be_training_set, read_training_set

    names = [os.fspath(row) for row in rows if isinstance(row, str | os.PathLike)]
    paths = [absolute(name, root) for name in names]
    if not paths or len(paths) < len(rows) or not all(map(may_be_training_set, paths)):
        return []
    return list(read_training_set(paths).entries)


def _with_roles(row: dict) -> dict:
    """The row with its columns ``image:ROLE`` as one mapping ``image``."""
    of_roles = {key: value for key, value in row.items() if str(key).startswith('image:')}
    if not of_roles or 'image' in row:
        return row
    rest = {key: value for key, value in row.items() if key not in of_roles}
    return {'image': {key.partition(':')[2]: value for key, value in of_roles.items()}, **rest}


def _check_roles(entries: Sequence[CatalogEntry], where: str) -> None:
    """Raises CatalogError if scenes differ in the roles of their files."""
    known = entries[0]
    for entry in entries:
        ours, theirs = _roles(known), _roles(entry)
        if set(ours) != set(theirs):
            raise CatalogError(
                f'{where}: {entry.name} has files of the roles {", ".join(theirs) or "(none)"}, '
                f'{known.name} of {", ".join(ours) or "(none)"}',
                'the same roles in every scene',
                'give the files that lack, or make two catalogs',
            )


def _roles(entry: CatalogEntry) -> tuple[str, ...]:
    return tuple(entry.image) if isinstance(entry.image, dict) else ()


def _resolve(
    entry: CatalogEntry, image: Image, match: Match, root: Path, where: str
) -> CatalogEntry:
    paths: dict[str, Any] = {
        key: existing_file(match.fill(value, f'{where}: {key}'), root, where)
        for key in ('labels', 'aoi', 'weight')
        if isinstance(value := getattr(entry, key), str) and not is_polygon_text(value)
    }
    return replace(entry, image=image, name=entry.name or Path(match.path).stem, **paths)


def _parse_area(area: Any, where: str, number: int) -> tuple | None:
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


def _parse_weight(weight: Any, where: str, number: int) -> float | str | None:
    """A number, the path of a raster, or None for an empty cell."""
    if weight is None or (isinstance(weight, float) and math.isnan(weight)):
        return None
    try:
        found = float(weight)
    except (TypeError, ValueError):
        found = -1.0
        if isinstance(weight, str):
            return weight
    if not 0 <= found < math.inf:
        raise CatalogError(
            f'{where}: entry {number} has weight {weight!r}',
            'a number of 0 or more, or a raster of such numbers',
            'ground of weight 2 is drawn twice as often as ground of weight 1',
        )
    return found


def write_catalog(
    entries: Sequence[CatalogEntry],
    outlines: Sequence[shapely.Geometry | None],
    path: str | os.PathLike,
) -> Path:
    """Writes a catalog that :func:`read_catalog` reads, and a GIS opens as a map.

    Of files in the folder of the catalog or below the names are relative, so
    that both can be moved together.

    Args:
        entries: One for each row.
        outlines: What each covers, in longitude and latitude. But for CSV, an
            ``aoi`` that is a polygon becomes the geometry of its row.
        path: Where to, ``.csv``, ``.geojson``, ``.gpkg`` or ``.parquet``.

    Raises:
        OutputError: If it cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent
    as_layer = Path(path).suffix.lower() != '.csv'
    rows = [_row(entry, folder, as_layer) for entry in entries]
    return write_table(rows, outlines, path)


def _row(entry: CatalogEntry, folder: Path, as_layer: bool) -> dict:
    """The cells of an entry by column."""
    image = entry.image if isinstance(entry.image, dict) else {'': entry.image}
    row: dict[str, Any] = {
        f'image:{role}' if role else 'image': _cell(files, folder) for role, files in image.items()
    }
    row |= {key: getattr(entry, key) for key in COLUMNS[1:]} | dict(entry.columns)
    if entry.area is not None:
        row['area'] = ' '.join(f'{share:.9g}' for share in entry.area)
    if entry.labels is not None:
        row['labels'] = _cell(entry.labels, folder)
    if isinstance(entry.weight, str):
        row['weight'] = _cell(entry.weight, folder)
    if entry.aoi is not None and not is_polygon_text(entry.aoi):
        row['aoi'] = _cell(entry.aoi, folder)
    elif entry.aoi is not None and as_layer:
        row['aoi'] = GEOMETRY
    return row


def _cell(files: str | Sequence[str], folder: Path) -> str:
    files = [files] if isinstance(files, str) else files
    return SEPARATOR.join(_relative(file, folder) for file in files)


def _relative(path: str, folder: Path) -> str:
    if in_training_set := Reference.parse(path):
        return str(in_training_set.relative_to(folder))
    if not is_local(path) or not Path(path).is_relative_to(folder):
        return path
    return Path(path).relative_to(folder).as_posix()
