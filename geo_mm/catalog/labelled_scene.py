"""A scene with its labels, its area of interest and its usable pixels, all in one grid."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.record import read_record
from geo_mm.catalog.weights import read_weights
from geo_mm.errors import SceneError
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import LabelLayer, LabelOptions, Labels, SceneLabels, open_labels
from geo_mm.raster import Grid, Scene, Window
from geo_mm.raster.sources import NoData
from geo_mm.raster.turned import read_turned, turned_about

_MAX_CELLS = 2048


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


class LabelledScene:
    """A scene, its labels and its AOI. Immutable.

    Attributes:
        scene: The image, at the grid in which chips are cut.
        has_labels: Whether there are labels, which need not be open.
        valid: Coarse map of the valid pixels of the scene, as a table tells it,
            ``(rows, cols)`` bool; None where it does not.
        weight: How often chips are drawn here, relative to as much ground elsewhere: a
            number, or the path of a raster of numbers.

    Args:
        scene: The image.
        labels: Its labels in the same grid, or how to open them.
        aoi: Polygons in the same grid, or how to open them; pixels outside them
            are invalid.
        valid: The map.
        weight: The number, or the raster.
    """

    def __init__(
        self,
        scene: Scene,
        labels: 'Labels | Later | None' = None,
        aoi: 'SceneLabels | Later | None' = None,
        valid: np.ndarray | None = None,
        weight: float | str = 1.0,
    ) -> None:
        self.scene = scene
        self.valid = valid
        self.weight = weight
        self._labels, self._aoi = labels, aoi

    @property
    def grid(self) -> Grid:
        """Where the pixels of chips are."""
        return self.scene.grid

    @property
    def gsd(self) -> tuple[float, float] | None:
        """Metres per pixel ``(x, y)``; None without a CRS."""
        return self.scene.gsd

    @property
    def has_labels(self) -> bool:
        return self._labels is not None

    @property
    def has_aoi(self) -> bool:
        """Whether there is an AOI, which need not be open."""
        return self._aoi is not None

    @property
    def labels(self) -> Labels | None:
        """The labels, opened if need be."""
        return _found(self._labels)

    @property
    def aoi(self) -> SceneLabels | None:
        """The AOI, opened if need be."""
        return _found(self._aoi)

    def read(self, window: Window, dtype: np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(bands, h, w)``, of the scene's type by default, and validity ``(h, w)``."""
        data, valid = self.scene.read(window, dtype=dtype)
        aoi = self.aoi
        if aoi is not None:
            valid = valid & aoi.covers(window)
        return data, valid

    def labels_near(self, window: Window) -> Labels | None:
        """The labels of a window and maybe more."""
        return self.labels

    def weights(self, shape: tuple[int, int]) -> np.ndarray:
        """Mean weight of chips in each of ``(rows, cols)`` equal cells of the scene.

        Raises:
            SceneError: If its raster cannot be read, lies elsewhere or has negative values.
        """
        if isinstance(self.weight, str):
            return read_weights(self.weight, self.scene.grid, shape)
        return np.full(shape, self.weight)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points worth cutting a chip around.

        Returns:
            Pixel coordinates ``(N, 2)`` as (x, y) inside the AOI, and class
            numbers ``(N,)``, -1 for ignored objects. Both are empty without
            labels.
        """
        known, aoi = self.labels, self.aoi
        if known is None:
            return np.empty((0, 2)), np.empty(0, np.int64)
        points, labels = known.points()
        if aoi is not None:
            found = aoi.tree.query(shapely.points(points), predicate='intersects')
            inside = np.unique(found[0])
            points, labels = points[inside], labels[inside]
        return points, labels

    def turned(self, window: Window, zoom: float, angle: float) -> 'TurnedScene':
        """The scene in other pixels around the middle of a window, which keeps its numbers.

        Args:
            window: What will be read.
            zoom: Size of the new pixels, in pixels of the scene.
            angle: Degrees that they are turned by on the ground.
        """
        point = (window.col_off + window.width / 2, window.row_off + window.height / 2)
        scene = self.scene
        placed = turned_about(point, zoom, angle, scene.gsd)
        return TurnedScene(self, placed, replace(scene.grid, transform=scene.transform @ placed))

    def __deepcopy__(self, memo: dict) -> 'LabelledScene':
        # Immutable, and copied per chip by MultiImageMixDataset otherwise.
        return self


@dataclass(frozen=True, eq=False)
class TurnedScene:
    """A labelled scene in other pixels, of which the window of one chip is read.

    Attributes:
        original: The labelled scene.
        placed: Pixel coordinates here to those of the scene.
        grid: Where the pixels are.
    """

    original: LabelledScene
    placed: Affine
    grid: Grid

    @property
    def scene(self) -> Scene:
        """The image, in its own pixels."""
        return self.original.scene

    @property
    def gsd(self) -> tuple[float, float] | None:
        """Metres per pixel ``(x, y)`` here."""
        zoom, own = math.sqrt(self.placed.determinant), self.scene.gsd
        return None if own is None else (own[0] * zoom, own[1] * zoom)

    def read(self, window: Window, dtype: np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(bands, h, w)``, of the scene's type by default, and validity ``(h, w)``."""
        data, valid = read_turned(self.scene, self.placed, window)
        data = data if dtype is None else data.astype(dtype, copy=False)
        aoi = self.original.aoi
        if aoi is not None:
            valid = valid & aoi.turned(self.placed, self.grid, window).covers(window)
        return data, valid

    def labels_near(self, window: Window) -> Labels | None:
        """The labels near a window."""
        labels = self.original.labels
        return None if labels is None else labels.turned(self.placed, self.grid, window)

    def __deepcopy__(self, memo: dict) -> 'TurnedScene':
        return self


