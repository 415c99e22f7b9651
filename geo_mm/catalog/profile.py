"""What a catalog's scenes and labels are like: bands, statistics, sizes, ground covered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.enums import ColorInterp
from scipy import ndimage

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.label_classes import LabelClasses, spread
from geo_mm.catalog.labelled_scene import (
    Coverage,
    LabelledScene,
    SceneOptions,
    open_labelled,
)
from geo_mm.errors import SceneError
from geo_mm.labels import LabelRaster, SceneLabels
from geo_mm.raster import BandStatistics, Scene, band_statistics
from geo_mm.raster.handles import open_quietly

MOST_PIXELS = 30_000_000
"""Pixels that statistics are taken of; windows evenly spread if there are more."""

OVERVIEW = 1024
"""Pixels along a side, in which collars are looked for."""

_BLOCK = 9  # side in such pixels of the smallest patch that counts as a collar
_COLLAR = 0.002  # least share of a scene
_COLLAR_AT_EDGE = 0.02  # of the scene and of its edge, of values that are no usual filler


@dataclass(frozen=True)
class SceneBands:
    """The bands that scenes have in common.

    Attributes:
        bands: Names, or numbers of bands that are no band by their tag.
        dtype: Type of their pixels.
        note: Why these.
    """

    bands: tuple[str | int, ...]
    dtype: str
    note: str


@dataclass(frozen=True)
class CatalogProfile:
    """What some labelled scenes are like.

    Attributes:
        scenes: How many there are.
        opened: How many of them were opened.
        statistics: Of their valid pixels.
        gsd: Median metres per pixel of the files; None without georeference.
        same_gsd: Whether all files have it, to within 2 %.
        pixels: Valid pixels inside the AOI, of all scenes.
        valid: Share of all pixels that are valid and inside the AOI.
        shortest: Shortest side in pixels of a scene or the part that is used.
        longest: Longest side in pixels of a scene or its part.
        sides: ``(N,)`` sides of the objects, in pixels of ``gsd``: the square
            root of the area of their boxes.
        counts: Number of objects of each class; empty for label rasters.
    """

    scenes: int
    opened: int
    statistics: BandStatistics
    gsd: float | None
    same_gsd: bool
    pixels: float
    valid: float
    shortest: int
    longest: int
    sides: np.ndarray
    counts: dict[str, int]

    @property
    def area(self) -> float | None:
        """Square metres of valid ground."""
        return None if self.gsd is None else self.pixels * self.gsd**2


def common_bands(entries: Sequence[CatalogEntry]) -> SceneBands:
    """The bands of scenes, by name.

    Raises:
        SceneError: If they have none in common.
    """
    scenes = [Scene.open(entry.image, name=entry.name) for entry in spread(entries)]
    first = scenes[0]
    common = tuple(
        name for name in first.band_names if all(name in scene.band_names for scene in scenes)
    )
    if not common:
        raise SceneError(
            f'{first.name} has the bands {", ".join(first.band_names)}, other scenes have others',
            'at least one band that all scenes have',
        )
    left = [name for name in first.band_names if name not in common]
    note = f'all bands, {first.dtype}' if not left else f'those that all have, {first.dtype}'
    bands: tuple[str | int, ...] = common
    if (alpha := data_tagged_as_alpha(first)) is not None:
        bands = (*common, alpha)
        note += f'; band {alpha} is tagged as transparency, but it varies: taken as data'
    return SceneBands(bands, str(first.dtype), note)


def data_tagged_as_alpha(scene: Scene) -> int | None:
    """The number of an alpha band that is none: it has more values than a mask."""
    if len(scene.sources) != 1:
        return None
    with open_quietly(scene.sources[0]) as dataset:
        if ColorInterp.alpha not in dataset.colorinterp:
            return None
        number = dataset.colorinterp.index(ColorInterp.alpha) + 1
        shape = tuple(min(side, OVERVIEW) for side in dataset.shape)
        return number if len(np.unique(dataset.read(number, out_shape=shape))) > 16 else None


def find_collar(entries: Sequence[CatalogEntry], bands: Sequence[str | int]) -> float | None:
    """A value that stands for no data in files that declare none.

    Patches of one value in all bands are looked for: collars, and holes in mosaics.

    Returns:
        The value, or None if there are no such patches or files declare what is no data.
    """
    found: list[float] = []
    for entry in spread(entries, 16):
        scene = Scene.open(entry.image, bands=bands, name=entry.name)
        data, valid, _ = scene.read_overview(OVERVIEW)
        if not valid.all():
            return None  # declared
        found += [value for value, _ in undeclared_nodata(data, valid) if value in _fillers(data)]
    return max(set(found), key=found.count) if found else None


def undeclared_nodata(data: np.ndarray, valid: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Patches of one value in all bands of pixels that count as data.

    Args:
        data: ``(bands, h, w)``.
        valid: ``(h, w)`` bool.

    Returns:
        The values with the pixels ``(h, w)`` of their patches. Values that programs fill
        up with are looked for everywhere, others along the edge.
    """
    found = []
    for value in _fillers(data):
        patch = _patches(data, valid, value)
        if patch.mean() >= _COLLAR:
            found.append((value, patch))
    edge = np.zeros_like(valid)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    values, counts = np.unique(data[0][edge & valid], return_counts=True)
    value = float(values[counts.argmax()]) if len(values) else 0.0
    if len(values) and value not in _fillers(data):
        patch = _patches(data, valid, value)
        if patch.mean() >= _COLLAR_AT_EDGE and patch[edge].mean() >= _COLLAR_AT_EDGE:
            found.append((value, patch))
    return found


