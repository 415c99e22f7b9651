"""Small real raster files for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

UTM_17N = 'EPSG:32617'
TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)


def write_raster(
    path: str | Path,
    array: np.ndarray,
    crs: str | None = UTM_17N,
    transform: Affine | None = TRANSFORM,
    nodata: float | None = None,
    descriptions: Sequence[str] | None = None,
    colorinterp: Sequence[str] | None = None,
    mask: np.ndarray | None = None,
    overviews: Sequence[int] = (),
    **creation,
) -> Path:
    """Write a GeoTIFF (or what ``creation['driver']`` says).

    Args:
        path: File to write.
        array: ``(bands, height, width)`` or ``(height, width)``.
        crs: Coordinate reference system, None for a plain picture.
        transform: Geotransform, None for none.
        nodata: Declared nodata value.
        descriptions: Band descriptions.
        colorinterp: Colour interpretations, e.g. 'red', 'alpha', 'undefined'.
        mask: (height, width), 0 or False where invalid, written as mask band.
        overviews: Factors of the overviews to build, by averaging.
        **creation: GDAL creation options and driver.
    """
    array = array[None] if array.ndim == 2 else array
    count, height, width = array.shape
    options = {'driver': 'GTiff', 'photometric': 'MINISBLACK', **creation}
    with rasterio.open(
        path,
        'w',
        width=width,
        height=height,
        count=count,
        dtype=array.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        **options,
    ) as dataset:
        if colorinterp is not None:
            dataset.colorinterp = [ColorInterp[name] for name in colorinterp]
        if descriptions is not None:
            dataset.descriptions = descriptions
        dataset.write(array)
        if mask is not None:
            dataset.write_mask(np.asarray(mask, bool))
    if overviews:
        with rasterio.open(path, 'r+') as dataset:
            dataset.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return Path(path)


def pixel_centres(transform: Affine, height: int, width: int) -> np.ndarray:
    """``(2, height, width)`` map x and y of all pixel centres."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack(transform @ (x, y))


def ramp(height: int, width: int, transform: Affine = TRANSFORM) -> np.ndarray:
    """Two float64 bands whose values are map x and y of the pixel centres.

    However such a raster is read, every value tells where it comes from.
    """
    return pixel_centres(transform, height, width)


def noise(shape: Sequence[int], dtype: str = 'uint8', seed: int = 0) -> np.ndarray:
    """Random values from 1 on, so that 0 is free for nodata."""
    high = 255 if np.dtype(dtype).itemsize == 1 else 10_000
    high = 127 if dtype == 'int8' else high
    return np.random.default_rng(seed).integers(1, high, shape).astype(dtype)
