"""What is divided among splits, blocks of ground, groups of scenes and the like, by classes too."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from scipy.cluster.vq import kmeans2
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.ground import Ground, Plane, moved_polygons, together
from geo_mm.catalog.split_options import SplitOptions
from geo_mm.errors import CatalogError, LabelError
from geo_mm.formats.training import read_image_labels
from geo_mm.geometry import areas_only, rounded
from geo_mm.labels import ImageObjects
from geo_mm.labels.label_raster import file_grid
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.reading import read_layer
from geo_mm.raster import Grid
from geo_mm.raster.grid import to_map
from geo_mm.raster.projection import LONLAT, moved

_SAMPLES = 256  # pixels along a side of a label raster that are counted
_SAME_GROUND = 0.25  # overlapping share of the smaller scene from which two stay together


class Piece(NamedTuple):
    """A part of a scene that goes to a split together with others of its unit.

    Attributes:
        entry: Number of the entry.
        unit: What it belongs to: a block, a group of scenes, a date, ...
        ground: In the plane of its site; None without a CRS.
        site: Number of the site.
    """

    entry: int
    unit: object
    ground: shapely.Geometry | None = None
    site: int = -1


def find_pieces(
    entries: Sequence[CatalogEntry],
    grounds: Sequence[Ground],
    places: dict[int, tuple],
    planes: Sequence[Plane],
    buffer: float,
    options: SplitOptions,
) -> tuple[list[Piece], float | None]:
    """The parts of the scenes that are divided, and the side of a block in metres, if any.

    Args:
        entries: The scenes.
        grounds: What each covers.
        places: Number of an entry to its site and its ground in metres there.
        planes: Of each site.
        buffer: Metres between splits, for the size of blocks.
        options: What is divided.

    Raises:
        CatalogError: If the scenes lack what the option needs: a CRS, a column, polygons.
    """
    if options.by in ('block', 'aoi'):
        missing = [entries[n].name for n, ground in enumerate(grounds) if ground.outline is None]
        if missing:
            raise CatalogError(
                f'{missing[0]} has no CRS, so it is not known which ground it shows',
                'georeferenced scenes',
                'split by scene',
            )
    if options.by == 'block':
        size = options.block_size or _block_size(places, buffer)
        return _blocks(places, size), size
    if options.by == 'aoi':
        return _polygons(places, planes, options), None
    units: Sequence[object]
    if options.by in ('column', 'date'):
        column = options.column if options.by == 'column' and options.column else 'date'
        units = [entry.columns.get(column) for entry in entries]
        if None in units:
            raise CatalogError(
                f'{entries[units.index(None)].name} has nothing in the column {column!r}',
                'a value for every scene',
            )
    else:
        groups = _groups(entries, places, options)
        units = _clusters(groups, grounds, options) if options.by == 'cluster' else groups
    pieces = []
    for number, unit in enumerate(units):
        site, ground = places.get(number, (-1, None))
        if ground is not None or grounds[number].outline is None:
            pieces.append(Piece(number, unit, ground, site))
    return pieces, None


def _block_size(places: dict[int, tuple], buffer: float) -> float:
    """Blocks of three buffers, but no more than about 100 and no fewer than about 6."""
    area = sum(ground.area for _, ground in places.values())
    return min(max(3 * buffer, math.sqrt(area / 100)), math.sqrt(area / 6))


def _blocks(places: dict[int, tuple], size: float) -> list[Piece]:
    """The scenes cut along a grid of blocks on each site; as many as fit are made to fit."""
    of_site = defaultdict(list)
    for number, (site, ground) in places.items():
        of_site[site].append((number, ground))
    pieces = []
    for site, scenes in of_site.items():
        left, bottom, right, top = shapely.total_bounds([ground for _, ground in scenes])
        width = (right - left) / max(round((right - left) / size), 1)
        height = (top - bottom) / max(round((top - bottom) / size), 1)
        for number, ground in scenes:
            x_min, y_min, x_max, y_max = ground.bounds
            cols = _covering((x_min - left) / width, (x_max - left) / width)
            rows = _covering((top - y_max) / height, (top - y_min) / height)
            col, row = (axis.ravel() for axis in np.meshgrid(cols, rows))
            cells = shapely.box(
                left + col * width,
                top - (row + 1) * height,
                left + (col + 1) * width,
                top - row * height,
            )
            shapely.prepare(ground)
            within = shapely.contains_properly(ground, cells)
            cells[~within] = shapely.intersection(*rounded(cells[~within], ground))
            for cell, *place in zip(cells, row.tolist(), col.tolist(), strict=True):
                if cell.area > 0:
                    pieces.append(Piece(number, (site, *place), areas_only(cell), site))
    return pieces


def _covering(low: float, high: float) -> np.ndarray:
    first = math.floor(low + 1e-6)
    return np.arange(first, max(math.ceil(high - 1e-6), first + 1))


def _polygons(places: dict[int, tuple], planes: Sequence[Plane], options) -> list[Piece]:
    """The parts of the scenes in each polygon of a layer."""
    layer = read_layer(options.aoi)
    if options.column is not None and options.column not in layer:
        raise CatalogError(
            f'{options.aoi} has no column {options.column!r}',
            f'one of {", ".join(map(str, layer.columns.drop(["geometry", "fid"])))}',
        )
    if layer.crs is None:
        raise CatalogError(f'{options.aoi} has no CRS', 'polygons with a CRS')
    names = layer['fid'] if options.column is None else layer[options.column]
    polygons = moved_polygons(layer.geometry.to_numpy(), layer.crs, LONLAT)
    flat = [plane.flat(polygons) for plane in planes]
    pieces = []
    for number, (site, ground) in places.items():
        parts = shapely.intersection(*rounded(flat[site], ground))
        for unit, part in zip(names.tolist(), parts, strict=True):
            if part.area > 0:
                pieces.append(Piece(number, unit, areas_only(part), site))
    return pieces


def _groups(entries, places: dict[int, tuple], options: SplitOptions) -> list[int]:
    """A number for each entry, equal where scenes overlap or are of one group."""
    if options.allow_overlap:
        return list(range(len(entries)))
    links: list[tuple[int, int]] = []
    by_group = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.group is not None:
            by_group[entry.group].append(number)
    for same in by_group.values():
        links += pairwise(same)
    of_site = defaultdict(list)
    for number, (site, ground) in places.items():
        of_site[site].append((number, ground))
    for scenes in of_site.values():
        numbers = np.array([number for number, _ in scenes])
        shapes = np.array([ground for _, ground in scenes], dtype=object)
        a, b = STRtree(shapes).query(shapes, predicate='intersects')
        a, b = a[a < b], b[a < b]
        areas = shapely.area(shapes)
        shared = shapely.area(shapely.intersection(*rounded(shapes[a], shapes[b])))
        alike = shared >= _SAME_GROUND * np.minimum(areas[a], areas[b])
        links += zip(numbers[a[alike]].tolist(), numbers[b[alike]].tolist(), strict=True)
    units = [0] * len(entries)
    for group, members in enumerate(together(len(entries), links)):
        for number in members:
            units[number] = group
    return units


def _clusters(groups: list[int], grounds: Sequence[Ground], options: SplitOptions) -> list[int]:
    """K-means of the middles of groups of scenes, on the sphere."""
    if any(ground.outline is None for ground in grounds):
        raise CatalogError('scenes without a CRS cannot be clustered', fix='split by scene')
    outlines = np.array([ground.outline for ground in grounds], dtype=object)
    middles = shapely.get_coordinates(shapely.centroid(outlines))
    members = [np.array(groups) == group for group in range(max(groups) + 1)]
    lon, lat = np.radians([middles[found].mean(axis=0) for found in members]).T
    sphere = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    count = min(options.clusters, len(sphere))
    _, cluster = kmeans2(sphere, count, minit='++', seed=np.random.default_rng(options.seed))
    return [int(cluster[group]) for group in groups]


def class_points(entry: CatalogEntry, column: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Labelled points in longitude and latitude ``(N, 2)``, and their classes as text."""
    nothing = np.empty((0, 2)), np.empty(0, str)
    if entry.labels is None:
        return nothing
    in_pixels = read_image_labels(entry.labels, entry.image)
    if isinstance(in_pixels, ImageObjects):
        shapes, crs = in_pixels.on_map()
        xy = shapely.get_coordinates(shapely.point_on_surface(shapes))
        return moved(xy, crs, LONLAT) if crs else xy, np.array([str(n) for n in in_pixels.names])
    if in_pixels is not None:
        return _pixel_classes(in_pixels.path, file_grid(in_pixels.image))
    if is_label_raster(entry.labels):
        return _pixel_classes(entry.labels, file_grid(entry.labels))
    layer = read_layer(entry.labels, layer=entry.layer)
    if column is not None and column not in layer:
        raise LabelError(
            f'{entry.labels} has no column {column!r}',
            f'one of {", ".join(map(str, layer.columns.drop(["geometry", "fid"])))}',
        )
    xy = shapely.get_coordinates(shapely.point_on_surface(layer.geometry.to_numpy()))
    named = layer[column] if column else ['object'] * len(layer)
    values = np.array([str(name) for name in named])
    return moved(xy, layer.crs, LONLAT) if layer.crs is not None else xy, values


def _pixel_classes(path: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Some pixels of a label raster in longitude and latitude, and their values as text."""
    with rasterio.open(path) as raster:
        height, width = min(raster.height, _SAMPLES), min(raster.width, _SAMPLES)
        values = raster.read(1, out_shape=(height, width)).ravel()
    scale = rasterio.Affine.scale(grid.width / width, grid.height / height)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xy = to_map(np.column_stack([x.ravel(), y.ravel()]), grid.transform @ scale)
    return moved(xy, grid.crs, LONLAT) if grid.crs else xy, values.astype(str)
