"""Placing and resampling the pixels of a file in the grid of a scene.

Resampling is by separable weights that account for invalid pixels.

Why not GDAL's own resampling while reading: every output pixel must depend on
its place in the grid alone, not on the window it is read through; source
pixels outside a cropped scene must not be looked at; and pixels next to a hole
must not be mixed with the nodata value.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from geo_mm.errors import SceneError
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.sources import Source

_ALIGNED = 0.01  # pixels: grids that differ by less than this are the same


class Axis(NamedTuple):
    """Where the pixels of one output axis are in the source, in source pixels.

    Attributes:
        start: Source coordinate of the left (upper) edge of output pixel 0.
        step: Source pixels per output pixel.
        low: Lower end of the part of the source that may be used.
        high: Upper end of it.
    """

    start: float
    step: float
    low: float
    high: float

    def scaled(self, factor: float) -> 'Axis':
        """The same axis for a source with ``factor`` times as many pixels."""
        return Axis(*(value * factor for value in self))

    def edges(self, first: int, count: int) -> np.ndarray:
        """Edges of ``count`` output pixels from ``first`` on, ``count + 1`` values."""
        return self.start + self.step * np.arange(first, first + count + 1)


class Taps(NamedTuple):
    """Source pixels and weights of each output pixel along one axis.

    Attributes:
        pixel: (n, taps) source pixels.
        weight: (n, taps) weights; each row sums to 1.
    """

    pixel: np.ndarray
    weight: np.ndarray

    def along(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Weighted sums of a 2-D ``array`` along its rows (0) or columns (1)."""
        weight = self.weight.astype(array.dtype)
        if axis == 0:
            weight = weight[:, :, None]
        result = array.take(self.pixel[:, 0], axis)
        result *= weight[:, 0]
        part = np.empty_like(result)
        for tap in range(1, self.pixel.shape[1]):
            # 'clip' only spares numpy a buffer: all indices are inside.
            array.take(self.pixel[:, tap], axis, out=part, mode='clip')
            part *= weight[:, tap]
            result += part
        return result


def area_taps(edges: np.ndarray, low: float, high: float) -> Taps:
    """Weights by the share of each source pixel in the output pixel's area.

    Args:
        edges: (n + 1) ascending edges of the output pixels, in source pixels.
        low: First usable source pixel.
        high: End of the usable source pixels.
    """
    left, right = np.clip(edges[:-1], low, high), np.clip(edges[1:], low, high)
    taps = int(np.ceil((right - left).max(initial=0))) + 1
    index = np.floor(left).astype(np.int64)[:, None] + np.arange(taps)
    weight = np.minimum(right[:, None], index + 1) - np.maximum(left[:, None], index)
    return _normalised(index, np.maximum(weight, 0), low, high)


def linear_taps(edges: np.ndarray, low: float, high: float) -> Taps:
    """Weights of linear interpolation between source pixel centres.

    Within half a pixel of ``low`` and ``high`` the border pixel's value holds.
    """
    position = (edges[:-1] + edges[1:]) / 2 - 0.5
    first = np.floor(position)
    share = position - first
    index = first.astype(np.int64)[:, None] + np.arange(2)
    return _normalised(index, np.stack([1 - share, share], axis=1), low, high)


