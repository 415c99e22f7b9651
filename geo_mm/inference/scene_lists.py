"""The scenes that files, patterns, catalog tables and STAC items name."""

import glob
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import url2pathname

from geo_mm.catalog import read_catalog
from geo_mm.errors import SceneError
from geo_mm.paths import absolute, file_name, same_file_name

_TABLES = ('.csv', '.gpkg')
_ITEMS = ('.json', '.geojson')
_IMAGES = ('image/tiff', 'image/vnd.stac.geotiff', 'image/jp2')


@dataclass(frozen=True)
class SceneToPredict:
    """One scene of a list.

    Attributes:
        source: File, or files that make one scene.
        name: Name for its results, where its own is not enough.
        aoi: Polygons outside which nothing is predicted.
    """

    source: str | tuple[str, ...]
    name: str | None = None
    aoi: str | None = None


def find_scenes(
    given: Sequence[str], *, stack: bool = False, split: str | None = None
) -> list[SceneToPredict]:
    """The scenes that a command line names, each once.

    Args:
        given: Files, patterns, URLs; catalog tables (``.csv``, ``.gpkg``,
            ``.geojson``); STAC items (``.json``, ``.geojson``), whose image
            assets with the role ``data`` (or all, if none has it) make one
            scene.
        stack: The files are bands of one scene, in this order.
        split: Of catalogs: only the scenes of this split.

    Raises:
        SceneError: If a pattern has no match, an item no images, or the results
            of two scenes would have the same names.
        CatalogError: If a catalog cannot be read.
    """
    sources = _matched(given)
    if stack:
        return [SceneToPredict(tuple(sources))]
    scenes = [scene for source in sources for scene in _scenes(source, split)]
    return _named(list(dict.fromkeys(scenes)))


def _matched(patterns: Sequence[str]) -> list[str]:
    sources = []
    for pattern in patterns:
        # '?' and brackets also occur in URLs and in file names.
        is_name = '://' in pattern or pattern.startswith('/vsi') or Path(pattern).exists()
        if is_name or not glob.has_magic(pattern):
            sources.append(pattern)
            continue
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise SceneError(f'{pattern}: no file matches', fix='correct the pattern')
        sources += found
    return list(dict.fromkeys(sources))


def _scenes(source: str, split: str | None) -> list[SceneToPredict]:
    suffix = Path(source).suffix.lower()
    if suffix in _ITEMS and (item := _stac_item(source)) is not None:
        return [_of_item(item, source)]
    if suffix in (*_TABLES, '.geojson'):
        return [
            SceneToPredict(entry.image, entry.name, entry.aoi)
            for entry in read_catalog(source, split=split)
        ]
    return [SceneToPredict(source)]


def _stac_item(path: str) -> dict | None:
    try:
        data = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    is_item = isinstance(data, dict) and data.get('type') == 'Feature' and 'stac_version' in data
    return data if is_item else None


def _of_item(item: dict, path: str) -> SceneToPredict:
    assets = item.get('assets')
    assets = assets.items() if isinstance(assets, dict) else ()
    images = [(key, asset) for key, asset in assets if _is_image(asset)]
    wanted = [(key, asset) for key, asset in images if _has_data(asset)] or images
    if not wanted:
        raise SceneError(
            f'{path}: the STAC item has no image',
            f'an asset whose type is one of {", ".join(_IMAGES)}',
            'give the image files themselves',
        )
    files = [_local(asset.get('href'), key, path) for key, asset in wanted]
    name = item.get('id')
    return SceneToPredict(
        tuple(files) if len(files) > 1 else files[0], name if isinstance(name, str) else None
    )


def _is_image(asset: object) -> bool:
    kind = asset.get('type') if isinstance(asset, dict) else None
    return isinstance(kind, str) and kind.split(';')[0].strip().lower() in _IMAGES


def _has_data(asset: dict) -> bool:
    roles = asset.get('roles')
    return isinstance(roles, list) and 'data' in roles


def _local(href: object, key: str, item: str) -> str:
    """What an asset refers to; relative names start from the item's folder."""
    if not isinstance(href, str) or not href or '\0' in href:
        raise SceneError(
            f'{item}: the asset {key!r} has the href {href!r}', 'the path or address of a file'
        )
    if href.startswith('file://'):
        return url2pathname(href.removeprefix('file://'))
    return absolute(href, Path(item).absolute().parent)


def _named(scenes: list[SceneToPredict]) -> list[SceneToPredict]:
    """Names for scenes of the same file name, as in ``2023/rgb.tif`` and ``2024/rgb.tif``.

    They are told apart by their folders: ``2023_rgb`` and ``2024_rgb``.

    Raises:
        SceneError: If that is not enough.
    """
    paths = [_first(scene) for scene in scenes]
    names = [scene.name or path.stem for scene, path in zip(scenes, paths, strict=True)]
    times = Counter(names)
    named = [
        scene if times[name] == 1 else replace(scene, name=f'{path.parent.name}_{name}')
        for scene, path, name in zip(scenes, paths, names, strict=True)
    ]
    names = [scene.name or path.stem for scene, path in zip(named, paths, strict=True)]
    if (same := same_file_name(names)) is not None:
        first, second = (_text(scenes[number]) for number in same)
        raise SceneError(
            f'the results of {first} and {second} would both be called {file_name(names[same[1]])}',
            'names that differ in more than case and signs that file names cannot have',
            'predict them into two folders, or name them in the column `name` of a catalog',
        )
    return named


def _text(scene: SceneToPredict) -> str:
    source = scene.source if isinstance(scene.source, str) else scene.source[0]
    return source if scene.name is None else f'{source} ({scene.name})'


def _first(scene: SceneToPredict) -> Path:
    source = scene.source if isinstance(scene.source, str) else scene.source[0]
    return Path(source.split('?')[0]).absolute()
