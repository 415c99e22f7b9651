"""By how much labels are shifted against an image, from edges in both."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

_SMOOTH = 1.5  # pixels; standard deviation of the Gaussian


class Shift(NamedTuple):
    """How well outlines agree with edges, when moved.

    Attributes:
        x: Columns by which labels have to be moved to the right.
        y: Rows by which they have to be moved down.
        best: Agreement there, in standard deviations of that of all shifts.
        here: Agreement without a shift, likewise.
    """

    x: int
    y: int
    best: float
    here: float


class EdgeCorrelation:
    """Correlation of directed edges, summed over windows.

    An edge is the gradient with its angle doubled, as a complex number: bright on
    dark and dark on bright are then alike, and edges across one another count
    against a shift (as in orientation correlation, Fitch et al. 2002, but with
    gradients of labels on one side).

    Args:
        reach: Pixels to look for a shift in each direction.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self._sum: np.ndarray = np.zeros((2 * reach + 1, 2 * reach + 1))
        self._outline = 0.0

    def add(self, data: np.ndarray, valid: np.ndarray, classes: np.ndarray) -> None:
        """Adds a window.

        Args:
            data: ``(bands, h, w)``.
            valid: ``(h, w)`` bool.
            classes: ``(h, w)`` class of each pixel.
        """
        outlines = sum(
            (_edges((classes == value).astype(np.float32)) for value in np.unique(classes)[:16]),
            np.zeros(classes.shape, np.complex64),
        )
        image = np.zeros(classes.shape, np.complex64)
        inner = ndimage.binary_erosion(valid, iterations=round(3 * _SMOOTH), border_value=1)
        for band in data:
            edges = _edges(band.astype(np.float32))
            strength = np.abs(edges)
            # Strong edges, such as those of shadows, must not decide alone.
            level = np.median(strength[inner]) * 3 if inner.any() else 0
            image += edges / np.maximum(strength + level, 1e-6)
        image[~inner] = 0
        reach = self.reach
        if min(classes.shape) <= 2 * reach + 8:
            return
        # Only outlines that stay inside the window, however they are moved.
        middle = outlines[reach:-reach, reach:-reach]
        found = signal.fftconvolve(image, np.conj(middle[::-1, ::-1]), mode='valid')
        self._sum += found.real
        self._outline += float(np.abs(middle).sum())

    def shift(self) -> Shift | None:
        """The shift; None without outlines."""
        spread = float(self._sum.std())
        if not self._outline or not spread:
            return None
        scores = (self._sum - np.median(self._sum)) / spread
        y, x = np.unravel_index(int(scores.argmax()), scores.shape)
        reach = self.reach
        return Shift(
            int(x) - reach, int(y) - reach, float(scores.max()), float(scores[reach, reach])
        )


def _edges(picture: np.ndarray) -> np.ndarray:
    """Gradients with doubled angle and unchanged length, complex."""
    x = ndimage.gaussian_filter(picture, _SMOOTH, order=(0, 1))
    y = ndimage.gaussian_filter(picture, _SMOOTH, order=(1, 0))
    gradient = x + 1j * y
    return (gradient**2 / np.maximum(np.abs(gradient), 1e-9)).astype(np.complex64)
