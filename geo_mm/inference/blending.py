"""Blending overlapping tiles into one raster, a strip of rows at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from geo_mm.raster import Tile, Window


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


class StripBlender:
    """Adds up weighted tiles and gives back rows as soon as they are finished.

    Tiles must come row by row, as :func:`geo_mm.raster.tile_plan` orders them;
    tiles without valid pixels may be left out. Memory is one row of tiles:
    ``channels x tile x width`` float32, whatever the height. The strips given
    back are views of it, which the next strip overwrites.

    Args:
        plan: All tiles of the scene.
        width: Columns of the scene.
        height: Rows of the scene.
        channels: Values per pixel, such as one probability per class.
    """

    def __init__(self, plan: Sequence[Tile], width: int, height: int, channels: int) -> None:
        self.width = width
        self.height = height
        self._tile = plan[0].window.height
        row_starts = sorted({tile.window.row_off for tile in plan})
        col_starts = sorted({tile.window.col_off for tile in plan})
        self._row_starts = row_starts
        self._row_weights = blend_weights(row_starts, self._tile, height)
        self._col_weights = blend_weights(col_starts, self._tile, width)
        rows = min(self._tile, height)
        self._sum = np.zeros((channels, rows, width), np.float32)
        self._valid = np.zeros((rows, width), bool)
        self._top = 0
        self._row = 0

    def add(
        self, tile: Tile, values: np.ndarray, valid: np.ndarray
    ) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
        """Adds a tile, after yielding the strips that were finished before it.

        The iterator has to be run to its end, or the tile is not added.

        Args:
            tile: Where it lies.
            values: ``(channels, tile, tile)``.
            valid: ``(tile, tile)`` bool.

        Yields:
            Window, values ``(channels, rows, width)`` and validity ``(rows,
            width)``.
        """
        while self._row < tile.row:
            yield from self._finish()
        inside = tile.window.intersection(Window(0, 0, self.width, self.height))
        here = inside.slices(Window(0, self._top, 0, 0))
        part = inside.slices(tile.window)
        weights = (
            self._row_weights[tile.row, part[0], None] * self._col_weights[tile.col, None, part[1]]
        )
        self._sum[(slice(None), *here)] += values[(slice(None), *part)] * weights
        self._valid[here] |= valid[part]

    def finish(self) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
        """Yields the strips that are left, as :meth:`add` does."""
        while self._row < len(self._row_starts):
            yield from self._finish()

    def _finish(self) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
        """The rows that no later tile touches; those below move up afterwards."""
        self._row += 1
        last = self._row == len(self._row_starts)
        rows = (self.height if last else self._row_starts[self._row]) - self._top
        yield Window(0, self._top, self.width, rows), self._sum[:, :rows], self._valid[:rows]
        for buffer in (self._sum, self._valid):
            kept = buffer.shape[-2] - rows
            buffer[..., :kept, :] = buffer[..., rows:, :].copy()
            buffer[..., kept:, :] = 0
        self._top += rows
