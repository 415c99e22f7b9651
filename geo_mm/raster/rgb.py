"""Pixels as a picture: which bands are red, green and blue, and how they are stretched."""

from collections.abc import Sequence

import numpy as np

_SYNONYMS = ({'red', 'r', 'b04', 'b4'}, {'green', 'g', 'b03', 'b3'}, {'blue', 'b', 'b02', 'b2'})
INVALID_COLOUR = (255, 0, 255)


def display_bands(names: Sequence[str]) -> tuple[int, int, int]:
    """Positions of the bands to show as red, green and blue.

    The bands of those names; else the first three; else the first for all.
    """
    lowered = [name.lower() for name in names]
    if len(names) <= 4 and lowered == [f'b{number}' for number in range(1, len(names) + 1)]:
        lowered = []  # bands without names, not those of a satellite
    red, green, blue = (
        next((i for i, name in enumerate(lowered) if name in synonyms), None)
        for synonyms in _SYNONYMS
    )
    if red is not None and green is not None and blue is not None:
        return red, green, blue
    return (0, 1, 2) if len(names) >= 3 else (0, 0, 0)


Limits = Sequence[tuple[int, float, float]]
"""Of red, green and blue: the band, and the values that are 0 and 255."""


def display_limits(data: np.ndarray, valid: np.ndarray, names: Sequence[str]) -> Limits:
    """The bands to show, and their 2nd and 98th percentile over valid pixels.

    Args:
        data: ``(bands, h, w)`` of any type.
        valid: ``(h, w)`` bool.
        names: Name of each band.
    """
    limits = []
    for band in display_bands(names):
        values = data[band][valid].astype(np.float32)
        low, high = np.percentile(values, (2, 98)).astype(np.float32) if len(values) else (0, 1)
        limits.append((band, float(low), float(high)))
    return limits


def to_rgb(
    data: np.ndarray, valid: np.ndarray, names: Sequence[str], limits: Limits | None = None
) -> np.ndarray:
    """Stretches three bands between their 2nd and 98th percentile.

    Args:
        data: ``(bands, h, w)`` of any type.
        valid: ``(h, w)`` bool; the percentiles are of valid pixels.
        names: Name of each band.
        limits: The bands and values instead, such as those of the whole scene.

    Returns:
        ``(h, w, 3)`` uint8; invalid pixels are magenta.
    """
    picture = np.empty((*valid.shape, 3), np.uint8)
    limits = limits or display_limits(data, valid, names)
    for channel, (band, low, high) in enumerate(limits):  # one at a time takes less memory
        values = data[band].astype(np.float32)
        values = (values - np.float32(low)) / max(np.float32(high - low), np.float32(1e-6))
        picture[..., channel] = values.clip(0, 1) * 255
    picture[~valid] = INVALID_COLOUR
    return picture
