"""Labels of a scene, from vector layers or rasters: read, repair, place on its grid."""

from geo_mm.labels.label_raster import LabelRaster, read_onto
from geo_mm.labels.layer import LabelLayer, LabelOptions
from geo_mm.labels.opening import ImageClasses, ImageLabels, ImageObjects, Labels, open_labels
from geo_mm.labels.reading import read_layer
from geo_mm.labels.scene_labels import ClippedObjects, SceneLabels

__all__ = [
    'ClippedObjects',
    'ImageClasses',
    'ImageLabels',
    'ImageObjects',
    'LabelLayer',
    'LabelOptions',
    'LabelRaster',
    'Labels',
    'SceneLabels',
    'open_labels',
    'read_layer',
    'read_onto',
]
