"""Pictures of chips and of results."""

from geo_mm.visualization.chips import contact_sheet, draw_chip
from geo_mm.visualization.qml import class_style, share_style, write_style
from geo_mm.visualization.quicklook import draw_objects_quicklook, draw_pixels_quicklook
from geo_mm.visualization.rgb import display_bands, to_rgb

__all__ = [
    'class_style',
    'contact_sheet',
    'display_bands',
    'draw_chip',
    'draw_objects_quicklook',
    'draw_pixels_quicklook',
    'share_style',
    'to_rgb',
    'write_style',
]
