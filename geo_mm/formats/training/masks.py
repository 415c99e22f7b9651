"""Masks of one chip: one of each class with the numbers of its objects, or one of classes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import shapely
from rasterio.errors import RasterioError
from rasterio.features import shapes

from geo_mm.errors import LabelError
from geo_mm.formats.training.data import IMAGES
from geo_mm.labels import ImageClasses, ImageObjects
from geo_mm.paths import file_name, reason
from geo_mm.raster.handles import open_quietly

_MOST_BANDS = 1000  # of a mask, for objects that overlap; GDAL takes minutes for tens of thousands


def read_instances(image: Path, folder: Path, names: Mapping[int, str]) -> ImageObjects:
    """Objects of the masks of a chip, ``folder/CLASS/STEM.tif``.

    In a mask 0 is background, other values are numbers of objects; further
    bands hold those that overlap others. Outlines follow the edges of pixels.

    Args:
        image: The chip.
        folder: Holds a folder for each class, called by its name or value.
        names: Class name of each value.

    Raises:
        LabelError: If a mask cannot be read or is of another size than the chip.
    """
    geometries: list[shapely.Geometry] = []
    found: list[str | None] = []
    folders = sorted(item for item in folder.iterdir() if item.is_dir())
    order = list(names.values())
    named = [(item, _folder_class(item.name, names)) for item in folders]
    named.sort(key=lambda pair: order.index(pair[1]) if pair[1] in order else len(order))
    if not folders and len(names) == 1:  # exported without a field of classes
        named = [(folder, next(iter(names.values())))]
    for item, name in named:
        path = beside(item, image)
        if path is not None:
            outlines = list(_outlines(path, image))
            geometries += outlines
            found += [name] * len(outlines)
    shapes_ = np.empty(len(geometries), dtype=object)
    shapes_[:] = geometries
    return ImageObjects(str(image), shapes_, found, f'{folder}: masks of {image.name}')


def read_classes(image: Path, folder: Path, names: Mapping[int, str | None]) -> ImageClasses:
    """The classes of a chip's pixels.

    Raises:
        LabelError: If there is no mask of its stem.
    """
    path = beside(folder, image)
    if path is None:
        raise LabelError(
            f'{folder}: no mask for {image.name}',
            'one mask for each image, called as the image',
            'copy the folder again, or remove the image',
        )
    return ImageClasses(str(image), str(path), names)


def beside(folder: Path, image: Path) -> Path | None:
    """The mask of an image: of its own name, or of its stem with another suffix."""
    for ending in ('', '_mask', '_label', '_m'):
        for suffix in (image.suffix, *sorted(IMAGES)):
            if (path := folder / f'{image.stem}{ending}{suffix}').is_file():
                return path
    return None


def _folder_class(folder: str, names: Mapping[int, str]) -> str:
    for name in names.values():
        if folder in (name, file_name(name)):
            return name
    try:
        return names.get(int(folder), folder)
    except ValueError:
        return folder


def _outlines(path: Path, image: Path) -> Iterator[shapely.Geometry]:
    """One (Multi)Polygon for each object in each band."""
    try:
        with open_quietly(str(path)) as dataset, open_quietly(str(image)) as chip:
            sizes = [(item.width, item.height) for item in (dataset, chip)]
            count = dataset.count
            # A damaged one may say that it is huge.
            usable = sizes[0] == sizes[1] and count <= _MOST_BANDS
            bands = dataset.read() if usable else np.empty((0, 0, 0))
    except RasterioError as error:
        raise LabelError(
            f'{path}: cannot be read as a mask of objects: {reason(error)}',
            'a raster of whole numbers',
            'copy or export it again',
        ) from error
    if sizes[0] != sizes[1]:
        raise LabelError(
            f'{path}: {sizes[0][0]} x {sizes[0][1]} pixels, {image} has {sizes[1][0]} x '
            f'{sizes[1][1]}',
            'a mask of the size of its image',
        )
    if count > _MOST_BANDS:
        raise LabelError(
            f'{path}: a mask of {count:,} bands',
            f'one band, and at most {_MOST_BANDS} where objects overlap',
            'copy or export it again',
        )
    for band in bands:
        yield from outlines_of(band)


def outlines_of(mask: np.ndarray) -> Iterator[shapely.Geometry]:
    """One Polygon, or MultiPolygon if it is in several parts, for each value but 0.

    Args:
        mask: ``(height, width)`` whole numbers.
    """
    mask = mask.astype(np.int32)
    parts: dict[int, list[shapely.Geometry]] = {}
    for outline, value in shapes(mask, mask=mask != 0):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(outline))
    for value in sorted(parts):
        own = parts[value]
        yield own[0] if len(own) == 1 else shapely.union_all(own)


def instance_bands(masks: np.ndarray) -> np.ndarray:
    """Masks of objects as numbers from 1, in as many bands as overlaps make necessary.

    Args:
        masks: ``(N, height, width)``, 1 inside.

    Returns:
        ``(bands, height, width)`` uint8, or uint16 if there are more than 255
        objects; numbers restart in each band.
    """
    bands: list[np.ndarray] = []
    counts: list[int] = []
    dtype = np.uint8 if len(masks) < 256 else np.uint16
    for mask in masks.astype(bool):
        band = next((n for n, taken in enumerate(bands) if not (taken[mask] > 0).any()), len(bands))
        if band == len(bands):
            bands.append(np.zeros(mask.shape, dtype))
            counts.append(0)
        counts[band] += 1
        bands[band][mask] = counts[band]
    return np.stack(bands)
