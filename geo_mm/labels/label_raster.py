"""Label rasters: one class value per pixel, in a grid of their own."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from geo_mm.errors import LabelError
from geo_mm.raster import Grid, Scene, Window, read_onto

IGNORED = 255
"""Class index of pixels that take no part in loss and metrics."""

_UNKNOWN = 1 << 30  # stands for no class; wider than any raster of classes
_MAX_SAMPLED = 1024  # pixels along a side
_STRIP = 2048  # rows read at once


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
            class_map: Value in the file to class name, or to None or
                ``'ignore'`` for pixels to ignore. Without it values are class
                indices.

        Raises:
            LabelError: If the raster holds a value under the scene that is not
                mapped, is not integer, does not touch the scene, or declares a
                value as nodata that has a class.
        """
        values = _class_indices(path, classes, class_map)
        labels = _opened(path, grid)
        if values.get(labels.nodata, IGNORED) != IGNORED:
            raise LabelError(
                f'{path}: the value {labels.nodata:g} has a class, and the file declares it as '
                'nodata, which is ignored',
                'a value that is either',
                f'map {labels.nodata:g} to None in label_cfg.class_map, or take the declaration '
                'out of the file with: rio edit-info --unset-nodata FILE',
            )
        found = _found_values(labels, grid)
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


def _class_indices(
    path: str | os.PathLike, classes: Sequence[str], class_map: Mapping[int, str | None] | None
) -> dict[int, int]:
    """Class index of each value in the file."""
    indices = {name: index for index, name in enumerate(classes)}
    indices.update({None: IGNORED, 'ignore': IGNORED})
    if class_map is None:
        return {index: index for index in range(len(classes))}
    values = {}
    for value, name in class_map.items():
        if name not in indices:
            raise LabelError(
                f'{path}: class_map maps value {value} to {name!r}',
                f'one of the classes {", ".join(classes)}, or None to ignore the pixels',
            )
        try:
            values[int(value)] = indices[name]
        except ValueError as error:
            raise LabelError(
                f'{path}: class_map has the value {value!r}', 'pixel values, which are integers'
            ) from error
    return values


def _opened(path: str | os.PathLike, grid: Grid) -> Scene:
    """The first band of a label raster that fits a scene's grid."""
    labels = Scene.open(path, bands=[1])
    if labels.dtype.kind not in 'iu':
        raise LabelError(f'{path}: label raster of type {labels.dtype}', 'integer class values')
    if (labels.crs is None) != (grid.crs is None):
        raise LabelError(
            f'{path}: label raster {"without" if labels.crs is None else "with"} a CRS',
            f'a CRS as the scene has: {grid.crs}',
        )
    return labels


def _found_values(labels: Scene, grid: Grid) -> dict[int, float]:
    """Share of the pixels under a grid that hold each value."""
    under = _under(labels.grid, grid)
    if not under.area:
        raise LabelError(
            f'{labels.sources[0]}: the label raster does not touch the scene\n'
            f'  labels: {_extent(labels.grid)}\n'
            f'  scene:  {_extent(grid)}',
            'labels that lie on the scene',
            'check that labels and image belong together and that both CRSs are right',
        )
    found: dict[int, int] = {}
    for row in range(under.row_off, under.row_end, _STRIP):
        rows = min(_STRIP, under.row_end - row)
        data, valid = labels.read(Window(under.col_off, row, under.width, rows))
        for value, count in zip(*np.unique(data[0][valid], return_counts=True), strict=True):
            found[int(value)] = found.get(int(value), 0) + int(count)
    return {value: found[value] / under.area for value in sorted(found)}


def _under(labels: Grid, grid: Grid) -> Window:
    """The pixels of ``labels`` under the box around ``grid``; all if that cannot be told."""
    bounds = grid.bounds
    if labels.crs != grid.crs:
        try:
            bounds = transform_bounds(grid.crs, labels.crs, *bounds, densify_pts=21)
        except CRSError:
            return labels.window
    west, south, east, north = bounds
    if not np.isfinite(bounds).all() or west > east:
        return labels.window
    corners = [~labels.transform @ (x, y) for x in (west, east) for y in (south, north)]
    cols, rows = zip(*corners, strict=True)
    left, top = math.floor(min(cols)), math.floor(min(rows))
    box = Window(left, top, math.ceil(max(cols)) - left, math.ceil(max(rows)) - top)
    return box.intersection(labels.window)


def _extent(grid: Grid) -> str:
    west, south, east, north = grid.bounds
    crs = grid.crs.to_string() if grid.crs else 'no CRS'
    return f'x {west:.6g} to {east:.6g}, y {south:.6g} to {north:.6g} ({crs})'
