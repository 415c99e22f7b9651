"""Where a labelled scene has usable pixels, coarsely and cheaply.

Samplers ask for the valid share of thousands of windows. Reading the mask of
each would cost as much as the chips themselves, so it is read once per scene
at low resolution and summed up into an integral image.
"""

import math

import numpy as np
from affine import Affine
from rasterio.features import rasterize

from geo_mm.catalog.labelled_scene import LabelledScene
from geo_mm.labels import SceneLabels
from geo_mm.raster import Window

_MAX_CELLS = 2048


class Coverage:
    """Valid share of windows of one scene, to within one cell.

    Args:
        labelled: Scene and AOI.
        chip_size: ``(height, width)`` of the windows that will be asked for;
            cells are an eighth of the smaller side, or larger where the scene
            would need more than 2048 cells along a side.

    Attributes:
        valid: ``(rows, cols)`` bool, whether the middle of each cell is valid.
        cell_height: Rows of pixels in a cell, fractional.
        cell_width: Columns of pixels in a cell, fractional.
    """

    def __init__(self, labelled: LabelledScene, chip_size: tuple[int, int]) -> None:
        scene = labelled.scene
        longest = max(scene.width, scene.height)
        cell = max(min(chip_size) // 8, math.ceil(longest / _MAX_CELLS), 1)
        rows, cols = math.ceil(scene.height / cell), math.ceil(scene.width / cell)
        self.cell_height, self.cell_width = scene.height / rows, scene.width / cols
        self._aoi = labelled.aoi
        self.valid = scene.read_valid(out_shape=(rows, cols))
        if self._aoi is not None:
            self.valid = self.valid & self._inside(self._aoi, rows, cols)
        self._integral = np.zeros((rows + 1, cols + 1))
        self._integral[1:, 1:] = self.valid.cumsum(0, dtype=np.float64).cumsum(1)

    def _inside(self, aoi: SceneLabels, rows: int, cols: int) -> np.ndarray:
        if not len(aoi):
            return np.zeros((rows, cols), bool)
        return rasterize(
            aoi.geometries,
            out_shape=(rows, cols),
            transform=Affine.scale(self.cell_width, self.cell_height),
            dtype='uint8',
        ).astype(bool)

    @property
    def area(self) -> float:
        """Valid pixels of the scene."""
        return float(self.valid.sum() * self.cell_width * self.cell_height)

    def share(self, window: Window) -> float:
        """Valid share 0..1 of ``window``; what is outside the scene is invalid."""
        col, row = np.array([window.col_off]), np.array([window.row_off])
        return float(self.shares(col, row, (window.height, window.width))[0, 0])

    def shares(self, cols: np.ndarray, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Valid shares of windows of one size at every combination of positions.

        Args:
            cols: ``(C,)`` first pixel columns, fractions allowed.
            rows: ``(R,)`` first pixel rows.
            size: ``(height, width)`` of the windows.

        Returns:
            ``(R, C)`` shares 0..1.
        """
        height, width = size
        low, high = rows / self.cell_height, (rows + height) / self.cell_height
        strips = _interpolated(self._integral, high) - _interpolated(self._integral, low)
        low, high = cols / self.cell_width, (cols + width) / self.cell_width
        cells = (_interpolated(strips.T, high) - _interpolated(strips.T, low)).T
        return cells * (self.cell_width * self.cell_height / (height * width))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Whether the cells under pixel positions ``(N, 2)``, as (x, y), are valid."""
        rows, cols = self.valid.shape
        col = np.clip((points[:, 0] / self.cell_width).astype(int), 0, cols - 1)
        row = np.clip((points[:, 1] / self.cell_height).astype(int), 0, rows - 1)
        return self.valid[row, col]

    def touches(self, window: Window) -> bool:
        """Whether any cell under or next to ``window`` is valid.

        Never a false no for a valid patch larger than a cell; the AOI is
        looked up exactly.
        """
        left, right = window.col_off / self.cell_width, window.col_end / self.cell_width
        top, bottom = window.row_off / self.cell_height, window.row_end / self.cell_height
        part = self.valid[
            max(math.floor(top) - 1, 0) : math.ceil(bottom) + 1,
            max(math.floor(left) - 1, 0) : math.ceil(right) + 1,
        ]
        return bool(part.any()) and (self._aoi is None or len(self._aoi.query(window)) > 0)


def _interpolated(table: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows of a table at fractional positions; those outside are at its edge."""
    last = len(table) - 1
    position = np.clip(position, 0, last)
    low = np.minimum(position.astype(int), max(last - 1, 0))
    part = (position - low)[:, None]
    return table[low] * (1 - part) + table[np.minimum(low + 1, last)] * part
