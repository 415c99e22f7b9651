"""What the table of ``geo-mm catalog`` tells of scenes: none is opened to start training."""

import base64
import zlib
from typing import NamedTuple

import numpy as np

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.errors import CatalogError
from geo_mm.raster import Scene, handles, header
from geo_mm.raster.header import Header
from geo_mm.raster.sources import Recorded, file_stamp

_ALL = 'all'
_MOST_CELLS = 1 << 20  # of a coarse map, which has 256 along the longer side


class Record(NamedTuple):
    """What a table tells of one scene.

    Attributes:
        files: Of each of its files, in order.
        valid: Coarse map of the valid pixels of the whole scene, ``(rows, cols)`` bool.
    """

    files: tuple[Recorded, ...]
    valid: np.ndarray


def recorded_columns(scene: Scene, valid: np.ndarray) -> dict[str, str]:
    """The columns that :func:`read_record` reads.

    Args:
        scene: A scene of which all bands are chosen and nodata is as declared.
        valid: Coarse map of its valid pixels.
    """
    found = []
    for path in scene.sources:
        with handles.environment(path):
            found.append(Header.of(handles.dataset(path, file_stamp(path))))  # still open
    return {'header': header.to_text(found), 'valid': _map_text(valid)}


def read_record(entry: CatalogEntry) -> Record | None:
    """What the table of an entry tells of its scene; None if it was made by hand.

    Raises:
        CatalogError: If it does not fit the files of the entry.
    """
    text, valid = entry.columns.get('header'), entry.columns.get('valid')
    if text is None or valid is None:
        return None
    try:
        files = header.from_text(text)
        cells = _map(valid)
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise _unreadable(
            entry, f'columns `header` and `valid` that cannot be read: {error}'
        ) from error
    images = entry.image.values() if isinstance(entry.image, dict) else [entry.image]
    count = sum(1 if isinstance(files, str) else len(files) for files in images)
    if len(files) != count:
        raise _unreadable(entry, f'a `header` of {len(files)} files, and {count} files')
    return Record(tuple(Recorded(found, entry.table) for found in files), cells)


def _unreadable(entry: CatalogEntry, found: str) -> CatalogError:
    return CatalogError(
        f'{entry.table}: {entry.name} has {found}',
        'columns as geo-mm catalog writes them',
        f'make {entry.table} again with: geo-mm catalog',
    )


def _map_text(valid: np.ndarray) -> str:
    if valid.all():
        return _ALL
    packed = base64.b64encode(zlib.compress(np.packbits(valid).tobytes())).decode()
    return f'{valid.shape[0]}x{valid.shape[1]}:{packed}'


def _map(text: str) -> np.ndarray:
    if text == _ALL:
        return np.ones((1, 1), bool)
    size, _, packed = text.partition(':')
    rows, cols = map(int, size.split('x'))
    if not 0 < rows * cols <= _MOST_CELLS:  # a table of a stranger may say anything
        raise ValueError(f'a map of {rows} x {cols} cells')
    whole = -(-rows * cols // 8)
    content = zlib.decompressobj().decompress(base64.b64decode(packed), whole)
    if len(content) != whole:
        raise ValueError(f'{len(content)} bytes for a map of {rows} x {cols} cells')
    bits = np.frombuffer(content, np.uint8)
    return np.unpackbits(bits, count=rows * cols).reshape(rows, cols).astype(bool)
