"""From the grid that a model works in to another one of the same footprint, strip by strip."""

from collections.abc import Iterable, Iterator

import numpy as np

from geo_mm.inference.blending import Part
from geo_mm.raster import Grid, Window
from geo_mm.raster.resample import resample

_CHUNK = 16
"""Rows at a time, so that a strip of a much finer grid is never whole in memory."""


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
        self._tail: Part | None = None

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

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
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
            yield Part(window, *self._resampled(strip, top, end))
        self._next = end = done.row_end
        if end < self.height:
            kept = self._gathered(strip, int(self._first[end]), strip.window.row_end)
            self._tail = _strip(int(self._first[end]), *kept)

    def _following(self, row: int) -> int:
        """The first target row that needs source rows from ``row`` on."""
        return int(np.searchsorted(self._last, row, side='right'))

    def _resampled(self, strip: Part, top: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = int(self._first[top]), int(self._last[end - 1])
        values, valid = self._gathered(strip, first, last)
        complete = bool(valid.all())
        if not complete:
            values[:, ~valid] = 0
        edges = self._row_edges[top : end + 1] - first
        found, known = resample(values, None if complete else valid, edges, self._col_edges)
        return found, np.ones(found.shape[1:], bool) if known is None else known

    def _gathered(self, strip: Part, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the source rows ``[first, last)``, from the tail and the strip."""
        own = strip.window.row_off
        here = slice(max(first - own, 0), max(last - own, 0))
        values, valid = strip.values[:, here], strip.valid[here]
        if first >= own:
            return values.copy(), valid.copy()
        tail = self._tail
        above = slice(first - tail.window.row_off, last - tail.window.row_off)
        return (
            np.concatenate([tail.values[:, above], values], axis=1),
            np.concatenate([tail.valid[above], valid]),
        )


def _strip(row: int, values: np.ndarray, valid: np.ndarray) -> Part:
    return Part(Window(0, row, valid.shape[1], len(valid)), values, valid)


def _joined(parts: Iterable[Part], width: int) -> Part:
    """A strip of this width, whose parts come from left to right."""
    values = valid = np.empty(0)
    for window, part, known in parts:
        if not window.col_off:
            values = np.empty((len(part), window.height, width), part.dtype)
            valid = np.empty((window.height, width), bool)
        cols = slice(window.col_off, window.col_end)
        values[..., cols], valid[:, cols] = part, known
    return _strip(window.row_off, values, valid)
