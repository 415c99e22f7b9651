"""Models as files: what a file needs and gives, and exports to other programs."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.deploy.description import describe as describe
    from geo_mm.deploy.export import export_model as export_model
    from geo_mm.deploy.options import ModelExportOptions as ModelExportOptions

# The options must be known without torch, to `geo-mm export --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {'description': ('describe',), 'export': ('export_model',), 'options': ('ModelExportOptions',)},
)
