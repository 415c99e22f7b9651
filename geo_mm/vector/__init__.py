"""Vector labels and results: read, place on a scene, cut, draw, merge, write."""

from geo_mm.vector.layer import LabelLayer
from geo_mm.vector.merge import merge_boxes
from geo_mm.vector.polygonise import mask_to_polygon, polygonise
from geo_mm.vector.reading import read_layer
from geo_mm.vector.scene_labels import ClippedLabels, SceneLabels
from geo_mm.vector.writer import write_layer

__all__ = [
    'ClippedLabels',
    'LabelLayer',
    'SceneLabels',
    'mask_to_polygon',
    'merge_boxes',
    'polygonise',
    'read_layer',
    'write_layer',
]
