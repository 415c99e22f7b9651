"""From reflected light to digital numbers: air, optics, sensor."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from geo_mm.synthetic.noise import white_noise


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
