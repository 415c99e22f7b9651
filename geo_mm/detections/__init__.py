"""Detections of a scene: suppression of duplicates, and joining across tiles."""

from geo_mm.detections.joining import Objects, Pieces, join_pieces
from geo_mm.detections.settling import settle
from geo_mm.detections.suppression import nmm, nms, soft_nms

__all__ = ['Objects', 'Pieces', 'join_pieces', 'nmm', 'nms', 'settle', 'soft_nms']
