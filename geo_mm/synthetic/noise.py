"""Smooth random fields that can be evaluated in any window of the ground.

The value at a place depends only on the place and a seed, never on the window
it is evaluated in, so a scene can be rendered piece by piece without seams.
"""

from collections.abc import Sequence

import numpy as np


def _hash(cols: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Uniform float32 in -1..1 for each pair of integer lattice coordinates."""
    with np.errstate(over='ignore'):
        key = (cols.astype(np.uint32)[None, :] * np.uint32(0x85EBCA6B)) ^ (
            rows.astype(np.uint32)[:, None] * np.uint32(0xC2B2AE35)
        )
        key += np.uint32(seed & 0xFFFFFFFF) * np.uint32(0x9E3779B1)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            key ^= key >> np.uint32(shift)
            key *= np.uint32(factor)
        key ^= key >> np.uint32(16)
    return (key >> np.uint32(8)).astype(np.float32) * np.float32(2.0 / (1 << 24)) - np.float32(1.0)


def _spline(position: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """First lattice index and the four cubic B-spline weights at each position."""
    first = np.floor(position).astype(np.int64)
    t = (position - first).astype(np.float32)
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    return first - 1, weights


def smooth_noise(xs: np.ndarray, ys: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """One octave of noise on the grid ``ys`` x ``xs``.

    Args:
        xs: Ascending ground x of the columns, in metres.
        ys: Ascending ground y of the rows, in metres.
        scale: Distance of the lattice nodes, in metres.
        seed: Selects the field.

    Returns:
        (len(ys), len(xs)) float32 with mean 0 and standard deviation of about 1.
    """
    col, col_weights = _spline(np.asarray(xs) / scale)
    row, row_weights = _spline(np.asarray(ys) / scale)
    col_0, row_0 = int(col[0]), int(row[0])
    lattice = _hash(np.arange(col_0, int(col[-1]) + 4), np.arange(row_0, int(row[-1]) + 4), seed)
    lattice *= np.float32(3.6)  # the spline averages: this restores unit variance
    by_row = sum(lattice[row - row_0 + k] * w[:, None] for k, w in enumerate(row_weights))
    out = np.zeros((len(ys), len(xs)), np.float32)
    for k, weight in enumerate(col_weights):
        out += np.take(by_row, col - col_0 + k, axis=1) * weight
    return out


def fractal_noise(
    xs: np.ndarray, ys: np.ndarray, scales: Sequence[float], seed: int, gain: float = 0.7
) -> np.ndarray:
    """Several octaves, the first the strongest, with a standard deviation of about 1."""
    weights = np.asarray([gain**k for k in range(len(scales))], np.float32)
    weights /= np.sqrt((weights**2).sum())
    out = np.zeros((len(ys), len(xs)), np.float32)
    for k, scale in enumerate(scales):
        out += smooth_noise(xs, ys, scale, seed + 7919 * k) * weights[k]
    return out


def white_noise(xs: np.ndarray, ys: np.ndarray, pixel: float, seed: int) -> np.ndarray:
    """Independent approximately normal values for each pixel of size ``pixel`` metres."""
    cols = np.round(np.asarray(xs) / pixel - 0.5).astype(np.int64)
    rows = np.round(np.asarray(ys) / pixel - 0.5).astype(np.int64)
    total = sum(_hash(cols, rows, seed + 104729 * k) for k in range(3))
    return total  # three uniforms of variance 1/3 each: variance 1
