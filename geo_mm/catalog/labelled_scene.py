"""A scene with its labels and its area of interest, all in one pixel grid."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.errors import ConfigError, LabelError, SceneError
from geo_mm.labels import LabelLayer, SceneLabels
from geo_mm.labels.burnt_labels import BurntLabels
from geo_mm.labels.label_raster import LabelRaster
from geo_mm.raster import Scene, Window

_RASTER_SUFFIXES = {'.tif', '.tiff', '.vrt', '.png', '.img', '.jp2'}


@dataclass(frozen=True)
class SceneOptions:
    """How the scenes of a dataset are opened.

    Attributes:
        bands: Bands to use, by name or 1-based number; None takes all.
        gsd: Metres per pixel to read at; None reads at each scene's own.
        nodata: Value of pixels without data; ``'auto'`` takes what each file
            declares.
    """

    bands: Sequence[int | str] | None = None
    gsd: float | None = None
    nodata: float | str | None = 'auto'


@dataclass(frozen=True)
class LabelOptions:
    """How labels become classes.

    Attributes:
        class_column: Attribute that holds the class of a feature; None where all
            features belong to the one class.
        class_map: Attribute or pixel value to class name; None as the name
            drops the feature, ``'ignore'`` makes it an ignored region. Pixels
            of a label raster are ignored by either.
        background: Class of pixels that no feature covers; None ignores them.
        point_size: Side in metres of the square around a labelled point.
        line_width: Width in metres of a labelled line.
        layer: Layer of the label file.
        where: SQL condition that the features must meet.
    """

    class_column: str | None = None
    class_map: Mapping | None = None
    background: str | None = 'background'
    point_size: float | None = None
    line_width: float | None = None
    layer: str | None = None
    where: str | None = None

    @classmethod
    def from_cfg(cls, cfg: Mapping | None) -> 'LabelOptions':
        """Options from a config dict.

        Raises:
            ConfigError: For a key that does not exist.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = set(cfg or {}) - set(known)
        if unknown:
            raise ConfigError(
                f'label_cfg has the unknown key {", ".join(sorted(unknown))}',
                f'keys out of {", ".join(known)}',
            )
        return cls(**(cfg or {}))


@dataclass(frozen=True)
class LabelledScene:
    """A scene, its labels and its AOI.

    Attributes:
        scene: The image, at the grid in which chips are cut.
        labels: Its labels in the same grid, or None.
        aoi: Polygons in the same grid; pixels outside them are invalid.
    """

    scene: Scene
    labels: SceneLabels | BurntLabels | LabelRaster | None = None
    aoi: SceneLabels | None = None

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(bands, h, w)`` and their validity ``(h, w)`` bool."""
        data, valid = self.scene.read(window)
        if self.aoi is not None:
            valid = valid & (self.aoi.rasterise(window) == 1)
        return data, valid

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Points worth cutting a chip around.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y) inside the AOI, and class
            indices ``(N,)``, -1 for ignored objects. Both are empty without
            labels.
        """
        if self.labels is None:
            return np.empty((0, 2)), np.empty(0, np.int64)
        if isinstance(self.labels, SceneLabels):
            points, labels = self.labels.centres(), self.labels.labels
        else:
            points, labels = self.labels.anchors()
        if self.aoi is not None:
            found = self.aoi.tree.query(shapely.points(points), predicate='intersects')
            inside = np.unique(found[0])
            points, labels = points[inside], labels[inside]
        return points, labels

    def __deepcopy__(self, memo: dict) -> 'LabelledScene':
        # Immutable, and copied per chip by MultiImageMixDataset otherwise.
        return self


def open_labelled(
    entry: CatalogEntry,
    classes: Sequence[str],
    scene_options: SceneOptions,
    label_options: LabelOptions,
) -> LabelledScene:
    """Opens one catalog entry.

    Args:
        entry: The entry.
        classes: Class names; vector features can have all but the background.
        scene_options: How to open the image.
        label_options: How to read the labels.

    Raises:
        SceneError: If the image cannot be opened as asked.
        LabelError: If the labels cannot be used with the image.
    """
    scene = Scene.open(
        entry.image,
        bands=scene_options.bands,
        gsd=scene_options.gsd,
        nodata=scene_options.nodata,
        name=entry.name,
    )
    whole = scene
    if entry.area is not None:
        scene = scene.crop(area_window(scene, entry.area))
    labels = None
    if entry.labels is not None:
        labels = _read_labels(entry, whole, scene, classes, label_options)
    aoi = None if entry.aoi is None else read_aoi(entry.aoi, whole, scene)
    return LabelledScene(scene, labels, aoi)


def _read_labels(
    entry: CatalogEntry,
    whole: Scene,
    scene: Scene,
    classes: Sequence[str],
    options: LabelOptions,
) -> SceneLabels | LabelRaster:
    if Path(entry.labels).suffix.lower() in _RASTER_SUFFIXES:
        return LabelRaster.read(entry.labels, classes, scene.grid, options.class_map)
    return _placed(
        LabelLayer.read(
            entry.labels,
            [name for name in classes if name != options.background],
            class_column=options.class_column,
            class_map=options.class_map,
            layer=entry.layer or options.layer,
            where=options.where,
            point_size=options.point_size,
            line_width=options.line_width,
        ),
        whole,
        scene,
    )


def read_aoi(path: str, whole: Scene, scene: Scene) -> SceneLabels:
    """Polygons of an area of interest in the grid of a scene.

    Args:
        path: Vector file.
        whole: A scene that they must touch.
        scene: The part of it that is used.

    Raises:
        LabelError: If there are none, or they lie elsewhere.
    """
    layer = LabelLayer.read(path, ['aoi'])
    if not len(layer.labels):
        raise LabelError(
            f'{path}: an area of interest without polygons would leave nothing of {scene.name}',
            'at least one polygon',
            'leave `aoi` out of the catalog entry to use the whole scene',
        )
    return _placed(layer, whole, scene)


def _placed(layer: LabelLayer, whole: Scene, scene: Scene) -> SceneLabels:
    labels = layer.onto(whole.grid, scene=scene.name)  # labels elsewhere on Earth are an error,
    if scene is whole:
        return labels
    return layer.onto(scene.grid, must_touch=False)  # a part without any is not


def area_window(scene: Scene, area: tuple[float, float, float, float]) -> Window:
    """The whole pixels of a part of a scene.

    Args:
        scene: The scene.
        area: ``(left, top, right, bottom)`` as fractions 0..1 of it.

    Raises:
        SceneError: If no pixel is left.
    """
    left, top, right, bottom = area
    col, row = round(left * scene.width), round(top * scene.height)
    window = Window(col, row, round(right * scene.width) - col, round(bottom * scene.height) - row)
    if not window.area:
        raise SceneError(
            f'{scene.name}: area {area} of {scene.width} x {scene.height} pixels is empty'
        )
    return window
