"""Registered model parts that MMDetection and MMSegmentation lack."""

from geo_mm.models.preprocessors import GeoDetDataPreprocessor, GeoSegDataPreprocessor

__all__ = ['GeoDetDataPreprocessor', 'GeoSegDataPreprocessor']
