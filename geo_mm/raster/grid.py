"""Where pixels are: windows in a pixel grid, and grids on the Earth.

Pixel coordinates are ``(x, y)`` = (column, row) with the origin at the *upper
left corner* of the upper left pixel; the centre of that pixel is (0.5, 0.5).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pyproj
from affine import Affine
from rasterio.crs import CRS


class Window(NamedTuple):
    """A rectangle of whole pixels; it may hang over the edge of its grid.

    Field order is that of :class:`rasterio.windows.Window`.
    """

    col_off: int
    row_off: int
    width: int
    height: int

    @property
    def col_end(self) -> int:
        return self.col_off + self.width

    @property
    def row_end(self) -> int:
        return self.row_off + self.height

    @property
    def area(self) -> int:
        return self.width * self.height

    def intersection(self, other: 'Window') -> 'Window':
        """The common part, with width or height 0 where there is none."""
        col_off = max(self.col_off, other.col_off)
        row_off = max(self.row_off, other.row_off)
        width = min(self.col_end, other.col_end) - col_off
        height = min(self.row_end, other.row_end) - row_off
        return Window(col_off, row_off, max(width, 0), max(height, 0))

    def shifted(self, cols: int, rows: int) -> 'Window':
        return Window(self.col_off + cols, self.row_off + rows, self.width, self.height)

    def slices(self, origin: 'Window | None' = None) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that starts at ``origin``."""
        col, row = (origin.col_off, origin.row_off) if origin else (0, 0)
        return (
            slice(self.row_off - row, self.row_end - row),
            slice(self.col_off - col, self.col_end - col),
        )


@dataclass(frozen=True)
class Grid:
    """A raster grid without pixels.

    Attributes:
        transform: Pixel ``(x, y)`` to map coordinates.
        width: Columns.
        height: Rows.
        crs: Coordinate reference system, or None for a plain picture.
    """

    transform: Affine
    width: int
    height: int
    crs: CRS | None = None

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(0, 0, self.width, self.height)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """``(min_x, min_y, max_x, max_y)`` of the four corners, in map units."""
        corners = [
            self.transform @ corner
            for corner in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))
        ]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def gsd(self) -> tuple[float, float] | None:
        """Ground sampling distance ``(x, y)`` in metres at the grid's centre.

        Measured along the ellipsoid, so a Web Mercator pixel of 0.149 map
        units at 28 degrees north has a GSD of 0.13 m, and a geographic grid
        has one too. None without a CRS.
        """
        if self.crs is None:
            return None
        x, y = self.width / 2, self.height / 2
        to_lonlat = pyproj.Transformer.from_crs(self.crs.to_wkt(), 'EPSG:4326', always_xy=True)
        pixels = ((x, y), (x + 1, y), (x, y + 1))
        (lon, lat), right, down = (to_lonlat.transform(*(self.transform @ p)) for p in pixels)
        geod = pyproj.Geod(ellps='WGS84')
        return geod.inv(lon, lat, *right)[2], geod.inv(lon, lat, *down)[2]

    def window_transform(self, window: Window) -> Affine:
        """Pixel coordinates inside ``window`` to map coordinates."""
        return self.transform @ Affine.translation(window.col_off, window.row_off)

    def crop(self, window: Window) -> 'Grid':
        """The part of this grid under ``window``."""
        return Grid(self.window_transform(window), window.width, window.height, self.crs)

    def at_gsd(self, gsd: float) -> 'Grid':
        """The same footprint with square ground pixels of about ``gsd`` metres.

        The number of pixels is rounded and the pixel size adapted to it (by
        half a pixel over the whole width at most), so both grids cover exactly
        the same ground and no border pixel is partly empty.

        Raises:
            ValueError: Without a CRS, or for a GSD that is not positive.
        """
        own = self.gsd
        if own is None:
            raise ValueError('a grid without CRS has no ground sampling distance')
        if not gsd > 0 or not math.isfinite(gsd):
            raise ValueError(f'a ground sampling distance must be positive, got {gsd}')
        width = max(round(self.width * own[0] / gsd), 1)
        height = max(round(self.height * own[1] / gsd), 1)
        scale = Affine.scale(self.width / width, self.height / height)
        return Grid(self.transform @ scale, width, height, self.crs)
