"""Vector labels and results: read, place on a scene, cut, draw, merge, write."""

import pyogrio

from geo_mm.vector.layer import LabelLayer
from geo_mm.vector.merge import nmm, nms, soft_nms
from geo_mm.vector.polygonise import areas_m2, mask_to_polygon, polygonise, region_table
from geo_mm.vector.reading import read_layer
from geo_mm.vector.regions import Regions, StripPolygoniser
from geo_mm.vector.regularise import regularise
from geo_mm.vector.scene_labels import ClippedLabels, SceneLabels
from geo_mm.vector.seams import Objects, Pieces, join_pieces
from geo_mm.vector.settling import settle
from geo_mm.vector.simplify import simplify
from geo_mm.vector.writer import LayerWriter, write_layer

# Else GDAL leaves .aux.xml files beside GeoPackages that are merely read.
pyogrio.set_gdal_config_options({'GDAL_PAM_ENABLED': False})

__all__ = [
    'ClippedLabels',
    'LabelLayer',
    'LayerWriter',
    'Objects',
    'Pieces',
    'Regions',
    'SceneLabels',
    'StripPolygoniser',
    'areas_m2',
    'join_pieces',
    'mask_to_polygon',
    'nmm',
    'nms',
    'polygonise',
    'read_layer',
    'region_table',
    'regularise',
    'settle',
    'simplify',
    'soft_nms',
    'write_layer',
]
