"""Mean, spread and range of every band, over any number of pixels."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geo_mm.errors import SceneError
from geo_mm.raster.grid import Window
from geo_mm.raster.scene import Scene

_WINDOW = 1024  # a read is about this many pixels square, in whole blocks
_RANKED = 65536  # pixels kept per scene collection for the percentiles


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of valid pixels, one value per band.

    Attributes:
        names: Band names.
        count: Number of valid pixels (the same for all bands).
        mean: Means.
        std: Population standard deviations.
        min: Smallest values.
        max: Largest values.
        p2: 2nd percentiles, estimated from a sample.
        p98: 98th percentiles, likewise.
    """

    names: tuple[str, ...]
    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    p2: tuple[float, ...]
    p98: tuple[float, ...]

    def merge(self, other: 'BandStatistics') -> 'BandStatistics':
        """The statistics of both sets of pixels together.

        Exact but for the percentiles, which become means weighted by count.

        Raises:
            SceneError: If the bands differ.
        """
        _check_names(self.names, other.names, 'the other statistics')
        first, second = Moments.of(self), Moments.of(other)
        first.add(second)
        share = other.count / (self.count + other.count)
        blend = [
            np.asarray(a) * (1 - share) + np.asarray(b) * share
            for a, b in ((self.p2, other.p2), (self.p98, other.p98))
        ]
        return first.statistics(self.names, *blend)

    def to_dict(self) -> dict:
        """Plain lists and numbers, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> 'BandStatistics':
        """The inverse of :meth:`to_dict`."""
        tuples: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**tuples)


class Moments:
    """Running mean and sum of squared deviations, float64.

    Chunks are joined as in Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979, eq. 2.1: no
    cancellation, however large the values are against their spread.
    """

    def __init__(self, count: int, mean, squares, low, high) -> None:
        self.count, self.mean, self.squares, self.low, self.high = count, mean, squares, low, high

    @classmethod
    def empty(cls, bands: int) -> 'Moments':
        zero = np.zeros(bands)
        return cls(0, zero, zero, np.full(bands, np.inf), np.full(bands, -np.inf))

    @classmethod
    def of(cls, statistics: BandStatistics) -> 'Moments':
        mean, std, low, high = (
            np.array(v) for v in (statistics.mean, statistics.std, statistics.min, statistics.max)
        )
        return cls(statistics.count, mean, std**2 * statistics.count, low, high)

    @classmethod
    def of_pixels(cls, pixels: np.ndarray) -> 'Moments':
        """Moments of ``(bands, n)`` values, n > 0."""
        mean = pixels.mean(axis=1, dtype=np.float64)
        deviation = pixels - mean[:, None]
        squares = np.einsum('bn,bn->b', deviation, deviation)
        return cls(pixels.shape[1], mean, squares, pixels.min(axis=1), pixels.max(axis=1))

    def add(self, other: 'Moments') -> None:
        count = self.count + other.count
        delta = other.mean - self.mean
        self.mean = self.mean + delta * (other.count / count)
        self.squares = self.squares + other.squares + delta**2 * (self.count * other.count / count)
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        self.count = count

    def statistics(self, names: Sequence[str], p2, p98) -> BandStatistics:
        std = np.sqrt(self.squares / self.count)
        values = (self.mean, std, self.low, self.high, p2, p98)
        return BandStatistics(tuple(names), self.count, *(tuple(map(float, v)) for v in values))


class _Sample:
    """A uniform sample of pixels: those with the smallest random keys."""

    def __init__(self, bands: int, size: int) -> None:
        self._size = size
        self._keys: np.ndarray = np.empty(0)
        self._limit = 1.0
        self.pixels: np.ndarray = np.empty((bands, 0), np.uint8)  # which any type adds up with

    def add(self, keys: np.ndarray, pixels: np.ndarray) -> None:
        chosen = np.flatnonzero(keys < self._limit)
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self.pixels = np.concatenate([self.pixels, pixels[:, chosen]], axis=1)
        if len(self._keys) > self._size:
            kept = np.argpartition(self._keys, self._size)[: self._size]
            self._keys, self.pixels = self._keys[kept], self.pixels[:, kept]
            self._limit = self._keys.max()

    def join(self, other: '_Sample') -> None:
        self.add(other._keys, other.pixels)


class RunningStatistics:
    """What is known of pixels so far; that of several scenes can be joined.

    Args:
        names: Band names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._moments, self._sample = Moments.empty(len(names)), _Sample(len(names), _RANKED)

    @classmethod
    def of_scene(
        cls,
        scene: Scene,
        number: int = 0,
        windows: Iterable[Window] | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> 'RunningStatistics':
        """Of the valid pixels of a scene.

        Args:
            scene: The scene.
            number: Its place among those that are joined, which tells their samples apart.
            windows: Its windows to read; all by default.
            progress: Called after each.
        """
        found, random = cls(scene.band_names), np.random.default_rng(number)
        for window in _block_windows(scene) if windows is None else windows:
            data, valid = scene.read(window)
            if valid.any():
                pixels = data[:, valid]
                found._moments.add(Moments.of_pixels(pixels.astype(np.float64)))
                found._sample.add(random.random(pixels.shape[1]), pixels)
            progress()
        return found

    def join(self, other: 'RunningStatistics', where: str) -> None:
        """Add those of other pixels.

        Args:
            other: Theirs.
            where: The scene that they are of, for messages.

        Raises:
            SceneError: If the bands differ.
        """
        _check_names(self.names, other.names, where)
        if other._moments.count:
            self._moments.add(other._moments)
            self._sample.join(other._sample)

    def result(self, scenes: Sequence[str]) -> BandStatistics:
        """The statistics.

        Args:
            scenes: Names of the scenes, for messages.

        Raises:
            SceneError: If there is no pixel.
        """
        if not self._moments.count:
            raise SceneError(
                f'{", ".join(scenes[:5])}: no valid pixel',
                'pixels that are neither nodata nor masked',
                'check the nodata value and the mask of the images',
            )
        pixels = self._sample.pixels.astype(np.float64)
        return self._moments.statistics(self.names, *np.percentile(pixels, (2, 98), axis=1))


def band_statistics(
    scenes: Iterable[Scene],
    max_pixels: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BandStatistics:
    """Statistics of the valid pixels of scenes that have the same bands.

    Streams whole blocks, so memory does not depend on the size of the scenes.

    Args:
        scenes: Scenes with equal band names.
        max_pixels: Upper limit of pixels to look at. If the scenes have more,
            evenly spread windows of them are read (at least one). All by default.
        progress: Called with (windows done, windows in total) after each read.

    Raises:
        SceneError: If there are no scenes, their bands differ, or no pixel is valid.
    """
    scenes = list(scenes)
    if not scenes:
        raise SceneError('no scenes to take statistics of', 'at least one')
    total = RunningStatistics(scenes[0].band_names)
    for scene in scenes[1:]:
        _check_names(total.names, scene.band_names, scene.name)
    plan = [
        (number, window) for number, scene in enumerate(scenes) for window in _block_windows(scene)
    ]
    plan = _thin(plan, max_pixels)
    done = itertools.count(1)

    def tell() -> None:
        if progress is not None:
            progress(next(done), len(plan))

    for number, group in itertools.groupby(plan, key=lambda each: each[0]):
        windows = [window for _, window in group]
        part = RunningStatistics.of_scene(scenes[number], number, windows, tell)
        total.join(part, scenes[number].name)
    return total.result([scene.name for scene in scenes])


def _block_windows(scene: Scene) -> Iterator[Window]:
    """Cover a scene with windows of whole blocks, strips or squares alike."""
    block_rows, block_cols = scene.block_shape
    cols = min(math.ceil(_WINDOW / block_cols) * block_cols, scene.width)
    rows = max(_WINDOW**2 // (cols * block_rows), 1) * block_rows
    for row in range(0, scene.height, rows):
        for col in range(0, scene.width, cols):
            yield Window(col, row, cols, rows).intersection(scene.grid.window)


def _thin(plan: list[tuple[int, Window]], limit: int | None) -> list[tuple[int, Window]]:
    """Evenly spread windows with at most ``limit`` pixels in total, but one at least."""
    total = sum(window.area for _, window in plan)
    if limit is None or total <= limit:
        return plan
    for count in range(max(int(len(plan) * limit / total), 1), 0, -1):
        chosen = [plan[(2 * i + 1) * len(plan) // (2 * count)] for i in range(count)]
        if sum(window.area for _, window in chosen) <= limit:
            break
    return chosen


def _check_names(names: Sequence[str], others: Sequence[str], where: str) -> None:
    if tuple(names) != tuple(others):
        raise SceneError(
            f'{where}: bands are {", ".join(others)}',
            f'the bands of the first scene: {", ".join(names)}',
            'choose the same bands of all scenes by name',
        )
