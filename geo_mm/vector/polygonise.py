"""From pixels to polygons along the pixel edges."""

from collections.abc import Collection, Mapping

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes

from geo_mm.raster.grid import Window

IDENTITY = Affine.identity()


def polygonise(
    classes: np.ndarray,
    valid: np.ndarray | None = None,
    transform: Affine = IDENTITY,
    *,
    crs: object = None,
    class_names: Mapping[int, str] | None = None,
    skip: Collection[int] = (),
    min_pixels: int = 1,
) -> gpd.GeoDataFrame:
    """Outline the connected regions of each class.

    Pixels are connected across their edges, not corners, and the outlines run
    exactly along pixel edges: filling the polygons gives the array again.

    Args:
        classes: (height, width) integer class values.
        valid: (height, width) bool; pixels to outline, all by default.
        transform: Pixel ``(x, y)`` to map coordinates.
        crs: CRS of the map coordinates.
        class_names: Names of the values; without one, the value as text.
        skip: Values not to outline, such as the background.
        min_pixels: Smallest region kept.

    Returns:
        One row per region: ``value`` (int64), ``class`` (str), ``pixels``
        (int64, its size) and the geometry in map coordinates.
    """
    classes = np.asarray(classes)
    chosen = np.ones(classes.shape, dtype=bool) if valid is None else valid.astype(bool)
    if len(skip):
        chosen = chosen & ~np.isin(classes, list(skip))
    if classes.dtype not in (np.uint8, np.int16, np.uint16, np.int32):
        classes = _as_int32(classes)
    found = [
        (int(value), shapely.geometry.shape(outline))
        for outline, value in shapes(classes, mask=chosen, connectivity=4)
    ]
    values = np.array([value for value, _ in found], dtype=np.int64)
    outlines = np.array([outline for _, outline in found], dtype=object)
    pixels = np.rint(shapely.area(outlines)).astype(np.int64)
    kept = pixels >= min_pixels
    values, outlines, pixels = values[kept], outlines[kept], pixels[kept]
    names = class_names or {}
    table = {
        'value': values,
        'class': np.array([names.get(value, str(value)) for value in values.tolist()], dtype=str),
        'pixels': pixels,
    }
    return gpd.GeoDataFrame(table, geometry=_to_map(outlines, transform), crs=crs)


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
    polygons = [shapely.geometry.shape(outline) for outline, _ in outlines]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _as_int32(classes: np.ndarray) -> np.ndarray:
    if classes.dtype.kind not in 'iub':
        raise TypeError(f'class values must be integers, got {classes.dtype}')
    limits = np.iinfo(np.int32)
    if classes.size and not limits.min <= classes.min() <= classes.max() <= limits.max:
        raise ValueError('class values must fit into 32 bits')
    return classes.astype(np.int32)


def _to_map(outlines: np.ndarray, transform: Affine) -> np.ndarray:
    def to_map(xy: np.ndarray) -> np.ndarray:
        x, y = transform @ (xy[:, 0], xy[:, 1])
        return np.column_stack([x, y])

    return shapely.transform(outlines, to_map)
