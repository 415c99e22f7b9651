"""Registered model parts that MMDetection and MMSegmentation lack."""

from geo_mm.models.anchors import AnchorGrid, anchor_grid, fit_anchors
from geo_mm.models.backbones import SSDVGG, Darknet, ResNetEncoder, VGGEncoder
from geo_mm.models.checkpoints import load_weights
from geo_mm.models.detection_heads import (
    CascadeRoIHead,
    MaxIoUAssigner,
    PointRendRoIHead,
    SSDHead,
    StandardRoIHead,
    YOLOV3Head,
)
from geo_mm.models.inflation import InflatedPretrained, inflate
from geo_mm.models.pixel_losses import CrossEntropyLoss, DiceLoss, FocalLoss
from geo_mm.models.preprocessors import GeoDetDataPreprocessor, GeoSegDataPreprocessor, PixelMixup
from geo_mm.models.segmentors import EncoderDecoder, PointRendSegmentor, UNetHead
from geo_mm.models.stems import AnyBands, find_stems, fit_bands, replace_stem
from geo_mm.models.timm_backbone import SimpleFPN, TimmBackbone, timm_levels

__all__ = [
    'SSDVGG',
    'AnchorGrid',
    'AnyBands',
    'CascadeRoIHead',
    'CrossEntropyLoss',
    'Darknet',
    'DiceLoss',
    'EncoderDecoder',
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
    'SimpleFPN',
    'StandardRoIHead',
    'TimmBackbone',
    'UNetHead',
    'VGGEncoder',
    'YOLOV3Head',
    'anchor_grid',
    'find_stems',
    'fit_anchors',
    'fit_bands',
    'inflate',
    'load_weights',
    'replace_stem',
    'timm_levels',
]
