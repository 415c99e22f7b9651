"""What the ground, roofs, crowns and cars are made of: reflectance in four bands.

Reflectances are bottom-of-atmosphere fractions for red, green, blue and near
infrared, picked inside the ranges of published spectral libraries: vegetation
is dark in red and bright in NIR, water is dark in NIR, mineral surfaces rise
slowly from blue to NIR.
"""

from dataclasses import dataclass

import numpy as np

BANDS = ('Red', 'Green', 'Blue', 'NIR')

Spectrum = tuple[float, float, float, float]


@dataclass(frozen=True)
class Material:
    """Reflectance and texture of one kind of surface.

    Attributes:
        spectrum: Reflectance in red, green, blue, NIR (0..1).
        fine: Relative contrast of the texture at pixel scale.
        coarse: Relative contrast of the texture of some metres.
        dry: Share (0..1) that may turn from green to dry vegetation.
        spread: Relative spread of the brightness from one object to the next.
    """

    spectrum: Spectrum
    fine: float = 0.05
    coarse: float = 0.06
    dry: float = 0.0
    spread: float = 0.08


GROUND = {
    'meadow': Material((0.084, 0.106, 0.058, 0.36), 0.13, 0.20, 0.75, 0.06),
    'lawn': Material((0.076, 0.104, 0.054, 0.40), 0.10, 0.16, 0.65, 0.15),
    'dry_lawn': Material((0.148, 0.140, 0.092, 0.32), 0.10, 0.18, 0.55, 0.12),
    'park': Material((0.070, 0.102, 0.050, 0.42), 0.09, 0.15, 0.55, 0.06),
    'pitch': Material((0.064, 0.112, 0.050, 0.47), 0.05, 0.05, 0.12, 0.05),
    'crop': Material((0.055, 0.090, 0.042, 0.46), 0.08, 0.12, 0.25, 0.15),
    'stubble': Material((0.215, 0.185, 0.125, 0.31), 0.07, 0.10, 0.0, 0.12),
    'soil': Material((0.185, 0.142, 0.100, 0.26), 0.08, 0.14, 0.0, 0.14),
    'bank': Material((0.100, 0.110, 0.066, 0.33), 0.15, 0.25, 0.60, 0.06),
    'sand': Material((0.250, 0.215, 0.165, 0.33), 0.08, 0.14, 0.0, 0.06),
    'asphalt': Material((0.115, 0.114, 0.111, 0.132), 0.03, 0.045, 0.0, 0.075),
    'asphalt_patch': Material((0.080, 0.080, 0.080, 0.095), 0.03, 0.03, 0.0, 0.12),
    'asphalt_worn': Material((0.134, 0.132, 0.127, 0.155), 0.03, 0.04, 0.0, 0.05),
    'parking': Material((0.178, 0.170, 0.155, 0.210), 0.06, 0.10, 0.0, 0.08),
    'yard': Material((0.190, 0.168, 0.134, 0.245), 0.08, 0.15, 0.0, 0.12),
    'sidewalk': Material((0.222, 0.214, 0.198, 0.26), 0.05, 0.06, 0.0, 0.07),
    'driveway': Material((0.225, 0.208, 0.180, 0.28), 0.04, 0.06, 0.0, 0.15),
    'path': Material((0.265, 0.240, 0.200, 0.33), 0.06, 0.07, 0.0, 0.08),
    'deck': Material((0.200, 0.150, 0.110, 0.30), 0.05, 0.04, 0.0, 0.15),
    'marking': Material((0.40, 0.40, 0.385, 0.42), 0.05, 0.12, 0.0, 0.05),
    'yellow': Material((0.36, 0.29, 0.12, 0.40), 0.05, 0.12, 0.0, 0.05),
    'shallow': Material((0.060, 0.075, 0.055, 0.030), 0.04, 0.09, 0.0, 0.03),
    'pool': Material((0.13, 0.30, 0.33, 0.045), 0.05, 0.08, 0.0, 0.12),
    'deep': Material((0.030, 0.049, 0.046, 0.011), 0.04, 0.09, 0.0, 0.02),
}

