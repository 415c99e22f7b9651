"""Cloud Optimized GeoTIFF: the form in which rasters are kept."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from rasterio._err import CPLE_BaseError  # what rasterio.shutil.copy raises; public nowhere
from rasterio.errors import RasterioError
from rasterio.shutil import copy

from geo_mm.paths import atomic_write, reported
from geo_mm.raster import handles
from geo_mm.raster.attribute_table import VAT_SUFFIXES

BLOCK = 512  # pixels on a side of a stored block


def write_cog(source: str | os.PathLike, path: str | os.PathLike, *, classes: bool) -> Path:
    """Write a raster as a Cloud Optimized GeoTIFF, complete or not at all.

    Pixels, CRS, nodata, colour table, band descriptions, tags, category names
    and attribute tables are kept; the last two go to ``<path>.aux.xml``, where
    GDAL looks for them. Blocks of 512 pixels, DEFLATE with a predictor, bands
    of a pixel together, BigTIFF where the file may exceed 4 GB, and overviews
    down to less than one block.

    Works block by block: memory is GDAL's block cache (``GDAL_CACHEMAX``),
    whatever the size. The same source gives the same bytes. GDAL compresses
    with several threads if ``GDAL_NUM_THREADS`` says so.

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
        _copy(source, partial, classes)
        check_complete(partial)
    return path


def _copy(source: str, partial: Path, classes: bool) -> None:
    with handles.open_quietly(source) as dataset:
        block = block_size(max(dataset.shape))
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
    )


def block_size(longest: int) -> int:
    """Side of the blocks of a raster: a small one does not need 512 pixels."""
    # TIFF wants multiples of 16, and GDAL's COG no less than 128.
    return min(BLOCK, max(128, -(-longest // 16) * 16))


def gdal_reported(path: Path) -> AbstractContextManager:
    """:func:`geo_mm.paths.reported`, for errors of rasterio and GDAL as well."""
    return reported(path, also=(RasterioError, CPLE_BaseError))


def check_complete(path: Path) -> None:
    """Look whether every block of a GeoTIFF is in the file.

    Closing a dataset writes the blocks still in GDAL's cache, and neither GDAL
    nor rasterio tells if that fails: on a full disk they would just be lacking.

    Args:
        path: A GeoTIFF without sparse blocks.

    Raises:
        OSError: If one is missing, from the full resolution or an overview.
    """
    size = os.path.getsize(path)
    with handles.open_quietly(os.fspath(path)) as dataset:
        levels = len(dataset.overviews(1))
    for level in range(levels + 1):
        with handles.open_quietly(os.fspath(path), level) as dataset:
            separate = dataset.profile.get('interleave') == 'band'
            for band in dataset.indexes if separate else (1,):
                for (row, col), _ in dataset.block_windows(band):
                    offset, length = (
                        dataset.get_tag_item(f'BLOCK_{kind}_{col}_{row}', 'TIFF', bidx=band)
                        for kind in ('OFFSET', 'SIZE')
                    )
                    if offset is None or int(offset) + int(length) > size:
                        raise OSError(f'block {col}, {row} is not in the file; is the disk full?')
