"""Sun and sky: shadows cast over a height model, and how much light a slope gets."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sun:
    """Where the sun stands.

    Attributes:
        azimuth: Radians clockwise from north.
        elevation: Radians above the horizon.
    """

    azimuth: float
    elevation: float

    @property
    def direction(self) -> tuple[float, float, float]:
        """Unit vector towards the sun in ground axes (x right, y down, z up)."""
        flat = np.cos(self.elevation)
        return (
            float(flat * np.sin(self.azimuth)),
            float(-flat * np.cos(self.azimuth)),
            float(np.sin(self.elevation)),
        )

    def incidence(self, slope_x: np.ndarray, slope_y: np.ndarray) -> np.ndarray:
        """Direct light on a surface that rises by the given slopes; 1 on flat ground."""
        x, y, z = self.direction
        normal = np.sqrt(1 + slope_x**2 + slope_y**2)
        return np.maximum((z - slope_x * x - slope_y * y) / (normal * z), 0)


def _shifted_max(field: np.ndarray, other: np.ndarray, cols: int, rows: int) -> None:
    """``field[p] = max(field[p], other[p + (cols, rows)])`` where that lies inside."""
    height, width = field.shape
    to_rows = slice(max(-rows, 0), height - max(rows, 0))
    to_cols = slice(max(-cols, 0), width - max(cols, 0))
    from_rows = slice(max(rows, 0), height - max(-rows, 0))
    from_cols = slice(max(cols, 0), width - max(-cols, 0))
    if to_rows.stop <= to_rows.start or to_cols.stop <= to_cols.start:
        return
    target = field[to_rows, to_cols]
    np.maximum(target, other[from_rows, from_cols], out=target)


def cast_shadows(
    height: np.ndarray, pixel: float, sun: Sun, highest: float, soft: float = 0.35
) -> np.ndarray:
    """Share of direct sunlight that reaches each pixel.

    The height of the shadow's upper surface is the maximum over all distances
    of (height towards the sun - distance * tan(elevation)); doubling the
    distance in each step finds it in log2(length) passes.

    Args:
        height: (rows, cols) float32 heights in metres.
        pixel: Pixel size in metres.
        sun: Position of the sun.
        highest: No height exceeds this, in metres.
        soft: Height over which the shadow's edge fades, in metres.

    Returns:
        (rows, cols) float32, 0 in shadow and 1 in the sun.
    """
    x, y, _ = sun.direction
    flat = float(np.hypot(x, y))
    drop = pixel * float(np.tan(sun.elevation))
    steps = max(int(np.ceil(highest / drop)), 1)
    # First step is one pixel towards the sun, so an object does not shade itself.
    roof = np.full_like(height, -1e3)
    _shifted_max(roof, height - np.float32(drop), round(x / flat), round(y / flat))
    reach = 1
    while reach < steps:
        cols, rows = round(reach * x / flat), round(reach * y / flat)
        _shifted_max(roof, roof - np.float32(drop * reach), cols, rows)
        reach *= 2
    roof -= height
    roof /= np.float32(-soft)
    roof += np.float32(1.0)
    return np.clip(roof, 0, 1, out=roof)
