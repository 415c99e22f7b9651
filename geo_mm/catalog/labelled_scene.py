"""A scene with its labels and its area of interest, all in one pixel grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.errors import SceneError
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import LabelLayer, LabelOptions, Labels, SceneLabels, open_labels
from geo_mm.raster import Scene, Window
from geo_mm.raster.sources import NoData


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
    nodata: NoData = 'auto'


@dataclass(frozen=True)
class LabelledScene:
    """A scene, its labels and its AOI.

    Attributes:
        scene: The image, at the grid in which chips are cut.
        labels: Its labels in the same grid, or None.
        aoi: Polygons in the same grid; pixels outside them are invalid.
    """

    scene: Scene
    labels: Labels | None = None
    aoi: SceneLabels | None = None

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(bands, h, w)`` and their validity ``(h, w)`` bool."""
        data, valid = self.scene.read(window)
        if self.aoi is not None:
            valid = valid & self.aoi.covers(window)
        return data, valid

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points worth cutting a chip around.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y) inside the AOI, and class
            numbers ``(N,)``, -1 for ignored objects. Both are empty without
            labels.
        """
        if self.labels is None:
            return np.empty((0, 2)), np.empty(0, np.int64)
        points, labels = self.labels.points()
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
    *,
    objects: bool = False,
) -> LabelledScene:
    """Opens one catalog entry.

    Args:
        entry: The entry.
        classes: Class names; vector features can have all but the background.
        scene_options: How to open the image.
        label_options: How to read the labels.
        objects: Whether single objects are needed, not only classes of pixels.

    Raises:
        SceneError: If the image cannot be opened as asked.
        LabelError: If the labels cannot be used with the image.
        ConfigError: If the background is not one of the classes of pixels.
    """
    stored = Scene.open(
        entry.image, bands=scene_options.bands, nodata=scene_options.nodata, name=entry.name
    )
    whole = stored if scene_options.gsd is None else stored.at_gsd(scene_options.gsd)
    scene = whole if entry.area is None else whole.crop(area_window(whole, entry.area))
    labels = None
    if entry.labels is not None:
        in_pixels = read_image_labels(entry.labels, entry.image)
        if in_pixels is not None and in_pixels.image == entry.image:
            in_pixels = replace(in_pixels, grid=stored.grid)  # the file is not opened again
        labels = open_labels(
            in_pixels or entry.labels,
            classes,
            replace(label_options, layer=entry.layer or label_options.layer),
            scene.grid,
            whole=whole.grid,
            scene=scene.name,
            objects=objects,
        )
    aoi = None if entry.aoi is None else read_aoi(entry.aoi, whole, scene)
    return LabelledScene(scene, labels, aoi)


def read_aoi(path: str, whole: Scene, scene: Scene) -> SceneLabels:
    """Polygons of an area of interest in the grid of a scene.

    Args:
        path: Vector file.
        whole: A scene that they must touch.
        scene: The part of it that is used.

    Raises:
        LabelError: If there are none, or they are elsewhere.
    """
    return LabelLayer.read_area(path).onto(scene.grid, scene=scene.name, whole=whole.grid)


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
