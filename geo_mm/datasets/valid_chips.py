"""Where in scenes chips with enough valid pixels are."""

import math
from collections.abc import Sequence, Sized
from functools import cached_property

import numpy as np

from geo_mm.catalog import Coverage
from geo_mm.datasets.chips import ChipDataset
from geo_mm.datasets.opening import announced, without_collecting
from geo_mm.datasets.wrappers import chip_datasets
from geo_mm.errors import CatalogError, listed

ROUNDING = 1e-6
"""By which a share of valid pixels may miss what is asked for."""

_TRIES = 8


class ValidChips:
    """Chips of one scene with enough valid pixels.

    The positions of chips are binned into cells no larger than those of
    :class:`geo_mm.catalog.Coverage`; a bin counts if a chip that starts at
    its middle is valid enough. All positions in those bins are equally likely.

    Args:
        offset: Index of the dataset's first chip among all chips.
        chips: The dataset.
        number: Which of its scenes.
        min_valid: Least share 0..1 of valid pixels.

    Attributes:
        chips: The dataset.
        labelled: The scene.
        steps: ``(rows, cols)`` positions of chips.
    """

    def __init__(self, offset: int, chips: ChipDataset, number: int, min_valid: float) -> None:
        self.chips = chips
        self.labelled = chips.labelled[number]
        self._offset = offset
        self._number = number
        self._min_valid = min_valid
        self.steps = chips.chip_space.shapes[number]

    @cached_property
    def coverage(self) -> Coverage:
        return Coverage(self.labelled, self.chips.chip_size)

    @cached_property
    def _middles(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixel column and row of the first pixel of a chip in the middle of each bin."""
        stride = self.chips.stride
        cells = (self.coverage.cell_height, self.coverage.cell_width)
        bins = [
            min(steps, math.ceil(steps * stride / cell))
            for steps, cell in zip(self.steps, cells, strict=True)
        ]
        rows, cols = (
            ((np.arange(count) + 0.5) * steps / count - 0.5) * stride
            for count, steps in zip(bins, self.steps, strict=True)
        )
        return cols, rows

    @cached_property
    def _fitting(self) -> np.ndarray:
        """Which bins have chips with enough valid pixels, ``(rows, cols)`` bool."""
        shares = self.coverage.shares(*self._middles, self.chips.chip_size)
        return shares >= self._min_valid - ROUNDING if self._min_valid > 0 else shares > 0

    @cached_property
    def likelihood(self) -> np.ndarray:
        """How likely a position is in each bin, relative to others, ``(rows, cols)``."""
        (height, width), (cols, rows) = self.chips.chip_size, self._middles
        weights = self.labelled.weights(self.coverage.valid.shape)
        cells = self.coverage.cells_at(cols + width / 2, rows + height / 2)
        return np.where(self._fitting, weights[np.ix_(*cells)], 0.0)

    @cached_property
    def usable(self) -> np.ndarray:
        """Which bins count, ``(rows, cols)`` bool."""
        return self.likelihood > 0

    @cached_property
    def _bins(self) -> np.ndarray:
        return np.flatnonzero(self.usable)

    @cached_property
    def _ends(self) -> np.ndarray | None:
        """Cumulated likelihood of the bins that count; None if all are equally likely."""
        likelihood = self.likelihood.ravel()[self._bins]
        return None if np.ptp(likelihood) == 0 else np.cumsum(likelihood)

    @cached_property
    def area(self) -> float:
        """Valid pixels of the scene."""
        labelled = self.labelled
        if self.looked_into or labelled.valid is None:
            return self.coverage.area
        return float(labelled.valid.mean()) * labelled.scene.width * labelled.scene.height

    @property
    def any(self) -> bool:
        """Whether a chip is usable."""
        return len(self._bins) > 0

    @property
    def weight(self) -> float:
        """Valid pixels of the scene, times its weight; 0 if it is known that no chip is usable."""
        if self.looked_into:
            return self.area * float(self.likelihood[self._fitting].mean()) if self.any else 0.0
        return self.area * float(self.labelled.weight)

    @property
    def looked_into(self) -> bool:
        """Whether usable chips are known; where a table tells the area, not before one is drawn."""
        labelled = self.labelled
        return labelled.valid is None or labelled.has_aoi or isinstance(labelled.weight, str)

    def draw(self, rng: np.random.Generator) -> int:
        """A chip, each position as likely as its bin."""
        if self._ends is None:
            number = rng.integers(len(self._bins))
        else:
            number = self._ends[:-1].searchsorted(rng.random() * self._ends[-1], side='right')
        chosen = divmod(int(self._bins[number]), self.usable.shape[1])
        row, col = (
            min(int((place + rng.random()) * steps / count), steps - 1)
            for place, steps, count in zip(chosen, self.steps, self.usable.shape, strict=True)
        )
        return self.at(row, col, rng)

    def at(self, row: int, col: int, rng: np.random.Generator) -> int:
        """A chip at one position, by its row and column among them."""
        return self._variant(self.chips.chip_space.at(self._number, row, col), rng)

    def _variant(self, index: int, rng: np.random.Generator) -> int:
        """Any of the chips at the position of one, among the chips of all datasets."""
        space = self.chips.chip_space
        variant = int(rng.integers(space.variants)) if space.variants > 1 else 0
        return self._offset + index + variant * space.positions

    def draw_around(self, point: np.ndarray, rng: np.random.Generator) -> int:
        """A usable chip that holds a pixel position (x, y) in its middle 80 %."""
        height, width = self.chips.chip_size
        for _ in range(_TRIES):
            corner = point - (width, height) * rng.uniform(0.1, 0.9, 2)
            if self.usable_at(corner[None])[0]:
                break
        else:
            corner = point - (width / 2, height / 2)
        return self._variant(self.chips.chip_space.index(self._number, *corner), rng)

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Labelled points inside the valid area that a usable chip can be cut around.

        Returns:
            Pixel positions ``(N, 2)`` as (x, y), and class indices ``(N,)``.
        """
        points, labels = self.labelled.points()
        height, width = self.chips.chip_size
        keep = (labels >= 0) & self.coverage.at(points)
        keep &= self.usable_at(points - (width / 2, height / 2))
        return points[keep], labels[keep]

    def usable_at(self, corners: np.ndarray) -> np.ndarray:
        """Whether chips that start nearest to positions ``(N, 2)`` are usable."""
        indices = []
        for corner, steps, count in zip(
            corners.T[::-1], self.steps, self.usable.shape, strict=True
        ):
            position = np.clip(np.rint(corner / self.chips.stride), 0, steps - 1)
            indices.append(((position + 0.5) * count / steps).astype(int))
        return self.usable[tuple(indices)]


def valid_chips(dataset: Sized, min_valid: float) -> list[ValidChips]:
    """The usable chips of every scene of a dataset.

    Raises:
        CatalogError: If there are none at all.
    """
    scenes = [
        ValidChips(offset, chips, number, min_valid)
        for offset, chips in chip_datasets(dataset)
        for number in range(len(chips.labelled))
    ]
    with without_collecting():
        for scene in announced(scenes, 'valid pixels of'):
            _ = scene.weight
    if not any(scene.any for scene in scenes):
        chips = scenes[0].chips
        raise CatalogError(
            f'no chip of {chips.chip_size[1]} x {chips.chip_size[0]} pixels has a valid share '
            f'of at least {min_valid} in {names_of(scenes)}, {_sizes(scenes)}',
            fix="lower the sampler's min_valid, or check nodata, AOI, weight, gsd and chip_size",
        )
    return scenes


def _sizes(scenes: Sequence[ValidChips]) -> str:
    """Such as ``764 x 506 pixels at a gsd of 0.3 m``, of the first scene."""
    scene = scenes[0].labelled.scene
    at = f' at a gsd of {scene.gsd[0]:.3g} m' if scene.gsd else ''
    return f'{scene.width} x {scene.height} pixels{at}'


def names_of(scenes: Sequence[ValidChips]) -> str:
    """The files of the first scenes, and how many more there are."""
    return listed([scene.labelled.scene.sources[0] for scene in scenes], 5)
