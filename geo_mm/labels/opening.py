"""Opening labels of any kind: layers, rasters, and those in the pixels of an image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.errors import ConfigError, LabelError
from geo_mm.labels.classification import IGNORED_NAME, LabelOptions, numbers_of_names
from geo_mm.labels.label_raster import LabelRaster, file_grid
from geo_mm.labels.layer import Extent, LabelLayer
from geo_mm.labels.reading import repair
from geo_mm.labels.scene_labels import ClippedObjects
from geo_mm.raster.grid import Grid, Window, to_map
from geo_mm.raster.projection import proj_crs


@dataclass(frozen=True, eq=False)
class ImageObjects:
    """Objects labelled in the pixels of an image.

    Attributes:
        image: The image file; it may be georeferenced or not.
        geometries: (N,) Polygons or MultiPolygons in its pixels, ``(x, y)`` from
            the upper left corner of the upper left pixel.
        names: (N,) class names, None for ignored regions.
        source: Where they are from, for messages.
        relative: Whether the coordinates are fractions of its width and height.
        grid: Where the pixels of the image are; None to look into its file.
    """

    image: str
    geometries: np.ndarray
    names: Sequence[str | None]
    source: str
    relative: bool = False
    grid: Grid | None = None

    def on_map(self) -> tuple[np.ndarray, CRS | None]:
        """The objects made valid and in map coordinates, and their CRS.

        Raises:
            LabelError: If the image cannot be opened.
        """
        grid = self.grid or file_grid(self.image)
        transform = grid.transform
        if self.relative:
            transform = transform @ Affine.scale(grid.width, grid.height)
        valid, _ = repair(self.geometries)
        return shapely.transform(valid, lambda xy: to_map(xy, transform)), grid.crs

    def layer(self, numbers: Mapping[str, int], options: LabelOptions) -> LabelLayer:
        """The objects in map coordinates of the image, with their class numbers.

        Args:
            numbers: Class number by name.
            options: ``class_map`` may rename, drop or ignore classes.

        Raises:
            LabelError: If a name is no class, or the image cannot be opened.
        """
        names = [IGNORED_NAME if name is None else name for name in self.names]
        kept, found = numbers_of_names(names, numbers, options, self.source)
        placed, crs = replace(self, geometries=self.geometries[kept]).on_map()
        bounds = shapely.total_bounds(placed) if len(placed) else np.full(4, np.nan)
        return LabelLayer(
            placed,
            found,
            np.flatnonzero(kept),
            None if crs is None else proj_crs(crs),
            self.source,
            replace(options, point_size=None, line_width=None),
            Extent(len(placed), bounds),
        )


@dataclass(frozen=True)
class ImageClasses:
    """A class for each pixel of an image, in a file of the same size.

    Attributes:
        image: The image file.
        path: Raster of class values, which need not be georeferenced.
        names: Class name of each value, None to ignore its pixels. Value 0
            without a name is what nothing was drawn on: the background. Where
            that is no class, its pixels are ignored.
        grid: Where the pixels of the image are; None to look into its file.
    """

    image: str
    path: str
    names: Mapping[int, str | None]
    grid: Grid | None = None

    def onto(self, classes: Sequence[str], options: LabelOptions, grid: Grid) -> LabelRaster:
        """The classes in another grid, such as that of the image at another GSD.

        Args:
            classes: Class names; the position is the class number.
            options: ``class_map`` may rename or ignore classes, by name or by value.
            grid: Grid of the scene.

        Raises:
            LabelError: If a value has no class, or the raster is of another size
                than the image.
        """
        own = self.grid or file_grid(self.image)
        ground = options.background
        values: dict[int, str | None] = {0: ground, **self.names}
        if ground not in classes:
            values = {value: None if name == ground else name for value, name in values.items()}
        renamed = {str(key): name for key, name in (options.class_map or {}).items()}
        class_map = {
            value: renamed.get(str(value), name if name is None else renamed.get(name, name))
            for value, name in values.items()
        }
        return LabelRaster.read(self.path, classes, grid, class_map, own=own)


ImageLabels = ImageObjects | ImageClasses


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

    def turned(self, placed: Affine, grid: Grid, window: Window) -> 'Labels':
        """The labels near a window of a turned grid of the same scene, in its pixels."""


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
