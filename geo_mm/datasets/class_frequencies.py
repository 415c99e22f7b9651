"""How often classes occur, as pixels and as objects, and how a loss makes up for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from geo_mm.classes import IGNORE
from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.datasets.chips import ChipDataset, chip_datasets
from geo_mm.datasets.seg import GeoSegDataset
from geo_mm.errors import ConfigError


@dataclass(frozen=True)
class ClassFrequencies:
    """Labelled, valid pixels of each class.

    Attributes:
        names: The classes.
        pixels: ``(classes,)`` pixels of each.
        around: ``(classes,)`` pixels of all classes in the chips where each occurs.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    around: np.ndarray

    def weights(self) -> np.ndarray:
        """Weights ``(classes,)`` by median frequency; 1 for a class that does not occur.

        ``median(f) / f``, where ``f`` is the share of a class's pixels in the
        chips where it occurs (Eigen and Fergus 2015, arXiv:1411.4734, 6.3.2).
        """
        occurs = self.pixels > 0
        weights = np.ones(len(self.names))
        if occurs.any():
            share = self.pixels[occurs] / self.around[occurs]
            weights[occurs] = np.median(share) / share
        return weights


def class_frequencies(
    dataset: object, track: Callable[[Iterable], Iterable] = iter
) -> ClassFrequencies:
    """Counts the pixels of each class, each pixel once.

    Args:
        dataset: A ``geo_mm.GeoSegDataset``, or wrappers around some.
        track: Wraps the chips that are gone through, for a progress bar.

    Raises:
        ConfigError: If it is not a dataset of pixel classes.
    """
    parts = [chips for _, chips in chip_datasets(dataset)]
    for chips in parts:
        if not isinstance(chips, GeoSegDataset):
            raise ConfigError(
                f'class frequencies of a {type(chips).__name__}',
                'classes of pixels: a config with geo_mm.GeoSegDataset',
            )
    names = parts[0].classes.names
    pixels, around = np.zeros((2, len(names)), np.int64)
    for place in track([place for chips in parts for place in _places(chips)]):
        counts = _count(*place)[: len(names)]
        pixels += counts
        around[counts > 0] += counts.sum()
    return ClassFrequencies(names, pixels, around)


def object_counts(dataset: object) -> dict[str, int]:
    """How many labelled objects of each class there are, each once; ignored ones left out.

    Args:
        dataset: A ``geo_mm.GeoDetDataset``, or wrappers around some.

    Raises:
        ConfigError: If it is not a dataset of objects.
    """
    parts = [chips for _, chips in chip_datasets(dataset)]
    if not all(chips.objects for chips in parts):
        raise ConfigError(
            f'objects of a {type(parts[0]).__name__}', 'a config with geo_mm.GeoDetDataset'
        )
    names = parts[0].classes.names
    counts = np.zeros(len(names), np.int64)
    for labelled in (item for chips in parts for item in chips.labelled if item.labels):
        numbers = labelled.labels.points()[1]
        counts += np.bincount(numbers[numbers >= 0], minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _places(chips: ChipDataset) -> list[tuple]:
    """Scenes and windows that hold each pixel once, whatever the dataset's stride."""
    found = []
    for labelled in chips.labelled:
        if labelled.labels is None:
            raise ConfigError(
                f'{labelled.scene.name} has no labels', '`labels` in its catalog entry'
            )
        size = (labelled.scene.width, labelled.scene.height)
        # Square chips of the longer side: a stride has no direction.
        side = max(chips.chip_size)
        space = ChipSpace([size], (side, side), stride=side)
        found += [(labelled, space.locate(index)[1]) for index in range(len(space))]
    return found


def _count(labelled, window) -> np.ndarray:
    classes = labelled.labels.classes(window)
    classes[~labelled.read(window)[1]] = IGNORE
    return np.bincount(classes.ravel(), minlength=IGNORE + 1)
