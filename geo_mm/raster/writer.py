"""Georeferenced raster output, window by window, as Cloud Optimized GeoTIFF."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # what rasterio.shutil.copy raises; public nowhere
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from geo_mm.errors import OutputError
from geo_mm.paths import atomic_write, discard, hidden_beside, reported
from geo_mm.raster import handles
from geo_mm.raster.attribute_table import VAT_SUFFIXES, AttributeTable
from geo_mm.raster.grid import Grid, Window
from geo_mm.raster.handles import pictures_allowed

BLOCK = 512  # pixels on a side of a stored block
_FEW_BLOCKS = 8  # up to here one thread is as fast


def write_cog(source: str | os.PathLike, path: str | os.PathLike, *, classes: bool) -> Path:
    """Write a raster as a Cloud Optimized GeoTIFF, complete or not at all.

    Pixels, CRS, nodata, colour table, band descriptions, tags, category names
    and attribute tables are kept; the last two go to ``<path>.aux.xml``, where
    GDAL looks for them. Blocks of 512 pixels, DEFLATE with a predictor, bands
    of a pixel together, BigTIFF where the file may exceed 4 GB, and overviews
    down to less than one block.

    Works block by block: memory is GDAL's block cache (``GDAL_CACHEMAX``),
    whatever the size. The same source gives the same bytes, compressed by as many
    threads as there are cores where it has more than a few blocks.

    Args:
        source: What to write; any raster that GDAL opens.
        path: The file to make, replacing an earlier one. Its folder must exist.
        classes: Whether pixels are class numbers: overviews then take a pixel
            of the original instead of an average.

    Returns:
        The path.

    Raises:
        OutputError: If it cannot be written.
    """
    source, path = os.fspath(source), Path(path)
    # Not flushed to the disk: after a power failure it can be made again.
    with (
        gdal_reported(path),
        atomic_write(path, sidecars=['.aux.xml', *VAT_SUFFIXES], sync=False) as partial,
    ):
        with handles.open_quietly(source) as dataset:
            block = block_size(max(dataset.shape))
            blocks = dataset.count * dataset.width * dataset.height / block**2
        _copy(source, partial, classes, block, threads=blocks > _FEW_BLOCKS)
    return path


def _copy(source: str, partial: Path, classes: bool, block: int, threads: bool) -> None:
    copy(
        source,
        partial,
        driver='COG',
        COMPRESS='DEFLATE',
        # Differences of class numbers are no smaller than the numbers.
        PREDICTOR='NO' if classes else 'YES',
        BLOCKSIZE=str(block),
        RESAMPLING='NEAREST' if classes else 'AVERAGE',
        BIGTIFF='IF_SAFER',
        NUM_THREADS='ALL_CPUS' if threads else '1',
    )
    with handles.open_quietly(os.fspath(partial)) as dataset:
        check_complete(dataset)


def block_size(longest: int) -> int:
    """Side of the blocks of a raster: a small one does not need 512 pixels."""
    # TIFF wants multiples of 16, and GDAL's COG no less than 128.
    return min(BLOCK, max(128, -(-longest // 16) * 16))


def gdal_reported(path: Path) -> AbstractContextManager:
    """:func:`geo_mm.paths.reported`, for errors of rasterio and GDAL as well."""
    return reported(path, also=(RasterioError, CPLE_BaseError))


def check_complete(dataset: rasterio.DatasetReader) -> None:
    """Look whether every block of a GeoTIFF is in the file.

    Closing a dataset writes the blocks still in GDAL's cache, and neither GDAL
    nor rasterio tells if that fails: on a full disk they would just be lacking.

    Args:
        dataset: A GeoTIFF without sparse blocks, opened again.

    Raises:
        OSError: If one is missing, from the full resolution or an overview.
    """
    _check_blocks(dataset)
    for level in range(1, len(dataset.overviews(1)) + 1):
        with handles.open_quietly(dataset.name, level) as overview:
            _check_blocks(overview)


def _check_blocks(dataset: rasterio.DatasetReader) -> None:
    size = os.path.getsize(dataset.name)
    separate = dataset.profile.get('interleave') == 'band'
    for band in dataset.indexes if separate else (1,):
        for (row, col), _ in dataset.block_windows(band):
            offset, length = (
                dataset.get_tag_item(f'BLOCK_{kind}_{col}_{row}', 'TIFF', bidx=band)
                for kind in ('OFFSET', 'SIZE')
            )
            if offset is None or int(offset) + int(length) > size:
                raise OSError(f'block {col}, {row} is not in the file; is the disk full?')


@dataclass(frozen=True)
class RasterMetadata:
    """What a raster says of its pixels.

    Attributes:
        colors: Class number to (red, green, blue) or (red, green, blue, alpha), 0..255.
        class_names: Class number to name.
        band_names: Descriptions of the bands.
        scale: What pixels are to be multiplied by, as GDAL, QGIS and rioxarray do.
        tags: Metadata for the file.
    """

    colors: Mapping[int, Sequence[int]] = field(default_factory=dict)
    class_names: Mapping[int, str] = field(default_factory=dict)
    band_names: Sequence[str] = ()
    scale: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_classes(self) -> bool:
        """Whether pixels are class numbers, which must not be averaged."""
        return bool(self.colors or self.class_names)


class RasterWriter:
    """A Cloud Optimized GeoTIFF that appears under its name when it is complete.

    Use it as a context manager. Windows may come in any order; they go to a
    temporary file in the same folder, and leaving the block makes the final
    one of it (:func:`geo_mm.raster.write_cog`). An error removes what was
    written and leaves an earlier file of that name alone.

    The same pixels give the same bytes, whatever windows they came in.

    Class rasters (with ``colors`` or ``class_names``) carry a colour table
    and a table of class names, colours, pixel counts and areas: GDAL's in the
    ``.aux.xml`` file beside it, and Esri's in ``<name>.tif.vat.dbf``.

    Examples:
        >>> classes = RasterMetadata(class_names={0: 'other', 1: 'road'})
        >>> with RasterWriter('out.tif', scene.grid, 1, 'uint8', 255, classes) as writer:
        ...     for tile in tile_plan(scene.width, scene.height, 512, 64):
        ...         writer.write(predict(tile)[tile.core.slices(tile.window)], tile.core)

    Args:
        path: The file to make, ``.tif`` or ``.tiff``. Its folder is made if missing.
        grid: Pixel grid, with the CRS.
        count: Number of bands.
        dtype: Type of the pixels.
        nodata: Value of pixels without data. Windows never written hold it.
        metadata: What else the file says of its pixels.

    Raises:
        OutputError: If the file cannot be written there, or the arguments
            contradict each other.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        grid: Grid,
        count: int,
        dtype: str | np.dtype | type,
        nodata: float | None = None,
        metadata: RasterMetadata | None = None,
    ) -> None:
        self.path = Path(path)
        self.grid = grid
        self.count = count
        self.dtype = np.dtype(dtype)
        self.nodata = nodata
        self.metadata = metadata or RasterMetadata()
        self._check()
        self._temporary = hidden_beside(self.path)
        self._dataset: rasterio.io.DatasetWriter | None = None

    def __enter__(self) -> 'RasterWriter':
        metadata = self.metadata
        with self._reported():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with pictures_allowed():
                self._dataset = rasterio.open(self._temporary, 'w', **self._profile())
            if metadata.band_names:
                self._dataset.descriptions = tuple(metadata.band_names)
            if metadata.scale is not None:
                self._dataset.scales = [metadata.scale] * self.count
            if metadata.tags:
                self._dataset.update_tags(**metadata.tags)
            if metadata.colors and self.dtype.itemsize <= 2:
                opaque = {value: (*color, 255)[:4] for value, color in metadata.colors.items()}
                self._dataset.write_colormap(1, opaque)
            elif not metadata.is_classes:
                # Else four bands would be taken for RGB and alpha.
                self._dataset.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (
                    self.count - 1
                )
        return self

    def write(self, array: np.ndarray, window: Window | None = None) -> None:
        """Write pixels.

        Args:
            array: ``(bands, height, width)``, or ``(height, width)`` for one band.
            window: Where, in pixels of the grid. What hangs over the edge is
                left out. The whole grid by default.

        Raises:
            OutputError: If the array does not fit, or the disk is full.
        """
        window = self.grid.window if window is None else window
        bands = array[None] if array.ndim == 2 else array
        if bands.shape != (self.count, window.height, window.width):
            raise OutputError(
                f'{self.path}: an array of shape {array.shape} for {window}',
                f'shape {(self.count, window.height, window.width)}',
            )
        floats = bands.dtype.kind == self.dtype.kind == 'f'
        if not floats and not np.can_cast(bands.dtype, self.dtype):
            raise OutputError(
                f'{self.path}: {bands.dtype} pixels in a raster of {self.dtype}',
                'a type whose values all fit',
                'convert the array first',
            )
        if self._dataset is None:
            raise OutputError(f'{self.path}: not open', 'writing inside a with block')
        inside = window.intersection(self.grid.window)
        if not inside.area:
            return
        bands = bands[(slice(None), *inside.slices(window))]
        with self._reported():
            self._dataset.write(
                bands.astype(self.dtype, copy=False), window=RasterioWindow(*inside)
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        with self._reported():
            self._close()
            table = self._checked()
            if table is not None:
                table.write_pam(Path(f'{self._temporary}.aux.xml'))
            write_cog(self._temporary, self.path, classes=self.metadata.is_classes)
            if table is not None:
                table.write_vat(self.path)
        discard(self._temporary)

    def _checked(self) -> AttributeTable | None:
        """Makes sure that the temporary file is complete; the table of its classes, if any."""
        with handles.open_quietly(os.fspath(self._temporary)) as dataset:
            check_complete(dataset)
            if not self.metadata.is_classes:
                return None
            return AttributeTable.of(dataset, self.metadata.class_names, self.metadata.colors)

    def _profile(self) -> dict:
        """The temporary file's; it is read once, so it is compressed in little time."""
        block = block_size(max(self.grid.width, self.grid.height))
        return {
            'driver': 'GTiff',
            'width': self.grid.width,
            'height': self.grid.height,
            'count': self.count,
            'dtype': self.dtype,
            'crs': self.grid.crs,
            # A picture has none: an identity matrix would draw it upside down.
            'transform': None if self.grid.transform.is_identity else self.grid.vector_transform,
            'nodata': self.nodata,
            'tiled': True,
            'blockxsize': block,
            # A block that windows cut is written again; strips cut fewer low ones.
            'blockysize': min(block, 64),
            'compress': 'DEFLATE',
            'zlevel': 1,
            'interleave': 'pixel',
            'BIGTIFF': 'IF_SAFER',
        }

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            dataset.close()

    def _abandon(self) -> None:
        # After a failed write it is closed already.
        with contextlib.suppress(RasterioError):
            self._close()
        discard(self._temporary)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            with gdal_reported(self.path):
                yield
        except OutputError:
            self._abandon()
            raise

    def _check(self) -> None:
        if self.path.suffix.lower() not in ('.tif', '.tiff'):
            raise OutputError(f'{self.path}: unknown kind of raster', 'a name ending in .tif')
        if self.path.is_dir():
            raise OutputError(f'{self.path}: is a folder', 'the name of a file')
        named = len(self.metadata.band_names)
        if named and named != self.count:
            raise OutputError(f'{self.path}: {named} band names for {self.count} bands')
        if self.metadata.is_classes and (self.count != 1 or self.dtype.kind not in 'iu'):
            raise OutputError(
                f'{self.path}: class names or colours for {self.count} bands of {self.dtype}',
                'one band of integers',
            )
