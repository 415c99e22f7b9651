"""Chips at another GSD and turned on the ground: what each variant of a chip is read with."""

from collections.abc import Sequence

import numpy as np

from geo_mm.errors import ConfigError

_VARIANTS = 4096
"""Of GSD and direction, of which the sampler draws one for each chip."""


def jitter_variants(gsd_jitter: Sequence[float] | None, rotation: float) -> np.ndarray | None:
    """Factor of the GSD and degrees of rotation of each variant; the first has none.

    The number of a variant is part of that of a chip: whoever knows the number of
    a chip, in whatever process, reads the same pixels.

    Raises:
        ConfigError: If the factors or degrees are not usable.
    """
    low, high = gsd_jitter or (1.0, 1.0)
    if not 0 < low <= high or not 0 <= rotation <= 180:
        raise ConfigError(
            f'gsd_jitter={gsd_jitter}, rotation={rotation}',
            'factors (low, high) above 0, and degrees from 0 to 180',
            'such as gsd_jitter=(0.8, 1.25), rotation=180',
        )
    if low == high == 1 and not rotation:
        return None
    rng = np.random.default_rng(0)
    factors = np.exp(rng.uniform(np.log(low), np.log(high), _VARIANTS))
    return np.column_stack([factors, rng.uniform(-rotation, rotation, _VARIANTS)])
