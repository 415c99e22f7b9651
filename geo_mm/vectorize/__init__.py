"""Class rasters to polygons, strip by strip; simplified or with right angles."""

from geo_mm.vectorize.polygonize import mask_to_polygon, polygonize, region_table
from geo_mm.vectorize.regularize import regularize
from geo_mm.vectorize.simplify import simplify
from geo_mm.vectorize.strips import Regions, StripPolygonizer

__all__ = [
    'Regions',
    'StripPolygonizer',
    'mask_to_polygon',
    'polygonize',
    'region_table',
    'regularize',
    'simplify',
]