@dataclass(frozen=True, eq=False)
class Later:
    """Labels or an AOI that are opened when they are asked for.

    Attributes:
        open: A call that opens them and can be pickled.
    """

    open: partial


_KEPT = 200_000  # objects of scenes that are open at a time; a scene counts as 200 at least


class _Opened:
    """Labels and AOIs that this process has opened, those that were used last."""

    def __init__(self) -> None:
        self._labels: OrderedDict[Later, Labels] = OrderedDict()
        self._weight = 0

    def find(self, later: Later) -> Any:
        """What is to be opened, opened if need be."""
        known = self._labels.get(later)
        if known is not None:
            self._labels.move_to_end(later)
            return known
        known = self._labels[later] = later.open()
        self._weight += _weight(known)
        while len(self._labels) > 1 and self._weight > _KEPT:
            self._weight -= _weight(self._labels.popitem(last=False)[1])
        return known


def _weight(labels: Labels) -> int:
    return max(len(labels) if isinstance(labels, SceneLabels) else 0, 200)


_opened = _Opened()


def _found(labels: Any) -> Any:
    """Labels, opened in this process if that was left for later."""
    return _opened.find(labels) if isinstance(labels, Later) else labels


def open_labelled(
    entry: CatalogEntry,
    classes: Sequence[str],
    scene_options: SceneOptions,
    label_options: LabelOptions,
    *,
    objects: bool = False,
) -> LabelledScene:
    """Opens one catalog entry; if a table tells what is in it, only when it is read.

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
    record = read_record(entry)
    stored = Scene.open(
        entry.image,
        bands=scene_options.bands,
        nodata=scene_options.nodata,
        name=entry.name,
        recorded=record and record.files,
    )
    whole = stored if scene_options.gsd is None else stored.at_gsd(scene_options.gsd)
    scene = whole if entry.area is None else whole.crop(area_window(whole, entry.area))
    labels = aoi = None
    if entry.labels is not None:
        given = replace(label_options, layer=entry.layer or label_options.layer)
        grids = (stored.grid, whole.grid)
        labels = Later(partial(_labels, entry, classes, given, grids, scene, objects))
    if entry.aoi is not None:
        aoi = Later(partial(read_aoi, entry.aoi, whole, scene))
    weight = 1.0 if entry.weight is None else entry.weight
    if record is None:
        return LabelledScene(scene, labels and labels.open(), aoi and aoi.open(), weight=weight)
    if scene_options.nodata != 'auto':  # the table tells what is valid as files declare it
        return LabelledScene(scene, labels, aoi, weight=weight)
    valid = record.valid if entry.area is None else _part(record.valid, entry.area)
    return LabelledScene(scene, labels, aoi, valid, weight)


def _labels(
    entry: CatalogEntry,
    classes: Sequence[str],
    options: LabelOptions,
    grids: tuple[Grid, Grid],
    scene: Scene,
    objects: bool,
) -> Labels:
    """The labels of an entry; the grids are those of its file, and of all of it as it is read."""
    stored, whole = grids
    source = str(entry.labels)
    in_pixels = read_image_labels(source, entry.image)
    if in_pixels is not None and in_pixels.image == entry.image:
        in_pixels = replace(in_pixels, grid=stored)  # the file is not opened again
    return open_labels(
        in_pixels or source,
        classes,
        options,
        scene.grid,
        whole=whole,
        scene=scene.name,
        objects=objects,
    )


def _part(valid: np.ndarray, area: tuple[float, float, float, float]) -> np.ndarray:
    """The cells of a map under a part of it, given as fractions."""
    left, top, right, bottom = area
    return valid[_cells(top, bottom, len(valid))][:, _cells(left, right, valid.shape[1])]


def _cells(low: float, high: float, count: int, wanted: int | None = None) -> np.ndarray:
    """Which of so many cells are under the middles of those wanted between two fractions."""
    wanted = max(math.ceil((high - low) * count), 1) if wanted is None else wanted
    places = low + (np.arange(wanted) + 0.5) / wanted * (high - low)
    return np.minimum((places * count).astype(int), count - 1)


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


class Coverage:
    """Valid share of windows of one scene, to within one cell.

    Args:
        labelled: Scene and AOI.
        chip_size: ``(height, width)`` of the windows that will be asked for;
            cells are an eighth of the smaller side, or larger where the scene
            would need more than 2048 cells along a side.

    Attributes:
        valid: ``(rows, cols)`` bool, whether the middle of each cell is valid.
        cell_height: Rows of pixels in a cell, fractional.
        cell_width: Columns of pixels in a cell, fractional.
    """

    def __init__(self, labelled: LabelledScene, chip_size: tuple[int, int]) -> None:
        scene = labelled.scene
        longest = max(scene.width, scene.height)
        cell = max(min(chip_size) // 8, math.ceil(longest / _MAX_CELLS), 1)
        rows, cols = math.ceil(scene.height / cell), math.ceil(scene.width / cell)
        self.cell_height, self.cell_width = scene.height / rows, scene.width / cols
        self._aoi = labelled.aoi
        if labelled.valid is None:
            self.valid = scene.read_valid(out_shape=(rows, cols))
        else:
            known = labelled.valid
            chosen = _cells(0, 1, len(known), rows), _cells(0, 1, known.shape[1], cols)
            self.valid = known[np.ix_(*chosen)]
        if self._aoi is not None:
            self.valid = self.valid & self._inside(self._aoi, rows, cols)
        self._integral = np.zeros((rows + 1, cols + 1))
        self._integral[1:, 1:] = self.valid.cumsum(0, dtype=np.float64).cumsum(1)

    def _inside(self, aoi: SceneLabels, rows: int, cols: int) -> np.ndarray:
        if not len(aoi):
            return np.zeros((rows, cols), bool)
        return rasterize(
            aoi.geometries,
            out_shape=(rows, cols),
            transform=Affine.scale(self.cell_width, self.cell_height),
            dtype='uint8',
        ).astype(bool)

    @property
    def area(self) -> float:
        """Valid pixels of the scene."""
        return float(self.valid.sum() * self.cell_width * self.cell_height)

    def share(self, window: Window) -> float:
        """Valid share 0..1 of ``window``; what is outside the scene is invalid."""
        col, row = np.array([window.col_off]), np.array([window.row_off])
        return float(self.shares(col, row, (window.height, window.width))[0, 0])

    def shares(self, cols: np.ndarray, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Valid shares of windows of one size at every combination of positions.

        Args:
            cols: ``(C,)`` first pixel columns, fractions allowed.
            rows: ``(R,)`` first pixel rows.
            size: ``(height, width)`` of the windows.

        Returns:
            ``(R, C)`` shares 0..1.
        """
        height, width = size
        low, high = rows / self.cell_height, (rows + height) / self.cell_height
        strips = _interpolated(self._integral, high) - _interpolated(self._integral, low)
        low, high = cols / self.cell_width, (cols + width) / self.cell_width
        cells = (_interpolated(strips.T, high) - _interpolated(strips.T, low)).T
        return cells * (self.cell_width * self.cell_height / (height * width))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Whether the cells under pixel positions ``(N, 2)``, as (x, y), are valid."""
        return self.valid[self.cells_at(*points.T)]

    def cells_at(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells at pixel positions, the nearest outside of the scene."""
        rows, cols = self.valid.shape
        row = np.clip((ys / self.cell_height).astype(int), 0, rows - 1)
        return row, np.clip((xs / self.cell_width).astype(int), 0, cols - 1)

    def touches(self, window: Window) -> bool:
        """Whether any cell under or next to ``window`` is valid.

        Never a false no for a valid patch larger than a cell; the AOI is
        looked up exactly.
        """
        left, right = window.col_off / self.cell_width, window.col_end / self.cell_width
        top, bottom = window.row_off / self.cell_height, window.row_end / self.cell_height
        part = self.valid[
            max(math.floor(top) - 1, 0) : math.ceil(bottom) + 1,
            max(math.floor(left) - 1, 0) : math.ceil(right) + 1,
        ]
        return bool(part.any()) and (self._aoi is None or len(self._aoi.query(window)) > 0)


def _interpolated(table: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows of a table at fractional positions; those outside are at its edge."""
    last = len(table) - 1
    position = np.clip(position, 0, last)
    low = np.minimum(position.astype(int), max(last - 1, 0))
    part = (position - low)[:, None]
    return table[low] * (1 - part) + table[np.minimum(low + 1, last)] * part
