"""Datasets, samplers and transforms that turn chips of scenes into what
MMDetection and MMSegmentation expect."""

from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.datasets.chips import ChipDataset, chip_datasets
from geo_mm.datasets.det import GeoDetDataset
from geo_mm.datasets.samplers import GridChipSampler, RandomChipSampler
from geo_mm.datasets.seg import GeoSegDataset
from geo_mm.datasets.transforms import (
    META_KEYS,
    LoadChip,
    LoadChipClasses,
    LoadChipObjects,
    Mosaic,
)

__all__ = [
    'META_KEYS',
    'ChipDataset',
    'ChipSpace',
    'GeoDetDataset',
    'GeoSegDataset',
    'GridChipSampler',
    'LoadChip',
    'LoadChipClasses',
    'LoadChipObjects',
    'Mosaic',
    'RandomChipSampler',
    'chip_datasets',
]
