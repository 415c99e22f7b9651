"""Training chips cut from any catalog, written in the formats of other programs."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.chip_export.export import ExportResult as ExportResult
    from geo_mm.chip_export.export import export_chips as export_chips
    from geo_mm.chip_export.options import ExportOptions as ExportOptions

# The options must be known without numpy, to `geo-mm export-chips --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'export': ('ExportResult', 'export_chips'),
        'options': ('ExportOptions',),
    },
)
