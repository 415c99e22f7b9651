"""From pixels to polygons along the pixel edges."""

from collections.abc import Collection, Mapping

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes

from geo_mm.raster.grid import Window
from geo_mm.raster.projection import ground_areas
from geo_mm.vectorize.strips import Regions, StripPolygonizer

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
    geometry = gpd.GeoSeries(_to_map(regions.polygons, transform), crs=crs)
    table = {
        'class': np.array([names.get(v, str(v)) for v in regions.values.tolist()], dtype=object),
        'class_id': regions.values,
        'pixels': regions.pixels,
    }
    if confidence_unit is not None:
        table['confidence'] = (regions.sums / regions.pixels * confidence_unit).round(4)
    table['area_m2'] = ground_areas(geometry.array, crs).round(2)
    return gpd.GeoDataFrame(table, geometry=geometry)


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


def _to_map(outlines: np.ndarray, transform: Affine) -> np.ndarray:
    def to_map(xy: np.ndarray) -> np.ndarray:
        x, y = transform @ (xy[:, 0], xy[:, 1])  # type: ignore[operator]  # Affine takes arrays, too
        return np.column_stack([x, y])

    return shapely.transform(outlines, to_map)
