"""Class rasters to polygons, strip by strip; simplified or with right angles."""

from geo_mm.vectorize.polygonize import (
    Regions,
    StripPolygonizer,
    mask_to_polygon,
    mostly_on_data,
    polygonize,
    region_table,
)
from geo_mm.vectorize.simplify import regularize, simplify

__all__ = [
    'Regions',
    'StripPolygonizer',
    'mask_to_polygon',
    'mostly_on_data',
    'polygonize',
    'region_table',
    'regularize',
    'simplify',
]
