"""Pixel classes of a whole scene, as GeoTIFFs."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geo_mm.classes import IGNORE
from geo_mm.inference.blending import StripBlender
from geo_mm.inference.regrid import StripRegrid
from geo_mm.inference.tiles import Predicted
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Grid, RasterWriter, Tile

SHARE_STEPS = 250
"""A probability of 1 in 8-bit rasters; steps of 0.004. 255 is nodata, as for classes."""


@dataclass(frozen=True)
class PixelOutputs:
    """What is kept of the class probabilities.

    Attributes:
        confidence: The probability of the class that is written, 8-bit.
        probabilities: Those of all classes: ``'uint8'``, ``'float32'``, or None.
    """

    confidence: bool = False
    probabilities: str | None = None


class PixelRows:
    """From predicted tiles to classes, one row of tiles after the other.

    Class probabilities of overlapping tiles are blended and, if the result is
    wanted in another grid, resampled; the class with the largest is taken.

    Args:
        plan: Tiles that cover the scene.
        grid: Grid of the tiles.
        target: Grid of the result, of the same footprint.
        classes: Number of classes.
        decision: Weights of the classes where not simply the largest
            probability counts.
        blend: As for :class:`StripBlender`.
        outputs: What to keep.
    """

    def __init__(
        self,
        plan: list[Tile],
        grid: Grid,
        target: Grid,
        classes: int,
        *,
        decision: np.ndarray | None = None,
        blend: str = 'window',
        outputs: PixelOutputs = PixelOutputs(),
    ) -> None:
        self._tops = {tile.row: tile.window.row_off for tile in plan}
        self._blender = StripBlender(plan, grid.width, grid.height, classes, blend)
        self._regrid = StripRegrid(grid, target)
        self._width = target.width
        self._classes = classes
        self._decision = None if decision is None else decision[:, None, None]
        self._outputs = outputs

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
        arrays = {'classes': np.empty((rows, self._width), np.uint8)}
        if self._outputs.confidence:
            arrays['confidence'] = np.empty((rows, self._width), np.uint8)
        if kind := self._outputs.probabilities:
            arrays['probabilities'] = np.empty((self._classes, rows, self._width), kind)
        return arrays

    def _decide(
        self, likelihood: np.ndarray, valid: np.ndarray, arrays: Mapping[str, np.ndarray]
    ) -> None:
        weighed = likelihood if self._decision is None else likelihood * self._decision
        best = weighed.argmax(0)
        arrays['classes'][:] = np.where(valid, best, IGNORE)
        if 'confidence' in arrays:
            found = np.take_along_axis(likelihood, best[None], 0)[0]
            arrays['confidence'][:] = np.where(valid, _as_steps(found), IGNORE)
        if self._outputs.probabilities == 'uint8':
            arrays['probabilities'][:] = np.where(valid, _as_steps(likelihood), IGNORE)
        elif self._outputs.probabilities:
            arrays['probabilities'][:] = np.where(valid, likelihood, np.nan)


def _as_steps(share: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(share, 0, 1) * SHARE_STEPS).astype(np.uint8)


def write_pixels(
    strips: Iterable[Mapping[str, np.ndarray]],
    grid: Grid,
    folder: Path,
    name: str,
    spec: InputSpec,
    outputs: PixelOutputs,
    tags: Mapping[str, str],
) -> tuple[list[str], dict[str, int]]:
    """Writes what :meth:`PixelRows.finish` gave, from the top down.

    Args:
        strips: One after the other; they cover the grid.
        grid: Grid of the result.
        folder: Where to.
        name: Of the class raster; the others are ``<name>_confidence`` and
            ``<name>_probabilities``.
        spec: Class names and colours.
        outputs: What the strips hold.
        tags: Metadata for the files.

    Returns:
        The files, that of the classes first, and pixels of each class by name.
    """
    counts = np.zeros(256, np.int64)
    writers = _writers(grid, folder, name, spec, outputs, tags)
    with contextlib.ExitStack() as stack:
        for writer in writers.values():
            stack.enter_context(writer)
        window = grid.window._replace(height=0)
        for arrays in strips:
            rows = len(arrays['classes'])
            window = window._replace(row_off=window.row_end, height=rows)
            for key, writer in writers.items():
                writer.write(arrays[key], window)
            for line in arrays['classes']:  # all at once would take eight times their memory
                counts += np.bincount(line, minlength=256)
    files = [writer.path.name for writer in writers.values()]
    return files, dict(zip(spec.classes.names, counts.tolist(), strict=False))


def _writers(
    grid: Grid,
    folder: Path,
    name: str,
    spec: InputSpec,
    outputs: PixelOutputs,
    tags: Mapping[str, str],
) -> dict[str, RasterWriter]:
    writers = {
        'classes': RasterWriter(
            folder / f'{name}.tif',
            grid,
            count=1,
            dtype='uint8',
            nodata=IGNORE,
            colors=dict(enumerate(spec.classes.colours)),
            class_names=dict(enumerate(spec.classes.names)),
            band_names=['class'],
            tags=tags,
        )
    }
    if outputs.confidence:
        writers['confidence'] = RasterWriter(
            folder / f'{name}_confidence.tif',
            grid,
            count=1,
            dtype='uint8',
            nodata=IGNORE,
            band_names=['confidence'],
            scale=1 / SHARE_STEPS,
            tags=tags,
        )
    if kind := outputs.probabilities:
        writers['probabilities'] = RasterWriter(
            folder / f'{name}_probabilities.tif',
            grid,
            count=len(spec.classes),
            dtype=kind,
            nodata=IGNORE if kind == 'uint8' else float('nan'),
            band_names=spec.classes.names,
            scale=1 / SHARE_STEPS if kind == 'uint8' else None,
            tags=tags,
        )
    return writers
