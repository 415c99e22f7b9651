"""The ground that catalog entries cover, and planes in which it is measured in metres."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.labelled_scene import area_window, read_aoi
from geo_mm.geometry import areas_only, rounded, union
from geo_mm.labels import SceneLabels
from geo_mm.raster import Grid, Scene
from geo_mm.raster.grid import to_map
from geo_mm.raster.projection import LONLAT, moved

_COARSE = 256  # cells along the longer side in which the valid part of a scene is outlined
_DEGREE = 111_000.0  # metres, at most, along a meridian
_PIECES = 16  # per side of a polygon: what is straight in one projection is bent in another


Shapes = np.ndarray | Sequence[shapely.Geometry]


class Ground(NamedTuple):
    """What an entry covers.

    Attributes:
        outline: Polygons in longitude and latitude: the valid pixels, coarsely,
            inside the area and AOI of the entry; None without a CRS.
        gsd: Metres per pixel; None without a CRS.
        size: ``(width, height)`` in pixels.
    """

    outline: shapely.Geometry | None
    gsd: float | None
    size: tuple[int, int]


def read_ground(entry: CatalogEntry) -> Ground:
    """The ground of an entry, whose scene is opened.

    Raises:
        SceneError: If it cannot be opened.
        LabelError: If its AOI cannot be read.
    """
    return open_ground(entry)[1]


def open_ground(entry: CatalogEntry) -> tuple[Scene, Ground, np.ndarray]:
    """The scene of an entry, its ground, and the coarse map of its valid pixels.

    The scene and the ground are of the area that is used, the map of all.
    """
    scene = whole = Scene.open(entry.image, name=entry.name)
    valid = coarse_valid(whole)
    if entry.area is not None:
        scene = scene.crop(area_window(scene, entry.area))
    aoi = None if entry.aoi is None else read_aoi(entry.aoi, whole, scene)
    return scene, scene_ground(scene, aoi, valid if scene is whole else None), valid


def scene_ground(
    scene: Scene, aoi: SceneLabels | None = None, valid: np.ndarray | None = None
) -> Ground:
    """The ground of a scene inside the polygons of an AOI in its pixels.

    Args:
        scene: The scene.
        aoi: Polygons in its pixels.
        valid: Its :func:`coarse_valid`, if known.
    """
    grid = scene.grid
    size = (grid.width, grid.height)
    if grid.gsd is None or grid.lonlat_footprint() is None:
        return Ground(None, None, size)
    pixels = valid_part(scene, valid)
    if aoi is not None:
        pixels = areas_only(shapely.intersection(*rounded(pixels, union(aoi.geometries))))
    gsd = float(np.sqrt(grid.gsd[0] * grid.gsd[1]))
    return Ground(_to_lonlat(pixels, grid), gsd, size)


def coarse_valid(scene: Scene) -> np.ndarray:
    """Which cells of a scene are valid, ``(rows, cols)`` bool, 256 along the longer side."""
    cell = max(scene.width, scene.height) / _COARSE
    rows, cols = max(round(scene.height / cell), 1), max(round(scene.width / cell), 1)
    return scene.read_valid(out_shape=(rows, cols))


def valid_part(scene: Scene, valid: np.ndarray | None = None) -> shapely.Geometry:
    """Polygons of the valid pixels, coarsely, in pixels of the scene."""
    valid = coarse_valid(scene) if valid is None else valid
    rows, cols = valid.shape
    if valid.all():
        return shapely.box(0, 0, scene.width, scene.height)
    scale = Affine.scale(scene.width / cols, scene.height / rows)
    found = shapes(valid.astype('uint8'), mask=valid, transform=scale)
    return union([shapely.geometry.shape(part) for part, _ in found])


def _to_lonlat(polygons: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    bent = shapely.segmentize(polygons, max(grid.width, grid.height) / _PIECES)
    placed = shapely.transform(bent, lambda xy: to_map(xy, grid.transform))
    return shapely.transform(placed, lambda xy: moved(xy, grid.crs, LONLAT))


def moved_polygons(polygons: np.ndarray, source: object, target: object) -> np.ndarray:
    """Polygons in another CRS; their long sides get more vertices."""
    polygons = np.asarray(polygons, dtype=object)
    sides = np.ptp(shapely.bounds(polygons).reshape(-1, 2, 2), axis=1).max(axis=1)
    bent = shapely.segmentize(polygons, np.maximum(sides, 1e-9) / _PIECES)
    return shapely.transform(bent, lambda xy: moved(xy, source, target))


class Plane:
    """A projection around some places on Earth, in metres, with north up in its middle.

    Lengths are right to one in a thousand within 500 km of the middle.

    Args:
        outlines: Polygons in longitude and latitude.
    """

    def __init__(self, outlines: Shapes) -> None:
        west, south, east, north = shapely.total_bounds(outlines)
        lon, lat = (west + east) / 2, (south + north) / 2
        self.crs = f'+proj=aeqd +lat_0={lat:.9f} +lon_0={lon:.9f} +datum=WGS84 +units=m +no_defs'

    def flat(self, outlines: Shapes) -> np.ndarray:
        """Polygons from longitude and latitude to metres."""
        shapes = np.asarray(outlines, dtype=object)
        return shapely.transform(shapes, lambda xy: moved(xy, LONLAT, self.crs))

    def lonlat(self, polygon: shapely.Geometry) -> shapely.Geometry:
        """A polygon from metres to longitude and latitude."""
        [found] = moved_polygons(np.array([polygon], dtype=object), self.crs, LONLAT)
        # Rounding lets rings cross that touched.
        return found if shapely.is_valid(found) else areas_only(shapely.make_valid(found))


def sites(outlines: Shapes, reach: float) -> list[np.ndarray]:
    """Groups of outlines that are near one another, also by way of others.

    Outlines of different groups are farther apart than ``reach``; those of
    one group may be, too.

    Args:
        outlines: Polygons in longitude and latitude.
        reach: Metres.

    Returns:
        The positions of the outlines of each site.
    """
    boxes = shapely.bounds(np.asarray(outlines, dtype=object)).reshape(-1, 4)
    lat = np.minimum(np.abs(boxes[:, [1, 3]]).max(axis=1) + reach / _DEGREE, 89.9)
    up = reach / 2 / _DEGREE * 1.01
    side = up / np.cos(np.radians(lat))
    grown = shapely.box(boxes[:, 0] - side, boxes[:, 1] - up, boxes[:, 2] + side, boxes[:, 3] + up)
    return together(len(grown), STRtree(grown).query(grown, predicate='intersects').T)


def together(count: int, pairs: Iterable[Sequence[int]]) -> list[np.ndarray]:
    """Groups of numbers below ``count`` that pairs link, also by way of others."""
    links = np.asarray(list(pairs), dtype=int).reshape(-1, 2)
    matrix = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), (count, count))
    _, group = connected_components(matrix, directed=False)
    order = np.argsort(group, kind='stable')
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if count else []
