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


def to_rgb(data: np.ndarray, valid: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Stretches three bands between their 2nd and 98th percentile.

    Args:
        data: ``(bands, h, w)`` of any type.
        valid: ``(h, w)`` bool; the percentiles are of valid pixels.
        names: Name of each band.

    Returns:
        ``(h, w, 3)`` uint8; invalid pixels are magenta.
    """
    picture = np.empty((*valid.shape, 3), np.uint8)
    for channel, band in enumerate(display_bands(names)):  # one at a time takes less memory
        values = data[band].astype(np.float32)
        if valid.any():
            low, high = np.percentile(values[valid], (2, 98)).astype(np.float32)
            values = (values - low) / max(high - low, np.float32(1e-6))
        picture[..., channel] = values.clip(0, 1) * 255
    picture[~valid] = INVALID_COLOUR
    return picture
