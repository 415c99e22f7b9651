"""A scene with its results in the browser: a page of this machine, which needs no internet."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.viewer.options import ViewOptions as ViewOptions
    from geo_mm.viewer.server import Viewer as Viewer
    from geo_mm.viewer.server import view as view

# The options must be known without GDAL, to `geo-mm view --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__, {'options': ('ViewOptions',), 'server': ('Viewer', 'view')}
)
