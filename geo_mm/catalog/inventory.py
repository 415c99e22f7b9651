"""Catalogs of what one has: scenes found by folder, pattern or STAC, and what is in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import shapely

from geo_mm.catalog.entries import CatalogEntry, read_catalog
from geo_mm.catalog.ground import open_ground
from geo_mm.catalog.record import recorded_columns
from geo_mm.catalog.stac_search import StacSearch, search_scenes
from geo_mm.cluster import mapping
from geo_mm.errors import CatalogError
from geo_mm.formats.stac_scenes import SUFFIXES as ITEMS
from geo_mm.formats.stac_scenes import ItemScene, read_item_scenes
from geo_mm.paths import absolute, is_missing
from geo_mm.raster.handles import dataset, environment
from geo_mm.raster.sources import file_stamp
from geo_mm.stores import in_store, matching, url

_IMAGES = ('.tif', '.tiff', '.jp2', '.vrt', '.img', '.png', '.jpg', '.jpeg')
_BAND = '{band}'
_SIGNS = re.compile(r'(\*\*/|\*|\?|\{band\})')
_REGEX = {
    '**/': '(?:.*/)?',
    '*': '[^/]*',
    '?': '[^/]',
    _BAND: '(?P<band>[A-Za-z0-9]+)',
}
_DATE_TAGS = ('ACQUISITIONDATETIME', 'TIFFTAG_DATETIME')
_DATE = re.compile(r'(?<!\d)((?:19|20)\d\d)[-_:]?(0[1-9]|1[0-2])[-_:]?(0[1-9]|[12]\d|3[01])(?!\d)')


def find_entries(
    sources: Sequence[str],
    *,
    labels: str | None = None,
    roles: Mapping[str, str] | None = None,
    bands: Sequence[str] | None = None,
    search: StacSearch | None = None,
) -> list[CatalogEntry]:
    """The scenes that folders, patterns, tables or STAC files stand for, or a search finds.

    Args:
        sources: Each of these: a folder, of which all images are taken, also from
            folders below; a pattern such as ``images/*.tif``; one with ``{band}``,
            such as ``s2/*_{band}.jp2``, for scenes with a file for each band; a
            catalog; a STAC Item or ItemCollection, also as stac-geoparquet; a
            training set of another program; an image.
        labels: File with the labels of an image, of which ``{stem}`` is the name of
            the image and ``*`` what its own ``*`` stands for.
        roles: Pattern of the files of further roles, as ``labels``. The images
            are then those of the role ``image``.
        bands: What ``{band}`` stands for, in the order wanted; by default what
            is found, in alphabetical order. Of STAC items the assets that are
            wanted; by default those of the role ``data``.
        search: Scenes of a STAC API, besides the sources.

    Raises:
        CatalogError: If a source stands for nothing, or a file is missing.
    """
    entries: list[CatalogEntry] = []
    for source in sources:
        entries += _found(source, labels, roles or {}, bands)
    if search is not None:
        entries += _of_items(search_scenes(search, bands), labels)
    labelled = {entry.labels for entry in entries}
    # A folder may hold masks beside images.
    return [e for e in entries if not isinstance(e.image, str) or e.image not in labelled]


def _found(source, labels, roles, bands) -> list[CatalogEntry]:
    path = absolute(source)
    images: Sequence[str | tuple[str, ...]]
    if _BAND in source:
        images = _files_of_bands(path, bands)
    elif (
        Path(path).suffix.lower() in ITEMS and (items := read_item_scenes(path, bands)) is not None
    ):
        return _of_items(items, labels)
    elif (in_store(path) or Path(path).is_dir()) and (found := _images_below(path)):
        images = [name for name in found if labels is None or _beside(name, labels)]
    else:
        images = [path]
    if labels is None and not roles:
        return [entry for image in images for entry in read_catalog([_row(image, {}, None)])]
    return read_catalog([_row(image, roles, labels) for image in images])


def _of_items(items: Sequence[ItemScene], labels: str | None) -> list[CatalogEntry]:
    """The entries of STAC items; those without labels get the ones that are given."""
    entries = []
    for item in items:
        image = item.files if len(item.files) > 1 else item.files[0]
        date = {'date': item.date} if item.date else {}
        entry = CatalogEntry(image, item.labels, name=item.name, columns=date)
        if labels is not None and item.labels is None:
            entry = replace(entry, labels=read_catalog([_row(image, {}, labels)])[0].labels)
        entries.append(entry)
    return entries


def _row(image, roles: Mapping[str, str], labels: str | None) -> object:
    if not roles and labels is None:
        return image if isinstance(image, str) else {'image': image}
    row: dict[str, object] = {'image': {'image': image, **roles} if roles else image}
    return row if labels is None else {**row, 'labels': labels}


def _images_below(folder: str) -> list[str]:
    """Images in a folder and those below; none if it is a training set of its own."""
    from geo_mm.formats.training import find_format

    if find_format(folder) is not None:
        return []
    if in_store(folder) and Path(folder).suffix:
        return []  # a file
    paths = matching(f'{url(folder)}/**') if in_store(folder) else Path(folder).rglob('*')
    found = sorted(
        str(name)
        for name in paths
        if (path := Path(name)).suffix.lower() in _IMAGES and not path.name.startswith('.')
    )
    if not found:
        raise CatalogError(f'{folder}: no images', f'files with {", ".join(_IMAGES)}')
    return found


def _beside(image: str, labels: str) -> bool:
    """Whether an image of a folder has labels; masks beside images have none."""
    name = absolute(labels.replace('{stem}', Path(image).stem))
    return '*' in labels or not is_missing(name)


def _files_of_bands(pattern: str, bands: Sequence[str] | None) -> list[tuple[str, ...]]:
    """The files of each scene with a file for each band."""
    parts = [_REGEX.get(part, re.escape(part)) for part in _SIGNS.split(pattern)]
    regex = re.compile(''.join(parts))
    scenes: dict[str, dict[str, str]] = {}
    for path in matching(pattern.replace(_BAND, '*')):
        if (match := regex.fullmatch(path)) is not None:
            rest = path[: match.start('band')] + path[match.end('band') :]
            scenes.setdefault(rest, {})[match['band']] = path
    if not scenes:
        raise CatalogError(f'{pattern}: no file matches', fix='correct the pattern')
    wanted = list(bands or sorted({band for files in scenes.values() for band in files}))
    for files in scenes.values():
        lacking = [band for band in wanted if band not in files]
        if lacking:
            raise CatalogError(
                f'{next(iter(files.values()))}: there is no file for {", ".join(lacking)}',
                f'a file for each of {", ".join(wanted)} in every scene',
                'name those that all have with --bands',
            )
    return [tuple(files[band] for band in wanted) for files in scenes.values()]


def describe_scenes(
    entries: Sequence[CatalogEntry],
    progress: Callable[[Iterable[CatalogEntry]], Iterable[CatalogEntry]] = iter,
    *,
    cluster: str | None = None,
) -> tuple[list[CatalogEntry], list[shapely.Geometry | None]]:
    """Opens each scene and says what is in it.

    Args:
        entries: The scenes.
        progress: Wraps the entries as they are opened, to show how far it is.
        cluster: Of Dask, whose workers open them: see :func:`geo_mm.cluster.mapping`.

    Returns:
        The entries with the columns ``date``, ``crs``, ``gsd``, ``width``, ``height``,
        ``bands``, ``dtype``, ``nodata`` and ``block``, those of
        :func:`geo_mm.catalog.record.recorded_columns`, and the outlines of their
        valid pixels in longitude and latitude.

    Raises:
        SceneError: If one cannot be opened.
    """
    with mapping(cluster, 'catalog') as mapped:
        found = mapped(_described, entries, lambda entry: entry.name or str(entry.image))
        pairs = [pair for _, pair in zip(progress(entries), found, strict=True)]
    return [entry for entry, _ in pairs], [outline for _, outline in pairs]


def _described(entry: CatalogEntry) -> tuple[CatalogEntry, shapely.Geometry | None]:
    scene, ground, valid = open_ground(entry)
    date = entry.columns.get('date') or _date(scene.sources[0])
    found = {
        'date': date,
        'crs': None if scene.crs is None else scene.crs.to_string(),
        'gsd': None if ground.gsd is None else f'{ground.gsd:.6g}',
        'width': str(scene.width),
        'height': str(scene.height),
        'bands': ' '.join(scene.band_names),
        'dtype': str(scene.dtype),
        'nodata': None if scene.nodata is None else f'{scene.nodata:g}',
        'block': 'x'.join(map(str, scene.block_shape[::-1])),
        **recorded_columns(scene, valid),
    }
    known = {key: value for key, value in found.items() if value is not None}
    return replace(entry, columns={**entry.columns, **known}), ground.outline


def _date(path: str) -> str | None:
    """When an image was taken, by its metadata or its name, as ``2024-06-01``."""
    with environment(path):
        handle = dataset(path, file_stamp(path))  # still open
        tags = {**handle.tags(), **handle.tags(ns='IMAGERY')}
    texts = [tags.get(name, '') for name in _DATE_TAGS]
    match = next(filter(None, map(_DATE.search, [*texts, Path(path).name])), None)
    return None if match is None else '-'.join(match.groups())
