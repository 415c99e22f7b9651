"""Putting overlapping tiles together to one raster, a strip of rows at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from geo_mm.raster import Tile, Window

BLENDS = ('window', 'crop')


class Strip(NamedTuple):
    """Finished rows of a raster.

    Attributes:
        window: Where they lie.
        values: ``(channels, rows, width)`` float32.
        valid: ``(rows, width)`` bool.
    """

    window: Window
    values: np.ndarray
    valid: np.ndarray


def blend_weights(starts: Sequence[int], tile: int, length: int) -> np.ndarray:
    """Weights that fade neighbouring tiles into each other along one axis.

    Each tile weighs as a raised half sine over its width, so a pixel counts
    most where the network saw the most around it. The weights of all tiles
    over a pixel are then scaled to add up to 1, so the outermost pixels, which
    one tile alone covers, are as complete as the inner ones.

    Args:
        starts: First pixel of each tile.
        tile: Pixels of a tile.
        length: Pixels along the axis.

    Returns:
        ``(tiles, tile)`` float32; beyond ``length`` they are 0.
    """
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(max(length, starts[-1] + tile))
    for start in starts:
        total[start : start + tile] += window
    weights = np.stack([window / total[start : start + tile] for start in starts])
    for row, start in zip(weights, starts, strict=True):
        row[max(length - start, 0) :] = 0
    return weights.astype(np.float32)


def crop_weights(spans: Sequence[tuple[int, int, int]], tile: int) -> np.ndarray:
    """Weights that take each pixel from the one tile whose core it lies in.

    Args:
        spans: First pixel, first pixel of the core and end of the core of each tile.
        tile: Pixels of a tile.

    Returns:
        ``(tiles, tile)`` float32, 0 or 1.
    """
    weights = np.zeros((len(spans), tile), np.float32)
    for row, (start, core_start, core_end) in zip(weights, spans, strict=True):
        row[core_start - start : core_end - start] = 1
    return weights


class StripBlender:
    """Adds up weighted tiles and gives the rows that are finished.

    Tiles come row by row, as :func:`geo_mm.raster.tile_plan` orders them; each
    row of tiles ends with :meth:`finish_row`, and tiles without valid pixels
    are left out. Memory is one row of tiles: ``channels x tile x width``
    float32, whatever the height.

    A blender may :meth:`start` at any row: with what another one carried over
    to it, or :attr:`halo` rows earlier. The sums are then the same to the last
    bit, since each pixel's are added in the same order.

    Args:
        plan: All tiles of the scene.
        width: Columns of the scene.
        height: Rows of the scene.
        channels: Values per pixel, such as one probability per class.
        blend: ``'window'`` (:func:`blend_weights`) or ``'crop'`` (:func:`crop_weights`).
    """

    def __init__(
        self,
        plan: Sequence[Tile],
        width: int,
        height: int,
        channels: int,
        blend: str = 'window',
    ) -> None:
        self.width = width
        self.height = height
        self._tile = plan[0].window.height
        rows = {t.row: (t.window.row_off, t.core.row_off, t.core.row_end) for t in plan}
        cols = {t.col: (t.window.col_off, t.core.col_off, t.core.col_end) for t in plan}
        self._row_starts = [start for start, *_ in rows.values()]
        if blend == 'crop':
            self._row_weights = crop_weights(list(rows.values()), self._tile)
            self._col_weights = crop_weights(list(cols.values()), self._tile)
        else:
            self._row_weights = blend_weights(self._row_starts, self._tile, height)
            col_starts = [start for start, *_ in cols.values()]
            self._col_weights = blend_weights(col_starts, self._tile, width)
        buffer_rows = min(self._tile, height)
        self._sum = np.zeros((channels, buffer_rows, width), np.float32)
        self._valid = np.zeros((buffer_rows, width), bool)
        self._row = 0
        self._finished = 0  # rows at the top of the buffer that were given out

    def halo(self, row: int, margin: int = 0) -> int:
        """The first row of tiles that reaches the strip of ``row``, or ``margin`` pixels above."""
        top = self._row_starts[row] - margin
        return next(n for n, start in enumerate(self._row_starts) if start + self._tile > top)

    def start(self, row: int, carry: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Begins at a row of tiles.

        Args:
            row: The row that comes next.
            carry: What :meth:`carry` gave when the row above was finished.
                Without it, pixels that rows above reach into lack these.
        """
        self._row, self._finished = row, 0
        self._sum[:], self._valid[:] = 0, False
        if carry is not None:
            values, valid = carry
            self._sum[:, : len(valid)], self._valid[: len(valid)] = values, valid

    def add(self, tile: Tile, values: np.ndarray, valid: np.ndarray) -> None:
        """Adds a tile of the present row.

        Args:
            tile: Where it lies.
            values: ``(channels, tile, tile)``.
            valid: ``(tile, tile)`` bool.
        """
        if tile.row != self._row:
            raise ValueError(f'a tile of row {tile.row} in row {self._row}')
        self._move_up()
        inside = tile.window.intersection(Window(0, 0, self.width, self.height))
        here = inside.slices(Window(0, self._row_starts[self._row], 0, 0))
        part = inside.slices(tile.window)
        weights = (
            self._row_weights[tile.row, part[0], None] * self._col_weights[tile.col, None, part[1]]
        )
        for total, plane in zip(self._sum, values, strict=True):  # which stay in the CPU's cache
            total[here] += plane[part] * weights
        self._valid[here] |= valid[part]

    def finish_row(self) -> Strip:
        """Ends the present row of tiles.

        Returns:
            The rows of pixels that no later tile touches: views, which the
            next row of tiles overwrites.
        """
        self._move_up()
        top = self._row_starts[self._row]
        self._row += 1
        last = self._row == len(self._row_starts)
        rows = self._finished = (self.height if last else self._row_starts[self._row]) - top
        return Strip(Window(0, top, self.width, rows), self._sum[:, :rows], self._valid[:rows])

    def carry(self) -> tuple[np.ndarray, np.ndarray]:
        """What the next row of tiles goes on from: views of sums and validity."""
        return self._sum[:, self._finished :], self._valid[self._finished :]

    def _move_up(self) -> None:
        """What was given out makes room."""
        if not self._finished:
            return
        for plane in (*self._sum, self._valid):  # one at a time: the copy is a plane, not all
            kept = len(plane) - self._finished
            plane[:kept] = plane[self._finished :].copy()
            plane[kept:] = 0
        self._finished = 0
