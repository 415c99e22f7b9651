"""Radiometry: sun, sky and shadows, then air, optics and sensor, to digital numbers."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from geo_mm.synthetic.noise import white_noise


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
    """``field[p] = max(field[p], other[p + (cols, rows)])`` where that is inside."""
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


@dataclass(frozen=True)
class Sensor:
    """One flight: its air, its camera and its settings.

    Attributes:
        haze: (4,) path reflectance added by the air.
        gain: (4,) factor of each band.
        blur: Standard deviation of the point spread function in pixels.
        read_noise: Standard deviation in the dark, in reflectance.
        shot_noise: Variance per reflectance.
        seed: Selects the noise.
    """

    haze: np.ndarray
    gain: np.ndarray
    blur: float
    read_noise: float
    shot_noise: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Sensor':
        """A believable flight."""
        thickness = rng.uniform(0.4, 1.3)
        return cls(
            haze=thickness * np.array([0.011, 0.017, 0.027, 0.004]),
            gain=rng.uniform(0.94, 1.07) * np.exp(rng.normal(0, 0.02, 4)),
            blur=rng.uniform(0.45, 0.65),
            read_noise=rng.uniform(0.0010, 0.0022),
            shot_noise=rng.uniform(4e-5, 1.2e-4),
            seed=int(rng.integers(1 << 31)),
        )

    @property
    def reach(self) -> int:
        """Pixels around a window that :meth:`expose` needs."""
        return int(np.ceil(4 * self.blur)) + 1

    def expose(self, light: np.ndarray, xs: np.ndarray, ys: np.ndarray, pixel: float) -> np.ndarray:
        """Digital numbers 1..10000 from reflected light, both (4, rows, cols)."""
        out = np.empty(light.shape, np.uint16)
        for band, values in enumerate(light):
            seen = gaussian_filter(values, self.blur, truncate=4.0)
            seen = seen * np.float32(self.gain[band]) + np.float32(self.haze[band])
            sigma = np.sqrt(self.read_noise**2 + self.shot_noise * np.maximum(seen, 0))
            seen += sigma * white_noise(xs, ys, pixel, self.seed + band)
            out[band] = np.clip(np.round(seen * 10000), 1, 10000)
        return out
