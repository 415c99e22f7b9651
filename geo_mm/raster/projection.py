"""Transformations between coordinate reference systems, lengths and areas on the ground.

PROJ takes up to 80 ms to find the way between two systems that no authority
lists, as ArcGIS writes them into its exports. That is paid once per pair of
systems, not once per scene.
"""

import functools

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

LONLAT = 'EPSG:4326'
"""Longitude and latitude in degrees on WGS 84."""

GEOD = pyproj.Geod(ellps='WGS84')
"""Distances on the Earth."""

_EQUAL_AREA = 'EPSG:6933'  # of the whole Earth, in metres
_LONG = 2000.0  # metres from which the bend of an edge can matter for an area
_PIECES = 64


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


def same(source: object, target: object) -> bool:
    """Whether two CRSs are one, whatever the order of their axes."""
    return _same(_text(source), _text(target))


def moved(xy: np.ndarray, source: object, target: object) -> np.ndarray:
    """Coordinates ``(N, 2)`` in another CRS; infinite where it is not defined.

    Raises:
        pyproj.exceptions.ProjError: If there is no way between the two.
    """
    if same(source, target):
        return xy
    x, y = xy.T
    if len(xy) == 1:  # pyproj takes an array of one element for a number, which numpy deprecates
        x, y = x.tolist(), y.tolist()
    return np.column_stack(transformer(source, target).transform(x, y))


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


def ground_distances(start: np.ndarray, end: np.ndarray, crs: object) -> np.ndarray:
    """Metres along the ellipsoid between positions ``(N, 2)`` of a CRS.

    NaN where they are not on the globe, which need not be the Earth.

    Raises:
        pyproj.exceptions.ProjError: If the CRS belongs to no globe.
    """
    globe, geod = _globe(_text(crs))
    lonlat = [moved(np.asarray(xy, np.float64), crs, globe) for xy in (start, end)]
    found = [np.isfinite(xy).all(axis=1) & (np.abs(xy[:, 1]) <= 90) for xy in lonlat]
    metres = np.full(len(start), np.nan)
    inside = found[0] & found[1]
    (lon_0, lat_0), (lon_1, lat_1) = (xy[inside].T.tolist() for xy in lonlat)
    metres[inside] = geod.inv(lon_0, lat_0, lon_1, lat_1)[2]
    return metres


@functools.lru_cache(maxsize=256)
def _globe(crs: str) -> tuple[str, pyproj.Geod]:
    """Degrees on the body that a CRS belongs to, and its ellipsoid."""
    try:
        transformer(crs, LONLAT)
        return LONLAT, GEOD
    except ProjError:
        geod = proj_crs(crs).get_geod()
        if geod is None:  # a local system, such as that of a building site
            raise
        body = {'proj': 'longlat', 'a': geod.a, 'b': geod.b, 'no_defs': True}
        return pyproj.CRS.from_dict(body).to_wkt(), geod


def ground_areas(geometries: np.ndarray, crs: object) -> np.ndarray:
    """Areas of polygons on the ellipsoid in m2; NaN where they are not georeferenced.

    Areas in a projection's own units can be far off: those in Web Mercator are
    too large by a quarter already at 27 degrees north. They are measured in one
    equal-area projection of the Earth, so that the area of an object does not
    depend on what others are measured with it. Long edges get more vertices,
    because what is straight in one projection is bent in another.

    Args:
        geometries: ``(N,)`` polygons.
        crs: Their CRS, or None.
    """
    geometries = np.asarray(geometries, object)
    areas = np.full(len(geometries), np.nan)
    if crs is None or not len(geometries):
        return areas
    try:
        flat = _flat(geometries, crs)
        width, height = np.ptp(shapely.bounds(flat).reshape(-1, 2, 2), axis=1).T
        extent = np.maximum(width, height)
        long = np.isfinite(extent) & (extent > _LONG)
        if long.any():
            sides = np.ptp(shapely.bounds(geometries[long]).reshape(-1, 2, 2), axis=1).max(axis=1)
            flat[long] = _flat(shapely.segmentize(geometries[long], sides / _PIECES), crs)
    except ProjError:
        return areas
    known = np.isfinite(extent)
    areas[known] = shapely.area(flat[known])
    return areas


def _flat(geometries: np.ndarray, crs: object) -> np.ndarray:
    return shapely.transform(geometries, lambda xy: moved(xy, crs, _EQUAL_AREA))


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


@functools.lru_cache(maxsize=256)
def _same(source: str, target: str) -> bool:
    return source == target or _parsed(source).equals(_parsed(target), ignore_axis_order=True)
