"""Small real label files for tests, drawn in pixel coordinates."""

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine

from tests.data.rasters import TRANSFORM, UTM_17N


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    return shapely.box(left, top, right, bottom)


def write_labels(
    path: str | Path,
    shapes: Sequence[shapely.Geometry],
    classes: Sequence[str | None] | None = None,
    *,
    column: str = 'class',
    crs: str | None = UTM_17N,
    transform: Affine = TRANSFORM,
    to_crs: str | None = None,
) -> Path:
    """Write geometries given in pixels of a grid with ``transform``.

    Args:
        path: GeoPackage, GeoJSON, ...
        shapes: Geometries in pixel coordinates (x, y).
        classes: Attribute of each; default no attribute.
        column: Name of the attribute.
        crs: CRS of the grid.
        transform: Geotransform of the grid.
        to_crs: CRS to store in, if another.
    """
    matrix = np.array([[transform.a, transform.d], [transform.b, transform.e]])
    offset = np.array([transform.c, transform.f])
    geometry = shapely.transform(np.array(shapes, dtype=object), lambda xy: xy @ matrix + offset)
    frame = gpd.GeoDataFrame(
        {} if classes is None else {column: list(classes)}, geometry=geometry, crs=crs
    )
    if to_crs is not None:
        frame = frame.to_crs(to_crs)
    frame.to_file(path)
    return Path(path)
