"""Pictures of chips and of results."""

from geo_mm.raster.rgb import display_bands, to_rgb
from geo_mm.visualization.chips import (
    GeoLocalVisualizer,
    contact_sheet,
    draw_chip,
    draw_labels,
    with_legend,
)
from geo_mm.visualization.quicklook import draw_objects_quicklook, draw_pixels_quicklook

__all__ = [
    'GeoLocalVisualizer',
    'contact_sheet',
    'display_bands',
    'draw_chip',
    'draw_labels',
    'draw_objects_quicklook',
    'draw_pixels_quicklook',
    'to_rgb',
    'with_legend',
]
