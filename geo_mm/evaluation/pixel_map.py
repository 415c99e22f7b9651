"""Coarse maps of truth, prediction and errors, gathered while counting."""

from dataclasses import dataclass, replace

import numpy as np

from geo_mm.raster import Window

_FEWEST = 600  # cells on the long side, and less than twice as many
_NO_CLASS = 255


@dataclass(frozen=True, eq=False)
class MapSketch:
    """A part of a scene at a size that fits a page.

    Attributes:
        window: The part.
        step: Pixels on the side of a cell.
        truth: (rows, cols) uint8 class of the pixel in the cell's upper left
            corner, 255 where it is not compared.
        pred: The same for the prediction.
        compared: (rows, cols) int32, pixels of the cell that are compared.
        wrong: (rows, cols) int32, those of them with the wrong class.
    """

    window: Window
    step: int
    truth: np.ndarray
    pred: np.ndarray
    compared: np.ndarray
    wrong: np.ndarray

    @classmethod
    def blank(cls, window: Window) -> 'MapSketch':
        step = max(max(window.width, window.height) // _FEWEST, 1)
        shape = (-(-window.height // step), -(-window.width // step))
        classes = [np.full(shape, _NO_CLASS, np.uint8) for _ in range(2)]
        return cls(window, step, *classes, *(np.zeros(shape, np.int32) for _ in range(2)))

    def add(
        self,
        window: Window,
        truth: np.ndarray,
        pred: np.ndarray,
        valid: np.ndarray,
        wrong: np.ndarray,
    ) -> None:
        """Draw one window of the part, given as (height, width) arrays."""
        step = self.step
        window = window.shifted(-self.window.col_off, -self.window.row_off)
        rows, cols = (np.arange(-start % step, size, step) for start, size in _axes(window))
        if len(rows) and len(cols):
            here = np.ix_(rows, cols)
            there = np.ix_((rows + window.row_off) // step, (cols + window.col_off) // step)
            self.truth[there] = np.where(valid[here], truth[here], _NO_CLASS)
            self.pred[there] = np.where(valid[here], pred[here], _NO_CLASS)
        first_row, first_col = window.row_off // step, window.col_off // step
        for total, flags in ((self.compared, valid), (self.wrong, wrong)):
            cells = _cell_sums(flags, window, step)
            place = slice(first_row, first_row + len(cells))
            total[place, first_col : first_col + cells.shape[1]] += cells

    def translated(self, truth_table: np.ndarray, pred_table: np.ndarray) -> 'MapSketch':
        """The sketch with other class numbers, looked up in (256,) tables."""
        truth, pred = (
            np.where(classes == _NO_CLASS, _NO_CLASS, table[classes])
            for classes, table in ((self.truth, truth_table), (self.pred, pred_table))
        )
        return replace(self, truth=truth, pred=pred)


def _axes(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.row_off, window.height), (window.col_off, window.width)


def _cell_sums(flags: np.ndarray, window: Window, step: int) -> np.ndarray:
    """How many flags are set in each cell that the window touches."""
    sums = flags
    for axis, (start, size) in enumerate(_axes(window)):
        edges = np.append(0, np.arange(step - start % step, size, step))
        sums = np.add.reduceat(sums, np.unique(edges), axis=axis, dtype=np.int64)
    return sums
