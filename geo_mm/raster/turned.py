"""Pixels of a scene in a grid of another pixel size and direction, for one chip at a time."""

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine

from geo_mm.raster.grid import Window
from geo_mm.raster.scene import Scene


def turned_about(
    point: Sequence[float], zoom: float, angle: float, gsd: Sequence[float] | None
) -> Affine:
    """Pixel coordinates around a point to those of its scene, which it leaves in place.

    Args:
        point: Pixel position ``(x, y)``.
        zoom: Size of the new pixels, in pixels of the scene.
        angle: Degrees that they are turned by on the ground, clockwise in a
            scene with north up.
        gsd: Metres per pixel ``(x, y)`` of the scene; None where they are square.
    """
    x_size, y_size = gsd or (1.0, 1.0)
    on_ground = Affine.scale(x_size, y_size)
    turn = ~on_ground @ Affine.rotation(angle) @ Affine.scale(zoom) @ on_ground
    return Affine.translation(*point) @ turn @ Affine.translation(-point[0], -point[1])


def read_turned(scene: Scene, placed: Affine, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Read a window of a turned grid.

    The scene is read at the size of the new pixels first, by area where that is
    larger; turning is one linear interpolation between valid pixels.

    Args:
        scene: The scene.
        placed: Pixel coordinates of the turned grid to those of the scene.
        window: In pixels of the turned grid.

    Returns:
        Pixels ``(bands, height, width)`` and validity ``(height, width)``, as of
        :meth:`geo_mm.raster.Scene.read`.
    """
    zoom = math.sqrt(abs(placed.determinant))
    corner = placed @ (window.col_off, window.row_off)
    straight = placed.is_rectilinear and placed.a > 0
    # The chip's own corner is a corner of a pixel, so that without a turn nothing else is done.
    seen = scene.seen_from(corner, zoom)
    if straight:
        return seen.read(Window(0, 0, window.width, window.height))
    to_seen = Affine.scale(1 / zoom) @ Affine.translation(-corner[0], -corner[1]) @ placed
    to_seen = to_seen @ Affine.translation(window.col_off, window.row_off)
    around = _window_around(to_seen, window)
    data, valid = seen.read(around)
    to_part = Affine.translation(-around.col_off, -around.row_off) @ to_seen
    return _turned(data, valid, to_part, (window.height, window.width))


def _window_around(transform: Affine, window: Window) -> Window:
    """Whole pixels that hold a window, and those that are needed to interpolate."""
    corners = [transform @ (x, y) for x in (0, window.width) for y in (0, window.height)]
    low, high = np.floor(np.min(corners, axis=0)) - 1, np.ceil(np.max(corners, axis=0)) + 1
    return Window(*map(int, low), *map(int, high - low))


def _turned(
    data: np.ndarray, valid: np.ndarray, transform: Affine, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation at the pixel centres of a turned array."""
    import cv2  # takes a while, and few scenes are turned

    # OpenCV counts from the centres of pixels.
    half = Affine.translation(0.5, 0.5)
    matrix = np.reshape((~half @ transform @ half)[:6], (2, 3))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def warped(band: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(band, matrix, shape[::-1], flags=flags)

    work = np.result_type(data.dtype, np.float32)
    result = np.stack([warped(band.astype(work, copy=False)) for band in data])
    mask: np.ndarray = np.ones(shape, bool)
    if not valid.all():
        share = warped(valid.astype(np.float32))
        mask = share > 0.5
        np.divide(result, share, out=result, where=mask)
        np.copyto(result, 0, where=~mask)
    if data.dtype.kind in 'iu':
        np.rint(result, out=result)
    return result.astype(data.dtype, copy=False), mask
