"""Registered model parts that MMDetection and MMSegmentation lack."""

from geo_mm.models.darknet import Darknet
from geo_mm.models.inflation import InflatedPretrained, inflate
from geo_mm.models.preprocessors import GeoDetDataPreprocessor, GeoSegDataPreprocessor
from geo_mm.models.ssd_head import SSDHead
from geo_mm.models.ssd_vgg import SSDVGG
from geo_mm.models.weights import load_weights
from geo_mm.models.yolo_head import YOLOV3Head

__all__ = [
    'SSDVGG',
    'Darknet',
    'GeoDetDataPreprocessor',
    'GeoSegDataPreprocessor',
    'InflatedPretrained',
    'SSDHead',
    'YOLOV3Head',
    'inflate',
    'load_weights',
]
