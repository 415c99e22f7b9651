"""What the labels of training chips hold: how often classes occur, and how large objects are."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader

from geo_mm.classes import IGNORE
from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.datasets.chips import ChipDataset, GeoDetDataset, GeoSegDataset
from geo_mm.datasets.wrappers import chip_datasets
from geo_mm.errors import CatalogError, ConfigError


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
    for labels in (item.labels for chips in parts for item in chips.labelled if item.labels):
        numbers = labels.points()[1]
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


@dataclass(frozen=True)
class ObjectSizes:
    """Objects of some chips, after the whole pipeline, ignored ones left out.

    Attributes:
        names: The classes.
        labels: ``(N,)`` class of each object.
        boxes: ``(N, 4)`` xyxy in pixels of its chip.
        extents: ``(N, 2)`` width and height of its chip in pixels.
        metres: ``(N, 2)`` its width and height on the ground; NaN where the
            scene has no GSD.
        chips: How many chips were drawn.
        empty: How many of them hold none.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    boxes: np.ndarray
    extents: np.ndarray
    metres: np.ndarray
    chips: int
    empty: int

    @property
    def pixels(self) -> np.ndarray:
        """``(N, 2)`` width and height in pixels."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def weights(self) -> np.ndarray:
        """``(N,)`` with a sum of 1 in which all classes count alike, as in a mean AP."""
        found, counts = np.unique(self.labels, return_counts=True)
        return 1 / (len(found) * counts[np.searchsorted(found, self.labels)])

    def some(self, most: int, rng: np.random.Generator) -> 'ObjectSizes':
        """At most ``most`` objects of each class, drawn at random."""
        order = rng.permutation(len(self.labels))
        classes = np.unique(self.labels)
        chosen = np.concatenate([order[self.labels[order] == label][:most] for label in classes])
        arrays = ('labels', 'boxes', 'extents', 'metres')
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


def object_sizes(
    loader: DataLoader, number: int, track: Callable[[Iterable], Iterable] = iter
) -> ObjectSizes:
    """Reads the objects of the first chips that a loader would give.

    Args:
        loader: Over a ``geo_mm.GeoDetDataset``, or wrappers around some, with
            one of our samplers.
        number: Of chips; fewer if the sampler ends before.
        track: Wraps the chips that are read, for a progress bar.

    Raises:
        ConfigError: If it is not a dataset of objects.
        CatalogError: If there is no object in the chips.
    """
    parts = chip_datasets(loader.dataset)
    for _, chips in parts:
        if not isinstance(chips, GeoDetDataset):
            raise ConfigError(
                f'sizes of objects of a {type(chips).__name__}',
                'objects: a config with geo_mm.GeoDetDataset',
            )
    found = [
        _objects(loader.dataset[index], _gsd(parts, index))
        for index in track(list(islice(iter(loader.sampler), number)))
    ]
    labels, boxes, extents, metres = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(labels):
        raise CatalogError(
            f'no object in {len(found)} training chips',
            fix='read more chips, or look at some with geo-mm browse',
        )
    names = parts[0][1].classes.names
    empty = sum(not len(labels) for labels, *_ in found)
    return ObjectSizes(names, labels, boxes, extents, metres, len(found), empty)


def _gsd(parts: list, index: int) -> tuple[float, float]:
    """Metres per pixel along x and y of the scene that a chip is cut from."""
    offset, chips = parts[bisect_right([offset for offset, _ in parts], index) - 1]
    info = chips.get_data_info((index - offset) % len(chips))  # RepeatDataset counts on
    return info['labelled_scene'].gsd or (np.nan, np.nan)


def _objects(item: dict, gsd: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Labels, boxes, extents and metres of one chip's objects."""
    sample = item['data_samples']
    objects = sample.gt_instances
    boxes: np.ndarray = np.asarray(
        getattr(objects.bboxes, 'tensor', objects.bboxes), float
    ).reshape(-1, 4)
    visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes = boxes[visible]
    height, width = item['inputs'].shape[-2:]
    extents = np.tile([float(width), float(height)], (len(boxes), 1))
    scale = np.asarray(sample.metainfo.get('scale_factor', (1.0, 1.0)), float)
    metres = (boxes[:, 2:] - boxes[:, :2]) / scale * np.asarray(gsd, float)
    return np.asarray(objects.labels)[visible], boxes, extents, metres
