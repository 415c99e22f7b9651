"""Polygons of class rasters, whole or strip by strip, and their tables."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, compress

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_mm.raster.grid import Window, to_map
from geo_mm.raster.projection import ground_areas

_BLOCK = 1 << 20  # pixels worked on at once
_NOBODY = -1  # owner of pixels in no region


@dataclass(frozen=True)
class Regions:
    """Connected regions of equal class.

    Attributes:
        values: ``(N,)`` int64 class values.
        polygons: ``(N,)`` valid Polygons in pixel coordinates ``(x, y)``, with holes.
        pixels: ``(N,)`` int64 sizes, exactly the polygons' areas.
        sums: ``(N,)`` float64 sums over their pixels of what was given to be
            summed, such as confidences; zeros if nothing was.
    """

    values: np.ndarray
    polygons: np.ndarray
    pixels: np.ndarray
    sums: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray | slice) -> 'Regions':
        """Some of them, by indices, a mask or a slice."""
        return Regions(*(part[chosen] for part in self._columns()))

    @classmethod
    def of(cls, values: np.ndarray, polygons: np.ndarray, sums: np.ndarray) -> 'Regions':
        """Regions with these polygons along pixel edges."""
        return cls(values, polygons, np.rint(shapely.area(polygons)).astype(np.int64), sums)

    @classmethod
    def concatenate(cls, batches: Iterable['Regions']) -> 'Regions':
        """All regions of one or more batches."""
        parts = zip(*(batch._columns() for batch in batches), strict=True)
        return cls(*map(np.concatenate, parts))

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.values, self.polygons, self.pixels, self.sums


@dataclass(frozen=True)
class _Open:
    """Regions that reach the last row so far.

    Attributes:
        values: ``(G,)`` their classes.
        sums: ``(G,)`` what was summed over their pixels so far.
        pieces: Their parts from each block of rows.
        owners: ``(width,)`` index of the region of each pixel of the last row.
    """

    values: np.ndarray
    sums: np.ndarray
    pieces: list[list[shapely.Polygon]]
    owners: np.ndarray


class StripPolygonizer:
    """Outlines the connected regions of a raster of any height, strip by strip.

    Pixels are connected across their edges, not corners. Outlines run exactly
    along pixel edges, holes included, and do not depend on how the raster is
    cut into strips: regions come in the order of their lower ends, with the
    same vertices in the same order.

    GDAL outlines each block of rows (``rasterio.features.shapes``). Pieces of
    equal class on both sides of a cut belong together if they share a pixel
    edge there; what belongs together (connected components) is united once no
    piece reaches the last row. Memory therefore grows with the width and with
    the outlines of the regions not finished yet, and not with the height. Note
    that the outline of a background that spans the whole scene is as long as
    those of all that is in it: leave it out with ``skip`` if it is not wanted.

    Examples:
        >>> polygonizer = StripPolygonizer(width=3)
        >>> len(polygonizer.add(np.array([[1, 1, 2], [1, 1, 2]])))
        0
        >>> polygonizer.finish().pixels.tolist()
        [4, 2]

    Args:
        width: Columns of the raster.
        skip: Class values not to outline, such as the background.
        min_pixels: Smallest region given back.
    """

    def __init__(self, width: int, *, skip: Collection[int] = (), min_pixels: int = 1) -> None:
        if width < 1:
            raise ValueError(f'a raster has at least one column, got {width}')
        self.width = width
        self.skip = np.array(sorted(skip), dtype=np.int64)
        self.min_pixels = min_pixels
        self._row = 0
        self._open = _Open(np.empty(0, np.int64), np.empty(0), [], np.full(width, _NOBODY))

    def add(
        self,
        classes: np.ndarray,
        valid: np.ndarray | None = None,
        summed: np.ndarray | None = None,
    ) -> Regions:
        """Take the next rows.

        Args:
            classes: ``(rows, width)`` integers.
            valid: ``(rows, width)`` bool, False where there is no region; all
                are valid by default.
            summed: ``(rows, width)`` numbers to be summed over the pixels of
                each region, such as confidences.

        Returns:
            The regions that have become complete.

        Raises:
            TypeError: If the classes are not integers.
            ValueError: If the rows do not have the raster's width, or a class
                does not fit into int64.
        """
        classes = _checked(classes, self.width)
        inside = ~np.isin(classes, self.skip)
        if valid is not None:
            inside &= np.asarray(valid, bool)
        step = max(_BLOCK // self.width, 1)
        blocks = [slice(top, top + step) for top in range(0, len(classes), step)]
        found = [
            self._advance(classes[block], inside[block], None if summed is None else summed[block])
            for block in blocks
        ]
        return Regions.concatenate([_no_regions(), *found])

    def finish(self) -> Regions:
        """The regions that touch the last row. Nothing can be added afterwards."""
        nothing = np.zeros((0, self.width), np.uint8)
        return self._advance(nothing, nothing.astype(bool))

    def _advance(
        self, classes: np.ndarray, inside: np.ndarray, summed: np.ndarray | None = None
    ) -> Regions:
        """Outline a block of rows and join its pieces to the regions open above."""
        above, top, bottom = self._open, self._row, self._row + len(classes)
        values, pieces = _outlined(classes, inside, top)
        sums = np.concatenate([above.sums, _sums(pieces, summed, top)])
        # One number for everything: the open regions, then the pieces.
        values = np.concatenate([above.values, values])
        first = _owners(pieces, top, self.width, len(above.values))
        last = _owners(pieces, bottom, self.width, len(above.values))

        touch = (above.owners != _NOBODY) & (first != _NOBODY)
        touch[touch] = values[above.owners[touch]] == values[first[touch]]
        labels, count = _components(above.owners[touch], first[touch], len(values))
        parts = _gathered(labels, [*above.pieces, *([piece] for piece in pieces)], count)
        value = np.empty(count, np.int64)
        value[labels] = values
        total = np.bincount(labels, sums, count)

        going_on = np.zeros(count, bool)
        going_on[labels[last[last != _NOBODY]]] = True
        number = np.cumsum(going_on) - 1
        owners = np.full(self.width, _NOBODY)
        owners[last != _NOBODY] = number[labels[last[last != _NOBODY]]]
        self._row = bottom
        self._open = _Open(
            value[going_on], total[going_on], list(compress(parts, going_on)), owners
        )
        complete = list(compress(parts, ~going_on))
        return _united(value[~going_on], total[~going_on], complete, self.min_pixels)


def _outlined(classes: np.ndarray, inside: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Class and polygon of each connected region of a block that begins at ``row``."""
    # GDAL takes few types of numbers, and none with 64 bits.
    values, codes = np.unique(classes, return_inverse=True)
    codes = codes.reshape(classes.shape).astype(np.int32)
    found = shapes(codes, inside, connectivity=4, transform=Affine.translation(0, row))
    outlines, code = [], []
    for outline, number in found if classes.size else ():
        outlines.append(outline['coordinates'])
        code.append(int(number))
    rings = list(chain.from_iterable(outlines))
    xy = np.array(list(chain.from_iterable(rings)), np.float64).reshape(-1, 2)
    offsets = _ends(map(len, rings)), _ends(map(len, outlines))
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, offsets)
    return values.astype(np.int64)[np.array(code, int)], polygons


