"""Where pixels are: windows in a pixel grid, and grids on the Earth.

Pixel coordinates are ``(x, y)`` = (column, row) with the origin at the *upper
left corner* of the upper left pixel; the centre of that pixel is (0.5, 0.5).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from geo_mm.raster.projection import bounds_in, ground_distances, transformer

_ROUNDING = 1e-6  # pixels


def to_map(xy: np.ndarray, transform: Affine) -> np.ndarray:
    """Pixel coordinates ``(N, 2)`` as map coordinates, by the transform of their grid."""
    x, y = transform @ (xy[:, 0], xy[:, 1])  # type: ignore[operator]  # Affine takes arrays, too
    return np.column_stack([x, y])


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

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> 'Grid':
        """The grid of a raster file.

        A part of a picture has y = -row in its file, see :attr:`vector_transform`,
        and here the rows of the whole picture again.
        """
        transform = dataset.transform
        if dataset.crs is None and transform.almost_equals(
            Affine(1, 0, max(round(transform.c), 0), 0, -1, min(round(transform.f), 0))
        ):
            transform = Affine.translation(round(transform.c), round(-transform.f))
        return cls(transform, dataset.width, dataset.height, dataset.crs)

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(0, 0, self.width, self.height)

    @property
    def is_picture(self) -> bool:
        """Whether it has no georeference, as a photograph or a part of one at any scale."""
        return self.crs is None and self.transform.e > 0

    @property
    def vector_transform(self) -> Affine:
        """Pixel ``(x, y)`` to coordinates of a vector layer that is on the raster.

        The transform, but for a picture: GIS programs draw one downwards from y
        = 0, so that y is minus the row.
        """
        return Affine.scale(1, -1) @ self.transform if self.is_picture else self.transform

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
        has one too. None without a CRS, or if that is not defined on a globe there.
        """
        if self.crs is None:
            return None
        x, y = self.width / 2, self.height / 2
        here, right, down = (self.transform @ pixel for pixel in ((x, y), (x + 1, y), (x, y + 1)))
        try:
            sides = ground_distances(np.array([here, here]), np.array([right, down]), self.crs)
        except ProjError:
            return None
        return (float(sides[0]), float(sides[1])) if np.isfinite(sides).all() else None

    @property
    def footprint(self) -> shapely.Polygon:
        """The ground it covers, in map units; a rectangle, maybe a rotated one."""
        corners = ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))
        return shapely.Polygon([self.transform @ corner for corner in corners])

    @property
    def lonlat_bounds(self) -> tuple[float, float, float, float] | None:
        """``(west, south, east, north)`` in degrees; None if not georeferenced."""
        return None if self.crs is None else bounds_in(self.bounds, self.crs)

    def lonlat_footprint(self, parts: int = 16) -> shapely.Polygon | None:
        """The ground it covers in degrees, where its edges are curves.

        Args:
            parts: Straight pieces that each edge is made of.

        Returns:
            None without a CRS, or if that is not on Earth.
        """
        if self.crs is None:
            return None
        steps = np.linspace(0, 1, parts + 1)[:-1]
        # Counterclockwise on a map with north up, as GeoJSON wants it.
        x = np.concatenate([0 * steps, steps, 0 * steps + 1, 1 - steps]) * self.width
        y = np.concatenate([steps, 0 * steps + 1, 1 - steps, 0 * steps]) * self.height
        try:
            lonlat = transformer(self.crs).transform(*(self.transform @ (x, y)))
        except ProjError:
            return None
        outline = np.stack(lonlat, axis=1)
        return shapely.Polygon(outline) if np.isfinite(outline).all() else None

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """The pixels that a rectangle in map units touches, also outside the grid.

        Args:
            bounds: ``(min_x, min_y, max_x, max_y)`` in the grid's CRS; none if
                they are not finite.
        """
        min_x, min_y, max_x, max_y = bounds
        corners = [~self.transform @ (x, y) for x in (min_x, max_x) for y in (min_y, max_y)]
        if not np.isfinite(corners).all():
            return Window(0, 0, 0, 0)
        cols, rows = zip(*corners, strict=True)
        # A rectangle along pixel edges takes no pixel more, rounding or not.
        left, top = (math.floor(min(values) + _ROUNDING) for values in (cols, rows))
        right, bottom = (math.ceil(max(values) - _ROUNDING) for values in (cols, rows))
        return Window(left, top, max(right - left, 0), max(bottom - top, 0))

    def pad(self, cols: int, rows: int | None = None) -> 'Grid':
        """The grid with so many columns more at the left and right, rows at top and bottom."""
        rows = cols if rows is None else rows
        return self.crop(Window(-cols, -rows, self.width + 2 * cols, self.height + 2 * rows))

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
        the same area and no border pixel is partly empty.

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
