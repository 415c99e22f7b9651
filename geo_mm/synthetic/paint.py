"""Ordered lists of polygons with everything the renderer must know about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.materials import Material, tinted

# Columns of Layer.values: reflectance, texture contrasts, stripes, and the
# plane height + slope_x * (x - base_x) + slope_y * (y - base_y).
COLUMNS = (
    'red', 'green', 'blue', 'nir', 'fine', 'coarse', 'dry',
    'period', 'angle', 'contrast',
    'height', 'slope_x', 'slope_y', 'base_x', 'base_y',
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """Polygons in painting order (later covers earlier).

    Attributes:
        polygons: (N,) object array in ground metres.
        values: (N, len(COLUMNS)) float64.
    """

    polygons: np.ndarray
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        return self.values[:, COLUMNS.index(name)]


class Tilt(NamedTuple):
    """How a face rises.

    Attributes:
        slope: Metres per metre along x and y.
        base: Place at which the face has the height that is told.
    """

    slope: tuple[float, float]
    base: tuple[float, float]


LEVEL = Tilt((0.0, 0.0), (0.0, 0.0))


class LayerBuilder:
    """Collects the polygons of a :class:`Layer`."""

    def __init__(self) -> None:
        self._polygons: list[BaseGeometry] = []
        self._values: list[tuple[float, ...]] = []

    def add(
        self,
        polygon: BaseGeometry,
        material: Material,
        rng: np.random.Generator | None = None,
        *,
        spectrum: Sequence[float] | None = None,
        stripes: tuple[float, float, float] = (0.0, 0.0, 0.0),
        height: float = 0.0,
        tilt: Tilt = LEVEL,
    ) -> None:
        """Add one polygon on top.

        Args:
            polygon: Geometry in ground metres; empty ones are skipped.
            material: Gives the texture and, unless ``spectrum`` is given, the colour.
            rng: Varies the colour of the material; None takes it as it is.
            spectrum: Reflectance to use instead of the material's.
            stripes: Period in metres, direction of the normal in radians, contrast.
            height: Metres above the ground, where tilted at the base of the tilt.
            tilt: How it rises from there.
        """
        if polygon.is_empty:
            return
        if spectrum is None:
            spectrum = material.spectrum if rng is None else tinted(material, rng)
        self._polygons.append(polygon)
        texture = (material.fine, material.coarse, material.dry)
        self._values.append((*spectrum, *texture, *stripes, height, *tilt.slope, *tilt.base))

    def build(self) -> Layer:
        """The finished layer."""
        polygons = np.empty(len(self._polygons), object)
        polygons[:] = self._polygons
        values = np.asarray(self._values, float).reshape(-1, len(COLUMNS))
        return Layer(polygons, values)


def boxes(
    centres: np.ndarray, length: np.ndarray, width: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Rectangles around ``centres`` (N, 2), ``length`` metres along ``angle`` radians: (N,)."""
    count = len(centres)
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    size = np.stack(np.broadcast_arrays(length, width), -1).astype(float)
    local = unit[None] * np.broadcast_to(size, (count, 2))[:, None, :]
    cos, sin = (np.broadcast_to(f(angle), (count,))[:, None] for f in (np.cos, np.sin))
    x = centres[:, :1] + local[..., 0] * cos - local[..., 1] * sin
    y = centres[:, 1:] + local[..., 0] * sin + local[..., 1] * cos
    return shapely.polygons(np.stack([x, y], -1))
