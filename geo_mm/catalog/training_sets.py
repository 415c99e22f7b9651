"""Training sets of other programs as catalogs."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.classes import ClassSet, Colour
from geo_mm.errors import CatalogError
from geo_mm.formats.training import (
    DESCRIPTIONS,
    Kind,
    Reference,
    TrainingData,
    find_format,
    read_training_data,
)
from geo_mm.raster.grid import Grid
from geo_mm.raster.handles import is_raster, open_quietly

_TOUCH = 0.01  # share of a chip's side by which neighbours may overlap


@dataclass(frozen=True)
class TrainingSet:
    """A training set of another program, as a catalog.

    Attributes:
        path: The file or folder that it was read from, or several.
        format: Name of the format, such as 'ArcGIS PASCAL_VOC_rectangles'.
        kind: What is labelled: ``boxes`` around objects, their outlines
            (``instances``), or classes of ``pixels``.
        entries: Its images with their labels, those without objects included.
            Images that overlap have the same ``group``.
        bands: Names of the bands; empty if it does not tell them.
        gsd: Metres per pixel of the first image; None if it is not georeferenced.
        chip_size: ``(height, width)`` of the images, if it says so.
        sources: The training sets of which it consists.
    """

    path: str
    format: str
    kind: Kind
    entries: tuple[CatalogEntry, ...]
    bands: tuple[str, ...]
    gsd: float | None
    chip_size: tuple[int, int] | None
    sources: tuple[TrainingData, ...] = field(repr=False)

    @cached_property
    def classes(self) -> ClassSet | None:
        """Its classes, with a background if there are pixels of no class.

        None if it does not name them. Formats that name them only in the labels
        of their images, such as Pascal VOC, are read for them.
        """
        return _merged([found.classes for found in self.sources if found.classes is not None])

    @property
    def class_values(self) -> dict[int, str]:
        """Name of the class of each value, where its format has values, too."""
        return {value: name for found in self.sources for value, name in found.values.items()}


def is_training_set(path: str) -> bool:
    """Whether a path is a training set of a format that is read."""
    return (os.path.isdir(path) or path.lower().endswith(DESCRIPTIONS)) and bool(find_format(path))


def may_be_training_set(path: str) -> bool:
    """Whether a path is a training set, or a folder that is no image either.

    Of the latter, :func:`read_training_set` says what was found and what is read.
    """
    return is_training_set(path) or (os.path.isdir(path) and not is_raster(path))


def read_training_set(
    path: str | os.PathLike | Sequence[str | os.PathLike],
) -> TrainingSet:
    """Reads a training set of another program.

    The format is found by what is there: see ``docs/en/formats.md``.

    Args:
        path: Folder of an ArcGIS export, of Pascal VOC, KITTI, or images and
            masks; a COCO ``.json``, a YOLO ``.yaml``, or their folders. Several
            are merged into one, if the same is labelled: classes of one name
            are one class.

    Raises:
        CatalogError: If it is of no format that is read, or incomplete.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    sets = [read_training_data(each) for each in paths]
    if not sets:
        raise CatalogError('no training sets', 'the path of at least one')
    first = sets[0]
    for other in sets[1:]:
        if other.kind != first.kind:
            raise CatalogError(
                f'{other.path}: {other.kind} ({other.format}), {first.path}: {first.kind} '
                f'({first.format})',
                'training sets that label the same: boxes, instances or pixels',
                'train on one of them',
            )
    entries = [entry for data in sets for entry in _entries(data)]
    if len({entry.name for entry in entries}) < len(entries):
        # As 000000000 of two exports, or image 1 of the train and val of one set.
        entries = [
            replace(entry, name=_long_name(entry, several=len(sets) > 1)) for entry in entries
        ]
    grids = [grid for data in sets for grid in _grids(data)]
    gsd = next((grid.gsd for grid in grids if grid is not None), None)
    return TrainingSet(
        path=', '.join(data.path for data in sets),
        format=first.format,
        kind=first.kind,
        entries=tuple(_grouped(entries, grids, Path(first.path).name)),
        bands=first.bands,
        gsd=None if gsd is None else float(np.sqrt(gsd[0] * gsd[1])),
        chip_size=first.chip_size,
        sources=tuple(sets),
    )