def _sums(polygons: np.ndarray, summed: np.ndarray | None, row: int) -> np.ndarray:
    """Sum of the numbers in each polygon of a block that begins at ``row``."""
    if summed is None or not len(polygons):
        return np.zeros(len(polygons))
    numbered = ((polygon, number) for number, polygon in enumerate(polygons, 1))
    owners = rasterize(numbered, summed.shape, transform=Affine.translation(0, row), dtype=np.int32)
    return np.bincount(owners.ravel(), summed.ravel(), len(polygons) + 1)[1:]


def _ends(sizes: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *sizes])


def _owners(polygons: np.ndarray, row: int, width: int, first: int) -> np.ndarray:
    """Which polygon is next to each pixel edge of a horizontal line.

    Args:
        polygons: Outlines, all on one side of the line.
        row: The line's y.
        width: Pixel edges of the line.
        first: Number of the first polygon.

    Returns:
        ``(width,)`` numbers, or ``_NOBODY``.
    """
    owners = np.full(width, _NOBODY)
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    near = np.flatnonzero((bounds[:, 1] == row) | (bounds[:, 3] == row))
    xy, index = shapely.get_coordinates(polygons[near], return_index=True)
    # Consecutive vertices on the line are the ends of an edge on it: holes have none there.
    level = (xy[1:, 1] == row) & (xy[:-1, 1] == row) & (index[1:] == index[:-1])
    ends = np.sort(np.stack([xy[:-1, 0], xy[1:, 0]])[:, level].astype(int), axis=0)
    lengths = ends[1] - ends[0]
    at = np.arange(lengths.sum()) + np.repeat(ends[0] - (np.cumsum(lengths) - lengths), lengths)
    owners[at] = np.repeat(first + near[index[:-1][level]], lengths)
    return owners


