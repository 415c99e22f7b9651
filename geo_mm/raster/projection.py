"""Transformations between coordinate reference systems, each made once.

PROJ takes up to 80 ms to find the way between two systems that no authority
lists, as ArcGIS writes them into its exports. That is paid once per pair, not
once per scene.
"""

import functools

import numpy as np
import pyproj
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

LONLAT = 'EPSG:4326'
"""Longitude and latitude in degrees on WGS 84."""

GEOD = pyproj.Geod(ellps='WGS84')
"""Distances on the Earth."""


def proj_crs(crs: object) -> pyproj.CRS:
    """A CRS of rasterio, pyproj, WKT or an authority's code, as pyproj has it.

    Raises:
        pyproj.exceptions.CRSError: If it is none.
    """
    return crs if isinstance(crs, pyproj.CRS) else _parsed(_text(crs))


def transformer(source: object, target: object = LONLAT) -> pyproj.Transformer:
    """From one CRS to another, x before y; shared by all that ask for this pair.

    Args:
        source: CRS of rasterio or pyproj, WKT, PROJ string or authority's code.
        target: Likewise.

    Raises:
        pyproj.exceptions.ProjError: If one is no CRS, or there is no way between them.
    """
    return _transformer(_text(source), _text(target))


def bounds_in(
    bounds: tuple[float, float, float, float], source: object, target: object = LONLAT
) -> tuple[float, float, float, float] | None:
    """Bounds of the same place in another CRS, edges that become curves included.

    Args:
        bounds: ``(min_x, min_y, max_x, max_y)``.
        source: Their CRS.
        target: CRS of the result.

    Returns:
        Bounds, of which in degrees west is greater than east across the
        antimeridian; None where the place has no coordinates in ``target``.
    """
    try:
        found = transformer(source, target).transform_bounds(*bounds)
    except ProjError:
        return None
    return found if np.isfinite(found).all() else None


def _text(crs: object) -> str:
    if isinstance(crs, CRS):
        return crs.wkt
    if isinstance(crs, pyproj.CRS):
        return crs.srs
    return str(crs)


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(text)


@functools.lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(_parsed(source), _parsed(target), always_xy=True)
