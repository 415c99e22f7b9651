"""Chips of labelled scenes: where they are, what is cut out for them, and their image files."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.errors import RasterioError
from scipy import ndimage

from geo_mm.catalog import LabelledScene
from geo_mm.chip_export.options import ExportOptions
from geo_mm.classes import IGNORE
from geo_mm.errors import ConfigError
from geo_mm.labels import ClippedObjects, SceneLabels
from geo_mm.paths import atomic_write, reported, write_text
from geo_mm.raster import Grid, Scene, Window
from geo_mm.raster.grid import to_map
from geo_mm.raster.handles import pictures_allowed

_WHOLE = 0.999  # of an interpolated validity

_DRIVERS = {'.tif': 'GTiff', '.png': 'PNG', '.jpg': 'JPEG'}
_WORLD = {'.tif': '.tfw', '.png': '.pgw', '.jpg': '.jgw'}
_OPTIONS: dict[str, dict] = {
    '.tif': {'compress': 'deflate', 'predictor': 2, 'interleave': 'pixel'},
    '.png': {'zlevel': 6},
    '.jpg': {'quality': 95},
}


class ChipPlace(NamedTuple):
    """Where a chip is.

    Attributes:
        scene: Number of its scene.
        window: Its pixels, before it is rotated about its centre.
        angle: Degrees by which it is rotated.
    """

    scene: int
    window: Window
    angle: float


@dataclass(frozen=True, eq=False)
class Chip:
    """What is written of one chip.

    Attributes:
        stem: Name of its files.
        pixels: ``(bands, height, width)``, 0 where invalid.
        valid: ``(height, width)`` bool.
        grid: Where it is.
        labels: Its objects, or ``(height, width)`` class numbers.
    """

    stem: str
    pixels: np.ndarray
    valid: np.ndarray
    grid: Grid
    labels: ClippedObjects | np.ndarray


def chip_places(scene: int, grid: Grid, options: ExportOptions) -> Iterator[ChipPlace]:
    """All chips of a scene, row by row, until they cover it; the last may hang over its edge."""
    steps = math.ceil(360 / options.rotation_angle) if options.rotation_angle else 1
    width, height = options.tile_size_x, options.tile_size_y
    for row in _starts(grid.height, height, options.stride_y):
        for col in _starts(grid.width, width, options.stride_x):
            for step in range(steps):
                window = Window(col, row, width, height)
                yield ChipPlace(scene, window, step * options.rotation_angle)


def _starts(length: int, tile: int, stride: int) -> range:
    count = max(math.ceil((length - tile) / stride), 0) + 1
    return range(0, count * stride, stride)


def cut(
    labelled: LabelledScene, place: ChipPlace, stem: str, options: ExportOptions
) -> Chip | None:
    """Cut one chip; None if it has no data, or is not entirely inside the AOI."""
    source = _Straight(labelled, place) if not place.angle else _Rotated(labelled, place)
    aoi = labelled.aoi
    if aoi is not None and not source.inside(aoi):
        return None
    pixels, valid = source.read()
    if not valid.any():
        return None
    labels = source.classes() if options.of_pixels else _seen(source.objects(), valid, options)
    return Chip(stem, pixels, valid, source.grid, labels)


def _seen(objects: ClippedObjects, valid: np.ndarray, options: ExportOptions) -> ClippedObjects:
    """Objects with enough of them inside, and data in the middle of their box."""
    height, width = valid.shape
    x, y = (objects.boxes[:, :2] + objects.boxes[:, 2:]).T / 2
    cols, rows = np.clip(x, 0, width - 1).astype(int), np.clip(y, 0, height - 1).astype(int)
    kept = (objects.visible >= options.min_polygon_overlap_ratio) & valid[rows, cols]
    return ClippedObjects(
        objects.geometries[kept],
        objects.labels[kept],
        objects.indices[kept],
        objects.visible[kept],
        objects.boxes[kept],
        objects.outlines[kept],
        objects.window,
    )


def _covered(aoi: SceneLabels, window: Window, grid: Grid) -> np.ndarray:
    """Which pixels are not outside an AOI, (height, width) bool; beyond the scene is no data."""
    inside = window.intersection(grid.window)
    covered = np.ones((window.height, window.width), bool)
    covered[inside.slices(window)] = aoi.covers(inside)
    return covered


class _Straight:
    """A chip along the pixels of its scene."""

    def __init__(self, labelled: LabelledScene, place: ChipPlace) -> None:
        self.labelled, self.window = labelled, place.window
        self.grid = labelled.scene.grid.crop(place.window)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        return self.labelled.scene.read(self.window)

    def inside(self, aoi: SceneLabels) -> bool:
        return bool(_covered(aoi, self.window, self.labelled.scene.grid).all())

    def classes(self) -> np.ndarray:
        assert self.labelled.labels is not None  # checked before chips are cut
        return self.labelled.labels.classes(self.window)

    def objects(self) -> ClippedObjects:
        assert self.labelled.labels is not None
        return self.labelled.labels.objects(self.window)


class _Rotated:
    """A chip rotated about its centre, cut out of the square around it."""

    def __init__(self, labelled: LabelledScene, place: ChipPlace) -> None:
        window = place.window
        centre_x = window.col_off + window.width / 2
        centre_y = window.row_off + window.height / 2
        half = math.ceil(math.hypot(window.width, window.height) / 2) + 1
        self.labelled, self.window = labelled, window
        # Pixels of the chip to those of the scene.
        self.to_scene = (
            Affine.translation(centre_x, centre_y)
            @ Affine.rotation(place.angle)
            @ Affine.translation(-window.width / 2, -window.height / 2)
        )
        self.around = Window(
            math.floor(centre_x) - half, math.floor(centre_y) - half, 2 * half, 2 * half
        )
        scene = labelled.scene.grid
        self.grid = Grid(scene.transform @ self.to_scene, window.width, window.height, scene.crs)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        data, valid = self.labelled.scene.read(self.around)
        places = self._places()
        inside = ndimage.map_coordinates(valid.astype(np.float32), places, order=1) > _WHOLE
        bands = [ndimage.map_coordinates(band.astype(np.float64), places, order=1) for band in data]
        pixels = np.stack(bands)
        if data.dtype.kind in 'iu':
            pixels = pixels.round()
        return np.where(inside, pixels, 0).astype(data.dtype), inside

    def inside(self, aoi: SceneLabels) -> bool:
        covered = _covered(aoi, self.around, self.labelled.scene.grid).astype(np.uint8)
        return bool(ndimage.map_coordinates(covered, self._places(), order=0).all())

    def classes(self) -> np.ndarray:
        assert self.labelled.labels is not None
        around = self.labelled.labels.classes(self.around)
        return ndimage.map_coordinates(around, self._places(), order=0, cval=IGNORE)

    def objects(self) -> ClippedObjects:
        assert self.labelled.labels is not None
        found = self.labelled.labels.objects(self.around)
        to_chip = ~self.to_scene
        outlines = shapely.transform(found.outlines, lambda xy: to_map(xy, to_chip))
        rotated = SceneLabels(outlines, found.labels, found.indices, self.grid)
        return rotated.objects(self.grid.window)

    def _places(self) -> np.ndarray:
        """Rows and columns of the square under the pixel centres of the chip, (2, h, w)."""
        rows, cols = np.mgrid[: self.window.height, : self.window.width] + 0.5
        x, y = self.to_scene @ (cols, rows)
        return np.stack([y - self.around.row_off - 0.5, x - self.around.col_off - 0.5])


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
