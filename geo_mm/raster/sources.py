"""One raster file: what it says about itself, and its pixels with their mask.

Which files and bands make a scene is decided in :mod:`geo_mm.raster.stack`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window as RasterioWindow

from geo_mm.errors import SceneError
from geo_mm.paths import absolute, is_missing, reason
from geo_mm.raster import handles
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.handles import check_vrt
from geo_mm.raster.header import Header

NoData = float | Literal['auto'] | None
"""The value that marks pixels without data; 'auto' for what each file declares."""

_LIMIT = 'raise the limit of open files before: ulimit -n 4096'


class Recorded(NamedTuple):
    """What a table says of a file, which is checked when the file is opened.

    Attributes:
        header: The header of the file.
        table: Name of the table, for messages.
    """

    header: Header
    table: str


@dataclass(frozen=True)
class Source:
    """Bands of one file, on the file's own pixel grid.

    Attributes:
        path: What GDAL opens; local paths are absolute.
        stamp: Modification time, 0 where there is none.
        grid: The file's grid.
        indexes: 1-based numbers of the bands to read.
        names: Description or colour interpretation of these bands, '' if neither.
        dtypes: Data types of these bands.
        nodata: Nodata value of each of these bands, or None.
        alpha: Number of the band that is read as mask, or None.
        mask: What else must be read for validity: a mask for the whole file, one
            per band, or nothing.
        overviews: Factors of the overviews, ascending.
        block: (rows, cols) of the stored blocks.
        role: What the file is of, such as 'before'; '' without roles.
        recorded: Where this is from, if not from the file.
    """

    path: str
    stamp: int
    grid: Grid
    indexes: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    alpha: int | None
    mask: Literal['none', 'dataset', 'bands']
    overviews: tuple[int, ...]
    block: tuple[int, int]
    role: str = ''
    recorded: Recorded | None = None

    @classmethod
    def inspect(
        cls,
        path: str | os.PathLike,
        nodata: NoData,
        role: str = '',
        recorded: Recorded | None = None,
    ) -> 'Source':
        """Describe all bands of a file, colour and alpha alike.

        The file stays open for this thread, which often reads from it next.

        Args:
            path: What GDAL opens.
            nodata: As for :meth:`geo_mm.raster.Scene.open`.
            role: What the file is of.
            recorded: What a table says of it; then it is not opened.

        Raises:
            SceneError: If it is missing, unreadable or not georeferenced by a transform.
        """
        path = absolute(path)
        check_name(path)
        stamp = file_stamp(path)
        if recorded is not None:
            return cls._described(path, stamp, recorded.header, nodata, role, recorded)
        try:
            dataset = handles.open_quietly(path)
            try:
                _check(_label(path, role), dataset)
                header = Header.of(dataset)
            except BaseException:
                dataset.close()
                raise
        except (RasterioIOError, UnicodeDecodeError) as error:
            raise _unreadable(path, role, error) from error
        handles.keep(dataset, path, stamp)
        return cls._described(path, stamp, header, nodata, role, None)

    @classmethod
    def _described(
        cls,
        path: str,
        stamp: int,
        header: Header,
        nodata: NoData,
        role: str,
        recorded: Recorded | None,
    ) -> 'Source':
        count = len(header.dtypes)
        return cls(
            path=path,
            stamp=stamp,
            grid=header.grid,
            indexes=tuple(range(1, count + 1)),
            names=header.names,
            dtypes=header.dtypes,
            nodata=header.nodata if isinstance(nodata, str) else (nodata,) * count,
            alpha=header.alpha,
            mask=header.mask_kind(given=not isinstance(nodata, str)),
            overviews=header.overviews,
            block=header.block,
            role=role,
            recorded=recorded,
        )

    @property
    def label(self) -> str:
        """The file in messages, with its role."""
        return _label(self.path, self.role)

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path.split('?')[0]).stem

    @property
    def folder(self) -> str:
        return PurePosixPath(self.path).parent.name

    @cached_property
    def dtype(self) -> np.dtype:
        """The data type that holds all chosen bands."""
        return np.result_type(*self.dtypes)

    def pick(self, positions: Sequence[int]) -> 'Source':
        """The source with the bands at these 0-based positions.

        An alpha band that is chosen is data, so nothing is masked by it.
        """
        if tuple(positions) == tuple(range(len(self.indexes))) and self.alpha is None:
            return self
        indexes = tuple(self.indexes[i] for i in positions)
        return replace(
            self,
            indexes=indexes,
            names=tuple(self.names[i] for i in positions),
            dtypes=tuple(self.dtypes[i] for i in positions),
            nodata=tuple(self.nodata[i] for i in positions),
            alpha=None if self.alpha in indexes else self.alpha,
        )

    @cached_property
    def _alike(self) -> bool:
        """Whether all that is read is of one type."""
        return len({*self.dtypes}) == 1 and self.alpha is None

    @cached_property
    def _stored_nodata(self) -> tuple | None:
        """Values to compare with; None if some band can hold no nodata."""
        values = tuple(map(as_stored, self.nodata, self.dtypes))
        return None if None in values else values

    @cached_property
    def always_valid(self) -> bool:
        """Whether no pixel of the file can be invalid."""
        floats = self.dtype.kind in 'fc'
        return (
            self.mask == 'none'
            and self.alpha is None
            and self._stored_nodata is None
            and not floats
        )

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of overview ``level``, 0 for full resolution."""
        if not level:
            return self.grid.width, self.grid.height
        dataset = self._dataset(level)
        return dataset.width, dataset.height

    def best_level(self, factor: float) -> int:
        """The coarsest overview with pixels at most half as large as asked for.

        Half, so that how the overview was made and rounded hardly shows.
        """
        return sum(overview * 2 <= factor * 1.001 for overview in self.overviews)

    def read(
        self,
        window: Window,
        level: int = 0,
        shape: tuple[int, int] | None = None,
        dtype: np.dtype | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a window that is inside the file (or inside the overview).

        Args:
            window: In pixels of the level.
            level: Overview number, 0 for full resolution.
            shape: (rows, cols) to thin the pixels out to, without averaging.
            dtype: Type that pixels are read in where it holds all values of theirs,
                which spares a copy.

        Returns:
            ``(bands, rows, cols)``, 0 where invalid, and the mask
            ``(rows, cols)`` or None if all pixels are valid.

        Raises:
            SceneError: If the file cannot be read there.
        """
        where: dict = {'window': RasterioWindow(*window)}
        if shape is not None:
            where['out_shape'] = shape
        if dtype is not None and self._alike and np.can_cast(self.dtype, dtype):
            where['out_dtype'] = dtype
        try:
            if not handles.is_remote(self.path):
                return self._read(self._dataset(level), where)
            with handles.environment(self.path):
                return self._read(self._dataset(level), where)
        except RasterioError as error:
            raise SceneError(
                f'{self.label}: cannot read the window of {window.width} x {window.height} pixels '
                f'at column {window.col_off}, row {window.row_off}: {reason(error)}',
                'a complete file, and for a VRT all of its sources',
                _LIMIT
                if handles.is_limit_of_files(error)
                else 'copy or download the file again, or remove it from the list of scenes',
            ) from error

    def _read(
        self, dataset: rasterio.DatasetReader, where: dict
    ) -> tuple[np.ndarray, np.ndarray | None]:
        indexes = self.indexes if self.alpha is None else (*self.indexes, self.alpha)
        shape, dtype = where.pop('out_shape', None), where.pop('out_dtype', None)
        data = _read_bands(dataset, indexes, shape, where, self._alike, dtype)
        masks = []
        if self.alpha is not None:
            data, alpha = data[:-1].astype(self.dtype, copy=False), data[-1]
            masks.append(alpha > 0)
        if self.mask == 'dataset':
            masks.append(dataset.read_masks(1, out_shape=shape, **where) > 0)
        elif self.mask == 'bands':
            shape = shape and (len(self.indexes), *shape)
            masks.append(dataset.read_masks(self.indexes, out_shape=shape, **where).any(axis=0))
        if self._stored_nodata is not None:
            masks.append(_has_value(data, self._stored_nodata))
        if self.dtype.kind in 'fc':
            masks.append(np.isfinite(data).all(axis=0))
        masks = [mask for mask in masks if mask is not None and not mask.all()]
        if not masks:
            return data, None
        valid = np.logical_and.reduce(masks)
        np.copyto(data, 0, where=~valid)
        return data, valid

    def _dataset(self, level: int) -> rasterio.DatasetReader:
        return handles.dataset(self.path, self.stamp, level, self._check_recorded)

    def _check_recorded(self, dataset: rasterio.DatasetReader) -> None:
        """Raises SceneError if a table says what is in the file, and it is another one."""
        if self.recorded is None:
            return
        _check(self.label, dataset)
        header, table = self.recorded
        if differing := header.differences(Header.of(dataset)):
            raise SceneError(
                f'{self.label}: {differing}',
                f'the file that {table} describes',
                f'make {table} again with: geo-mm catalog',
            )


def _read_bands(
    dataset: rasterio.DatasetReader,
    indexes: Sequence[int],
    shape: tuple | None,
    where: dict,
    alike: bool = False,
    dtype: np.dtype | None = None,
) -> np.ndarray:
    """``(bands, rows, cols)`` in a type that holds all of them; rasterio reads one type at once.

    To look at the types takes as long as to read a small window: ``alike`` if they are known.
    """
    if not alike and len({dataset.dtypes[index - 1] for index in indexes}) > 1:
        return np.stack([_read_bands(dataset, [index], shape, where)[0] for index in indexes])
    window = where['window']
    size = (int(window.height), int(window.width)) if shape is None else shape
    kind = dataset.dtypes[indexes[0] - 1] if dtype is None else dtype
    # Into an array of ours: rasterio takes longer to make one than to look up the bands.
    return dataset.read(indexes, out=np.empty((len(indexes), *size), kind), **where)


def check_name(path: str) -> None:
    """Refuse a name that no library can be given.

    Raises:
        SceneError: If it is not UTF-8, or holds a NUL.
    """
    if not path.isprintable() and re.search(r'[\x00\ud800-\udfff]', path):
        raise SceneError(
            f'{path!r}: a name that is not UTF-8', 'a name of letters', 'rename the file or folder'
        )


def _check(path: str, dataset: rasterio.DatasetReader) -> None:
    """Refuse what has no pixels or cannot be placed on the Earth by a transform."""
    if dataset.count == 0:
        inner = ', '.join(dataset.subdatasets[:8])
        raise SceneError(
            f'{path}: no raster bands',
            'a raster with at least one band',
            f'open one of its subdatasets: {inner}' if inner else 'give another file',
        )
    if any(dtype == 'complex_int16' for dtype in dataset.dtypes):
        raise SceneError(
            f'{path}: pixels of the type complex_int16',
            'pixels that are whole or floating-point numbers',
            'make an image of its amplitude or phase first',
        )
    if dataset.driver == 'VRT':
        check_vrt(path, dataset)
    check_georeference(path, dataset)


def check_georeference(path: str, dataset: rasterio.DatasetReader) -> None:
    """Refuse a dataset that only control points or RPCs place on the Earth.

    Raises:
        SceneError: With the command that rectifies it.
    """
    transform = dataset.transform
    if not np.isfinite(transform[:6]).all() or not transform.determinant:
        raise SceneError(
            f'{path}: a geotransform of {transform.to_gdal()}',
            'finite numbers and pixels of some size',
            'set it anew: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM FILE',
        )
    if not transform.is_identity:
        return
    for kind, found, option in (
        ('ground control points', dataset.gcps[0], ''),
        ('rational polynomial coefficients (RPC)', dataset.rpcs, '-rpc '),
    ):
        if found:
            raise SceneError(
                f'{path}: georeferenced by {kind} only',
                'a geotransform: pixels in a regular grid on the map',
                f'rectify it first: gdalwarp {option}-t_srs EPSG:... {Path(path).name} out.tif'
                + ('' if option else ' (or rio warp)'),
            )


def _label(path: str, role: str) -> str:
    return f'role {role}, {path}' if role else path


def _unreadable(path: str, role: str, error: Exception) -> SceneError:
    if is_missing(path):
        return SceneError(
            f'{_label(path, role)}: no such file',
            'an existing raster',
            'check the path; relative paths start at the current folder',
        )
    if os.path.isdir(path):
        return SceneError(
            f'{_label(path, role)}: a folder, and none that GDAL reads as a raster',
            'a raster file, or a pattern',
            f"name the files in it, such as '{path.rstrip('/')}/*.tif'",
        )
    return SceneError(
        f'{_label(path, role)}: cannot be opened as a raster: {reason(error)}',
        'a file in a raster format that GDAL reads, complete and with all files it refers to',
        _LIMIT if handles.is_limit_of_files(error) else 'check it with: rio info FILE',
    )


def file_stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def as_stored(value: float | None, dtype: str) -> np.generic | None:
    """``value`` as a pixel of this type, or None if no pixel can equal it."""
    if value is None or np.isnan(value):
        return None
    kind = np.dtype(dtype)
    if kind.kind in 'iu':
        limits = np.iinfo(kind)
        if value != int(value) or not limits.min <= value <= limits.max:
            return None
        return kind.type(int(value))
    with np.errstate(over='ignore'):
        return kind.type(value)


def _has_value(data: np.ndarray, nodata: Sequence) -> np.ndarray | None:
    """(rows, cols) True where some band differs from its nodata; None if everywhere."""
    result = None
    for band, value in zip(data, nodata, strict=True):
        differs = band != value
        result = differs if result is None else np.logical_or(result, differs, out=result)
        # Away from nodata the first band settles it.
        if result.all():
            return None
    return result
