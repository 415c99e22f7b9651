"""Options of a mosaic: a field here is an option of ``geo-mm mosaic``, too."""

from dataclasses import dataclass
from typing import Literal

from geo_mm.options import option


@dataclass(frozen=True)
class MosaicOptions:
    """How the results of scenes become one map."""

    rule: Literal['edge', 'newest', 'confidence', 'mean'] = option(
        'edge',
        'which scene gives a pixel that several have: the one whose edge is farthest, the one '
        'predicted last, the most confident (needs --confidence in predict), or the class of the '
        'highest mean probability (needs --probabilities)',
    )
    crs: str | None = option(
        None, 'CRS of the map, such as EPSG:25831 (default: that of most scenes)'
    )
    virtual: bool = option(
        False,
        'describe the results where they are, in place of joining them: MAP.vrt shows the rasters '
        'as one, the one predicted last on top',
    )
    gsd: float | None = option(
        None, 'size of its pixels in units of the CRS (default: that of the first scene in it)'
    )
