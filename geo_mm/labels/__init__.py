"""Labels of a scene, from vector layers or rasters: read, repair, place on its grid."""

import pyogrio

from geo_mm.labels.burnt_labels import BurntLabels
from geo_mm.labels.label_raster import IGNORED, LabelRaster
from geo_mm.labels.layer import LabelLayer
from geo_mm.labels.reading import read_layer
from geo_mm.labels.scene_labels import ClippedLabels, SceneLabels

# Else GDAL leaves .aux.xml files beside GeoPackages that are merely read.
pyogrio.set_gdal_config_options({'GDAL_PAM_ENABLED': False})

__all__ = [
    'IGNORED',
    'BurntLabels',
    'ClippedLabels',
    'LabelLayer',
    'LabelRaster',
    'SceneLabels',
    'read_layer',
]
