"""From geometries to reflected light, window by window.

Shapes are burnt at twice the resolution, lit, and averaged to pixels; textures
are added per pixel. A window is rendered with a halo wide enough for the
shadows of what stands outside it, so the result does not depend on how a scene
is cut into windows.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy.ndimage import uniform_filter

from geo_mm.raster.grid import Window
from geo_mm.synthetic.noise import fractal_noise, smooth_noise
from geo_mm.synthetic.paint import COLUMNS, Layer
from geo_mm.synthetic.radiometry import Sun, cast_shadows
from geo_mm.synthetic.town import Town
from geo_mm.synthetic.trees import CONIFER

OVERSAMPLING = 2
HALO = 42.0  # metres: the longest shadow
HIGHEST = 25.0  # metres

# Direct and diffuse light in red, green, blue and NIR. The sky is blue, which
# is why shadows are blue and nearly black in the near infrared.
DIRECT = np.array([0.80, 0.77, 0.71, 0.87])
DIFFUSE = np.array([0.20, 0.23, 0.29, 0.13])
# What green vegetation turns into when it dries, as a factor per band.
DRY = np.array([2.15, 1.45, 1.75, 0.82])


@dataclass(frozen=True)
class _Ground:
    """Pixel centres of a window in metres, at pixel and at sub-pixel resolution."""

    xs: np.ndarray
    ys: np.ndarray
    sub_xs: np.ndarray
    sub_ys: np.ndarray
    transform: Affine

    @classmethod
    def of(cls, window: Window, gsd: float) -> '_Ground':
        def centres(start: int, count: int, step: float) -> np.ndarray:
            return (start + np.arange(count) + 0.5) * step

        fine = gsd / OVERSAMPLING
        return cls(
            centres(window.col_off, window.width, gsd),
            centres(window.row_off, window.height, gsd),
            centres(window.col_off * OVERSAMPLING, window.width * OVERSAMPLING, fine),
            centres(window.row_off * OVERSAMPLING, window.height * OVERSAMPLING, fine),
            Affine(fine, 0, window.col_off * gsd, 0, fine, window.row_off * gsd),
        )

    @property
    def sub_shape(self) -> tuple[int, int]:
        return len(self.sub_ys), len(self.sub_xs)

    @property
    def box(self) -> shapely.Polygon:
        x0, y0 = self.transform @ (0, 0)
        x1, y1 = self.transform @ (len(self.sub_xs), len(self.sub_ys))
        return shapely.box(x0, y0, x1, y1)


class Renderer:
    """Renders windows of one town.

    Args:
        town: What to render.
        gsd: Pixel size in metres.
        sun: Position of the sun.
        seed: Selects the textures.
        vigour: How green the season is: 1 lush, 0 dry.
    """

    def __init__(self, town: Town, gsd: float, sun: Sun, seed: int, vigour: float) -> None:
        self.town, self.gsd, self.sun, self.seed, self.vigour = town, gsd, sun, seed, vigour
        self._indexes = {
            name: shapely.STRtree(polygons)
            for name, polygons in (
                ('ground', town.ground.polygons),
                ('faces', town.faces.polygons),
                ('trees', town.trees.crowns),
            )
        }

    def render(self, window: Window) -> np.ndarray:
        """At-ground radiance of a window as reflectance: (4, height, width) float32."""
        halo = int(np.ceil(HALO / self.gsd))
        outer = Window(
            window.col_off - halo, window.row_off - halo,
            window.width + 2 * halo, window.height + 2 * halo,
        )  # fmt: skip
        ground = _Ground.of(outer, self.gsd)
        height = np.zeros(ground.sub_shape, np.float32)
        direct = np.ones(ground.sub_shape, np.float32)
        ids = self._burn('ground', self.town.ground.polygons, ground)
        faces = self._burn('faces', self.town.faces.polygons, ground)
        crowns = self._burn('trees', self.town.trees.crowns, ground)
        self._raise_faces(faces, ground, height, direct)
        self._raise_trees(crowns, ground, height, direct)
        shadow = cast_shadows(height, self.gsd / OVERSAMPLING, self.sun, HIGHEST)
        # Light that walls and leaves scatter; crowns let some through themselves.
        direct *= np.maximum(shadow, np.where(crowns > 0, 0.32, 0.05).astype(np.float32))
        sky = self._openness(height)
        bands = self._reflect(ids, faces, crowns, direct, sky, halo)
        inner = slice(halo, halo + window.height), slice(halo, halo + window.width)
        bands *= self._texture(ids, faces, crowns, ground, inner)
        return bands

    def _burn(self, name: str, polygons: np.ndarray, ground: _Ground) -> np.ndarray:
        """Index + 1 of the topmost polygon at each sub-pixel, 0 where there is none."""
        hits = np.sort(self._indexes[name].query(ground.box))
        if not len(hits):
            return np.zeros(ground.sub_shape, np.int32)
        shapes = zip(polygons[hits], (int(h) + 1 for h in hits), strict=True)
        return rasterize(
            shapes, ground.sub_shape, transform=ground.transform, dtype='int32', skip_invalid=False
        )

    def _raise_faces(
        self, faces: np.ndarray, ground: _Ground, height: np.ndarray, direct: np.ndarray
    ) -> None:
        """Heights and light of roof faces, in place."""
        at = np.flatnonzero(faces)
        if not len(at):
            return
        index = faces.ravel()[at] - 1
        rows, cols = np.divmod(at, faces.shape[1])
        layer = self.town.faces
        slope_x, slope_y = layer.column('slope_x'), layer.column('slope_y')
        start = layer.column('height') - (
            slope_x * layer.column('base_x') + slope_y * layer.column('base_y')
        )
        rise = slope_x[index] * ground.sub_xs[cols] + slope_y[index] * ground.sub_ys[rows]
        height.ravel()[at] = start[index] + rise
        direct.ravel()[at] = self.sun.incidence(slope_x, slope_y)[index]

    def _raise_trees(
        self, crowns: np.ndarray, ground: _Ground, height: np.ndarray, direct: np.ndarray
    ) -> None:
        """Domes with lumps of leaves, in place."""
        at = np.flatnonzero(crowns)
        if not len(at):
            return
        trees = self.town.trees
        index = crowns.ravel()[at] - 1
        rows, cols = np.divmod(at, crowns.shape[1])
        lumps = smooth_noise(ground.sub_xs, ground.sub_ys, 0.95, self.seed + 11)
        lumps += 0.8 * smooth_noise(ground.sub_xs, ground.sub_ys, 0.48, self.seed + 12)
        radius = trees.radii[index].astype(np.float32)
        dx = (ground.sub_xs[cols] - trees.centres[index, 0]).astype(np.float32) / radius
        dy = (ground.sub_ys[rows] - trees.centres[index, 1]).astype(np.float32) / radius
        conifer = trees.kinds[index] == CONIFER
        out = np.sqrt(dx**2 + dy**2)
        body = (0.62 * trees.heights[index]).astype(np.float32)
        dome = np.where(conifer, 1 - 0.9 * out, 1 - 0.75 * np.minimum(out, 1.15) ** 2.4)
        amplitude = np.float32(0.16) * np.sqrt(radius)
        top = (trees.heights[index] - body + body * dome).astype(np.float32)
        height.ravel()[at] = top + amplitude * lumps.ravel()[at]
        steep = np.where(conifer, 0.9, 1.15 * out**1.4) * np.minimum(body / radius, 1.6)
        pixel = np.float32(self.gsd / OVERSAMPLING)
        bump_y, bump_x = (np.gradient(lumps, axis=axis).ravel()[at] / pixel for axis in (0, 1))
        unit = np.maximum(out, 1e-3)
        slope_x = -steep * dx / unit + amplitude * 1.4 * bump_x
        slope_y = -steep * dy / unit + amplitude * 1.4 * bump_y
        light = self.sun.incidence(slope_x, slope_y)
        # Leaves scatter and transmit light: the dark side is never black.
        direct.ravel()[at] = 0.22 + 0.78 * np.minimum(light, 1.5)

    def _openness(self, height: np.ndarray) -> np.ndarray:
        """Share of the sky seen: low at the foot of walls and between crowns."""
        size = max(round(7.0 * OVERSAMPLING / self.gsd), 3)
        near = uniform_filter(np.minimum(height, 9.0)[::2, ::2], size // 2)
        near = near.repeat(2, 0).repeat(2, 1)[: height.shape[0], : height.shape[1]]
        return 1.0 - np.clip((near - height) / 13.0, 0.0, 0.5)

    def _reflect(
        self, ids: np.ndarray, faces: np.ndarray, crowns: np.ndarray, direct: np.ndarray,
        sky: np.ndarray, halo: int,
    ) -> np.ndarray:  # fmt: skip
        """Reflected light averaged to pixels, without the halo: (4, rows, cols)."""
        n = OVERSAMPLING
        inner = slice(halo * n, -halo * n), slice(halo * n, -halo * n)
        ids, faces, crowns = ids[inner], faces[inner], crowns[inner]
        direct, sky = direct[inner], sky[inner]
        table, offsets = self._table
        index = np.where(crowns > 0, crowns + offsets[2], np.where(
            faces > 0, faces + offsets[1], ids))  # fmt: skip
        out = np.empty((4, ids.shape[0] // n, ids.shape[1] // n), np.float32)
        for band in range(4):
            light = np.float32(DIRECT[band]) * direct
            light += np.float32(DIFFUSE[band]) * sky
            light *= np.take(table[band], index)
            out[band] = sum(light[i::n, j::n] for i in range(n) for j in range(n)) / n**2
        return out

    @property
    def _table(self) -> tuple[np.ndarray, tuple[int, int, int]]:
        """(4, N) float32 reflectances of all objects and where each kind starts."""
        ground, faces = self.town.ground.values, self.town.faces.values
        parts = [np.zeros((1, 4)), ground[:, :4], faces[:, :4], self.town.trees.spectra]
        table = np.concatenate(parts).T.astype(np.float32)
        return np.ascontiguousarray(table), (0, len(ground), len(ground) + len(faces))

    def _texture(
        self, ids: np.ndarray, faces: np.ndarray, crowns: np.ndarray, ground: _Ground,
        inner: tuple[slice, slice],
    ) -> np.ndarray:  # fmt: skip
        """What textures multiply the pixels with: (4, rows, cols)."""
        n = OVERSAMPLING
        ids, faces, crowns = (a[::n, ::n][inner] for a in (ids, faces, crowns))
        rows, cols = inner
        xs, ys = ground.xs[cols], ground.ys[rows]
        covered = crowns > 0
        fine = self._attribute('fine', ids, faces)
        coarse = self._attribute('coarse', ids, faces)
        fine[covered], coarse[covered] = 0.05, 0.10
        grain = fractal_noise(xs, ys, (2.2 * self.gsd, 1.1 * self.gsd), self.seed + 1, 0.9)
        cloudy = fractal_noise(xs, ys, (11.0, 4.2, 1.7), self.seed + 2, 0.8)
        factor = np.maximum(1 + fine * grain + coarse * cloudy, 0.25)
        factor *= self._stripes(self.town.ground, np.where(faces > 0, 0, ids), xs, ys, covered)
        factor *= self._stripes(self.town.faces, faces, xs, ys, covered)
        dry = self._attribute('dry', ids, faces)
        dry[covered] = 0
        season = fractal_noise(xs, ys, (55.0, 19.0, 6.0), self.seed + 3, 0.85)
        dry *= np.clip(0.75 - self.vigour + 0.30 * season + 0.10 * cloudy, 0, 1)
        return np.stack([factor * (1 + dry * np.float32(k - 1)) for k in DRY])

    def _attribute(self, name: str, ids: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """A texture attribute of the ground, or of the roof above it, per pixel."""
        column = COLUMNS.index(name)
        low = np.concatenate([[0], self.town.ground.values[:, column]]).astype(np.float32)
        high = np.concatenate([[0], self.town.faces.values[:, column]]).astype(np.float32)
        return np.where(faces > 0, high[faces], low[ids])

    def _stripes(
        self, layer: Layer, ids: np.ndarray, xs: np.ndarray, ys: np.ndarray, covered: np.ndarray
    ) -> np.ndarray:
        """Crop rows, mowing stripes, courses of tiles and seams of metal sheets."""
        out = np.ones(ids.shape, np.float32)
        contrast = np.concatenate([[0], layer.column('contrast')])
        at = np.flatnonzero((contrast[ids] > 0) & ~covered)
        if not len(at):
            return out
        index = ids.ravel()[at] - 1
        rows, cols = np.divmod(at, ids.shape[1])
        angle, period = layer.column('angle')[index], layer.column('period')[index]
        along = xs[cols] * np.cos(angle) + ys[rows] * np.sin(angle)
        wave = np.sin(2 * np.pi * along / period)
        out.ravel()[at] = 1 + layer.column('contrast')[index] * np.clip(2.5 * wave, -1, 1)
        return out
