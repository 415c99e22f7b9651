"""Registered model parts that MMDetection and MMSegmentation lack."""

from geo_mm.models.anchor_fitting import AnchorFamily, AnchorGrid, fit_anchors
from geo_mm.models.anchor_generators import AnchorSearch, anchor_grid, anchor_search
from geo_mm.models.assigners import MaxIoUAssigner
from geo_mm.models.darknet import Darknet
from geo_mm.models.encoders import ResNetEncoder, VGGEncoder
from geo_mm.models.inflation import InflatedPretrained, inflate
from geo_mm.models.mixup import PixelMixup
from geo_mm.models.pixel_losses import CrossEntropyLoss, DiceLoss, FocalLoss
from geo_mm.models.point_rend import PointRendRoIHead, PointRendSegmentor
from geo_mm.models.preprocessors import GeoDetDataPreprocessor, GeoSegDataPreprocessor
from geo_mm.models.ssd_head import SSDHead
from geo_mm.models.ssd_vgg import SSDVGG
from geo_mm.models.unet_head import UNetHead
from geo_mm.models.weights import load_weights
from geo_mm.models.yolo_head import YOLOV3Head

__all__ = [
    'SSDVGG',
    'AnchorFamily',
    'AnchorGrid',
    'AnchorSearch',
    'CrossEntropyLoss',
    'Darknet',
    'DiceLoss',
    'FocalLoss',
    'GeoDetDataPreprocessor',
    'GeoSegDataPreprocessor',
    'InflatedPretrained',
    'MaxIoUAssigner',
    'PixelMixup',
    'PointRendRoIHead',
    'PointRendSegmentor',
    'ResNetEncoder',
    'SSDHead',
    'UNetHead',
    'VGGEncoder',
    'YOLOV3Head',
    'anchor_grid',
    'anchor_search',
    'fit_anchors',
    'inflate',
    'load_weights',
]
