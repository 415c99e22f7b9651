"""Rasters of class numbers, read window by window."""

import os
from collections.abc import Iterator

import numpy as np

from geo_mm.classes import IGNORE
from geo_mm.errors import LabelError
from geo_mm.raster import Scene, Window

_WINDOW_PIXELS = 1 << 21  # bounds the memory, whatever the scene's size
_WINDOW_WIDTH = 2048


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
