"""Putting overlapping tiles together to one raster, a strip of rows at a time."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from geo_mm.raster import Tile, Window

BLENDS = ('window', 'crop')


class Part(NamedTuple):
    """Finished pixels of a raster.

    Attributes:
        window: Where they lie.
        values: ``(channels, rows, cols)`` float32.
        valid: ``(rows, cols)`` bool.
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
    """Adds up weighted tiles and gives the pixels that are finished.

    Tiles come row by row, as :func:`geo_mm.raster.tile_plan` orders them;
    those without valid pixels are left out. A buffer of one tile moves along
    the row: what it leaves behind is finished, or, where the next row of tiles
    overlaps, kept for it. So memory is ``channels x overlap x width`` float32,
    whatever the height.

    A blender may :meth:`start` at any row: with what another one carried over
    to it, or :meth:`halo` rows earlier. The sums are then the same to the last
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
        shape = min(self._tile, height), min(self._tile, width)
        self._sum, self._valid = np.zeros((channels, *shape), np.float32), np.zeros(shape, bool)
        self._scaled = np.empty(shape, np.float32)
        steps = (below - above for above, below in itertools.pairwise(self._row_starts))
        overlap = self._tile - min(steps, default=self._tile)
        self._kept = np.zeros((channels, overlap, width), np.float32)
        self._kept_valid = np.zeros((overlap, width), bool)
        self._kept_rows = 0  # of the row above; the next one reaches into them
        self._row = 0
        self._left = 0  # column of the scene where the buffer begins

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
        self._row, self._kept_rows = row, 0
        if carry is not None:
            values, valid = carry
            self._kept_rows = len(valid)
            self._kept[:, : len(valid)], self._kept_valid[: len(valid)] = values, valid

    @property
    def strip(self) -> Window:
        """The pixels that the next row of tiles finishes."""
        top = self._row_starts[self._row]
        last = self._row + 1 == len(self._row_starts)
        end = self.height if last else self._row_starts[self._row + 1]
        return Window(0, top, self.width, end - top)

    def row(self, tiles: Iterable[tuple[Tile, np.ndarray, np.ndarray]]) -> Iterator[Part]:
        """Adds the tiles of the next row; run it to its end.

        Args:
            tiles: From left to right: where each lies, ``(channels, tile,
                tile)`` values and ``(tile, tile)`` bool validity.

        Yields:
            Parts of :attr:`strip`, from left to right and all of it: views,
            which the next part overwrites.
        """
        self._left = 0
        self._fill(0)
        for tile, values, valid in tiles:
            if tile.row != self._row:
                raise ValueError(f'a tile of row {tile.row} in row {self._row}')
            yield from self._moved(tile.window.col_off)
            self._add(tile, values, valid)
        yield from self._moved(self.width)
        self._kept_rows = len(self._valid) - self.strip.height
        self._row += 1

    def carry(self) -> tuple[np.ndarray, np.ndarray]:
        """What the next row of tiles goes on from: views of sums and validity."""
        return self._kept[:, : self._kept_rows], self._kept_valid[: self._kept_rows]

    def _add(self, tile: Tile, values: np.ndarray, valid: np.ndarray) -> None:
        rows, cols = self._valid.shape
        weights = (
            self._row_weights[tile.row, :rows, None] * self._col_weights[tile.col, None, :cols]
        )
        for total, plane in zip(self._sum, values, strict=True):  # which stay in the CPU's cache
            total += np.multiply(plane[:rows, :cols], weights, out=self._scaled)
        self._valid |= valid[:rows, :cols]

    def _moved(self, left: int) -> Iterator[Part]:
        """Moves the buffer to a column, by no more than its width at a time."""
        strip, cols = self.strip, self._valid.shape[1]
        done, rest = slice(strip.height), slice(strip.height, None)
        kept = slice(len(self._valid) - strip.height)
        while self._left < left:
            step = min(left - self._left, cols)
            here = slice(self._left, self._left + step)
            window = strip._replace(col_off=self._left, width=step)
            yield Part(window, self._sum[:, done, :step], self._valid[done, :step])
            self._kept[:, kept, here] = self._sum[:, rest, :step]
            self._kept_valid[kept, here] = self._valid[rest, :step]
            for plane in (*self._sum, self._valid):
                plane[:, : cols - step] = plane[:, step:]
            self._left += step
            self._fill(cols - step)

    def _fill(self, first: int) -> None:
        """Gives the buffer's columns from ``first`` on what the row above left there."""
        self._sum[:, :, first:], self._valid[:, first:] = 0, False
        there = slice(self._left + first, self._left + self._valid.shape[1])
        above, valid = self._kept[:, : self._kept_rows, there], self._kept_valid[:, there]
        here = slice(first, first + above.shape[2])
        self._sum[:, : self._kept_rows, here] = above
        self._valid[: self._kept_rows, here] = valid[: self._kept_rows]
