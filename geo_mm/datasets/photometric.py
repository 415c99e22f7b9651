"""Changes of light and sensor, for any bands and any type of values.

The libraries' ``PhotoMetricDistortion`` needs three channels of 0..255: it
drops the fourth band, and clips reflectances to bytes. The transforms here
work in the data's own units and on each band alike.

Each call draws one number from NumPy's global state, as the libraries'
transforms do, which MMEngine seeds in every worker; all else comes from a
:class:`numpy.random.Generator` made from it. The functions take the generator
and nothing global.
"""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from geo_mm.errors import ConfigError
from geo_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomRadiometry(BaseTransform):
    """Random radiometric changes, as of another day, sun or sensor.

    On values scaled so that ``value_range`` becomes 0..1, in this order:

    - gamma: ``x ** g`` for ``x > 0``, ``log g`` even in ``± log(1 + gamma)``
    - contrast: ``(x - m) * c + m`` around the chip's mean ``m`` of each band
    - band gain: ``x * (1 + e)``, another ``e`` for each band
    - brightness: ``x + b``, the same for all bands
    - haze: ``x + h * (airlight - x)`` (Koschmieder 1924), where ``h`` varies
      smoothly over the chip, by the band's share in ``haze_spectrum``
    - noise: normal, independent for each band and pixel

    Nothing is clipped for floating-point chips, since reflectances above 1 or
    below 0 exist; integers are rounded and kept in their type's range.

    It belongs right behind ``geo_mm.LoadChip``: pixels that are not ``valid``
    are left as they are.

    Required Keys:

    - img (any number type): ``(height, width, bands)``
    - valid (bool, optional): ``(height, width)``

    Modified Keys:

    - img (same type and shape)

    Args:
        value_range: Lowest and highest value of usual ground, in the data's
            units: ``(0, 255)``, ``(0, 10000)``, ``(-25, 5)`` for decibels.
        prob: Probability of each of the six changes, drawn separately.
        gamma: Greatest relative change of the exponent.
        contrast: Greatest relative change of contrast.
        band_gain: Greatest relative change of a single band.
        brightness: Greatest shift, as a share of ``value_range``.
        haze: Greatest share of haze.
        haze_spectrum: Share of the haze in each band, 0..1, for example less
            in the infrared; all 1 by default.
        airlight: Brightness of haze, as a share of ``value_range``.
        noise: Greatest standard deviation of noise, as a share of
            ``value_range``.

    Raises:
        ConfigError: If an amount is out of its range, or, of a chip, if
            ``haze_spectrum`` is of another number of bands.
    """

    def __init__(  # noqa: PLR0913 - config keys
        self,
        value_range: Sequence[float],
        prob: float = 0.5,
        gamma: float = 0.2,
        contrast: float = 0.2,
        band_gain: float = 0.05,
        brightness: float = 0.05,
        haze: float = 0.2,
        haze_spectrum: Sequence[float] | None = None,
        airlight: float = 0.8,
        noise: float = 0.01,
    ) -> None:
        self.low, self.high = _checked_range(value_range)
        _check_probability(type(self).__name__, prob)
        amounts = {
            'gamma': gamma,
            'contrast': contrast,
            'band_gain': band_gain,
            'brightness': brightness,
            'haze': haze,
            'noise': noise,
        }
        for name, amount in amounts.items():
            if not 0 <= amount < 1:
                raise ConfigError(f'RandomRadiometry: {name}={amount}', '0 (none) to below 1')
        if haze_spectrum is not None and not all(0 <= share <= 1 for share in haze_spectrum):
            raise ConfigError(
                f'RandomRadiometry: haze_spectrum={list(haze_spectrum)}',
                'shares 0..1, one per band',
            )
        self.prob = prob
        self.amounts = amounts
        self.haze_spectrum = haze_spectrum
        self.airlight = airlight

    def transform(self, results: dict) -> dict:
        image = results['img']
        if self.haze_spectrum is not None and len(self.haze_spectrum) != image.shape[-1]:
            raise ConfigError(
                f'RandomRadiometry: haze_spectrum has {len(self.haze_spectrum)} values, '
                f'the chip {image.shape[-1]} bands',
                'one per band',
            )
        rng = _generator()
        chosen = {name: amount for name, amount in self.amounts.items() if amount > 0}
        chosen = {name: amount for name, amount in chosen.items() if rng.random() < self.prob}
        if not chosen:
            return results
        valid = results.get('valid')
        if valid is None:
            valid = np.ones(image.shape[:2], bool)
        scaled = (image.astype(np.float32) - self.low) / (self.high - self.low)
        for name, amount in chosen.items():
            scaled = getattr(self, f'_{name}')(scaled, amount, valid, rng)
        changed = scaled * (self.high - self.low) + self.low
        results['img'] = np.where(valid[..., None], as_type(changed, image.dtype), image)
        return results

    def _gamma(self, scaled, amount, valid, rng) -> np.ndarray:
        limit = np.log1p(amount)
        exponent = np.float32(np.exp(rng.uniform(-limit, limit)))
        return np.where(scaled > 0, np.maximum(scaled, 0) ** exponent, scaled)

    def _contrast(self, scaled, amount, valid, rng) -> np.ndarray:
        if not valid.any():
            return scaled
        mean = scaled[valid].mean(axis=0)
        return (scaled - mean) * np.float32(1 + rng.uniform(-amount, amount)) + mean

    def _band_gain(self, scaled, amount, valid, rng) -> np.ndarray:
        return scaled * (1 + rng.uniform(-amount, amount, scaled.shape[-1]).astype(np.float32))

    def _brightness(self, scaled, amount, valid, rng) -> np.ndarray:
        return scaled + np.float32(rng.uniform(-amount, amount))

    def _haze(self, scaled, amount, valid, rng) -> np.ndarray:
        share = smooth_field(scaled.shape[:2], rng) * np.float32(amount)
        spectrum = np.asarray(self.haze_spectrum or 1, np.float32)
        return scaled + share[..., None] * spectrum * (np.float32(self.airlight) - scaled)

    def _noise(self, scaled, amount, valid, rng) -> np.ndarray:
        sigma = np.float32(rng.uniform(0, amount))
        return scaled + rng.standard_normal(scaled.shape, np.float32) * sigma

    def __repr__(self) -> str:
        amounts = ', '.join(f'{name}={amount}' for name, amount in self.amounts.items())
        return (
            f'{type(self).__name__}(value_range=({self.low}, {self.high}), prob={self.prob}, '
            f'{amounts}, haze_spectrum={self.haze_spectrum}, airlight={self.airlight})'
        )


