"""Scenes in STAC items of others: in files of JSON or stac-geoparquet, or found by a search."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from urllib.request import url2pathname

from geo_mm.errors import SceneError
from geo_mm.paths import absolute
from geo_mm.stores import folder_path, in_store, read_text, url

SUFFIXES = ('.json', '.geojson', '.parquet')
"""Of files with one Item, an ItemCollection, or items as stac-geoparquet."""

_IMAGES = ('image/tiff', 'image/vnd.stac.geotiff', 'image/jp2')


class ItemScene(NamedTuple):
    """A scene that an item describes.

    Attributes:
        files: Its image files: the assets of the role ``data``, or all if none has it;
            or those that are asked for.
        name: The id of the item, if it has one.
        date: When it was taken, such as ``2024-06-01T10:20:30Z``, if known.
        labels: Its asset of the role ``labels``, if it has one.
    """

    files: tuple[str, ...]
    name: str | None
    date: str | None
    labels: str | None


def read_item_scenes(
    path: str | PathLike, assets: Sequence[str] | None = None
) -> list[ItemScene] | None:
    """The scenes in a file of STAC; None if it is something else.

    Args:
        path: A file with an Item, an ItemCollection, or items as stac-geoparquet.
        assets: Keys of the assets that are the image files, in this order.

    Raises:
        SceneError: If an item has no image, or not these assets.
    """
    path = str(path)
    items = _parquet_items(path) if path.lower().endswith('.parquet') else _json_items(path)
    if not items or not all(_is_item(item) for item in items):
        return None
    return [item_scene(item, path, assets) for item in items]


def item_scene(item: Mapping, where: str, assets: Sequence[str] | None = None) -> ItemScene:
    """The scene that one item describes.

    Args:
        item: The item as JSON.
        where: Its file, from whose folder relative names start; or its address.
        assets: See :func:`read_item_scenes`.

    Raises:
        SceneError: If it has no image, or not these assets.
    """
    known = item.get('assets')
    known = dict(known) if isinstance(known, Mapping) else {}
    images = _chosen(known, assets, where) if assets else _images(known, where)
    labels = [_local(known[key], key, where) for key in known if _has_role(known[key], 'labels')]
    name, properties = item.get('id'), item.get('properties')
    date = properties.get('datetime') if isinstance(properties, Mapping) else None
    return ItemScene(
        tuple(_local(known[key], key, where) for key in images),
        name if isinstance(name, str) else None,
        date if isinstance(date, str) else None,
        labels[0] if labels else None,
    )


def _json_items(path: str) -> list:
    try:
        data = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return []
    features = data.get('features') if isinstance(data, dict) else None
    return features if isinstance(features, list) else [data]


def _parquet_items(path: str) -> list:
    """The items of stac-geoparquet, as far as scenes need them."""
    if in_store(path):  # it is a table of scenes
        return []
    if not Path(path).is_file():
        return []
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise SceneError(
            f'{path}: reading it needs pyarrow: {error}',
            'pyarrow in the environment',
            "pip install 'geo_mm[parquet]'",
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            if not {'id', 'assets', 'stac_version'} <= set(file.schema_arrow.names):
                return []
            wanted = {'type', 'stac_version', 'id', 'assets', 'datetime'}
            columns = [name for name in file.schema_arrow.names if name in wanted]
            rows = file.read(columns).to_pylist()
    except (OSError, ArrowException):
        return []
    return [_unflattened(row) for row in rows]


def _unflattened(row: dict) -> dict:
    """An item of a row: properties are columns, and every row has the assets of all."""
    assets = row.pop('assets')
    if isinstance(assets, str):
        assets = json.loads(assets)
    time = row.pop('datetime', None)
    if isinstance(time, datetime):
        time = time.isoformat().replace('+00:00', 'Z')
    found = {key: asset for key, asset in dict(assets or {}).items() if asset is not None}
    return {'type': 'Feature', **row, 'assets': found, 'properties': {'datetime': time}}


def _is_item(data: object) -> bool:
    return isinstance(data, dict) and data.get('type') == 'Feature' and 'stac_version' in data


def _images(assets: Mapping, where: str) -> list[str]:
    """Keys of the assets that are images."""
    images = [
        key for key, asset in assets.items() if _is_image(asset) and not _has_role(asset, 'labels')
    ]
    if not images:
        raise SceneError(
            f'{where}: the STAC item has no image',
            f'an asset whose type is one of {", ".join(_IMAGES)}',
            'give the image files themselves',
        )
    return [key for key in images if _has_role(assets[key], 'data')] or images


def _chosen(assets: Mapping, wanted: Sequence[str], where: str) -> Sequence[str]:
    if lacking := [key for key in wanted if key not in assets]:
        raise SceneError(
            f'{where}: the STAC item has no asset {", ".join(lacking)}',
            f'some of {", ".join(assets)}',
            'correct --bands',
        )
    return wanted


def _is_image(asset: object) -> bool:
    kind = asset.get('type') if isinstance(asset, dict) else None
    return isinstance(kind, str) and kind.split(';')[0].strip().lower() in _IMAGES


def _has_role(asset: object, role: str) -> bool:
    roles = asset.get('roles') if isinstance(asset, dict) else None
    return isinstance(roles, list) and role in roles


def _local(asset: object, key: str, item: str) -> str:
    """What an asset refers to; relative names start from the item's folder."""
    href = asset.get('href') if isinstance(asset, dict) else None
    if not isinstance(href, str) or not href or '\0' in href:
        raise SceneError(
            f'{item}: the asset {key!r} has the href {href!r}', 'the path or address of a file'
        )
    if href.startswith('file://'):
        return url2pathname(href.removeprefix('file://'))
    return url(absolute(href, folder_path(item).absolute().parent))
