"""What the viewer shows: tiles of rasters and objects of layers, all in pixels of the scene.

The scene is shown as its file has it, and results and ground truth are placed on it
as they are for training and evaluation. So there is no projection on the screen: a
picture without a CRS is shown like any other scene, and a rotated one is not warped.
"""

import io
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from PIL import Image
from shapely import STRtree

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.errors import LabelError
from geo_mm.evaluation.rasters import as_classes, open_class_raster
from geo_mm.evaluation.records import Record, in_colours, raster_colours, raster_names
from geo_mm.labels.classification import attribute_text
from geo_mm.labels.label_raster import read_onto
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.placing import counts_down, mirrored, place
from geo_mm.labels.reading import read_layer
from geo_mm.raster import Grid, Scene, Window
from geo_mm.raster.rgb import display_limits, to_rgb
from geo_mm.viewer.options import ViewOptions

TILE = 256
_OVERVIEW = 2048  # pixels along the longer side that stay in memory, for coarse tiles
_MOST = 4000  # objects that are sent for one view, the largest first
_NO_CLASS = 'object'
_BACKGROUND = 'background'


@dataclass(frozen=True)
class Filter:
    """What is not to be seen.

    Attributes:
        least: Confidence below which nothing is shown.
        hidden: Numbers of classes that are not.
    """

    least: float = 0.0
    hidden: frozenset[int] = frozenset()


