"""Label rasters read onto another grid."""

import os

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geo_mm.errors import LabelError
from geo_mm.paths import absolute, reason
from geo_mm.raster import handles
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.projection import transformer
from geo_mm.raster.sources import check_georeference, file_stamp

_ROUNDING = 1e-6  # pixels


def file_grid(path: str | os.PathLike) -> Grid:
    """The grid of a raster file.

    Raises:
        LabelError: If it cannot be opened.
    """
    path = absolute(path)
    try:
        with handles.environment(path):
            return Grid.of(handles.dataset(path, file_stamp(path)))
    except RasterioError as error:
        raise LabelError(
            f'{path}: cannot be opened as a raster: {reason(error)}',
            'the image that the labels were drawn on',
            'check the path and the file with: rio info FILE',
        ) from error


def read_onto(
    path: str | os.PathLike,
    grid: Grid,
    window: Window,
    fill: int,
    band: int = 1,
    own: Grid | None = None,
) -> np.ndarray:
    """Read a raster of class numbers into a window of another grid.

    Every pixel gets the class found at its centre (nearest neighbour), looked
    up at the exactly transformed place: GDAL's warper would approximate the
    transformation and move class borders.

    Args:
        path: Label raster, in its own grid and CRS.
        grid: Grid of the scene.
        window: In pixels of ``grid``; it may hang over or be outside.
        fill: Value outside the label raster, and where that has nodata or is masked.
        band: Band number, from 1.
        own: Where the pixels of the label raster are, if its file does not say
            so itself: the grid of the image that it belongs to. Its nodata is
            then a value like others.

    Returns:
        ``(height, width)``, in the raster's type, or a wider one if that cannot
        hold ``fill``.

    Raises:
        LabelError: If the raster is missing, unreadable or lacks the band, or if
            only one of raster and grid has a CRS.
        SceneError: If it is georeferenced by control points or RPCs only.
    """
    path = absolute(path)
    try:
        with handles.environment(path):
            dataset = handles.dataset(path, file_stamp(path))
            _check(path, dataset, grid, band, own)
            places = _places(own or Grid.of(dataset), grid, window)
            return _look_up(dataset, *places, fill, band, masked=own is None)
    except RasterioError as error:
        raise LabelError(
            f'{path}: cannot be read as a label raster: {reason(error)}',
            'a complete raster file with class numbers',
            'check the path and the file with: rio info FILE',
        ) from error


def _check(
    path: str, dataset: rasterio.DatasetReader, grid: Grid, band: int, own: Grid | None
) -> None:
    if band not in dataset.indexes:
        raise LabelError(f'{path}: no band {band}', f'1 to {dataset.count}')
    if own is not None:
        return
    check_georeference(path, dataset)
    if (dataset.crs is None) != (grid.crs is None):
        has, lacks = ('image', 'label raster') if grid.crs else ('label raster', 'image')
        raise LabelError(
            f'{path}: the {has} has a CRS and the {lacks} has none',
            'both georeferenced, or both plain pictures',
            f'give the {lacks} its CRS, e.g. with: rio edit-info --crs EPSG:... FILE',
        )


def _places(labels: Grid, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of a label raster under the pixel centres of a window.

    Returns:
        Two int64 arrays that broadcast to (height, width).
    """
    x = np.arange(window.width) + 0.5
    y = np.arange(window.height)[:, None] + 0.5
    transform, own = grid.window_transform(window), labels.transform
    if labels.crs == grid.crs:
        relative = ~own @ transform
        turn = max(abs(relative.b) * window.height, abs(relative.d) * window.width)
        if turn < _ROUNDING:
            # The usual case: rows depend on y only and columns on x only.
            return _index(relative.a * x + relative.c), _index(relative.e * y + relative.f)
        cols, rows = relative @ (x, y)
        return _index(cols), _index(rows)
    xy = np.broadcast_arrays(*(transform @ (x, y)))  # type: ignore[operator]  # Affine takes arrays, too
    there = transformer(grid.crs, labels.crs).transform(xy[0], xy[1])
    cols, rows = ~own @ there
    return _index(cols), _index(rows)


def _index(position: np.ndarray) -> np.ndarray:
    # Centres on a pixel border go to the right and lower pixel, rounding or not.
    index = np.floor(np.asarray(position) + _ROUNDING)
    # Coordinates that the other CRS does not cover are infinite.
    return np.where(np.abs(index) < 2**62, index, -1).astype(np.int64)


def _look_up(
    dataset: rasterio.DatasetReader,
    cols: np.ndarray,
    rows: np.ndarray,
    fill: int,
    band: int,
    *,
    masked: bool,
) -> np.ndarray:
    inside = (cols >= 0) & (cols < dataset.width) & (rows >= 0) & (rows < dataset.height)
    dtype = np.result_type(dataset.dtypes[band - 1], np.min_scalar_type(fill))
    result = np.full(inside.shape, fill, dtype)
    if not inside.any():
        return result
    cols, rows = (np.broadcast_to(places, inside.shape)[inside] for places in (cols, rows))
    col, row = int(cols.min()), int(rows.min())
    part = RasterioWindow(col, row, int(cols.max()) - col + 1, int(rows.max()) - row + 1)
    here = (rows - row, cols - col)
    values = dataset.read(band, window=part)[here].astype(dtype)
    if masked and MaskFlags.all_valid not in dataset.mask_flag_enums[band - 1]:
        values[dataset.read_masks(band, window=part)[here] == 0] = fill
    result[inside] = values
    return result
