"""Which scenes belong with which labels, and how both are opened."""

from geo_mm.catalog.burnt_labels import BurntLabels
from geo_mm.catalog.coverage import Coverage
from geo_mm.catalog.entries import CatalogEntry, read_catalog
from geo_mm.catalog.label_raster import IGNORED, LabelRaster
from geo_mm.catalog.labelled_scene import (
    LabelledScene,
    LabelOptions,
    SceneOptions,
    area_window,
    open_labelled,
    read_aoi,
)

__all__ = [
    'IGNORED',
    'BurntLabels',
    'CatalogEntry',
    'Coverage',
    'LabelOptions',
    'LabelRaster',
    'LabelledScene',
    'SceneOptions',
    'area_window',
    'open_labelled',
    'read_aoi',
    'read_catalog',
]