class Pixels(Protocol):
    """A raster in pixels of the scene."""

    def read(self, window: Window, out_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`geo_mm.raster.Scene.read`."""


class _Placed(NamedTuple):
    """A raster of numbers in a grid of its own, looked up at the centres of pixels."""

    path: str
    grid: Grid

    def read(self, window: Window, out_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        rows, cols = out_shape
        scale = Affine.scale(window.width / cols, window.height / rows)
        grid = Grid(self.grid.window_transform(window) @ scale, cols, rows, self.grid.crs)
        values = np.empty(out_shape, np.int64)
        step = max(1 << 16 // cols, 1)
        for row in range(0, rows, step):  # what is read at once is bounded
            part = Window(0, row, cols, min(step, rows - row))
            values[row : row + step] = read_onto(self.path, grid, part, -1)
        return values[None], values >= 0


class _Pyramid:
    """Tiles of a raster. Coarse ones come from an overview in memory, which is read once."""

    def __init__(self, pixels: Pixels, grid: Grid) -> None:
        self._pixels = pixels
        self._size = grid.width, grid.height
        longer = max(self._size)
        self._ratio = max(longer / _OVERVIEW, 1.0)
        self._lock = threading.Lock()
        self._overview: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def overview(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and validity of the whole, coarsely."""
        with self._lock:  # the first tiles are asked for at once
            if self._overview is None:
                width, height = self._size
                shape = max(round(height / self._ratio), 1), max(round(width / self._ratio), 1)
                self._overview = self._pixels.read(Window(0, 0, width, height), shape)
            return self._overview

    def tile(self, level: int, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(bands, 256, 256)`` and validity; a pixel is 2 ** level of the scene."""
        factor = 1 << level
        if factor < self._ratio:
            side = TILE * factor
            return self._pixels.read(Window(x * side, y * side, side, side), (TILE, TILE))
        data, valid = self.overview
        rows, cols = (
            ((start * TILE + np.arange(TILE) + 0.5) * factor * (own / size)).astype(np.int64)
            for start, own, size in zip((y, x), valid.shape, self._size[::-1], strict=True)
        )
        inside = (rows[:, None] < valid.shape[0]) & (cols < valid.shape[1])
        place = np.ix_(np.minimum(rows, valid.shape[0] - 1), np.minimum(cols, valid.shape[1] - 1))
        return data[(slice(None), *place)], valid[place] & inside


class ImageTiles:
    """The scene, stretched as in quick looks; pixels without data are transparent."""

    kind = 'image'

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._tiles = _Pyramid(scene, scene.grid)

    @cached_property
    def _limits(self):
        return display_limits(*self._tiles.overview, self._scene.band_names)

    def tile(self, level: int, x: int, y: int, shown: Filter) -> bytes:
        """A tile as PNG."""
        data, valid = self._tiles.tile(level, x, y)
        rgb = to_rgb(data, valid, self._scene.band_names, self._limits)
        rgb[~valid] = 0
        return _png(np.dstack([rgb, np.where(valid, 255, 0).astype(np.uint8)]))

    def info(self) -> dict:
        return {'kind': self.kind}


class ClassTiles:
    """A raster of classes.

    Args:
        path: The raster.
        scene: The scene that it is shown on.
        classes: Of all that is shown.
        names: Name of each class number.
    """

    kind = 'classes'

    def __init__(
        self, path: str, scene: Scene, classes: ClassSet, names: Mapping[int, str]
    ) -> None:
        self._name = Path(path).name
        self._tiles = _Pyramid(_on_scene(path, scene), scene.grid)
        beside = Path(path).with_name(f'{Path(path).stem}_confidence.tif')
        self._confidence = None
        if beside.is_file():
            self._confidence = _Pyramid(_on_scene(str(beside), scene), scene.grid)
        self._numbers = np.full(256, IGNORE, np.uint8)
        for value, name in names.items():
            if 0 <= value < IGNORE and name in classes:
                self._numbers[value] = classes.index(name)
        self._palette = np.zeros((256, 4), np.uint8)
        for number, name, colour in classes.items():
            self._palette[number] = (*colour, 0 if name == classes.background else 255)

    def tile(self, level: int, x: int, y: int, shown: Filter) -> bytes:
        """A tile as PNG."""
        data, valid = self._tiles.tile(level, x, y)
        numbers = self._numbers[as_classes(data[0], valid, self._name)]
        palette = self._palette.copy()
        palette[list(shown.hidden)] = 0
        picture = palette[numbers]
        if self._confidence is not None and shown.least > 0:
            steps, known = self._confidence.tile(level, x, y)
            picture[~known | (steps[0] < shown.least * 250)] = 0  # stored in steps of 0.004
        return _png(picture)

    def info(self) -> dict:
        return {'kind': self.kind, 'confidence': self._confidence is not None}


@dataclass(frozen=True, eq=False)
class ObjectShapes:
    """Objects of a layer.

    Attributes:
        shapes: (N,) in pixels of the scene.
        numbers: (N,) of their classes.
        confidences: (N,), or None.
        fids: (N,) feature ids.
    """

    shapes: np.ndarray
    numbers: np.ndarray
    confidences: np.ndarray | None
    fids: np.ndarray
    kind: str = field(default='objects', init=False)

    @cached_property
    def tree(self) -> STRtree:
        return STRtree(self.shapes)

    def within(self, box: tuple[float, float, float, float], pixel: float, shown: Filter) -> str:
        """Objects in a part of the scene as GeoJSON, with y = -row, the surest first.

        Args:
            box: x and y of the upper left and lower right corner.
            pixel: Pixels of the scene that one of the screen shows: how exact outlines are.
            shown: Which objects.
        """
        chosen = np.unique(self.tree.query(shapely.box(*box)))
        kept = ~np.isin(self.numbers[chosen], list(shown.hidden))
        if self.confidences is not None:
            kept &= self.confidences[chosen] >= shown.least
        chosen = chosen[kept]
        total = len(chosen)
        if total > _MOST:
            # On the screen, the others are the smallest.
            sizes = shapely.area(shapely.envelope(self.shapes[chosen]))
            chosen = chosen[np.argsort(-sizes, kind='stable')[:_MOST]]
        order = chosen if self.confidences is None else -self.confidences[chosen]
        chosen = chosen[np.argsort(order, kind='stable')]
        shapes = shapely.simplify(self.shapes[chosen], pixel / 2)
        drawn = shapely.transform(shapes, lambda xy: np.round(xy * (1, -1), 2))
        boxes = shapely.bounds(self.shapes[chosen]).round(1)
        features = [
            {
                'type': 'Feature',
                'geometry': json.loads(shape),
                'properties': {
                    'fid': int(self.fids[index]),
                    'class': int(self.numbers[index]),
                    'confidence': None
                    if self.confidences is None
                    else round(float(self.confidences[index]), 3),
                    'box': own.tolist(),
                },
            }
            for index, shape, own in zip(chosen, shapely.to_geojson(drawn), boxes, strict=True)
        ]
        return json.dumps({'type': 'FeatureCollection', 'total': total, 'features': features})

    def info(self) -> dict:
        return {
            'kind': self.kind,
            'count': len(self.fids),
            'confidence': self.confidences is not None,
        }


class _Read(NamedTuple):
    """A layer that is read, whose classes have no numbers yet."""

    shapes: np.ndarray
    names: list[str]
    confidences: np.ndarray | None
    fids: np.ndarray

    def numbered(self, classes: ClassSet) -> ObjectShapes:
        numbers = np.array([classes.index(name) for name in self.names], np.int64)
        return ObjectShapes(self.shapes, numbers, self.confidences, self.fids)


Shown = ImageTiles | ClassTiles | ObjectShapes


class ShownScene:
    """A scene with its result and ground truth.

    Args:
        scene: The image.
        result: Class raster or layer; None for the image alone.
        truth: Likewise.
        options: Names of attributes.

    Attributes:
        classes: Of result and truth together, by name.
        layers: What is shown, by name: ``image``, ``prediction`` and ``truth``.

    Raises:
        SceneError: If the image cannot be opened.
        LabelError: If result or truth cannot be placed on it.
    """

    def __init__(
        self,
        scene: str | os.PathLike,
        result: str | os.PathLike | None = None,
        truth: str | os.PathLike | None = None,
        options: ViewOptions | None = None,
    ) -> None:
        options = options or ViewOptions()
        self.scene = Scene.open(os.fspath(scene))
        truth_column = options.truth_class_column or options.class_column
        sources = {
            name: (os.fspath(source), column)
            for name, source, column in (
                ('prediction', result, options.class_column),
                ('truth', truth, truth_column),
            )
            if source is not None
        }
        self.sources = {'image': self.scene.sources[0]}
        self.sources |= {name: path for name, (path, _) in sources.items()}
        record = Record.of(result) if result is not None else None
        only = record.classes.foreground_names if record else ()
        read: dict[str, _Read | dict[int, str]] = {}
        for name, (path, column) in sources.items():
            if is_label_raster(path):
                known = dict(enumerate(record.classes.names)) if record else _numbers_in(path)
                read[name] = raster_names(path) or known
            else:
                default = only[0] if len(only) == 1 else _NO_CLASS
                read[name] = _read(path, column, options.score_column, self.scene, default)
        self.classes = _classes(record, read, {name: path for name, (path, _) in sources.items()})
        self.layers: dict[str, Shown] = {'image': ImageTiles(self.scene)}
        for name, found in read.items():
            if isinstance(found, _Read):
                self.layers[name] = found.numbered(self.classes)
            else:
                self.layers[name] = ClassTiles(sources[name][0], self.scene, self.classes, found)

    def info(self) -> dict:
        """What the page must know."""
        grid = self.scene.grid
        up = ~grid.transform @ (grid.transform.c, grid.transform.f + 1)
        return {
            'name': self.scene.name,
            'width': grid.width,
            'height': grid.height,
            'transform': list(grid.vector_transform)[:6],
            'crs': grid.crs.to_string() if grid.crs else None,
            'gsd': grid.gsd and float(np.mean(grid.gsd)),
            'north': float(np.degrees(np.arctan2(up[0], -up[1]))) if grid.crs else None,
            'background': self.classes.background,
            'classes': [
                {'name': name, 'colour': '#{:02x}{:02x}{:02x}'.format(*colour)}
                for _, name, colour in self.classes.items()
            ],
            'layers': {
                name: {'file': Path(self.sources[name]).name, **layer.info()}
                for name, layer in self.layers.items()
            },
        }


def _on_scene(path: str, scene: Scene) -> Pixels:
    """A raster of numbers in pixels of the scene."""
    raster = open_class_raster(path)
    if raster.grid == scene.grid:
        return raster
    placed = _Placed(path, scene.grid)
    placed.read(Window(0, 0, 1, 1), (1, 1))  # whether it can be placed at all
    return placed


def _read(path: str, column: str, score: str, scene: Scene, default: str) -> _Read:
    """The features of a layer that are on a scene."""
    grid = scene.grid
    frame = read_layer(path)
    geometries = np.asarray(frame.geometry.array)
    if (frame.crs is None) != (grid.crs is None) and len(frame):
        has, lacks = (path, scene.name) if frame.crs else (scene.name, path)
        raise LabelError(f'{has} has a CRS and {lacks} has none', 'both, or neither')
    if grid.is_picture and counts_down(geometries):
        geometries = mirrored(geometries)
    shapes, owner = place(geometries, STRtree(geometries), frame.crs, grid)
    shapes_inside = shapely.intersects(shapes, shapely.box(0, 0, grid.width, grid.height))
    shapes, owner = shapes[shapes_inside], owner[shapes_inside]
    # A feature is one object, also if it has several parts.
    fids, first, whole, parts = np.unique(
        frame['fid'].to_numpy(np.int64)[owner],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    order = np.argsort(whole, kind='stable')
    joined = shapely.geometrycollections(shapes[order], indices=whole[order])
    shapes = np.where(parts > 1, np.asarray(joined), shapes[first])
    rows = frame.iloc[owner[first]]
    names = [default] * len(rows)
    if column in frame.columns:
        names = [attribute_text(value) or default for value in rows[column]]
    values = None
    if score in frame.columns:
        numbers = pd.to_numeric(rows[score], errors='coerce')
        values = np.nan_to_num(numbers.to_numpy(np.float64, na_value=np.nan))
    return _Read(shapes, names, values, fids)


def _numbers_in(path: str) -> dict[int, str]:
    """Names of the numbers that a raster without names shows at first sight."""
    data, valid, _ = open_class_raster(path).read_overview(512)
    found = np.unique(as_classes(data[0], valid, path))
    return {0: _BACKGROUND} | {int(value): str(value) for value in found if 0 < value < IGNORE}


def _classes(
    record: Record | None,
    read: Mapping[str, '_Read | dict[int, str]'],
    paths: Mapping[str, str],
) -> ClassSet:
    """All classes by name: those of the model first, in its colours."""
    names: dict[str, None] = dict.fromkeys(record.classes.names) if record else {}
    colours = (
        [dict(zip(record.classes.names, record.classes.colours, strict=True))] if record else []
    )
    for key, found in read.items():
        if isinstance(found, _Read):
            names |= dict.fromkeys(sorted(set(found.names)))
            continue
        own = raster_colours(paths[key])
        names |= dict.fromkeys(name for _, name in sorted(found.items()))
        colours.append({found[value]: colour for value, colour in own.items() if value in found})
    names = names or {_NO_CLASS: None}
    if len(names) > IGNORE:
        raise LabelError(
            f'{", ".join(paths.values())}: {len(names):,} classes',
            f'at most {IGNORE}, of which one can tell the colours',
            'name the attribute with the class by --class-column or --truth-class-column',
        )
    classes = in_colours(list(names), colours)
    background = record.classes.background if record else None
    if background is None and _BACKGROUND in names:
        background = _BACKGROUND
    return ClassSet(classes.names, classes.colours, background=background)


def _png(rgba: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgba, 'RGBA').save(file, 'PNG', compress_level=1)
    return file.getvalue()