def _components(one: np.ndarray, other: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Label of each of ``size`` nodes by the edges between them, and how many labels."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    return labels, count


def _gathered(labels: np.ndarray, parts: list[list], count: int) -> list[list]:
    """The lists of each label as one."""
    gathered: list[list] = [[] for _ in range(count)]
    for label, part in zip(labels.tolist(), parts, strict=True):
        # The longer list stays, so that an element is moved seldom.
        short, long = sorted((gathered[label], part), key=len)
        long.extend(short)
        gathered[label] = long
    return gathered


def _united(values: np.ndarray, sums: np.ndarray, parts: list[list], min_pixels: int) -> Regions:
    """Regions from their pieces, from the uppermost lower end to the lowest."""
    polygons = np.empty(len(parts), object)
    for index, pieces in enumerate(parts):
        polygons[index] = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    joined = np.array([len(pieces) > 1 for pieces in parts], bool)
    # Where the raster was cut, straight edges have a vertex too many.
    polygons[joined] = shapely.simplify(_canonical(polygons[joined]), 0)
    regions = Regions.of(values, polygons, sums)
    regions = regions[regions.pixels >= min_pixels]
    polygons = _canonical(regions.polygons)
    first = shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(polygons), 0))
    order = np.lexsort((*first.T, shapely.bounds(polygons).reshape(-1, 4)[:, 3]))
    return replace(regions, polygons=polygons)[order]


def _canonical(polygons: np.ndarray) -> np.ndarray:
    """The same polygons, rings beginning with the left one of their uppermost vertices."""
    return _flipped(shapely.normalize(_flipped(polygons)))


def _flipped(polygons: np.ndarray) -> np.ndarray:
    return shapely.transform(polygons, lambda xy: xy[:, ::-1])


def _no_regions() -> Regions:
    return Regions.of(np.empty(0, np.int64), np.empty(0, object), np.empty(0))


def _checked(classes: np.ndarray, width: int) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.dtype.kind not in 'iub':
        raise TypeError(f'class values must be integers, got {classes.dtype}')
    if classes.ndim != 2 or classes.shape[1] != width:
        raise ValueError(f'rows of {width} columns, got shape {classes.shape}')
    if classes.dtype == np.uint64 and classes.size and classes.max() > np.iinfo(np.int64).max:
        raise ValueError('class values must fit into 64 bits with a sign')
    return classes


IDENTITY = Affine.identity()