def _fillers(data: np.ndarray) -> Sequence[float]:
    """Ends of the type's range, and what else programs fill up with."""
    if data.dtype.kind in 'iu':
        limits = np.iinfo(data.dtype)
        return sorted({0, -9999, int(limits.min), int(limits.max)})
    return [float(np.finfo(data.dtype).min), -9999, 0]


def _patches(data: np.ndarray, valid: np.ndarray, value: float) -> np.ndarray:
    same = (data == value).all(axis=0) & valid
    if same.mean() < _COLLAR:
        return np.zeros_like(valid)
    return ndimage.binary_opening(same, np.ones((_BLOCK, _BLOCK)))


def profile_catalog(
    entries: Sequence[CatalogEntry],
    labels: LabelClasses,
    options: SceneOptions,
    *,
    objects: bool,
    progress: Callable[[int, int], None] | None = None,
) -> CatalogProfile:
    """Look at scenes and their labels.

    Args:
        entries: The scenes, with labels.
        labels: The classes of the labels.
        options: Bands and nodata; the files' own GSD is used.
        objects: Whether objects are learnt.
        progress: As for :func:`geo_mm.raster.band_statistics`, which takes the time.
    """
    chosen = spread(entries)
    opened = [
        open_labelled(entry, labels.classes.names, options, labels.options, objects=objects)
        for entry in chosen
    ]
    gsds = [float(np.sqrt(np.prod(item.scene.gsd))) for item in opened if item.scene.gsd]
    gsd = float(np.median(gsds)) if gsds else None
    covered = [Coverage(item, (64, 64)).area for item in opened]
    total = sum(item.scene.width * item.scene.height for item in opened)
    sides: list[np.ndarray] = [np.empty(0)]
    for item in opened:
        if isinstance(item.labels, SceneLabels):
            own = _sides(item.labels)
            own_gsd = float(np.sqrt(np.prod(item.scene.gsd))) if item.scene.gsd else None
            sides.append(own if gsd is None or own_gsd is None else own * own_gsd / gsd)
    return CatalogProfile(
        scenes=len(entries),
        opened=len(opened),
        statistics=band_statistics([item.scene for item in opened], MOST_PIXELS, progress),
        gsd=gsd,
        same_gsd=gsd is not None and all(abs(own / gsd - 1) < 0.02 for own in gsds),
        pixels=sum(covered) * len(entries) / len(opened),
        valid=sum(covered) / total,
        shortest=min(min(item.scene.width, item.scene.height) for item in opened),
        longest=max(max(item.scene.width, item.scene.height) for item in opened),
        sides=np.concatenate(sides),
        counts=_counts(opened, labels),
    )


def ground_and_objects(
    entries: Sequence[CatalogEntry], labels: LabelClasses, options: SceneOptions, *, objects: bool
) -> tuple[float, int]:
    """Valid pixels inside the AOI, and number of objects, of all scenes.

    Args:
        entries: As for :func:`profile_catalog`, as are the others; where there are many
            scenes, some are looked at.
    """
    chosen = spread(entries)
    opened = [
        open_labelled(entry, labels.classes.names, options, labels.options, objects=objects)
        for entry in chosen
    ]
    factor = len(entries) / max(len(chosen), 1)
    pixels = sum(Coverage(item, (64, 64)).area for item in opened)
    return pixels * factor, round(sum(_counts(opened, labels).values()) * factor)


def _counts(opened: Sequence[LabelledScene], labels: LabelClasses) -> dict[str, int]:
    """Number of objects of each class; empty for label rasters."""
    if any(isinstance(item.labels, LabelRaster) for item in opened):
        return {}
    found = [item.points()[1] for item in opened if isinstance(item.labels, SceneLabels)]
    numbers = np.concatenate([np.empty(0, np.int64), *found])
    counts = np.bincount(np.clip(numbers, -1, None) + 1, minlength=len(labels.classes) + 1)[1:]
    return {labels.classes.names[i]: int(counts[i]) for i in labels.classes.foreground}


def _sides(labels: SceneLabels) -> np.ndarray:
    """Square root of the area of each object's box, in pixels."""
    if not len(labels):
        return np.empty(0)
    bounds = shapely.bounds(labels.geometries[labels.labels >= 0])
    return np.sqrt((bounds[:, 2:] - bounds[:, :2]).prod(axis=1))
