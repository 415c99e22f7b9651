"""The analyst's loop: see data, train, see results, from Python and the command line."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.learn.options import ShowOptions as ShowOptions
    from geo_mm.learn.results import show_results as show_results

# The options must be known without torch, to `geo-mm show --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'options': ('ShowOptions',),
        'results': ('show_results',),
    },
)