def polygonize(
    classes: np.ndarray,
    valid: np.ndarray | None = None,
    transform: Affine = IDENTITY,
    *,
    crs: object = None,
    class_names: Mapping[int, str] | None = None,
    skip: Collection[int] = (),
    min_pixels: int = 1,
) -> gpd.GeoDataFrame:
    """Outline the connected regions of each class of an array.

    Pixels are connected across their edges, not corners, and the outlines run
    exactly along pixel edges: filling the polygons gives the array again. For
    rasters that do not fit into memory there is
    :class:`geo_mm.vectorize.StripPolygonizer`.

    Args:
        classes: (height, width) integer class values.
        valid: (height, width) bool; pixels to outline, all by default.
        transform: Pixel ``(x, y)`` to map coordinates.
        crs: CRS of the map coordinates.
        class_names: Names of the values; without one, the value as text.
        skip: Values not to outline, such as the background.
        min_pixels: Smallest region kept.

    Returns:
        One row per region, see :func:`region_table`.
    """
    classes = np.asarray(classes)
    polygonizer = StripPolygonizer(classes.shape[1], skip=skip, min_pixels=min_pixels)
    regions = Regions.concatenate([polygonizer.add(classes, valid), polygonizer.finish()])
    return region_table(regions, transform, crs=crs, class_names=class_names)


def region_table(
    regions: Regions,
    transform: Affine = IDENTITY,
    *,
    crs: object = None,
    class_names: Mapping[int, str] | None = None,
    confidence_unit: float | None = None,
) -> gpd.GeoDataFrame:
    """Bring regions to the map, as rows for a vector layer.

    Args:
        regions: In pixel coordinates, simplified or not.
        transform: Pixel ``(x, y)`` to map coordinates.
        crs: CRS of the map coordinates.
        class_names: Names of the values; without one, the value as text.
        confidence_unit: What one of the numbers that were summed stands for:
            their mean times this is a confidence.

    Returns:
        One row per region: ``class`` (str), ``class_id`` (int64), ``pixels``
        (int64, its size in the raster), ``confidence`` (0..1, if
        ``confidence_unit`` is given), ``area_m2`` (see
        :func:`geo_mm.raster.projection.ground_areas`) and the geometry in map
        coordinates.
    """
    names = class_names or {}
    outlines = shapely.transform(regions.polygons, lambda xy: to_map(xy, transform))
    geometry = gpd.GeoSeries(outlines, crs=crs)
    table = {
        'class': np.array([names.get(v, str(v)) for v in regions.values.tolist()], dtype=object),
        'class_id': regions.values,
        'pixels': regions.pixels,
    }
    if confidence_unit is not None:
        table['confidence'] = (regions.sums / regions.pixels * confidence_unit).round(4)
    table['area_m2'] = ground_areas(geometry.array, crs).round(2)
    return gpd.GeoDataFrame(table, geometry=geometry)


def mostly_on_data(mask: np.ndarray, valid: np.ndarray) -> bool:
    """Whether at least half of a mask is on pixels with data, and any of it.

    Args:
        mask: (height, width) bool or 0/1.
        valid: (height, width) bool.
    """
    mask = np.asarray(mask).astype(bool)
    with_data = np.count_nonzero(mask & valid)
    return with_data > 0 and 2 * with_data >= np.count_nonzero(mask)


def mask_to_polygon(
    mask: np.ndarray, origin: Window | None = None
) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline a mask along its pixel edges.

    Args:
        mask: (height, width) bool or 0/1.
        origin: Window that the mask covers; its corner is added. None: (0, 0).

    Returns:
        The outline in pixel coordinates, holes included; an empty Polygon for
        an empty mask.
    """
    mask = np.asarray(mask).astype(bool)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return shapely.Polygon()
    top, left = rows[0], cols[0]
    part = mask[top : rows[-1] + 1, left : cols[-1] + 1]
    col_off, row_off = (origin.col_off, origin.row_off) if origin else (0, 0)
    corner = Affine.translation(int(left) + col_off, int(top) + row_off)
    outlines = shapes(part.astype(np.uint8), mask=part, connectivity=4, transform=corner)
    rings = [outline['coordinates'] for outline, _ in outlines]
    polygons = [shapely.Polygon(shell, holes) for shell, *holes in rings]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
