"""Other people's file formats: vector layers, styles, STAC items, provenance."""

from geo_mm.formats.layers import LayerWriter, write_layer
from geo_mm.formats.qgis_project import ProjectLayer, write_layer_file, write_project
from geo_mm.formats.qml import category_style, class_style, share_style, write_style
from geo_mm.formats.stac import stac_item, write_stac_item

__all__ = [
    'LayerWriter',
    'ProjectLayer',
    'category_style',
    'class_style',
    'share_style',
    'stac_item',
    'write_layer',
    'write_layer_file',
    'write_project',
    'write_stac_item',
    'write_style',
]