ROOFS = {
    'tile': (
        Material((0.240, 0.142, 0.102, 0.31), 0.05, 0.06, 0.0, 0.16),
        Material((0.180, 0.125, 0.098, 0.26), 0.05, 0.06, 0.0, 0.16),
        Material((0.165, 0.144, 0.124, 0.22), 0.05, 0.06, 0.0, 0.16),
        Material((0.135, 0.128, 0.125, 0.17), 0.05, 0.06, 0.0, 0.18),
        Material((0.262, 0.205, 0.160, 0.34), 0.05, 0.06, 0.0, 0.14),
    ),
    'metal': (
        Material((0.31, 0.32, 0.325, 0.33), 0.02, 0.05, 0.0, 0.15),
        Material((0.375, 0.38, 0.375, 0.385), 0.02, 0.05, 0.0, 0.12),
        Material((0.155, 0.205, 0.275, 0.27), 0.02, 0.05, 0.0, 0.14),
        Material((0.245, 0.165, 0.14, 0.28), 0.03, 0.10, 0.0, 0.14),
        Material((0.18, 0.235, 0.20, 0.28), 0.02, 0.05, 0.0, 0.14),
    ),
    'concrete': (
        Material((0.275, 0.272, 0.262, 0.30), 0.03, 0.07, 0.0, 0.13),
        Material((0.315, 0.312, 0.302, 0.335), 0.03, 0.07, 0.0, 0.12),
        Material((0.215, 0.214, 0.212, 0.23), 0.03, 0.08, 0.0, 0.12),
        Material((0.365, 0.36, 0.345, 0.38), 0.03, 0.09, 0.0, 0.10),
    ),
}

# How often each of ROOFS['tile'] is seen: most roofs are brown or grey.
TILE_SHARES = (0.20, 0.20, 0.23, 0.25, 0.12)

CLUTTER = {
    'unit': Material((0.42, 0.42, 0.42, 0.43), 0.02, 0.02, 0.0, 0.20),
    'hatch': Material((0.22, 0.21, 0.20, 0.24), 0.02, 0.02, 0.0, 0.25),
    'panel': Material((0.040, 0.048, 0.075, 0.06), 0.02, 0.02, 0.0, 0.10),
    'skylight': Material((0.34, 0.37, 0.40, 0.30), 0.02, 0.02, 0.0, 0.15),
}

CROWNS = (
    Material((0.052, 0.082, 0.040, 0.43), spread=0.15),
    Material((0.066, 0.093, 0.042, 0.46), spread=0.15),
    Material((0.044, 0.066, 0.038, 0.37), spread=0.14),
    Material((0.082, 0.098, 0.048, 0.43), spread=0.14),
    Material((0.036, 0.054, 0.034, 0.30), spread=0.12),
)

CARS = (
    ((0.32, 0.32, 0.315, 0.32), 0.26),
    ((0.23, 0.235, 0.24, 0.24), 0.22),
    ((0.045, 0.045, 0.048, 0.05), 0.20),
    ((0.12, 0.12, 0.125, 0.13), 0.18),
    ((0.20, 0.055, 0.048, 0.24), 0.07),
    ((0.055, 0.080, 0.15, 0.12), 0.07),
)
GLASS: Spectrum = (0.105, 0.110, 0.120, 0.11)


def tinted(material: Material, rng: np.random.Generator) -> np.ndarray:
    """The reflectance of one object of ``material``: (4,) float, brightness and hue varied."""
    brightness = np.exp(rng.normal(0.0, material.spread))
    hue = np.exp(rng.normal(0.0, material.spread * 0.12, 4))
    return np.clip(np.asarray(material.spectrum) * brightness * hue, 0.004, 0.75)
