"""Opening labels of any kind, and what all kinds have in common."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.errors import ConfigError, LabelError
from geo_mm.labels.image_labels import ImageClasses, ImageLabels, ImageObjects
from geo_mm.labels.label_raster import LabelRaster
from geo_mm.labels.layer import LabelLayer, LabelOptions
from geo_mm.labels.scene_labels import ClippedObjects
from geo_mm.raster.grid import Grid, Window

_RASTER_SUFFIXES = {'.tif', '.tiff', '.vrt', '.png', '.img', '.jp2'}


class Labels(Protocol):
    """Labels of one scene, in its pixel grid. Class numbers count all classes."""

    def objects(self, window: Window) -> ClippedObjects:
        """The objects under ``window``.

        Raises:
            LabelError: If there are only classes of pixels.
        """

    def classes(self, window: Window) -> np.ndarray:
        """Class of each pixel under ``window``, ``(h, w)`` uint8; 255 where ignored."""

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Places where something is labelled.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y), and the class number of each,
            -1 for ignored objects.
        """


def is_label_raster(source: str | os.PathLike) -> bool:
    """Whether labels are classes of pixels, by the name of their file."""
    return Path(source).suffix.lower() in _RASTER_SUFFIXES


def open_labels(
    source: str | os.PathLike | ImageLabels,
    classes: Sequence[str],
    options: LabelOptions,
    grid: Grid,
    *,
    whole: Grid | None = None,
    scene: str = 'the scene',
    objects: bool = False,
) -> Labels:
    """Open the labels of a scene.

    Args:
        source: Vector layer, raster of class values, or labels in the pixels of
            an image.
        classes: Class names; the position is the class number.
        options: How labels become classes.
        grid: Grid of the scene.
        whole: That of the whole scene, if ``grid`` is a part of it: labels must
            are somewhere on it.
        scene: Name of the scene, for messages.
        objects: Whether single objects are needed, not only classes of pixels.

    Raises:
        LabelError: If the labels cannot be used with the scene, or are a raster
            where objects are needed.
        ConfigError: If the background is not one of the classes of pixels.
    """
    if isinstance(source, ImageClasses):
        _check_objects(source.path, objects)
        return source.onto(classes, options, grid)
    if not isinstance(source, ImageObjects) and is_label_raster(source):
        _check_objects(source, objects)
        return LabelRaster.read(source, classes, grid, options.class_map, whole=whole or grid)
    known = None if options.background not in classes else options.background
    if known != options.background and not objects:
        raise ConfigError(
            f'the background class {options.background!r} is not one of {", ".join(classes)}',
            'a class for pixels that no feature covers',
            'name it in label_cfg.background, or set that to None to ignore such pixels',
        )
    found = ClassSet(tuple(classes), background=known)
    numbers = {found.names[number]: number for number in found.foreground}
    background = IGNORE if found.background_index is None else found.background_index
    if isinstance(source, ImageObjects):
        layer = source.layer(numbers, options)
    else:
        layer = LabelLayer.read(source, numbers, options, near=grid)
    return layer.onto(grid, scene=scene, whole=whole, background=background)


def _check_objects(path: str | os.PathLike, objects: bool) -> None:
    if objects:
        raise LabelError(
            f'{path}: a label raster has no single objects',
            'a vector layer',
            'polygonise it, or use geo_mm.GeoSegDataset',
        )
