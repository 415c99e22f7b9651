"""Semantic segmentation: classes of pixels, blended over tiles, strip by strip."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from geo_mm.classes import IGNORE
from geo_mm.errors import ConfigError
from geo_mm.formats import LayerWriter
from geo_mm.formats.qml import share_style, write_style
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.polygons import LAYER, PolygonTables
from geo_mm.inference.prediction import SHARE_STEPS, Job, Prediction, as_steps, nearest
from geo_mm.inference.runner import Predicted
from geo_mm.inference.tasks.task import Task
from geo_mm.inference.tile_merge import StripBlender, StripRegrid
from geo_mm.raster import Grid, Tile

if TYPE_CHECKING:
    from geo_mm.inference.area import Area
    from geo_mm.inference.network import Network, View
    from geo_mm.inference.runner import Strip

_OF_POLYGONS = ('min_area', 'simplify', 'regularise', 'formats')


class Segmentation(Task):
    """Models for classes of pixels.

    Probabilities of several predictions of a tile are averaged, or the largest
    of each class is taken and all are scaled to add up to 1.
    """

    unit = 'pixels'
    own_options = (
        'confidence',
        'probabilities',
        'polygons',
        'min_area',
        'simplify',
        'regularise',
        'blend',
        'grid',
    )

    def __init__(self, models: Sequence['Network'], options: PredictOptions) -> None:
        super().__init__(models, options)
        if not options.polygons and (wanted := options.changed(_OF_POLYGONS)):
            raise ConfigError(
                f'{models[0].checkpoint} finds pixels, and {", ".join(wanted)} is for polygons',
                'polygons, which are not asked for',
                'add --polygons (from Python: polygons=True), or leave it out',
            )
        shown = self.spec.classes.foreground_names
        if unknown := [name for name in options.regularise if name not in shown]:
            raise ConfigError(f'regularise {", ".join(unknown)}', f'one of {", ".join(shown)}')

    def overlap(self, tile: int) -> int:
        return self.options.shared(tile, partial(self._radius, tile))

    def _radius(self, tile: int) -> int:
        """Radius of the receptive field of the models in pixels, up to a quarter of the tile."""
        # No network divides its input more often than 6 times.
        side = max(64, tile // 2 // 64 * 64)
        return max(model.receptive_radius(side) for model in self.models)

    @cached_property
    def decision(self) -> np.ndarray | None:
        """What class probabilities are weighed with before the largest is taken; None for 1.

        A binary model with one output channel means its second class above a
        threshold that need not be 0.5.
        """
        thresholds = [model.threshold for model in self.models]
        if all(value is None for value in thresholds):
            return None
        mean = float(np.mean([0.5 if value is None else value for value in thresholds]))
        return np.array([mean, 1 - mean], np.float32)

    def read(self, model: 'Network', found: np.ndarray, view: 'View') -> np.ndarray:
        """Class probabilities ``(classes, h, w)`` float32."""
        classes = self.spec.classes
        if len(found) != len(classes):
            raise ConfigError(
                f'{model.checkpoint}: the model gives {len(found)} classes',
                f'{len(classes)}: {", ".join(classes.names)}',
                'set num_classes of the decode_head likewise and train again',
            )
        mirrored, turns = view
        found = np.rot90(found, -turns, (-2, -1))
        return found[..., ::-1] if mirrored else found

    def combine(self, total: np.ndarray, more: np.ndarray) -> np.ndarray:
        return total + more if self.options.merge == 'mean' else np.maximum(total, more)

    def fuse(self, total: np.ndarray, count: int) -> np.ndarray:
        return total if count == 1 else total / total.sum(axis=0)

    def merger(self, area: 'Area', plan: Sequence[Tile]) -> 'ClassMerger':
        target = (area.native if self.options.grid == 'scene' else area.scene).grid
        classes = len(self.spec.classes)
        return ClassMerger(plan, area.scene.grid, target, classes, self.options, self.decision)

    def collect(self, job: Job, strips: Iterable['Strip']) -> Prediction:
        kept, counts = _Kept(job), _Counts(job)
        sinks: list[_Sink] = [kept, counts]
        if self.options.polygons:
            sinks.append(layers := _Layers(job, []))
        _feed(strips, sinks)
        prediction = Prediction(job, counts.by_name(), **kept.arrays())
        if not self.options.polygons:
            return prediction
        return replace(prediction, polygons=layers.table(), polygon_counts=dict(layers.counts))

    def write(self, job: Job, strips: Iterable['Strip'], folder: Path) -> Prediction:
        options = self.options
        names = {'classes': f'{job.name}.tif'}
        for key in ('confidence', 'probabilities'):
            if getattr(options, key):
                names[key] = f'{job.name}_{key}.tif'
        layers = [f'{job.name}.{suffix}' for suffix in options.formats if options.polygons]
        counts = _Counts(job)
        more: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            rasters = _Rasters(job, {key: folder / name for key, name in names.items()})
            sinks: list[_Sink] = [counts, rasters]
            if layers:
                sinks.append(drawn := _Layers(job, [folder / name for name in layers]))
            if options.quicklook:
                sinks.append(thumbnail := _Thumbnail(job))
                more['thumbnail'] = thumbnail.classes
            for sink in sinks:
                stack.enter_context(sink)
            _feed(strips, sinks)
        if layers:
            more['polygon_counts'] = dict(drawn.counts)
        write_style(job.style, folder / f'{job.name}.tif')
        for key, name in names.items():
            if key != 'classes':
                # Probabilities open on the first class that is not the background.
                shown = 0 if key == 'confidence' else min(self.spec.classes.foreground, default=0)
                write_style(share_style(shown + 1), folder / name)
        files = tuple(folder / name for name in [*names.values(), *layers])
        return Prediction(job, counts.by_name(), files, **more)


class ClassMerger:
    """Blends predicted tiles and decides on classes, one row of tiles after the other.

    Class probabilities of overlapping tiles are blended and, if the result is
    wanted in another grid, resampled; the class with the largest is taken.

    Args:
        plan: Tiles that cover the scene.
        grid: Grid of the tiles.
        target: Grid of the result, of the same footprint.
        classes: Number of classes.
        options: ``blend``, and what to keep: ``confidence``, ``probabilities``.
        decision: Weights of the classes where not simply the largest
            probability counts.
    """

    def __init__(
        self,
        plan: Sequence[Tile],
        grid: Grid,
        target: Grid,
        classes: int,
        options: PredictOptions,
        decision: np.ndarray | None = None,
    ) -> None:
        self._tops = {tile.row: tile.window.row_off for tile in plan}
        self._blender = StripBlender(plan, grid.width, grid.height, classes, options.blend)
        self._regrid = StripRegrid(grid, target)
        self._width = target.width
        self._classes = classes
        self._decision = None if decision is None else decision[:, None, None]
        self._options = options

    def first_needed(self, row: int) -> int:
        """The row of tiles to begin with for ``row`` to be right if nothing is carried over."""
        return self._blender.halo(row, self._regrid.margin(self._tops[row]))

    def start(self, row: int, carry: Mapping[str, np.ndarray] | None = None) -> None:
        """Begins at a row, with what :meth:`carry` gave after the one above."""
        sums = None if carry is None else (carry['sums'], carry['valid'])
        tail = (carry['tail'], carry['tail_valid']) if carry and 'tail' in carry else None
        self._blender.start(row, sums)
        self._regrid.start(self._tops[row], tail)

    def finish(self, tiles: Iterable[Predicted]) -> dict[str, np.ndarray]:
        """Adds the tiles of a row.

        Returns:
            ``classes`` ``(rows, width)`` uint8 of the rows of the target that
            are finished; ``confidence`` likewise and ``probabilities``
            ``(classes, rows, width)`` if asked for.
        """
        done = self._regrid.completed(self._blender.strip)
        arrays = self._empty(done.height)
        for window, likelihood, valid in self._regrid.parts(self._blender.row(tiles)):
            here = (..., *window.slices(done))
            self._decide(likelihood, valid, {key: array[here] for key, array in arrays.items()})
        return arrays

    def carry(self) -> dict[str, np.ndarray]:
        """What the next row needs of those above it."""
        sums, valid = self._blender.carry()
        arrays = {'sums': sums, 'valid': valid}
        if (tail := self._regrid.carry()) is not None:
            arrays |= {'tail': tail[0], 'tail_valid': tail[1]}
        return arrays

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {'classes': np.empty((rows, self._width), np.uint8)}
        if self._options.confidence:
            arrays['confidence'] = np.empty((rows, self._width), np.uint8)
        if kind := self._options.probabilities:
            arrays['probabilities'] = np.empty((self._classes, rows, self._width), kind)
        return arrays

    def _decide(
        self, likelihood: np.ndarray, valid: np.ndarray, arrays: Mapping[str, np.ndarray]
    ) -> None:
        weighed = likelihood if self._decision is None else likelihood * self._decision
        best = largest(weighed)
        arrays['classes'][:] = np.where(valid, best, IGNORE)
        if 'confidence' in arrays:
            found = np.take_along_axis(likelihood, best[None], 0)[0]
            arrays['confidence'][:] = np.where(valid, as_steps(found), IGNORE)
        if self._options.probabilities == 'uint8':
            arrays['probabilities'][:] = np.where(valid, as_steps(likelihood), IGNORE)
        elif self._options.probabilities:
            arrays['probabilities'][:] = np.where(valid, likelihood, np.nan)


def largest(values: np.ndarray) -> np.ndarray:
    """Which of some layers is largest at each pixel; the first of equal ones.

    Equals ``values.argmax(0)``, in half of the time or less: NumPy goes pixel by pixel
    along the first axis.

    Args:
        values: ``(layers, rows, cols)`` with at most 256 layers, without NaN.

    Returns:
        ``(rows, cols)`` uint8.
    """
    found, best = np.zeros(values.shape[1:], np.uint8), values[0].copy()
    for number in range(1, len(values)):
        np.putmask(found, values[number] > best, number)
        np.maximum(best, values[number], out=best)
    return found


class _Sink(contextlib.AbstractContextManager):
    """Takes the strips of a scene from the top down."""

    def add(self, strip: 'Strip', row: int) -> None:
        """Takes the next strip, whose first row is ``row``."""

    def __exit__(self, *_) -> None:
        pass


def _feed(strips: Iterable['Strip'], sinks: Sequence[_Sink]) -> None:
    row = 0
    for strip in strips:
        for sink in sinks:
            sink.add(strip, row)
        row += len(strip['classes'])


class _Counts(_Sink):
    """Counts the pixels of each class."""

    def __init__(self, job: Job) -> None:
        self._names, self._counts = job.spec.classes.names, np.zeros(256, np.int64)

    def add(self, strip: 'Strip', row: int) -> None:
        for line in strip['classes']:  # all at once would take eight times their memory
            self._counts += np.bincount(line, minlength=256)

    def by_name(self) -> dict[str, int]:
        return dict(zip(self._names, self._counts.tolist(), strict=False))


class _Kept(_Sink):
    """Keeps all in memory."""

    def __init__(self, job: Job) -> None:
        self._grid, self._ignore = job.grid, job.spec.classes.ignore
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, strip: 'Strip', row: int) -> None:
        rows = slice(row, row + len(strip['classes']))
        for key, values in strip.items():
            if key not in self._arrays:
                shape = (*values.shape[:-2], self._grid.height, self._grid.width)
                kind = np.uint8 if key == 'classes' else np.float32
                self._arrays[key] = np.empty(shape, kind)
            there = self._arrays[key][..., rows, :]
            there[:] = values
            if key != 'classes' and values.dtype == np.uint8:
                there *= np.float32(1 / SHARE_STEPS)
                there[values == self._ignore] = np.nan

    def arrays(self) -> dict[str, Any]:
        return self._arrays


class _Rasters(_Sink):
    """Writes GeoTIFFs."""

    def __init__(self, job: Job, paths: Mapping[str, Path]) -> None:
        self._writers = {key: job.writer(path, key) for key, path in paths.items()}
        self._window = job.grid.window
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> '_Rasters':
        for writer in self._writers.values():
            self._stack.enter_context(writer)
        return self

    def add(self, strip: 'Strip', row: int) -> None:
        window = self._window._replace(row_off=row, height=len(strip['classes']))
        for key, writer in self._writers.items():
            writer.write(strip[key], window)

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)


class _Layers(_Sink):
    """Draws polygons and writes them to layers, or keeps them if there is none."""

    def __init__(self, job: Job, paths: Sequence[Path]) -> None:
        grid = job.grid
        self.counts: Counter = Counter()
        self._tables = PolygonTables(grid, job.spec.classes, job.options)
        crs = grid.crs.to_wkt() if grid.crs else None
        self._writers = [LayerWriter(path, crs, layer=LAYER, **job.layer()) for path in paths]
        self._stack = contextlib.ExitStack()
        self._kept: list[gpd.GeoDataFrame] = []

    def __enter__(self) -> '_Layers':
        for writer in self._writers:
            self._stack.enter_context(writer)
        return self

    def add(self, strip: 'Strip', row: int) -> None:
        self._append(self._tables.add(strip['classes'], strip.get('confidence')))

    def table(self) -> gpd.GeoDataFrame:
        """All polygons, if there is no layer to write."""
        self._append(self._tables.finish())
        full = [table for table in self._kept if len(table)] or self._kept[:1]
        return pd.concat(full, ignore_index=True)

    def _append(self, table: gpd.GeoDataFrame) -> None:
        self.counts.update(table['class'])
        for writer in self._writers:
            writer.append(table)
        if not self._writers:
            self._kept.append(table)

    def __exit__(self, kind, *error) -> None:
        with self._stack:
            if kind is None:
                self._append(self._tables.finish())
            else:
                self._stack.__exit__(kind, *error)


class _Thumbnail(_Sink):
    """Picks the pixels that a quick look shows."""

    def __init__(self, job: Job) -> None:
        self._rows, self._cols = nearest(job.grid, job.area.scene)
        shape = len(self._rows), len(self._cols)
        self.classes = np.full(shape, job.spec.classes.ignore, np.uint8)

    def add(self, strip: 'Strip', row: int) -> None:
        classes = strip['classes']
        here = (self._rows >= row) & (self._rows < row + len(classes))
        self.classes[here] = classes[self._rows[here, None] - row, self._cols]