def _normalised(index: np.ndarray, weight: np.ndarray, low: float, high: float) -> Taps:
    total = weight.sum(axis=1, keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    # Rounding leaves taps of weight 1e-12; aligned grids need not pay for them.
    used = weight.max(axis=0, initial=0) > 1e-9
    used[0] |= not used.any()
    last = max(int(np.ceil(high)) - 1, 0)
    return Taps(np.clip(index[:, used], int(np.floor(low)), last), weight[:, used])


def resample(
    data: np.ndarray,
    valid: np.ndarray | None,
    row_edges: np.ndarray,
    col_edges: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resample an array: by area where output pixels are larger, else linearly.

    Args:
        data: (bands, rows, cols), 0 where invalid.
        valid: (rows, cols) bool, or None if all pixels are valid.
        row_edges: (h + 1) edges of the output rows, in rows of ``data``.
        col_edges: (w + 1) edges of the output columns.

    Returns:
        ``(bands, h, w)`` in the dtype of ``data`` (integers are rounded), from
        valid pixels only, and the mask: an output pixel is valid if at least
        half of its area is. None stands for a mask that is all True.
    """
    rows, cols = data.shape[-2:]
    row_edges, col_edges = row_edges.astype(np.float64), col_edges.astype(np.float64)
    row_taps, col_taps = _best_taps(row_edges, rows), _best_taps(col_edges, cols)
    work = np.result_type(data.dtype, np.float32)
    result = np.empty((len(data), len(row_edges) - 1, len(col_edges) - 1), work)
    for band, out in zip(data, result, strict=True):  # one at a time stays in the CPU's cache
        out[:] = _separable(band.astype(work, copy=False), row_taps, col_taps)
    if valid is None:
        return _as_dtype(result, data.dtype), None
    share = valid.astype(np.float32)
    weight = _separable(share, row_taps, col_taps)
    area = _separable(share, area_taps(row_edges, 0, rows), area_taps(col_edges, 0, cols))
    valid = area > 0.5 - 1e-4
    np.divide(result, weight, out=result, where=valid)
    np.copyto(result, 0, where=~valid)
    return _as_dtype(result, data.dtype), valid


def _separable(array: np.ndarray, rows: Taps, cols: Taps) -> np.ndarray:
    return cols.along(rows.along(array, 0), 1)


def _best_taps(edges: np.ndarray, size: int) -> Taps:
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    return (area_taps if step > 1 else linear_taps)(edges, 0, size)


def _as_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        np.rint(array, out=array)
    return array.astype(dtype, copy=False)


class PlacedFile(NamedTuple):
    """The bands that one file contributes, and where it is in the scene's grid."""

    source: Source
    bands: tuple[int, ...]  # their positions in the scene
    x: Axis
    y: Axis

    @property
    def native(self) -> bool:
        """Whether the scene's pixels are the file's own."""
        x, y = self.x, self.y
        return x.step == 1 == y.step and x.start % 1 == 0 == y.start % 1

    def crop(self, window: Window) -> 'PlacedFile':
        return self._replace(
            x=_crop_axis(self.x, window.col_off, window.width),
            y=_crop_axis(self.y, window.row_off, window.height),
        )

    def moved(self, cols: float, rows: float) -> 'PlacedFile':
        """The file for a scene that begins so many pixels further right and down."""
        return self._replace(
            x=self.x._replace(start=self.x.start + self.x.step * cols),
            y=self.y._replace(start=self.y.start + self.y.step * rows),
        )

    def zoom(self, x: float, y: float) -> 'PlacedFile':
        """The file for scene pixels that are x times as wide and y times as high."""
        return self._replace(
            x=self.x._replace(step=self.x.step * x), y=self.y._replace(step=self.y.step * y)
        )

    def meets(self, window: Window) -> bool:
        """Whether the file has pixels under a window of the scene."""
        x, y = self.x, self.y
        return (
            x.start + x.step * window.col_off < x.high
            and x.start + x.step * window.col_end > x.low
            and y.start + y.step * window.row_off < y.high
            and y.start + y.step * window.row_end > y.low
        )

    def read(
        self, window: Window, quick: bool, dtype: np.dtype | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of a window of the scene; see :meth:`Source.read` for the result."""
        if self.native:
            return self._read_native(window, dtype)
        return self._read_resampled(window, quick)

    def read_valid(self, window: Window, quick: bool) -> np.ndarray | None:
        """The mask alone; without touching the file where that cannot matter."""
        if not self.source.always_valid:
            return self.read(window, quick)[1]
        _, cols = _needed(
            self.x.edges(window.col_off, window.width), self.x, self.source.grid.width
        )
        _, rows = _needed(
            self.y.edges(window.row_off, window.height), self.y, self.source.grid.height
        )
        valid = np.zeros((window.height, window.width), bool)
        valid[rows.start : rows.stop, cols.start : cols.stop] = True
        return None if valid.all() else valid

    def _read_native(
        self, window: Window, dtype: np.dtype | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        (x, _, left, right), (y, _, top, bottom) = self.x, self.y
        wanted = window.shifted(int(x), int(y))
        usable = Window(int(left), int(top), int(right - left), int(bottom - top))
        inside = wanted.intersection(usable)
        if inside == wanted:
            return self.source.read(wanted, dtype=dtype)
        data, valid = self._blank(window)
        if inside.area:
            here = inside.slices(wanted)
            data[(slice(None), *here)], part = self.source.read(inside)
            valid[here] = True if part is None else part
        return data, valid

    def _read_resampled(self, window: Window, quick: bool) -> tuple[np.ndarray, np.ndarray | None]:
        level = self.source.best_level(min(self.x.step, self.y.step))
        width, height = self.source.level_size(level)
        x = self.x.scaled(width / self.source.grid.width)
        y = self.y.scaled(height / self.source.grid.height)
        x_edges = x.edges(window.col_off, window.width)
        y_edges = y.edges(window.row_off, window.height)
        cols, x_inside = _needed(x_edges, x, width)
        rows, y_inside = _needed(y_edges, y, height)
        data, valid = self._blank(window)
        if cols is None or rows is None:
            return data, valid
        part = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
        shape = _thinned(part, x.step, y.step) if quick else (part.height, part.width)
        pixels, mask = self.source.read(part, level, shape)
        x_size, y_size = part.width / shape[1], part.height / shape[0]
        here = (slice(y_inside.start, y_inside.stop), slice(x_inside.start, x_inside.stop))
        data[(slice(None), *here)], mask = resample(
            pixels,
            mask,
            (y_edges[y_inside.start : y_inside.stop + 1] - part.row_off) / y_size,
            (x_edges[x_inside.start : x_inside.stop + 1] - part.col_off) / x_size,
        )
        valid[here] = True if mask is None else mask
        return data, None if valid.all() else valid

    def _blank(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        shape = (window.height, window.width)
        data = np.zeros((len(self.source.indexes), *shape), self.source.dtype)
        return data, np.zeros(shape, bool)


def place_file(source: Source, bands: tuple[int, ...], grid: Grid) -> PlacedFile:
    """Find where a file is in the scene's grid.

    Raises:
        SceneError: If its CRS differs, or its pixels are turned or mirrored
            against the scene's.
    """
    own = source.grid
    if own.crs != grid.crs:
        raise SceneError(
            f'{source.label}: its CRS ({_crs_text(own.crs)}) is not that of the other files '
            f'of the scene ({_crs_text(grid.crs)})',
            'files of one CRS in a scene',
            'warp it to the grid of the others first (gdalwarp or rio warp)',
        )
    relative = (
        Affine.identity() if own.transform == grid.transform else (~own.transform @ grid.transform)
    )
    turn = max(abs(relative.b) * grid.height, abs(relative.d) * grid.width)
    if turn > 0.5 or relative.a <= 0 or relative.e <= 0:
        raise SceneError(
            f'{source.label}: its pixels are rotated or mirrored against the other files',
            'grids that differ by shift and pixel size only',
            'warp it to the grid of the others first (gdalwarp or rio warp)',
        )
    x = _axis(relative.c, relative.a, grid.width, own.width)
    y = _axis(relative.f, relative.e, grid.height, own.height)
    return PlacedFile(source, bands, x, y)


def placed_files(files: Sequence[Source], bands: tuple[int, ...], grid: Grid) -> list[PlacedFile]:
    """Place the files of one part of a stack; those beside the scene are left out.

    Raises:
        SceneError: As :func:`place_file`, or if none overlaps the scene.
    """
    placed = [place_file(file, bands, grid) for file in files]
    near = [file for file in placed if file.meets(grid.window)]
    if not near:
        raise SceneError(
            f'{files[0].label}: does not overlap the other files of the scene',
            f'something inside {grid.bounds}, found {files[0].grid.bounds}',
        )
    return near


def common_grid(files: Sequence[Source]) -> Grid:
    """The grid of the first file, so large that it holds all.

    Raises:
        SceneError: As :func:`place_file`.
    """
    first = files[0].grid
    left, top, right, bottom = 0.0, 0.0, float(first.width), float(first.height)
    for file in files[1:]:
        _, _, x, y = place_file(file, (), first)
        left, top = min(left, -x.start / x.step), min(top, -y.start / y.step)
        right = max(right, (file.grid.width - x.start) / x.step)
        bottom = max(bottom, (file.grid.height - y.start) / y.step)
    # A hundredth of a pixel is rounding, not a further pixel.
    col, row = math.floor(left + _ALIGNED), math.floor(top + _ALIGNED)
    width, height = math.ceil(right - _ALIGNED) - col, math.ceil(bottom - _ALIGNED) - row
    window = Window(col, row, width, height)
    return first if window == first.window else first.crop(window)


def read_part(
    placed: Sequence[PlacedFile], window: Window, quick: bool, dtype: np.dtype | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels of the bands that several files hold beside each other.

    Where they overlap, the first that has data counts. They come in ``dtype``
    where that is no further step.
    """
    if len(placed) == 1:
        return placed[0].read(window, quick, dtype)
    shape = (window.height, window.width)
    dtype = np.result_type(*(file.source.dtype for file in placed))
    data, valid = np.zeros((len(placed[0].bands), *shape), dtype), np.zeros(shape, bool)
    for file in placed:
        if not file.meets(window):
            continue
        pixels, mask = file.read(window, quick)
        new = ~valid if mask is None else mask & ~valid
        np.copyto(data, pixels, where=new)
        valid |= new
        if valid.all():
            break
    return data, valid


def read_part_valid(placed: Sequence[PlacedFile], window: Window, quick: bool) -> np.ndarray | None:
    """The mask alone of :func:`read_part`; None where all is valid."""
    if len(placed) == 1:
        return placed[0].read_valid(window, quick)
    valid = np.zeros((window.height, window.width), bool)
    for file in placed:
        if file.meets(window):
            mask = file.read_valid(window, quick)
            valid |= True if mask is None else mask
    return valid


def _axis(start: float, step: float, size: int, own_size: int) -> Axis:
    if abs(step - 1) * size < _ALIGNED and abs(start - round(start)) < _ALIGNED:
        start, step = float(round(start)), 1.0
    return Axis(start, step, max(start, 0), min(start + step * size, own_size))


def _crop_axis(axis: Axis, first: int, count: int) -> Axis:
    start, end = axis.start + axis.step * first, axis.start + axis.step * (first + count)
    return Axis(start, axis.step, max(axis.low, start), min(axis.high, end))


def _needed(edges: np.ndarray, axis: Axis, size: int) -> tuple[range | None, range]:
    """Source pixels to read for output pixels, and the output pixels they fill.

    Output pixels count as inside if their centre is.

    Returns:
        Both ranges; None and an empty one if no pixel is inside.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    first, last = np.searchsorted(centres, (axis.low, axis.high))
    low, high = int(axis.low + 1e-6), min(int(np.ceil(axis.high - 1e-6)), size)
    if first == last or low >= high:
        return None, range(0)
    # One more pixel on each side for linear interpolation.
    start = int(np.clip(np.floor(edges[first]) - 1, low, high - 1))
    stop = int(np.clip(np.ceil(edges[last]) + 1, start + 1, high))
    return range(start, stop), range(first, last)


def _thinned(window: Window, x_step: float, y_step: float) -> tuple[int, int]:
    """(rows, cols) that leave at least two source pixels per output pixel and axis."""
    return (
        max(round(window.height / max(int(y_step / 2), 1)), 1),
        max(round(window.width / max(int(x_step / 2), 1)), 1),
    )


def _crs_text(crs: CRS | None) -> str:
    return 'none' if crs is None else crs.to_string()[:80]
