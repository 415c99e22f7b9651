"""Where layers lie: common CRS, common ground, ground areas."""

import numpy as np
import shapely
from pyproj.exceptions import ProjError

from geo_mm.errors import LabelError
from geo_mm.raster.projection import bounds_in, ground_areas, proj_crs, same
from geo_mm.raster.projection import moved as projected


def areas_of(geometries: np.ndarray, crs: object) -> np.ndarray:
    """Areas in m2 on the ground; in square map units without a CRS.

    Raises:
        LabelError: If they have no place on Earth.
    """
    if crs is None:
        return shapely.area(geometries).astype(np.float64)
    areas = ground_areas(geometries, crs)
    if np.isnan(areas).any():
        name = proj_crs(crs).name
        raise LabelError(
            f'coordinates {extent(shapely.total_bounds(geometries), None)} have no place on Earth '
            f'in {name}',
            'coordinates that fit the CRS',
            'check whether the CRS of the layer is right',
        )
    return areas


def check_both_crs(pred_name: str, pred_crs: object, truth_name: str, truth_crs: object) -> None:
    """Refuse a pair of which only one has a CRS."""
    if (pred_crs is None) == (truth_crs is None):
        return
    names = (pred_name, truth_name)
    lacks, has = names if pred_crs is None else names[::-1]
    raise LabelError(
        f'{lacks}: has no CRS, but {has} has one',
        'both with a CRS, or both without one and in the same coordinates',
        f'set the CRS of {lacks} (in QGIS: Assign projection; a Shapefile needs its .prj)',
    )


def in_crs(geometries: np.ndarray, source: object, target: object) -> np.ndarray:
    """Geometries in another CRS; the array itself if that is the same.

    Raises:
        LabelError: If there is no transformation, or it is not defined there.
    """
    if source is None or target is None:
        return geometries
    if same(source, target):
        return geometries
    source, target = proj_crs(source), proj_crs(target)
    try:
        moved = shapely.transform(geometries, lambda xy: projected(xy, source, target))
    except ProjError as error:
        raise LabelError(f'no transformation leads from {source.name} to {target.name}') from error
    lost = ~np.isfinite(shapely.bounds(moved)).all(axis=-1)
    if lost.any():
        raise LabelError(
            f'{lost.sum()} of {len(lost)} objects in {source.name} have no place in {target.name}',
            'truth and prediction in CRSs that hold for the same ground',
        )
    broken = ~shapely.is_valid(moved)
    moved[broken] = shapely.make_valid(moved[broken], method='structure', keep_collapsed=False)
    return moved


def no_common_area(pred_name, pred_bounds, truth_name, truth_bounds, crs, hint: str) -> LabelError:
    """The error that shows two extents, given in one CRS."""
    return LabelError(
        f'{pred_name} and {truth_name} have no common area\n'
        f'  prediction: {extent(pred_bounds, crs)}\n'
        f'  truth:      {extent(truth_bounds, crs)}',
        'prediction and truth of the same place',
        hint,
    )


def extent(bounds, crs: object) -> str:
    """Bounds in degrees, or in map units where they have no place on Earth."""
    lonlat = None if crs is None else bounds_in(bounds, crs)
    if lonlat:
        west, south, east, north = lonlat
        return f'lon {west:.5f} to {east:.5f}, lat {south:.5f} to {north:.5f}'
    min_x, min_y, max_x, max_y = bounds
    return f'x {min_x:.2f} to {max_x:.2f}, y {min_y:.2f} to {max_y:.2f}'


def touch(a, b) -> bool:
    """Whether two bounds share a point."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
