"""Resampling by separable weights that account for invalid pixels.

Why not GDAL's own resampling while reading: every output pixel must depend on
its place in the grid alone, not on the window it is read through; source
pixels outside a cropped scene must not be looked at; and pixels next to a hole
must not be mixed with the nodata value.
"""

from typing import NamedTuple

import numpy as np


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
