"""Which scenes belong with which labels, and how both are opened."""

from geo_mm.catalog.coverage import Coverage
from geo_mm.catalog.entries import CatalogEntry, read_catalog, write_catalog
from geo_mm.catalog.labelled_scene import (
    LabelledScene,
    SceneOptions,
    area_window,
    open_labelled,
    read_aoi,
)
from geo_mm.catalog.splits import SplitCatalog, SplitOptions, split_entries
from geo_mm.catalog.training_sets import TrainingSet, is_training_set, read_training_set

__all__ = [
    'CatalogEntry',
    'Coverage',
    'LabelledScene',
    'SceneOptions',
    'SplitCatalog',
    'SplitOptions',
    'TrainingSet',
    'area_window',
    'is_training_set',
    'open_labelled',
    'read_aoi',
    'read_catalog',
    'read_training_set',
    'split_entries',
    'write_catalog',
]
