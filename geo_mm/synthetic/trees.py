"""Trees: where they stand and the outlines of their crowns."""

from dataclasses import dataclass

import numpy as np
import shapely
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from geo_mm.synthetic.materials import CROWNS, tinted

CONIFER = 4


@dataclass(frozen=True)
class Trees:
    """Crowns in painting order, the lowest first.

    Attributes:
        crowns: (N,) object array of polygons in ground metres.
        centres: (N, 2) ground x, y.
        radii: (N,) metres.
        heights: (N,) of the tops, metres.
        kinds: (N,) index into :data:`~geo_mm.synthetic.materials.CROWNS`.
        spectra: (N, 4) reflectance.
    """

    crowns: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    heights: np.ndarray
    kinds: np.ndarray
    spectra: np.ndarray


class TreeSeeds:
    """Collects the places where trees could stand."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def _add(self, points: np.ndarray, radius: np.ndarray, kind: np.ndarray | int) -> None:
        kinds = np.broadcast_to(kind, radius.shape)
        self._rows.append(np.column_stack([points, radius, kinds]))

    def scatter(
        self, land: BaseGeometry, count: int, radius: tuple[float, float],
        rng: np.random.Generator, kind: int | None = None,
    ) -> None:  # fmt: skip
        """About ``count`` trees anywhere on ``land``, with crown radii in metres."""
        if land.is_empty or not count:
            return
        min_x, min_y, max_x, max_y = land.bounds
        share = max(land.area / max((max_x - min_x) * (max_y - min_y), 1e-6), 0.02)
        trial = rng.uniform((min_x, min_y), (max_x, max_y), (int(np.ceil(count / share)), 2))
        points = trial[shapely.contains_xy(land, trial)][: int(count)]
        low, high = radius
        radii = low + (high - low) * rng.beta(1.6, 2.2, len(points))
        if kind is None:
            kinds = rng.choice(len(CROWNS), size=len(points), p=[0.30, 0.24, 0.16, 0.16, 0.14])
        else:
            kinds = kind
        self._add(points, radii, kinds)

    def along(
        self, line: BaseGeometry, spacing: float, radius: tuple[float, float],
        rng: np.random.Generator, kind: int, keep: float = 0.75,
    ) -> None:  # fmt: skip
        """Trees every ``spacing`` metres of a line, a share of ``keep`` of them standing."""
        if line.is_empty or line.length < spacing:
            return
        at = np.arange(rng.uniform(0, spacing), line.length, spacing)
        at = at[rng.uniform(size=len(at)) < keep] + rng.normal(0, 0.08 * spacing)
        points = shapely.get_coordinates(shapely.line_interpolate_point(line, at))
        typical = rng.uniform(*radius)
        radii = np.clip(typical * np.exp(rng.normal(0, 0.14, len(points))), *radius)
        if len(points):
            self._add(points, radii, kind)

    def rows(
        self, land: BaseGeometry, angle: float, spacing: float, radius: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """An orchard."""
        if land.is_empty:
            return
        centre = np.asarray(land.centroid.coords[0])
        steps = np.arange(-160, 160, spacing)
        a, b = np.meshgrid(steps, steps * 0.85)
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = a * cos - b * sin, a * sin + b * cos
        points = centre + np.column_stack([x.ravel(), y.ravel()])
        points = points[shapely.contains_xy(land, points)]
        points = points[rng.uniform(size=len(points)) < 0.95]
        points = points + rng.normal(0, 0.25, points.shape)
        radii = np.clip(rng.normal(np.mean(radius), 0.15, len(points)), *radius)
        self._add(points, radii, 1)

    def array(self) -> np.ndarray:
        """(N, 4) x, y, radius, kind in the order they were added."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, 4))


def grow(
    seeds: np.ndarray, obstacles: np.ndarray, streets: BaseGeometry, rng: np.random.Generator
) -> Trees:
    """Turn places into trees that keep their distance.

    Args:
        seeds: (N, 4) x, y, radius, kind.
        obstacles: Building footprints; no trunk stands closer than 0.55 radii,
            so crowns may hang over roofs but not cover them.
        streets: Carriageways and water, where no trunk stands.
        rng: Source of randomness.
    """
    seeds = seeds[_free(seeds, obstacles, streets)]
    seeds = seeds[_thinned(seeds)]
    count = len(seeds)
    centres, radii, kinds = seeds[:, :2], seeds[:, 2], seeds[:, 3].astype(int)
    heights = radii * rng.uniform(1.5, 2.4, count) * np.where(kinds == CONIFER, 1.35, 1.0) + 1.6
    heights = np.minimum(heights, 23.0)
    spectra = np.empty((count, 4))
    for k in range(count):
        spectra[k] = tinted(CROWNS[kinds[k]], rng)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    shape = np.ones((count, 20))
    for lobe, amount in ((2, 0.07), (3, 0.06), (5, 0.05), (7, 0.045)):
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        shape += amount * rng.normal(size=(count, 1)) * np.cos(lobe * angle + phase)
    shape *= radii[:, None]
    ring = np.stack([np.cos(angle) * shape, np.sin(angle) * shape], -1)
    crowns = shapely.polygons(centres[:, None, :] + ring)
    order = np.argsort(heights, kind='stable')
    return Trees(
        crowns[order], centres[order], radii[order], heights[order], kinds[order], spectra[order]
    )


def _free(seeds: np.ndarray, obstacles: np.ndarray, streets: BaseGeometry) -> np.ndarray:
    """(N,) bool: the trunk stands neither in a building nor on a street."""
    points = shapely.points(seeds[:, :2])
    free = np.ones(len(seeds), bool)
    if len(obstacles) and len(seeds):
        tree = shapely.STRtree(obstacles)
        hit, _ = tree.query(points, predicate='dwithin', distance=0.55 * seeds[:, 2] + 0.3)
        free[hit] = False
    parts = shapely.get_parts(streets)
    if len(parts) and len(seeds):
        hit, _ = shapely.STRtree(parts).query(points, predicate='intersects')
        free[hit] = False
    return free


def _thinned(seeds: np.ndarray) -> np.ndarray:
    """(N,) bool: without trees that stand too close to an earlier one."""
    keep = np.ones(len(seeds), bool)
    if len(seeds) < 2:
        return keep
    pairs = cKDTree(seeds[:, :2]).query_pairs(8.5, output_type='ndarray')
    gap = np.hypot(*(seeds[pairs[:, 0], :2] - seeds[pairs[:, 1], :2]).T)
    close = pairs[gap < 0.62 * (seeds[pairs[:, 0], 2] + seeds[pairs[:, 1], 2])]
    close = np.sort(close, axis=1)
    for first, second in close[np.lexsort((close[:, 1], close[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return keep
