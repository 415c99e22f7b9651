"""Label rasters: one class value per pixel, in a grid of their own."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geo_mm.errors import LabelError
from geo_mm.raster import Grid, Scene, Window, read_onto

IGNORED = 255
"""Class index of pixels that take no part in loss and metrics."""

_UNKNOWN = 1 << 30  # stands for no class; wider than any raster of classes
_MAX_SAMPLED = 1024  # pixels along a side


@dataclass(frozen=True)
class LabelRaster:
    """A label raster read onto a scene's grid by nearest neighbour.

    Attributes:
        path: The raster; its first band holds class values.
        values: Class value in the file to class index; values that are left
            out or mapped to 255 are ignored. The raster's nodata is ignored.
        grid: The scene's grid.
    """

    path: str
    values: tuple[tuple[int, int], ...]
    grid: Grid

    @classmethod
    def read(
        cls,
        path: str | os.PathLike,
        classes: Sequence[str],
        grid: Grid,
        class_map: Mapping[int, str | None] | None = None,
    ) -> 'LabelRaster':
        """Opens a label raster and checks every value in it.

        Args:
            path: Any raster that GDAL opens.
            classes: Class names; the position is the class index.
            grid: The scene's grid.
            class_map: Value in the file to class name, or to None for pixels
                to ignore. Without it values are class indices.

        Raises:
            LabelError: If the raster holds a value that is not mapped, is
                not integer, or does not touch the scene.
        """
        if class_map is None:
            class_map = dict(enumerate(classes))
        values = {}
        for value, name in class_map.items():
            if name is not None and name not in classes:
                raise LabelError(
                    f'{path}: class_map maps value {value} to {name!r}',
                    f'one of the classes {", ".join(classes)}, or None to ignore the pixels',
                )
            values[int(value)] = IGNORED if name is None else list(classes).index(name)
        found = cls._found_values(path, grid)
        unknown = {value: share for value, share in found.items() if value not in values}
        if unknown:
            listed = ', '.join(f'{v} ({share:.1%} of pixels)' for v, share in found.items())
            raise LabelError(
                f'{path}: values {", ".join(map(str, unknown))} have no class; '
                f'found in the raster: {listed}',
                f'values of class_map: {", ".join(map(str, values))}',
                'map them to a class or to None (ignored) in label_cfg.class_map',
            )
        return cls(os.fspath(path), tuple(sorted(values.items())), grid)

    @staticmethod
    def _found_values(path: str | os.PathLike, grid: Grid) -> dict[int, float]:
        scene = Scene.open(path)
        if scene.dtype.kind not in 'iu':
            raise LabelError(f'{path}: label raster of type {scene.dtype}', 'integer class values')
        if (scene.crs is None) != (grid.crs is None):
            raise LabelError(
                f'{path}: label raster {"without" if scene.crs is None else "with"} a CRS',
                f'a CRS as the scene has: {grid.crs}',
            )
        found: dict[int, int] = {}
        for row in range(0, scene.height, 2048):
            strip = Window(0, row, scene.width, min(2048, scene.height - row))
            data, valid = scene.read(strip)
            for value, count in zip(*np.unique(data[0][valid], return_counts=True), strict=True):
                found[int(value)] = found.get(int(value), 0) + int(count)
        total = scene.width * scene.height
        return {value: found[value] / total for value in sorted(found)}

    def rasterise(self, window: Window) -> np.ndarray:
        """Class indices ``(h, w)`` uint8 under ``window``; 255 where unknown."""
        found = read_onto(self.path, self.grid, window, fill=_UNKNOWN)
        classes = np.full(found.shape, IGNORED, np.uint8)
        for value, index in self.values:
            classes[found == value] = index
        return classes

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Points to centre chips on: pixels of a regular sample of the raster.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y), and class indices ``(N,)``.
        """
        step = max(1, max(self.grid.width, self.grid.height) // _MAX_SAMPLED)
        coarse = Grid(
            self.grid.transform @ type(self.grid.transform).scale(step),
            max(self.grid.width // step, 1),
            max(self.grid.height // step, 1),
            self.grid.crs,
        )
        classes = LabelRaster(self.path, self.values, coarse).rasterise(coarse.window)
        rows, cols = np.nonzero(classes != IGNORED)
        points = (np.stack([cols, rows], axis=1) + 0.5) * step
        return points, classes[rows, cols].astype(np.int64)

    def __deepcopy__(self, memo: dict) -> 'LabelRaster':
        return self
