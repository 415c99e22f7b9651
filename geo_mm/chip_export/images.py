"""Image files of chips, with their georeference."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from geo_mm.chip_export.chips import Chip
from geo_mm.errors import ConfigError
from geo_mm.paths import atomic_write, reported, write_text
from geo_mm.raster import Grid, Scene
from geo_mm.raster.handles import pictures_allowed

_DRIVERS = {'.tif': 'GTiff', '.png': 'PNG', '.jpg': 'JPEG'}
_WORLD = {'.tif': '.tfw', '.png': '.pgw', '.jpg': '.jgw'}
_OPTIONS: dict[str, dict] = {
    '.tif': {'compress': 'deflate', 'predictor': 2, 'interleave': 'pixel'},
    '.png': {'zlevel': 6},
    '.jpg': {'quality': 95},
}


def check_format(scene: Scene, suffix: str) -> None:
    """Refuse a format that cannot hold the pixels of a scene.

    Raises:
        ConfigError: For PNG and JPEG of more than 3 bands, or not of 8 bits.
    """
    if suffix != '.tif' and (scene.count not in (1, 3) or scene.dtype != np.uint8):
        raise ConfigError(
            f'{scene.name} has {scene.count} bands of {scene.dtype}, for chips as {suffix[1:]}',
            '1 or 3 bands of uint8',
            'write TIFF, or choose bands',
        )


def write_chip(path: Path, chip: Chip, scene: Scene) -> None:
    """Write the pixels of a chip; those without data are marked in TIFFs.

    Raises:
        OutputError: If it cannot be written.
    """
    pixels, nodata = chip.pixels, None
    if not chip.valid.all() and path.suffix == '.tif':
        nodata = scene.nodata
        if nodata is not None:
            pixels = np.where(chip.valid, pixels, np.array(nodata, pixels.dtype))
    masked = nodata is None and not chip.valid.all() and path.suffix == '.tif'
    write_raster(
        path, pixels, chip.grid, nodata, names=scene.band_names, mask=chip.valid if masked else None
    )
    if not chip.grid.transform.is_identity:
        # World files give the centre of the first pixel.
        a, b, c, d, e, f, *_ = chip.grid.transform @ Affine.translation(0.5, 0.5)
        text = ''.join(f'{value!r}\n' for value in (a, d, b, e, c, f))
        write_text(path.with_suffix(_WORLD[path.suffix]), text)


def write_raster(
    path: Path,
    pixels: np.ndarray,
    grid: Grid,
    nodata: float | None = None,
    names: tuple[str, ...] = (),
    mask: np.ndarray | None = None,
) -> None:
    """Write a small raster, complete or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    count, height, width = pixels.shape
    georeference = {} if grid.transform.is_identity else {'transform': grid.transform}
    profile: dict = {
        'driver': _DRIVERS[path.suffix],
        'count': count,
        'height': height,
        'width': width,
        'dtype': pixels.dtype,
        'crs': grid.crs,
        'nodata': nodata,
        **georeference,
        **_OPTIONS[path.suffix],
    }
    if path.suffix == '.tif' and pixels.dtype.kind == 'f':
        profile['predictor'] = 3
    with (
        reported(path, also=(RasterioError,)),
        atomic_write(path, sidecars=['.aux.xml'], sync=False) as partial,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
    ):
        with pictures_allowed():
            dataset = rasterio.open(partial, 'w', **profile)
        with dataset:
            dataset.write(pixels)
            for number, name in enumerate(names, 1):
                dataset.set_band_description(number, name)
            if mask is not None:
                dataset.write_mask(mask)
