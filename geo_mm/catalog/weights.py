"""Rasters that say where chips are drawn how often."""

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window as RasterioWindow

from geo_mm.errors import SceneError
from geo_mm.paths import reason
from geo_mm.raster import Grid, Window
from geo_mm.raster.handles import open_quietly
from geo_mm.raster.projection import bounds_in

_MOST = 4096
"""Pixels along a side that are read; of more, so many are sampled."""


def read_weights(path: str, grid: Grid, shape: tuple[int, int]) -> np.ndarray:
    """Mean weights of equal cells of a grid.

    Args:
        path: Raster of one band, in any CRS and pixel size; nodata, and what it does not
            cover, is 0.
        grid: Of the scene.
        shape: ``(rows, cols)`` of the cells.

    Returns:
        ``(rows, cols)`` float64, 0 or more.

    Raises:
        SceneError: If it cannot be read, has several bands or negative values on the grid,
            or is 0 on all of it.
    """
    rows, cols = shape
    found, own = _on_grid(path, grid)
    if not (np.isfinite(found) & (found >= 0)).all():
        raise SceneError(
            f'{path}: weights from {found.min():g} to {found.max():g}',
            'numbers of 0 or more',
            'declare the value of pixels that have none as nodata',
        )
    cells = np.zeros(shape)
    if found.size:
        reproject(
            found,
            cells,
            src_transform=own.transform,
            src_crs=own.crs or 'EPSG:3857',  # any one: they lie on each other
            dst_transform=grid.transform @ Affine.scale(grid.width / cols, grid.height / rows),
            dst_crs=grid.crs or 'EPSG:3857',
            resampling=Resampling.average,
        )
    if not cells.any():
        raise SceneError(
            f'{path}: 0 everywhere on the image',
            'a raster with weights on it',
            'check its place and CRS; to leave a scene out, set weight to 0',
        )
    return cells


def _on_grid(path: str, grid: Grid) -> tuple[np.ndarray, Grid]:
    """The pixels of a raster that lie on a grid, and maybe some around, and their grid."""
    try:
        with open_quietly(path) as dataset:
            if dataset.count != 1:
                raise SceneError(f'{path}: {dataset.count} bands', 'one band of weights')
            own = Grid.of(dataset)
            window = _window(path, own, grid)
            if not window.area:
                return np.zeros((0, 0)), own
            part = RasterioWindow(*window)
            height, width = min(window.height, _MOST), min(window.width, _MOST)
            # Nearest pixels: GDAL rounds a mean of whole numbers to a whole number.
            pixels = dataset.read(1, window=part, out_shape=(height, width), masked=True)
    except RasterioError as error:
        raise SceneError(
            f'{path}: cannot be read as a raster: {reason(error)}', 'one band of weights'
        ) from error
    own = (grid if own.crs is None or grid.crs is None else own).crop(window)
    scale = Affine.scale(window.width / width, window.height / height)
    found = pixels.filled(0).astype(np.float64)
    return found, Grid(own.transform @ scale, width, height, own.crs)


def _window(path: str, own: Grid, grid: Grid) -> Window:
    if own.crs is None or grid.crs is None:
        if (own.height, own.width) != (grid.height, grid.width):
            raise SceneError(
                f'{path}: {own.width} x {own.height} pixels, the image has '
                f'{grid.width} x {grid.height}, and one of them has no CRS',
                'both with a CRS, or of the same size',
            )
        return own.window
    bounds = bounds_in(grid.bounds, grid.crs, own.crs)
    if bounds is None or bounds[0] > bounds[2]:  # beyond the CRS, or across the antimeridian
        return own.window
    near = own.window_of(bounds)
    # Edges are curves of a few straight pieces.
    cols, rows = 1 + near.width // 32, 1 + near.height // 32
    around = Window(
        near.col_off - cols, near.row_off - rows, near.width + 2 * cols, near.height + 2 * rows
    )
    return around.intersection(own.window)
