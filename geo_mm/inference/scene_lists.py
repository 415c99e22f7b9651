"""The scenes that files, patterns, catalog tables and STAC items name."""

import glob
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin, urlparse

from geo_mm.catalog import read_catalog
from geo_mm.errors import SceneError
from geo_mm.paths import file_name, same_file_name

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
    except (OSError, ValueError):
        return None
    is_item = isinstance(data, dict) and data.get('type') == 'Feature' and 'stac_version' in data
    return data if is_item else None


def _of_item(item: dict, path: str) -> SceneToPredict:
    images = [
        asset
        for asset in item.get('assets', {}).values()
        if asset.get('type', '').split(';')[0] in _IMAGES
    ]
    wanted = [asset for asset in images if 'data' in asset.get('roles', ())] or images
    if not wanted:
        raise SceneError(
            f'{path}: the STAC item has no image',
            f'an asset whose type is one of {", ".join(_IMAGES)}',
            'give the image files themselves',
        )
    hrefs = [asset['href'] for asset in wanted]
    base = Path(path).absolute()
    files = [href if urlparse(href).scheme else urljoin(str(base), href) for href in hrefs]
    return SceneToPredict(tuple(files) if len(files) > 1 else files[0], item.get('id'))


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
