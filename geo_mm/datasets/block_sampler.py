"""Chips in an order that decodes each block of a file about once an epoch."""

from collections.abc import Sequence, Sized
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from geo_mm.datasets.samplers import RandomChipSampler
from geo_mm.datasets.valid_chips import ValidChips
from geo_mm.errors import ConfigError
from geo_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class BlockChipSampler(RandomChipSampler):
    """Draws chips like ``RandomChipSampler``, but region by region.

    Compressed files are decoded by blocks, and a chip of 256 pixels needs up to
    four of 512. Here scenes are divided into regions of 2 x 2 blocks, or of
    twice the chip if that is more. Their order is shuffled, ``regions`` of them
    are open at a time, and chips are drawn inside those, as many in each as its
    share of the valid area. The regions are shifted from epoch to epoch, by half
    of one along either axis or both, and places that only one of the shifts
    reaches are drawn twice as often in it: over four epochs every position of a
    chip with enough valid pixels is equally likely.

    Batches take turns among ``groups`` of open regions, and loaders give batches
    to workers in turn: if the number of workers divides ``groups``, a region stays
    with one worker. The order is the same for any number of workers.

    Args:
        dataset: A geo_mm dataset, or wrappers around some.
        regions: Regions open at a time, in each group.
        groups: Groups of open regions.
        batch_size: That of the dataloader.
        **kwargs: Of :class:`geo_mm.datasets.RandomChipSampler`. Chips around labels
            are drawn anywhere.

    Raises:
        CatalogError: As ``RandomChipSampler``.
        ConfigError: As ``RandomChipSampler``, or if a number is not positive.
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        regions: int = 8,
        groups: int = 2,
        batch_size: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(dataset, **kwargs)
        if min(regions, groups, batch_size) < 1:
            raise ConfigError(
                f'BlockChipSampler with regions={regions}, groups={groups}, '
                f'batch_size={batch_size}',
                'positive numbers',
            )
        self._open, self._groups, self._batch = regions, groups, batch_size
        self._cycle_of = lru_cache(maxsize=1)(self._cycle)
        self._plan_of = lru_cache(maxsize=2)(self._plan)
        self._tables_of = lru_cache(maxsize=2 * regions * groups)(_Tables)

    def pick(self, epoch: int, position: int) -> int:
        """The chip at one position of one epoch."""
        rng = self._random.at(epoch, position)
        if self._labels is not None and rng.random() < self.positive_share:
            return self._labels.draw(rng)
        plan = self._plan_of(epoch)
        # A rank may ask for a few positions more, so that all have as many.
        tables = self._tables_of(plan.regions[plan.order[position % len(plan.order)]])
        return tables.draw(rng) if tables.total > 0 else self._uniform.draw(rng)

    def _plan(self, epoch: int) -> '_Plan':
        """Which region each position of an epoch is drawn from."""
        regions, sequence = self._cycle_of(epoch // 4)
        part = sequence[epoch % 4 * self.num_chips :][: self.num_chips]
        rng = np.random.default_rng((self.seed, epoch, 0, 1))
        order = interleaved(len(part), self._open, self._groups, self._batch, rng)
        return _Plan(regions, part[order])

    def _cycle(self, number: int) -> 'tuple[list[_Region], np.ndarray]':
        """Regions of four epochs, in which the shifts take turns, and that of each chip."""
        rng = np.random.default_rng((self.seed, number, 0, 2))
        regions: list[_Region] = []
        weights: list[np.ndarray] = []
        order: list[np.ndarray] = []
        for shift in rng.permutation(4):
            first = len(regions)
            for scene in self._uniform.scenes:
                found, weight = _regions(scene, *divmod(int(shift), 2))
                regions += found
                weights.append(weight)
            order.append(first + rng.permutation(len(regions) - first))
        ends = np.cumsum(np.concatenate(weights))
        places = np.floor(ends / ends[-1] * 4 * self.num_chips + rng.random())
        counts = np.diff(places, prepend=0).astype(int)
        shuffled = np.concatenate(order)
        return regions, np.repeat(shuffled, counts[shuffled])


class _Plan(NamedTuple):
    """Regions, and the number of one for each position of an epoch."""

    regions: 'Sequence[_Region]'
    order: np.ndarray


def interleaved(
    count: int, regions: int, groups: int, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Places in a sequence that is cut into pieces, which are read side by side.

    Args:
        count: Length of the sequence.
        regions: Pieces of a group; each ``regions`` places of it are from all of them.
        groups: Groups of pieces, from which batches are in turn.
        batch_size: Places of a batch.
        rng: For the order inside of each ``regions`` places.

    Returns:
        ``(count,)`` int64, each place once.
    """
    batch, inside = np.divmod(np.arange(count), batch_size)
    group = batch % groups
    turn, slot = np.divmod(batch // groups * batch_size + inside, regions)
    shuffled = rng.random((turn.max() + 1, groups, regions)).argsort(axis=2)
    piece = group * regions + shuffled[turn, group, slot]
    lengths = np.bincount(piece, minlength=groups * regions)
    starts = np.cumsum(lengths) - lengths
    # In each turn a piece occurs once, but in the last, which may lack some.
    result = np.empty(count, np.int64)
    by_piece = np.argsort(piece, kind='stable')
    within, ordered = _counted(piece[by_piece]), piece[by_piece]
    # Every other piece is read backwards: where the sequence is cut inside of a region,
    # both parts are read at the same time, and its blocks are decoded once.
    back = lengths[ordered] - 1 - within
    result[by_piece] = starts[ordered] + np.where(ordered % 2, back, within)
    return result


def _counted(sorted_values: np.ndarray) -> np.ndarray:
    """How many equal values precede each."""
    _, first, counts = np.unique(sorted_values, return_index=True, return_counts=True)
    return np.arange(len(sorted_values)) - np.repeat(first, counts)


class _Axis:
    """Regions along one axis of a scene, and how likely each position of a chip is in them.

    Args:
        steps: Positions of a chip.
        stride: Pixels between two of them.
        chip: Pixels of a chip.
        block: Pixels of a stored block.
        shifted: Whether the regions are shifted by half of one.

    Attributes:
        bounds: ``(regions, 2)`` first position of each region, and the one after its last.
        ends: ``(steps + 1,)`` cumulated weights of the positions: 1 where only this
            shift has a region around the chip, 1/2 where both have, so that those
            of both shifts add up to 1.
    """

    def __init__(self, steps: int, stride: int, chip: int, block: int, shifted: bool) -> None:
        length = (steps - 1) * stride + chip
        half = max(-(-chip // block), 1) * block
        both = [_bounds(length, half, chip, first) for first in (2 * half, half)]
        reached = [np.zeros(steps + 1, np.int64) for _ in both]
        in_steps = []
        for bounds, inside in zip(both, reached, strict=True):
            # A chip at a position is inside if it ends before the region does.
            first = -(-bounds[:-1] // stride)
            last = np.minimum((bounds[1:] - chip) // stride + 1, steps)
            in_steps.append(np.stack([first, np.maximum(last, first)], axis=1))
            np.add.at(inside, np.minimum(first, steps), 1)
            np.add.at(inside, np.maximum(last, first).clip(max=steps), -1)
        here, other = (np.cumsum(inside)[:-1] > 0 for inside in reached[:: -1 if shifted else 1])
        self.bounds = in_steps[int(shifted)]
        weights = np.where(here, np.where(other, 0.5, 1.0), 0.0)
        self.ends = np.concatenate([[0.0], np.cumsum(weights)])
        self._shares: dict[int, np.ndarray] = {}

    def shares(self, bins: int) -> np.ndarray:
        """Weight of each region in each of so many equal bins of positions, ``(regions, bins)``."""
        if bins not in self._shares:
            self._shares[bins] = self._shares_of(bins)
        return self._shares[bins]

    def _shares_of(self, bins: int) -> np.ndarray:
        steps, edges = len(self.ends) - 1, self._edges(bins)
        low = np.maximum(edges[None, :-1], self.bounds[:, :1]).clip(max=steps)
        high = np.minimum(edges[None, 1:], self.bounds[:, 1:]).clip(max=steps)
        return np.maximum(self.ends[high] - self.ends[low], 0) * (high > low)

    def whole(self, bins: int) -> np.ndarray:
        """Positions in each of so many equal bins, ``(bins,)``."""
        return np.diff(self._edges(bins))

    def _edges(self, bins: int) -> np.ndarray:
        return _edges(len(self.ends) - 1, bins)

    def draw(self, region: int, place: int, bins: int, rng: np.random.Generator) -> int:
        """A position in one bin of a region."""
        edges = self._edges(bins)
        low = max(edges[place], self.bounds[region, 0])
        high = min(edges[place + 1], self.bounds[region, 1])
        drawn = self.ends[low] + rng.random() * (self.ends[high] - self.ends[low])
        found = int(self.ends[low + 1 : high].searchsorted(drawn, side='right'))
        return int(low) + found


@lru_cache(maxsize=256)
def _edges(steps: int, bins: int) -> np.ndarray:
    """First position in each of so many equal bins, and the end of the last."""
    return np.ceil(np.arange(bins + 1) * steps / bins).astype(int)


def _bounds(length: int, half: int, chip: int, first: int) -> np.ndarray:
    """Edges of regions of twice ``half``, of which the first ends at ``first``."""
    edges = np.concatenate([[0], np.arange(first, length, 2 * half), [length]])
    if len(edges) > 2 and edges[-1] - edges[-2] < max(half, chip):
        edges = np.delete(edges, -2)  # what is left at the end belongs to the one before
    return edges


@lru_cache(maxsize=256)
def _axis(steps: int, stride: int, chip: int, block: int, shifted: bool) -> _Axis:
    return _Axis(steps, stride, chip, block, shifted)


class _Region(NamedTuple):
    """One region of a scene: its row and column of those that a shift has."""

    scene: ValidChips
    axes: tuple[_Axis, _Axis]
    row: int
    col: int

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _regions(scene: ValidChips, down: int, right: int) -> tuple[list[_Region], np.ndarray]:
    """The regions of a scene under a shift, and the valid area of each."""
    stride, blocks = scene.chips.stride, scene.labelled.scene.block_shape
    (rows_of, cols_of), (height, width) = scene.steps, scene.chips.chip_size
    axes = (
        _axis(rows_of, stride, height, blocks[0], bool(down)),
        _axis(cols_of, stride, width, blocks[1], bool(right)),
    )
    # What a table tells need not be looked into before a chip is drawn.
    likely = scene.likelihood if scene.looked_into else np.ones((1, 1))
    rows, cols = (axis.shares(bins) for axis, bins in zip(axes, likely.shape, strict=True))
    shares = rows @ likely @ cols.T
    # Over all shifts, positions count once.
    whole = axes[0].whole(likely.shape[0]) @ likely @ axes[1].whole(likely.shape[1])
    weights = shares * (scene.weight / whole)
    places = np.argwhere(weights > 0)
    found = [_Region(scene, axes, int(row), int(col)) for row, col in places]
    return found, weights[weights > 0]


class _Tables:
    """How likely each bin of a region is."""

    def __init__(self, region: _Region) -> None:
        self._region = region
        likelihood = region.scene.likelihood
        rows, cols = (
            axis.shares(bins)[number]
            for axis, bins, number in zip(
                region.axes, likelihood.shape, (region.row, region.col), strict=True
            )
        )
        top, left = np.flatnonzero(rows), np.flatnonzero(cols)
        self._rows, self._cols = top, left
        weights = np.outer(rows[top], cols[left]) * likelihood[np.ix_(top, left)]
        self._ends = np.cumsum(weights)
        self.total = float(self._ends[-1]) if len(self._ends) else 0.0

    def draw(self, rng: np.random.Generator) -> int:
        """A chip in the region."""
        drawn = np.searchsorted(self._ends[:-1], rng.random() * self.total, side='right')
        row, col = divmod(int(drawn), len(self._cols))
        region, bins = self._region, self._region.scene.likelihood.shape
        position = (
            region.axes[0].draw(region.row, int(self._rows[row]), bins[0], rng),
            region.axes[1].draw(region.col, int(self._cols[col]), bins[1], rng),
        )
        return region.scene.at(*position, rng)
