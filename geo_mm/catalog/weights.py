"""Rasters that say where chips are drawn how often."""

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geo_mm.errors import SceneError
from geo_mm.raster import Grid
from geo_mm.raster.handles import open_quietly


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
        SceneError: If it cannot be read, has several bands or negative values, or is 0 on
            all of the grid.
    """
    rows, cols = shape
    with open_quietly(path) as dataset:
        if dataset.count != 1:
            raise SceneError(f'{path}: {dataset.count} bands', 'one band of weights')
        found = dataset.read(1, masked=True).astype(np.float64).filled(0)
        crs, transform = dataset.crs, dataset.transform
    if not (np.isfinite(found) & (found >= 0)).all():
        raise SceneError(
            f'{path}: weights from {found.min():g} to {found.max():g}',
            'numbers of 0 or more',
            'declare the value of pixels that have none as nodata',
        )
    if crs is None or grid.crs is None:
        if found.shape != (grid.height, grid.width):
            raise SceneError(
                f'{path}: {found.shape[1]} x {found.shape[0]} pixels, the image has '
                f'{grid.width} x {grid.height}, and one of them has no CRS',
                'both with a CRS, or of the same size',
            )
        crs, transform = grid.crs, grid.transform
    cells = np.zeros(shape)
    reproject(
        found,
        cells,
        src_transform=transform,
        src_crs=crs or 'EPSG:3857',  # any one: they lie on each other
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
