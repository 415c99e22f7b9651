"""Which scenes belong with which labels, and how both are opened."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:
    from geo_mm.catalog.audit import Audit, AuditedScene, audit_splits
    from geo_mm.catalog.entries import CatalogEntry, read_catalog, write_catalog
    from geo_mm.catalog.labelled_scene import (
        Coverage,
        LabelledScene,
        SceneOptions,
        area_window,
        open_labelled,
        read_aoi,
    )
    from geo_mm.catalog.split_options import SplitOptions
    from geo_mm.catalog.splits import SplitCatalog, split_entries
    from geo_mm.catalog.training_sets import TrainingSet, is_training_set, read_training_set

__all__ = [
    'Audit',
    'AuditedScene',
    'CatalogEntry',
    'Coverage',
    'LabelledScene',
    'SceneOptions',
    'SplitCatalog',
    'SplitOptions',
    'TrainingSet',
    'area_window',
    'audit_splits',
    'is_training_set',
    'open_labelled',
    'read_aoi',
    'read_catalog',
    'read_training_set',
    'split_entries',
    'write_catalog',
]

# The options must be known without numpy, to `geo-mm split --help`.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'Audit': 'geo_mm.catalog.audit',
        'AuditedScene': 'geo_mm.catalog.audit',
        'CatalogEntry': 'geo_mm.catalog.entries',
        'Coverage': 'geo_mm.catalog.labelled_scene',
        'LabelledScene': 'geo_mm.catalog.labelled_scene',
        'SceneOptions': 'geo_mm.catalog.labelled_scene',
        'SplitCatalog': 'geo_mm.catalog.splits',
        'SplitOptions': 'geo_mm.catalog.split_options',
        'TrainingSet': 'geo_mm.catalog.training_sets',
        'area_window': 'geo_mm.catalog.labelled_scene',
        'audit_splits': 'geo_mm.catalog.audit',
        'is_training_set': 'geo_mm.catalog.training_sets',
        'open_labelled': 'geo_mm.catalog.labelled_scene',
        'read_aoi': 'geo_mm.catalog.labelled_scene',
        'read_catalog': 'geo_mm.catalog.entries',
        'read_training_set': 'geo_mm.catalog.training_sets',
        'split_entries': 'geo_mm.catalog.splits',
        'write_catalog': 'geo_mm.catalog.entries',
    },
)
