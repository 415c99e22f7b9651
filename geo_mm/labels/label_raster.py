"""Label rasters: one class value per pixel, read onto the grid of a scene."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.paths import absolute, reason
from geo_mm.raster import Grid, Scene, Window, handles
from geo_mm.raster.projection import bounds_in, same, transformer
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


_OUTSIDE = 1 << 30  # stands for no value; wider than any raster of classes
_MAX_SAMPLED = 1024  # pixels along a side
_STRIP = 2048  # rows read at once
_LOOKED_AT = 256  # pixels along a side that are checked on opening


@dataclass(frozen=True)
class LabelRaster:
    """A label raster read onto a scene's grid by nearest neighbour.

    Attributes:
        path: The raster; its first band holds class values.
        values: Class value in the file to class number, 255 for ignored. The
            raster's nodata is ignored, too.
        grid: The scene's grid.
        own: The raster's own grid, if its file does not tell it.
        bands: The band of class values; or three of red, green and blue, which
            together are a value: 65536 red + 256 green + blue.
    """

    path: str
    values: tuple[tuple[int, int], ...]
    grid: Grid
    own: Grid | None = None
    bands: tuple[int, ...] = (1,)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike,
        classes: Sequence[str],
        grid: Grid,
        class_map: Mapping[int, str | None] | None = None,
        *,
        own: Grid | None = None,
        whole: Grid | None = None,
    ) -> 'LabelRaster':
        """Opens a label raster and checks the values in the middle of the scene.

        To check all pixels of thousands of rasters would take minutes, so those
        elsewhere are checked as they are read.

        Args:
            path: Any raster that GDAL opens.
            classes: Class names; the position is the class number.
            grid: The scene's grid.
            class_map: Value in the file to class name, or to None or
                ``'ignore'`` for pixels to ignore. Without it values are class
                numbers. Where classes are colours: ``'#ff0000'`` or ``(255, 0, 0)``.
            own: The raster's own grid, if its file does not tell it: that of the
                image of which it labels each pixel. What the file declares as
                nodata is then a value like any other if it has a class.
            whole: Of the whole scene: a raster without georeference, of the same
                shape, covers it.

        Raises:
            LabelError: If the raster holds a value that is not mapped, is not
                integer, does not touch the scene, or declares a value as nodata
                that has a class.
        """
        values, bands = _class_numbers(path, classes, class_map)
        raster, place = _opened(path, grid, own, bands, whole)
        own = None if place is raster.grid else place
        if len(bands) > 1:
            pass  # nodata is a value of a single band
        elif own is not None and raster.nodata is not None:
            values.setdefault(int(raster.nodata), IGNORE)
        elif any(value == raster.nodata and number != IGNORE for value, number in values.items()):
            raise LabelError(
                f'{path}: the value {raster.nodata:g} has a class, and the file declares it as '
                'nodata, which is ignored',
                'a value that is either',
                f'map {raster.nodata:g} to None in label_cfg.class_map, or take the declaration '
                'out of the file with: rio edit-info --unset-nodata FILE',
            )
        labels = cls(os.fspath(path), tuple(sorted(values.items())), grid, own, bands)
        under = _under(place, grid)
        if not under.area:
            raise LabelError(
                f'{path}: the label raster does not touch the scene\n'
                f'  labels: {_extent(place)}\n'
                f'  scene:  {_extent(grid)}',
                'labels that overlap the scene',
                'check that labels and image belong together and that both CRSs are right',
            )
        data, valid = raster.read(_middle(under))
        if not np.isin(_packed(data)[valid], list(values)).all():
            labels._refuse()
        return labels

    def turned(self, placed: Affine, grid: Grid, window: Window) -> 'LabelRaster':
        """The classes in a turned grid of the same scene, see :meth:`SceneLabels.turned`."""
        return replace(self, grid=grid)

    def objects(self, window: Window) -> NoReturn:
        """There are none.

        Raises:
            LabelError: Always.
        """
        raise LabelError(
            f'{self.path}: a label raster has no single objects', 'a vector layer', 'polygonise it'
        )

    def classes(self, window: Window) -> np.ndarray:
        """Class numbers ``(h, w)`` uint8 under ``window``; 255 where ignored or outside.

        Raises:
            LabelError: If there is a value without a class.
        """
        read = [
            read_onto(self.path, self.grid, window, _OUTSIDE, band, self.own) for band in self.bands
        ]
        outside = np.logical_or.reduce([band == _OUTSIDE for band in read])
        found = np.where(outside, _OUTSIDE, _packed(read))
        classes = np.full(found.shape, IGNORE, np.uint8)
        known = outside
        for value, number in self.values:
            here = found == value
            classes[here] = number
            known |= here
        if not known.all():
            self._refuse()
        return classes

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Labelled pixels of a regular sample of the raster.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y), and class numbers ``(N,)``.
        """
        step = max(1, math.ceil(max(self.grid.width, self.grid.height) / _MAX_SAMPLED))
        coarse = Grid(
            self.grid.transform @ type(self.grid.transform).scale(step),
            max(self.grid.width // step, 1),
            max(self.grid.height // step, 1),
            self.grid.crs,
        )
        classes = replace(self, grid=coarse).classes(coarse.window)
        rows, cols = np.nonzero(classes != IGNORE)
        points = (np.stack([cols, rows], axis=1) + 0.5) * step
        return points, classes[rows, cols].astype(np.int64)

    def _refuse(self) -> NoReturn:
        """Raises the error that lists the values without a class."""
        values = dict(self.values)
        raster, place = _opened(self.path, self.grid, self.own, self.bands)
        found = _found_values(raster, _under(place, self.grid))
        text = '#{:06x}'.format if len(self.bands) > 1 else str
        unknown = [text(value) for value in found if value not in values]
        listed = ', '.join(
            f'{text(value)} ({share:.1%} of pixels)' for value, share in found.items()
        )
        raise LabelError(
            f'{self.path}: values {", ".join(unknown)} have no class; '
            f'found in the raster: {listed}',
            f'values of class_map: {", ".join(map(text, values))}',
            'map them to a class or to None (ignored) in label_cfg.class_map',
        )

    def __deepcopy__(self, memo: dict) -> 'LabelRaster':
        return self


def _class_numbers(
    path: str | os.PathLike, classes: Sequence[str], class_map: Mapping | None
) -> tuple[dict[int, int], tuple[int, ...]]:
    """Class number of each value in the file, and the bands that hold the values."""
    indices: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    indices |= {None: IGNORE, 'ignore': IGNORE}
    if class_map is None:
        return {index: index for index in range(len(classes))}, (1,)
    values: dict[int, int] = {}
    kinds = set()
    for value, name in class_map.items():
        if name not in indices:
            raise LabelError(
                f'{path}: class_map maps value {value} to {name!r}',
                f'one of the classes {", ".join(classes)}, or None to ignore the pixels',
            )
        colour = _colour(value)
        kinds.add(colour is not None)
        try:
            values[int(value) if colour is None else colour] = indices[name]
        except (TypeError, ValueError) as error:
            raise LabelError(
                f'{path}: class_map has the value {value!r}',
                'pixel values, which are integers, or colours such as #ff0000',
            ) from error
    if len(kinds) > 1:
        raise LabelError(f'{path}: class_map has both values and colours', 'one or the other')
    return values, (1, 2, 3) if True in kinds else (1,)


def _colour(value: object) -> int | None:
    """A colour as one number, or None for anything else."""
    if isinstance(value, str) and re.fullmatch(r'#[0-9a-fA-F]{6}', value):
        return int(value[1:], 16)
    match value:
        case tuple() | list() if len(value) == 3:
            red, green, blue = (int(part) for part in value)
            return red << 16 | green << 8 | blue
    return None


def _packed(bands: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Bands as one number for each pixel."""
    if len(bands) == 1:
        return bands[0]
    red, green, blue = (band.astype(np.int64) for band in bands)
    return red << 16 | green << 8 | blue


def _opened(
    path: str | os.PathLike,
    grid: Grid,
    own: Grid | None,
    bands: tuple[int, ...],
    whole: Grid | None = None,
) -> tuple[Scene, Grid]:
    """Bands of a label raster that fits a scene's grid, and where its pixels are."""
    labels = Scene.open(path, bands=bands)
    if labels.dtype.kind not in 'iu':
        raise LabelError(f'{path}: label raster of type {labels.dtype}', 'integer class values')
    if own is None and whole is not None:
        own = _covering(whole, labels.grid)
    if own is None and (labels.crs is None) != (grid.crs is None):
        raise LabelError(
            f'{path}: label raster {"without" if labels.crs is None else "with"} a CRS',
            f'a CRS as the scene has: {grid.crs}',
        )
    if own is not None and (labels.width, labels.height) != (own.width, own.height):
        raise LabelError(
            f'{path}: {labels.width} x {labels.height} pixels, '
            f'its image has {own.width} x {own.height}',
            'a class for each pixel of the image',
        )
    return labels, own or labels.grid


def _covering(whole: Grid, raster: Grid) -> Grid | None:
    """Where the pixels of a raster without georeference are, if it is a picture of the scene."""
    lacks = raster.crs is None and raster.transform.is_identity
    ratio = raster.width * whole.height / (raster.height * whole.width)
    if (
        not lacks
        or whole.transform.is_identity
        or abs(ratio - 1) > 1 / min(whole.width, whole.height)
    ):
        return None
    scale = Affine.scale(whole.width / raster.width, whole.height / raster.height)
    return Grid(whole.transform @ scale, raster.width, raster.height, whole.crs)


def _found_values(raster: Scene, window: Window) -> dict[int, float]:
    """Share of the pixels of a window that hold each value."""
    found: dict[int, int] = {}
    for row in range(window.row_off, window.row_end, _STRIP):
        rows = min(_STRIP, window.row_end - row)
        data, valid = raster.read(Window(window.col_off, row, window.width, rows))
        for value, count in zip(*np.unique(_packed(data)[valid], return_counts=True), strict=True):
            found[int(value)] = found.get(int(value), 0) + int(count)
    return {value: found[value] / window.area for value in sorted(found)}


def _under(labels: Grid, grid: Grid) -> Window:
    """The pixels of ``labels`` under the box around ``grid``; all if that cannot be told."""
    straight = labels.crs is None or same(labels.crs, grid.crs)
    bounds = grid.bounds if straight else bounds_in(grid.bounds, grid.crs, labels.crs)
    if bounds is None or bounds[0] > bounds[2]:
        return labels.window
    return labels.window_of(bounds).intersection(labels.window)


def _middle(window: Window) -> Window:
    """At most so many pixels in the middle of a window as are checked on opening."""
    width, height = (min(side, _LOOKED_AT) for side in (window.width, window.height))
    col, row = (window.width - width) // 2, (window.height - height) // 2
    return Window(window.col_off + col, window.row_off + row, width, height)


def _extent(grid: Grid) -> str:
    west, south, east, north = grid.bounds
    crs = grid.crs.to_string() if grid.crs else 'no CRS'
    return f'x {west:.6g} to {east:.6g}, y {south:.6g} to {north:.6g} ({crs})'
