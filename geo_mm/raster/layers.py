"""Resampling of the pixels of a file to those of a scene."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from geo_mm.errors import SceneError
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.resample import Axis, resample
from geo_mm.raster.sources import Source

_ALIGNED = 0.01  # pixels: grids that differ by less than this are the same


class Layer(NamedTuple):
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

    def crop(self, window: Window) -> 'Layer':
        return self._replace(
            x=_crop_axis(self.x, window.col_off, window.width),
            y=_crop_axis(self.y, window.row_off, window.height),
        )

    def zoom(self, x: float, y: float) -> 'Layer':
        """The layer for scene pixels that are x times as wide and y times as high."""
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

    def read(self, window: Window, quick: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of a window of the scene; see :meth:`Source.read` for the result."""
        if self.native:
            return self._read_native(window)
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

    def _read_native(self, window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        (x, _, left, right), (y, _, top, bottom) = self.x, self.y
        wanted = window.shifted(int(x), int(y))
        usable = Window(int(left), int(top), int(right - left), int(bottom - top))
        inside = wanted.intersection(usable)
        if inside == wanted:
            return self.source.read(wanted)
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


def place(source: Source, bands: tuple[int, ...], grid: Grid) -> Layer:
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
    return Layer(source, bands, x, y)


def part_layers(files: Sequence[Source], bands: tuple[int, ...], grid: Grid) -> list[Layer]:
    """Place the files of one part of a stack; those beside the scene are left out.

    Raises:
        SceneError: As :func:`place`, or if none overlaps the scene.
    """
    layers = [place(file, bands, grid) for file in files]
    near = [layer for layer in layers if layer.meets(grid.window)]
    if not near:
        raise SceneError(
            f'{files[0].label}: does not overlap the other files of the scene',
            f'something inside {grid.bounds}, found {files[0].grid.bounds}',
        )
    return near


def common_grid(files: Sequence[Source]) -> Grid:
    """The grid of the first file, so large that it holds all.

    Raises:
        SceneError: As :func:`place`.
    """
    first = files[0].grid
    left, top, right, bottom = 0.0, 0.0, float(first.width), float(first.height)
    for file in files[1:]:
        _, _, x, y = place(file, (), first)
        left, top = min(left, -x.start / x.step), min(top, -y.start / y.step)
        right = max(right, (file.grid.width - x.start) / x.step)
        bottom = max(bottom, (file.grid.height - y.start) / y.step)
    # A hundredth of a pixel is rounding, not a further pixel.
    col, row = math.floor(left + _ALIGNED), math.floor(top + _ALIGNED)
    width, height = math.ceil(right - _ALIGNED) - col, math.ceil(bottom - _ALIGNED) - row
    window = Window(col, row, width, height)
    return first if window == first.window else first.crop(window)


def read_part(
    layers: Sequence[Layer], window: Window, quick: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels of the bands that several files hold beside each other.

    Where they overlap, the first that has data counts.
    """
    if len(layers) == 1:
        return layers[0].read(window, quick)
    shape = (window.height, window.width)
    dtype = np.result_type(*(layer.source.dtype for layer in layers))
    data, valid = np.zeros((len(layers[0].bands), *shape), dtype), np.zeros(shape, bool)
    for layer in layers:
        if not layer.meets(window):
            continue
        pixels, mask = layer.read(window, quick)
        new = ~valid if mask is None else mask & ~valid
        np.copyto(data, pixels, where=new)
        valid |= new
        if valid.all():
            break
    return data, valid


def read_part_valid(layers: Sequence[Layer], window: Window, quick: bool) -> np.ndarray | None:
    """The mask alone of :func:`read_part`; None where all is valid."""
    if len(layers) == 1:
        return layers[0].read_valid(window, quick)
    valid = np.zeros((window.height, window.width), bool)
    for layer in layers:
        if layer.meets(window):
            mask = layer.read_valid(window, quick)
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
