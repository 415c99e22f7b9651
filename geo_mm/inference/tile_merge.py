"""Overlapping tiles become one raster, a strip of rows at a time, maybe in another grid."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from geo_mm.raster import Grid, Tile, Window
from geo_mm.raster.resample import resample

_CHUNK = 16
"""Rows at a time, so that a strip of a much finer grid is never whole in memory."""


class FinishedPart(NamedTuple):
    """Finished pixels of a raster.

    Attributes:
        window: Where they are.
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
    """Weights that take each pixel from the one tile whose core it is in.

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
        tile_width = plan[0].window.width
        rows = {t.row: (t.window.row_off, t.core.row_off, t.core.row_end) for t in plan}
        cols = {t.col: (t.window.col_off, t.core.col_off, t.core.col_end) for t in plan}
        self._row_starts = [start for start, *_ in rows.values()]
        if blend == 'crop':
            self._row_weights = crop_weights(list(rows.values()), self._tile)
            self._col_weights = crop_weights(list(cols.values()), tile_width)
        else:
            self._row_weights = blend_weights(self._row_starts, self._tile, height)
            col_starts = [start for start, *_ in cols.values()]
            self._col_weights = blend_weights(col_starts, tile_width, width)
        shape = min(self._tile, height), min(tile_width, width)
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

    @property
    def _shared(self) -> int:
        """Rows that the next row of tiles has in common with the one after it."""
        last = self._row + 1 == len(self._row_starts)  # which may hang over the edge
        return 0 if last else len(self._valid) - self.strip.height

    def row(self, tiles: Iterable[tuple[Tile, np.ndarray, np.ndarray]]) -> Iterator[FinishedPart]:
        """Adds the tiles of the next row; run it to its end.

        Args:
            tiles: From left to right: where each is, ``(channels, tile,
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
        self._kept_rows = self._shared
        self._row += 1

    def carry(self) -> tuple[np.ndarray, np.ndarray]:
        """What the next row of tiles continues from: views of sums and validity."""
        return self._kept[:, : self._kept_rows], self._kept_valid[: self._kept_rows]

    def _add(self, tile: Tile, values: np.ndarray, valid: np.ndarray) -> None:
        rows, cols = self._valid.shape
        weights = (
            self._row_weights[tile.row, :rows, None] * self._col_weights[tile.col, None, :cols]
        )
        for total, plane in zip(self._sum, values, strict=True):  # which stay in the CPU's cache
            total += np.multiply(plane[:rows, :cols], weights, out=self._scaled)
        self._valid |= valid[:rows, :cols]

    def _moved(self, left: int) -> Iterator[FinishedPart]:
        """Moves the buffer to a column, by no more than its width at a time."""
        strip, cols = self.strip, self._valid.shape[1]
        done, kept = slice(strip.height), slice(self._shared)
        rest = slice(strip.height, strip.height + self._shared)
        while self._left < left:
            step = min(left - self._left, cols)
            here = slice(self._left, self._left + step)
            window = strip._replace(col_off=self._left, width=step)
            yield FinishedPart(window, self._sum[:, done, :step], self._valid[done, :step])
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


class StripRegrid:
    """Resamples strips that come from the top down.

    By area where the target's pixels are larger, else linearly, from valid
    pixels only (:func:`geo_mm.raster.resample.resample`). A target row is given
    as soon as all source rows that it needs are there, so a strip gives
    somewhat fewer rows than it covers, and the next one makes up for them. With
    equal grids the strips pass through unchanged.

    Args:
        source: Grid of the strips.
        target: Grid of the same footprint.
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        self.height = target.height
        self._width = source.width
        self._same = (source.height, source.width) == (target.height, target.width)
        edges = np.arange(target.height + 1) * (source.height / target.height)
        self._row_edges = edges
        self._col_edges = np.arange(target.width + 1) * (source.width / target.width)
        centres = (edges[:-1] + edges[1:]) / 2
        first = np.floor(np.minimum(edges[:-1], centres - 0.5) + 1e-9)
        last = np.ceil(np.maximum(edges[1:], centres + 0.5) - 1e-9)
        # Source rows [first, last) that each target row is made of.
        self._first = np.clip(first, 0, source.height - 1).astype(np.int64)
        self._last = np.clip(last, 1, source.height).astype(np.int64)
        self._next = 0
        self._tail: FinishedPart | None = None

    def margin(self, row: int) -> int:
        """Source rows above ``row`` from which the target row that comes next there is made."""
        following = self._following(row)
        return 0 if self._same or following == self.height else row - int(self._first[following])

    def start(self, row: int, tail: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Begins at a source row.

        Args:
            row: First row of the strip that comes next.
            tail: What :meth:`carry` gave before. Without it the target rows
                that are made of source rows above are left out.
        """
        self._tail = None
        if tail is None:
            self._next = int(np.searchsorted(self._first, row))
        else:
            self._next = self._following(row)
            values, valid = tail
            self._tail = _strip(row - len(valid), values, valid)

    def carry(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Source rows, and their validity, that the next strip's target rows need."""
        return None if self._tail is None else self._tail[1:]

    def completed(self, strip: Window) -> Window:
        """The pixels of the target that a strip of the source completes."""
        if self._same:
            return strip
        rows = self._following(strip.row_end) - self._next
        return Window(0, self._next, len(self._col_edges) - 1, rows)

    def parts(self, parts: Iterable[FinishedPart]) -> Iterator[FinishedPart]:
        """What a strip of the source completes.

        Args:
            parts: From left to right, together as wide as the source.

        Yields:
            Parts of what :meth:`completed` says.
        """
        if self._same:
            yield from parts
            return
        strip = _joined(parts, self._width)
        done = self.completed(strip.window)
        for top in range(done.row_off, done.row_end, _CHUNK):
            end = min(top + _CHUNK, done.row_end)
            window = done._replace(row_off=top, height=end - top)
            yield FinishedPart(window, *self._resampled(strip, top, end))
        self._next = end = done.row_end
        if end < self.height:
            kept = self._gathered(strip, int(self._first[end]), strip.window.row_end)
            self._tail = _strip(int(self._first[end]), *kept)

    def _following(self, row: int) -> int:
        """The first target row that needs source rows from ``row`` on."""
        return int(np.searchsorted(self._last, row, side='right'))

    def _resampled(self, strip: FinishedPart, top: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = int(self._first[top]), int(self._last[end - 1])
        values, valid = self._gathered(strip, first, last)
        complete = bool(valid.all())
        if not complete:
            values[:, ~valid] = 0
        edges = self._row_edges[top : end + 1] - first
        found, known = resample(values, None if complete else valid, edges, self._col_edges)
        return found, np.ones(found.shape[1:], bool) if known is None else known

    def _gathered(
        self, strip: FinishedPart, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the source rows ``[first, last)``, from the tail and the strip."""
        own = strip.window.row_off
        here = slice(max(first - own, 0), max(last - own, 0))
        values, valid = strip.values[:, here], strip.valid[here]
        tail = self._tail
        if first >= own or tail is None:
            return values.copy(), valid.copy()
        above = slice(first - tail.window.row_off, last - tail.window.row_off)
        return (
            np.concatenate([tail.values[:, above], values], axis=1),
            np.concatenate([tail.valid[above], valid]),
        )


def _strip(row: int, values: np.ndarray, valid: np.ndarray) -> FinishedPart:
    return FinishedPart(Window(0, row, valid.shape[1], len(valid)), values, valid)


def _joined(parts: Iterable[FinishedPart], width: int) -> FinishedPart:
    """A strip of this width, whose parts come from left to right."""
    values: np.ndarray = np.empty(0)
    valid: np.ndarray = np.empty(0)
    for window, part, known in parts:
        if not window.col_off:
            values = np.empty((len(part), window.height, width), part.dtype)
            valid = np.empty((window.height, width), bool)
        cols = slice(window.col_off, window.col_end)
        values[..., cols], valid[:, cols] = part, known
    return _strip(window.row_off, values, valid)
