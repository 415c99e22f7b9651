"""One map of the results of many scenes that touch or overlap."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.mosaics.objects import join_scenes as join_scenes
    from geo_mm.mosaics.options import MosaicOptions as MosaicOptions
    from geo_mm.mosaics.results_map import mosaic as mosaic

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {'objects': ('join_scenes',), 'options': ('MosaicOptions',), 'results_map': ('mosaic',)},
)