@TRANSFORMS.register_module()
class RandomBandDropout(BaseTransform):
    """Blanks a few bands, so that a model does not depend on a single one.

    Required Keys:

    - img (any number type): ``(height, width, bands)``
    - fill (float | Sequence[float]): Value that blank bands get, one or one
      per band; the dataset's, which should be the mean.

    Modified Keys:

    - img (same type and shape)

    Args:
        prob: Probability of blanking any band in a chip.
        max_bands: Most bands to blank; at least one band always stays.
        keep: Places of bands that are never blanked.

    Raises:
        ConfigError: If ``prob`` or ``max_bands`` is out of its range.
    """

    def __init__(self, prob: float = 0.2, max_bands: int = 1, keep: Sequence[int] = ()) -> None:
        _check_probability(type(self).__name__, prob)
        if max_bands < 1:
            raise ConfigError(f'RandomBandDropout: max_bands={max_bands}', 'at least 1')
        self.prob = prob
        self.max_bands = max_bands
        self.keep = tuple(keep)

    def transform(self, results: dict) -> dict:
        image = results['img']
        bands = image.shape[-1]
        rng = _generator()
        free = [band for band in range(bands) if band not in self.keep]
        most = min(self.max_bands, len(free), bands - 1)
        if rng.random() >= self.prob or most < 1:
            return results
        blank = rng.choice(free, size=rng.integers(1, most + 1), replace=False)
        fill = np.broadcast_to(np.asarray(results['fill'], np.float32), bands)
        image = image.copy()
        image[..., blank] = as_type(fill[blank], image.dtype)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, max_bands={self.max_bands}, keep={self.keep})'
        )


def smooth_field(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A field of 0..1 that varies slowly: four random corners, bilinear between.

    Args:
        shape: Rows and columns.
        rng: Source of randomness.

    Returns:
        float32 array of this shape.
    """
    corners = rng.random((2, 2), np.float32)
    rows, cols = (np.linspace(0, 1, size, dtype=np.float32) for size in shape)
    left = corners[0, 0] + rows * (corners[1, 0] - corners[0, 0])
    right = corners[0, 1] + rows * (corners[1, 1] - corners[0, 1])
    return left[:, None] + cols * (right - left)[:, None]


def as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values as another type; for integers rounded and kept in its range."""
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        # float64, since float32 cannot tell large integers apart.
        values = np.rint(np.asarray(values, np.float64)).clip(info.min, info.max)
    return values.astype(dtype)


def _generator() -> np.random.Generator:
    return np.random.default_rng(np.random.randint(2**31))


def _checked_range(value_range: Sequence[float]) -> tuple[float, float]:
    if len(value_range) != 2 or not value_range[0] < value_range[1]:
        raise ConfigError(
            f'RandomRadiometry: value_range={tuple(value_range)}',
            'lowest and highest usual value, in the units of the data',
            'geo-mm statistics prints percentiles',
        )
    return float(value_range[0]), float(value_range[1])


def _check_probability(name: str, prob: float) -> None:
    if not 0 <= prob <= 1:
        raise ConfigError(f'{name}: prob={prob}', 'a probability 0..1')
