"""Scenes in STAC items of others: a file with one Item, or with an ItemCollection."""

import json
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from urllib.request import url2pathname

from geo_mm.errors import SceneError
from geo_mm.paths import absolute

SUFFIXES = ('.json', '.geojson')
_IMAGES = ('image/tiff', 'image/vnd.stac.geotiff', 'image/jp2')


class ItemScene(NamedTuple):
    """A scene that an item describes.

    Attributes:
        files: Its image files: the assets of the role ``data``, or all if none has it.
        name: The id of the item, if it has one.
        date: When it was taken, such as ``2024-06-01T10:20:30Z``, if known.
        labels: Its asset of the role ``labels``, if it has one.
    """

    files: tuple[str, ...]
    name: str | None
    date: str | None
    labels: str | None


def read_item_scenes(path: str | PathLike) -> list[ItemScene] | None:
    """The scenes in a file of STAC; None if it is something else.

    Raises:
        SceneError: If an item has no image.
    """
    path = str(path)
    try:
        data = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    features = data.get('features') if isinstance(data, dict) else None
    items = features if isinstance(features, list) else [data]
    if not items or not all(_is_item(item) for item in items):
        return None
    return [_scene(item, path) for item in items]


def _is_item(data: object) -> bool:
    return isinstance(data, dict) and data.get('type') == 'Feature' and 'stac_version' in data


def _scene(item: dict, path: str) -> ItemScene:
    assets = item.get('assets')
    assets = assets.items() if isinstance(assets, dict) else ()
    labels = [(key, asset) for key, asset in assets if _has_role(asset, 'labels')]
    images = [
        (key, asset) for key, asset in assets if _is_image(asset) and not _has_role(asset, 'labels')
    ]
    wanted = [(key, asset) for key, asset in images if _has_role(asset, 'data')] or images
    if not wanted:
        raise SceneError(
            f'{path}: the STAC item has no image',
            f'an asset whose type is one of {", ".join(_IMAGES)}',
            'give the image files themselves',
        )
    files = [_local(asset.get('href'), key, path) for key, asset in wanted]
    name, properties = item.get('id'), item.get('properties')
    date = properties.get('datetime') if isinstance(properties, dict) else None
    return ItemScene(
        tuple(files),
        name if isinstance(name, str) else None,
        date if isinstance(date, str) else None,
        _local(labels[0][1].get('href'), labels[0][0], path) if labels else None,
    )


def _is_image(asset: object) -> bool:
    kind = asset.get('type') if isinstance(asset, dict) else None
    return isinstance(kind, str) and kind.split(';')[0].strip().lower() in _IMAGES


def _has_role(asset: object, role: str) -> bool:
    roles = asset.get('roles') if isinstance(asset, dict) else None
    return isinstance(roles, list) and role in roles


def _local(href: object, key: str, item: str) -> str:
    """What an asset refers to; relative names start from the item's folder."""
    if not isinstance(href, str) or not href or '\0' in href:
        raise SceneError(
            f'{item}: the asset {key!r} has the href {href!r}', 'the path or address of a file'
        )
    if href.startswith('file://'):
        return url2pathname(href.removeprefix('file://'))
    return absolute(href, Path(item).absolute().parent)
