"""Class rasters, predicted and true, read window by window in the pixels of the prediction."""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.evaluation.layers import Source, no_common_area
from geo_mm.evaluation.records import only_class
from geo_mm.labels import LabelLayer, LabelOptions, Labels, read_layer, read_onto
from geo_mm.labels.reading import layer_name
from geo_mm.raster import Grid, Scene, Window
from geo_mm.raster.handles import without_side_files
from geo_mm.raster.projection import bounds_in

if TYPE_CHECKING:
    from geo_mm.evaluation.pixels import PixelSettings

_NOTHING = -1
_WINDOW_PIXELS = 1 << 21  # bounds the memory, whatever the scene's size
_WINDOW_WIDTH = 2048

_FIX = (
    'name the column with class_column (--class-column), or the one class of the prediction with '
    'class_names (such as --classes 0=background 1=building)'
)


def open_class_raster(path: str | os.PathLike) -> Scene:
    """A raster of one band.

    Raises:
        LabelError: If it has more.
        SceneError: If it cannot be opened.
    """
    scene = Scene.open(path)
    if scene.count != 1:
        raise LabelError(
            f'{path}: has {scene.count} bands', 'one band of class numbers', 'give a class raster'
        )
    return scene


def read_windows(scene: Scene, within: Window | None = None) -> Iterator[Window]:
    """Windows that cover a scene, along its blocks where that is possible.

    Args:
        scene: The scene.
        within: Cover this part of it only.
    """
    within = within or scene.grid.window
    block_rows, block_cols = scene.block_shape
    width = scene.width
    if block_cols < width:
        width = min(width, max(block_cols, _WINDOW_WIDTH // block_cols * block_cols))
    height = max(_WINDOW_PIXELS // width, 1)
    if height > block_rows:
        height = height // block_rows * block_rows
    for row in range(within.row_off // height * height, within.row_end, height):
        for col in range(within.col_off // width * width, within.col_end, width):
            window = Window(col, row, width, height).intersection(within)
            if window.area:
                yield window


def as_classes(values: np.ndarray, valid: np.ndarray, name: str) -> np.ndarray:
    """Class numbers as uint8, 255 where invalid.

    Args:
        values: (height, width), of any type.
        valid: (height, width) bool.
        name: Of the source, for messages.

    Raises:
        LabelError: If a valid value is no class number.
    """
    if values.dtype == np.uint8:
        return np.where(valid, values, IGNORE).astype(np.uint8)
    used = values[valid]
    wrong = (used > IGNORE) | (used < -1) | (used != np.floor(used))
    if wrong.any():
        raise LabelError(
            f'{name}: holds the value {used[wrong][0]}',
            'class numbers 0 to 254, and 255 or -1 for pixels without a class',
        )
    # -1 is how some label rasters mark what is unlabelled.
    return np.where(valid & (values >= 0), values, IGNORE).astype(np.uint8)


def classes_in(scene: Scene) -> list[int]:
    """The class numbers that occur in a raster, which is read as a whole."""
    found = np.zeros(IGNORE + 1, bool)
    for window in read_windows(scene):
        data, valid = scene.read(window)
        found[np.unique(as_classes(data[0], valid, scene.name))] = True
    return np.flatnonzero(found[:IGNORE]).tolist()


class NamedLabels(NamedTuple):
    """Ground truth in the pixels of a prediction.

    Attributes:
        labels: Class numbers of the prediction by window.
        name: Name of their source, for messages.
        notes: What the reader should know about them.
    """

    labels: 'Labels | RasterTruth'
    name: str
    notes: tuple[str, ...] = ()


class RasterTruth(NamedTuple):
    """Ground truth that is a raster of class numbers, in its own grid."""

    path: str | os.PathLike
    grid: Grid

    def classes(self, window: Window) -> np.ndarray:
        """Class numbers (height, width) uint8, 255 where there is none."""
        values = read_onto(self.path, self.grid, window, _NOTHING)
        return as_classes(values, values != _NOTHING, os.path.basename(self.path))


def layer_truth(
    source: Source, scene: Scene, names: Mapping[int, str], settings: 'PixelSettings'
) -> NamedLabels:
    """Read a layer whose classes are named, or numbered, as in the prediction.

    Where features overlap, the class with the larger number is on top.

    Args:
        source: The layer.
        scene: The prediction.
        names: Class numbers and names of the prediction; empty if it has none.
        settings: How features become classes.

    Raises:
        LabelError: If the layer cannot be read, is elsewhere or has values
            that are no class.
    """
    name, column, background = layer_name(source), settings.class_column, settings.background
    notes = [f'Pixels under no feature of {name} count as class {background}.']
    if column == 'class' and column not in _columns(source):
        column = None
    if column is None:
        numbers = _candidates(names, scene, (background, IGNORE, *settings.ignore))
        text, note = only_class(name, _columns(source), numbers, _FIX)
        numbers = {text: numbers[text]}
        notes.append(note)
    elif names:
        numbers = {text: value for value, text in sorted(names.items())}
    else:
        numbers = _numbers_in(source, column, name)
    options = LabelOptions(class_column=column, class_map=settings.class_map if column else None)
    layer = LabelLayer.read(source, numbers, options)
    labels = layer.onto(scene.grid, scene=scene.name, background=background)
    return NamedLabels(labels, name, tuple(notes))


def nothing_in_common(truth: NamedLabels, scene: Scene, sources: tuple[str, str]) -> LabelError:
    """Why no pixel could be compared."""
    if isinstance(truth.labels, RasterTruth):
        ours, raster = scene.grid.bounds, Scene.open(truth.labels.path).grid
        theirs = bounds_in(raster.bounds, raster.crs, scene.crs) if raster.crs else raster.bounds
        if (
            theirs is None
            or (theirs[0] >= ours[2] or theirs[2] <= ours[0])
            or (theirs[1] >= ours[3] or theirs[3] <= ours[1])
        ):
            hint = 'check that both belong to the same scene'
            return no_common_area(sources, (ours, theirs), scene.crs, hint)
    return LabelError(
        f'{sources[0]} and {sources[1]}: no pixel has a class in both',
        'pixels with data in both, inside the scored part and of classes not ignored',
        'check nodata, what is ignored and what is scored',
    )


@without_side_files()
def _columns(source: Source) -> list[str]:
    if not isinstance(source, gpd.GeoDataFrame):
        # Without reading the features; what it cannot open, read_layer can or explains.
        with contextlib.suppress(DataSourceError, DataLayerError):
            return list(pyogrio.read_info(source)['fields'])
        source = read_layer(source)
    return list(source.columns)


def _candidates(
    names: Mapping[int, str], scene: Scene, left_out: Collection[int]
) -> dict[str, int]:
    """The classes that a feature without an attribute can be of, by name."""
    numbers = {text: value for value, text in names.items() if value not in left_out}
    if names:
        return numbers
    # A raster without names, perhaps one in which nothing was found.
    present = [value for value in classes_in(scene) if value not in left_out] or [1]
    return {str(value): value for value in present}


def _numbers_in(source: Source, column: str, name: str) -> dict[str, int]:
    """Class numbers that stand in the attribute themselves."""
    gdf = read_layer(source)
    if column not in gdf.columns:
        return {'0': 0}  # LabelLayer lists the columns
    values = pd.to_numeric(gdf[column], errors='coerce').dropna().unique()
    if not len(values) or not np.isin(values, np.arange(IGNORE)).all():
        raise LabelError(
            f'{name}: column {column!r} holds {sorted(map(str, gdf[column].unique()))[:20]}, and '
            'the prediction carries no class names',
            'class numbers 0 to 254 in the column, or class names in the raster',
            "name the classes of the raster: class_names={1: 'water', 2: 'land'} (on the command "
            'line --classes 1=water 2=land)',
        )
    return {str(int(value)): int(value) for value in sorted(values)}
