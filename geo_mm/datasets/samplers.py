"""Samplers of chips by position and by class.

The order of chips is a pure function of (seed, epoch, position): it is the
same for any number of workers, for any number of ranks (rank ``r`` of ``n``
takes positions ``r, r + n, ...``), and after resuming.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from functools import lru_cache

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from geo_mm.catalog import Coverage
from geo_mm.datasets.chips import ChipDataset
from geo_mm.datasets.opening import announced, without_collecting
from geo_mm.datasets.valid_chips import ROUNDING, ValidChips, names_of, valid_chips
from geo_mm.datasets.wrappers import chip_datasets
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.registry import DATA_SAMPLERS

_ANCHORS = 1 << 24  # points of one class that are kept of all scenes: 256 MB
_LEAST_ANCHORS = 512  # of each scene in any case


@DATA_SAMPLERS.register_module()
class RandomChipSampler(Sampler):
    """Draws chips at random, uniformly over the valid area of all scenes.

    A scene is chosen as often as it has valid pixels; in it, every position
    of a chip with enough of them is equally likely. The ``weight`` of the catalog makes
    scenes more or less likely, or, as a raster, the places in them: by its mean around
    the middle of a chip. With ``positive_share``
    part of the chips is drawn around labels: a class at random (all equally
    often, or by ``class_weights``), a label of that class at random, and a
    chip that holds its centre anywhere but at the rim.

    Args:
        dataset: A geo_mm dataset, or wrappers around some.
        num_chips: Chips per epoch over all ranks. None draws as many as
            would cover the valid area once.
        infinite: Never end, for ``IterBasedTrainLoop``; epochs follow one
            another without a pause.
        min_valid: Least share 0..1 of valid pixels in a chip.
        positive_share: Share 0..1 of chips drawn around labels.
        class_weights: Class name to relative frequency among those.
        seed: Seed; None shares a random one over all ranks.

    Raises:
        CatalogError: If no chip has enough valid pixels, or chips around
            labels are asked for and there are none.
        ConfigError: If a share is not in 0..1 or the weights are not usable.
    """

    def __init__(
        self,
        dataset: Sized,
        num_chips: int | None = None,
        infinite: bool = False,
        min_valid: float = 0.1,
        positive_share: float = 0.0,
        class_weights: Mapping[str, float] | None = None,
        seed: int | None = None,
    ) -> None:
        for name, share in (('min_valid', min_valid), ('positive_share', positive_share)):
            if not 0 <= share <= 1:
                raise ConfigError(f'RandomChipSampler with {name}={share}', 'a share from 0 to 1')
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.infinite = infinite
        self.epoch = 0
        self.positive_share = positive_share
        scenes = valid_chips(dataset, min_valid)
        self._uniform = UniformSampling(scenes)
        self._labels = LabelSampling(scenes, class_weights) if positive_share > 0 else None
        covering = sum(s.area / np.prod(s.chips.chip_size) for s in scenes)
        self.num_chips = num_chips or max(round(covering), 1)
        self._random = _RandomNumbers(self.seed)
        self._first = 0
        if infinite:
            # MMEngine looks whether there is such a method, and counts full
            # batches. The last batch of a finite epoch may be smaller, so
            # only an endless order can be resumed by counting.
            self.skip = self._skip

    def __iter__(self) -> Iterator[int]:
        start, first, self._first = self.epoch, self._first, 0
        if not self.infinite:
            # A multiple of the ranks, so that none waits for another at the end.
            return (self.pick(start, self._position(n)) for n in range(len(self)))
        stream = (divmod(self._position(n), self.num_chips) for n in itertools.count(first))
        return (self.pick(start + epochs, position) for epochs, position in stream)

    def _position(self, number: int) -> int:
        """Position over all ranks of this rank's chip ``number``."""
        return number * self.world_size + self.rank

    def pick(self, epoch: int, position: int) -> int:
        """The chip at one position of one epoch."""
        rng = self._random.at(epoch, position)
        if self._labels is not None and rng.random() < self.positive_share:
            return self._labels.draw(rng)
        return self._uniform.draw(rng)

    def __len__(self) -> int:
        """Chips per epoch and rank."""
        return -(-self.num_chips // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _skip(self, num_samples: int) -> None:
        """Continue after ``num_samples`` chips of this rank, counted from the
        start of training, without reading them."""
        self._first = num_samples


class _RandomNumbers:
    """Random numbers of their own for each position of each epoch.

    Philox makes them from a key and a counter, so that it is set to a position and not
    seeded anew, which takes seven times as long.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state
        self._key_of: Callable[[int], np.ndarray] = lru_cache(maxsize=2)(
            lambda epoch: np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)
        )

    def at(self, epoch: int, position: int) -> np.random.Generator:
        """The generator, set to a position; the next call sets it to another."""
        self._state['state']['key'] = self._key_of(epoch)
        self._state['state']['counter'] = np.array([0, position, 0, 0], np.uint64)
        self._bits.state = self._state
        return self._generator


@DATA_SAMPLERS.register_module()
class GridChipSampler(Sampler):
    """Visits every chip of a dataset once, in order, leaving out empty ones.

    The dataset's ``test_mode=True`` makes chips adjacent.
    Ranks take turns and none repeats a chip, so metrics count each once.

    Args:
        dataset: A geo_mm dataset, or wrappers around some.
        min_valid: Least share 0..1 of valid pixels. At 0 only chips without
            any are left out.
        seed: Not used; the runner gives one to every sampler.

    Raises:
        ConfigError: If the dataset's stride is 1, a chip for every pixel.
        CatalogError: If no chip has enough valid pixels.
    """

    def __init__(self, dataset: Sized, min_valid: float = 0.0, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        datasets = chip_datasets(dataset)
        self.chips = [
            offset + index for offset, chips in datasets for index in _usable(chips, min_valid)
        ]
        if not self.chips:
            files = [item.scene.sources[0] for _, chips in datasets for item in chips.labelled]
            raise CatalogError(
                f'no chip has a valid share of at least {min_valid} in {", ".join(files[:5])}',
                fix="lower the sampler's min_valid, or check nodata and AOI",
            )

    def __iter__(self) -> Iterator[int]:
        return iter(self.chips[self.rank :: self.world_size])

    def __len__(self) -> int:
        return len(self.chips[self.rank :: self.world_size])

    def set_epoch(self, epoch: int) -> None:
        """The order is the same in every epoch."""


def _usable(chips: ChipDataset, min_valid: float) -> list[int]:
    """Indices of the chips of one dataset with enough valid pixels."""
    space = chips.chip_space
    if space.stride == 1 and space.positions > len(chips.labelled):
        raise ConfigError(
            f'GridChipSampler over a dataset of stride 1: {space.positions} chips',
            f'a stride such as the chip size {space.chip_height}',
            'set test_mode=True in the dataset of this dataloader, or a stride',
        )
    coverages = [Coverage(labelled, chips.chip_size) for labelled in chips.labelled]
    usable = []
    for index in range(space.positions):
        scene, window = space.locate(index)
        coverage = coverages[scene]
        if min_valid > 0:
            keep = coverage.share(window) >= min_valid - ROUNDING
        else:
            keep = coverage.touches(window)
        if keep:
            usable.append(index)
    return usable


class UniformSampling:
    """Draws from the usable chips of all scenes, in proportion to their valid area.

    Attributes:
        scenes: Those that may have usable chips.
    """

    def __init__(self, scenes: Sequence[ValidChips]) -> None:
        self.scenes = [scene for scene in scenes if scene.weight]
        self._ends = np.cumsum([scene.weight for scene in self.scenes])

    def draw(self, rng: np.random.Generator) -> int:
        while True:
            drawn = rng.random() * self._ends[-1]
            scene = self.scenes[self._ends[:-1].searchsorted(drawn, side='right')]
            if scene.any:
                return scene.draw(rng)


class LabelSampling:
    """Draws chips around labels: a class, then one of its labels, then a chip.

    Of many scenes with many labels, as label rasters have them, only some
    labels are kept in memory; scenes count by all of theirs.

    Args:
        scenes: Usable chips.
        class_weights: Class name to relative frequency; None takes every
            class that has labels equally often.

    Raises:
        CatalogError: If a class has no labels inside the usable area.
        ConfigError: If a weight is negative, or all are 0.
    """

    def __init__(
        self, scenes: Sequence[ValidChips], class_weights: Mapping[str, float] | None
    ) -> None:
        by_class: dict[str, list] = {}
        most = max(_ANCHORS // len(scenes), _LEAST_ANCHORS)
        with without_collecting():
            for scene in announced(scenes, 'labels of'):
                points, labels = scene.anchors()
                classes = scene.chips.classes.names
                for label in np.unique(labels):
                    here = points[labels == label]
                    place = (scene, _some(here, most), len(here))
                    by_class.setdefault(classes[label], []).append(place)
        weights = _checked_weights(class_weights, by_class, scenes)
        self._shares = np.cumsum(list(weights.values())) / sum(weights.values())
        self._places = [by_class[name] for name in weights]
        self._ends = [np.cumsum([count for _, _, count in p]) for p in self._places]

    def draw(self, rng: np.random.Generator) -> int:
        chosen = np.searchsorted(self._shares[:-1], rng.random(), side='right')
        ends = self._ends[chosen]
        drawn = rng.integers(ends[-1])
        place = np.searchsorted(ends, drawn, side='right')
        scene, points, count = self._places[chosen][place]
        return scene.draw_around(points[(drawn - ends[place]) * len(points) // count], rng)


def _some(points: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the points, the same in every process."""
    if len(points) <= most:
        return points
    return points[np.random.default_rng(0).choice(len(points), most, replace=False)]


def _checked_weights(
    weights: Mapping[str, float] | None, by_class: Mapping, scenes: Sequence[ValidChips]
) -> dict[str, float]:
    weights = dict(weights or dict.fromkeys(by_class, 1.0))
    unknown = [name for name in weights if name not in by_class]
    if unknown or not by_class:
        raise CatalogError(
            f'no labels of class {", ".join(unknown) or "any"} to draw chips around in '
            f'{names_of(scenes)}',
            f'classes with labels inside the valid area: {", ".join(by_class) or "none"}',
            "correct the sampler's class_weights, or set positive_share=0",
        )
    if min(weights.values()) < 0 or not sum(weights.values()):
        raise ConfigError(f'class_weights={weights}', 'weights of 0 or more, at least one above 0')
    return weights
