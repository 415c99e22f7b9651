"""Datasets, samplers and transforms that turn chips of scenes into what
MMDetection and MMSegmentation expect."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    # Both print "Could not import OneDL": an optional package of theirs that
    # nothing here needs.
    import mmdet.datasets  # noqa: F401
    import mmseg.datasets  # noqa: F401

from geo_mm.datasets.block_sampler import BlockChipSampler
from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.datasets.chips import ChipDataset, GeoDetDataset, GeoSegDataset
from geo_mm.datasets.collate import stack_chips
from geo_mm.datasets.label_statistics import (
    ClassFrequencies,
    ObjectSizes,
    class_frequencies,
    object_counts,
    object_sizes,
)
from geo_mm.datasets.photometric import RandomBandDropout, RandomRadiometry
from geo_mm.datasets.samplers import GridChipSampler, RandomChipSampler
from geo_mm.datasets.transforms import (
    META_KEYS,
    LoadChip,
    LoadChipClasses,
    LoadChipObjects,
    Mosaic,
)
from geo_mm.datasets.wrappers import chip_datasets

__all__ = [
    'META_KEYS',
    'BlockChipSampler',
    'ChipDataset',
    'ChipSpace',
    'ClassFrequencies',
    'GeoDetDataset',
    'GeoSegDataset',
    'GridChipSampler',
    'LoadChip',
    'LoadChipClasses',
    'LoadChipObjects',
    'Mosaic',
    'ObjectSizes',
    'RandomBandDropout',
    'RandomChipSampler',
    'RandomRadiometry',
    'chip_datasets',
    'class_frequencies',
    'object_counts',
    'object_sizes',
    'stack_chips',
]
