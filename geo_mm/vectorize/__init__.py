"""Class rasters to polygons, strip by strip; simplified or with right angles."""

from geo_mm.vectorize.polygonize import mask_to_polygon, polygonise, region_table
from geo_mm.vectorize.regions import Regions, StripPolygoniser
from geo_mm.vectorize.regularize import regularise
from geo_mm.vectorize.simplify import simplify

__all__ = [
    'Regions',
    'StripPolygoniser',
    'mask_to_polygon',
    'polygonise',
    'region_table',
    'regularise',
    'simplify',
]