def _entries(data: TrainingData) -> Iterator[CatalogEntry]:
    name = find_format(data.path) or ''
    for image in data.images:
        labels = Reference(name, data.path, image.key)
        yield CatalogEntry(image.path, str(labels), image.split, name=Path(image.path).stem)


def _long_name(entry: CatalogEntry, several: bool) -> str:
    path, _, key = str(entry.labels).rpartition('#')
    name = str(Path(key).with_suffix(''))
    return f'{Path(path).name}/{name}' if several else name


def _merged(sets: Sequence[ClassSet]) -> ClassSet | None:
    """All classes, in the order and with the colours in which they first occur."""
    colours: dict[str, Colour] = {}
    for found in sets:
        for _, name, colour in found.items():
            colours.setdefault(name, colour)
    background = next((found.background for found in sets if found.background), None)
    return ClassSet(tuple(colours), tuple(colours.values()), background) if colours else None


def _grids(data: TrainingData) -> Iterator[Grid | None]:
    """Where the images are; None for those that are not georeferenced or cannot be opened.

    Of chips of one size only the first is opened, if world files place the
    others: to open thousands would take longer than all else.
    """
    first: Grid | None = None
    for image in data.images:
        grid = first and data.chip_size and _by_world_file(Path(image.path), first)
        if not grid:
            grid = _grid(image.path)
        if first is None and grid is not None and (grid.height, grid.width) == data.chip_size:
            first = grid
        yield grid


def _by_world_file(image: Path, like: Grid) -> Grid | None:
    """The grid of an image of the size and CRS of another; None without a world file."""
    suffix = image.suffix
    world = image.with_suffix(f'.{suffix[1]}{suffix[-1]}w')  # .tfw, .jgw
    try:
        a, d, b, e, c, f = map(float, world.read_text('ascii').split())
    except (OSError, ValueError):
        return None
    # It gives the centre of the first pixel.
    return replace(like, transform=Affine(a, b, c, d, e, f) @ Affine.translation(-0.5, -0.5))


def _grid(path: str) -> Grid | None:
    image = Path(path)
    suffix = image.suffix.lower()
    if suffix in ('.jpg', '.jpeg', '.png', '.bmp'):
        # Their georeference is in a file beside them, if they have any.
        endings = (f'{suffix}w', f'.{suffix[1]}{suffix[-1]}w', '.wld')
        beside = [image.with_suffix(ending) for ending in endings]
        if not any(file.exists() for file in (*beside, Path(f'{path}.aux.xml'))):
            return None
    try:
        with open_quietly(path) as dataset:
            return None if dataset.transform.is_identity else Grid.of(dataset)
    except RasterioError:
        return None  # opening the scene says what is wrong with it


def _grouped(
    entries: Sequence[CatalogEntry], grids: Sequence[Grid | None], name: str
) -> Iterable[CatalogEntry]:
    """The entries with a group for each set of images that hang together."""
    groups: dict[int, str] = {}
    by_crs = defaultdict(list)
    for number, grid in enumerate(grids):
        if grid is not None:
            by_crs[grid.crs.to_wkt() if grid.crs else ''].append(number)
    for numbers in by_crs.values():
        found = overlapping([grids[number].footprint for number in numbers])  # type: ignore[union-attr]
        first = len(set(groups.values())) + 1
        groups |= {
            number: f'{name}-{first + group}'
            for number, group in zip(numbers, found.tolist(), strict=True)
        }
    return [replace(entry, group=groups.get(number)) for number, entry in enumerate(entries)]


def overlapping(footprints: Sequence[shapely.Geometry]) -> np.ndarray:
    """Number of the group of each footprint; those that overlap, also by way of others, share one.

    Args:
        footprints: In one CRS.

    Returns:
        ``(N,)`` numbers from 0.
    """
    shapes = np.asarray(footprints, dtype=object)
    # Neighbours that only touch, but for rounding, do not overlap.
    inner = shapely.buffer(shapes, -_TOUCH / 2 * np.sqrt(shapely.area(shapes)), join_style='mitre')
    pairs = STRtree(inner).query(inner, predicate='intersects')
    links = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), (len(shapes), len(shapes)))
    return connected_components(links, directed=False)[1]
