"""Detections of a scene: suppression of duplicates, and joining across tiles."""

from geo_mm.detections.detections import Detections
from geo_mm.detections.joining import join_tiles
from geo_mm.detections.suppression import METHODS, nmm, nms, soft_nms, suppress, suppressors

__all__ = [
    'METHODS',
    'Detections',
    'join_tiles',
    'nmm',
    'nms',
    'soft_nms',
    'suppress',
    'suppressors',
]
