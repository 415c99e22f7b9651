"""Training chips cut from any catalog, written in the formats of other programs."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:
    from geo_mm.chip_export.export import ExportResult, export_chips
    from geo_mm.chip_export.options import ExportOptions

__all__ = ['ExportOptions', 'ExportResult', 'export_chips']

# The options must be known without numpy, to `geo-mm export-chips --help`.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'ExportOptions': 'geo_mm.chip_export.options',
        'ExportResult': 'geo_mm.chip_export.export',
        'export_chips': 'geo_mm.chip_export.export',
    },
)
