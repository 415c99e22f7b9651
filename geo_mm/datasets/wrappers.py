"""Chip datasets inside of the libraries' wrappers."""

from typing import Any

from mmengine.dataset import ClassBalancedDataset
from torch.utils.data import Subset

from geo_mm.datasets.chips import ChipDataset
from geo_mm.errors import ConfigError

# Their indices do not count the chips of what they wrap.
_RENUMBERING = (ClassBalancedDataset, Subset)


def chip_datasets(dataset: Any) -> list[tuple[int, ChipDataset]]:
    """The chip datasets inside wrappers, each with the index of its first chip.

    Args:
        dataset: A chip dataset, or a wrapper: ConcatDataset has ``datasets``;
            RepeatDataset and MultiImageMixDataset have ``dataset``, and give
            the same chip for an index as that does.

    Raises:
        ConfigError: If there is a dataset that does not hold chips.
    """
    if isinstance(dataset, ChipDataset):
        dataset.full_init()
        return [(0, dataset)]
    if hasattr(dataset, 'datasets'):
        found, start = [], 0
        for part in dataset.datasets:
            found += [(start + offset, chips) for offset, chips in chip_datasets(part)]
            start += len(part)
        return found
    if hasattr(dataset, 'dataset') and not isinstance(dataset, _RENUMBERING):
        return chip_datasets(dataset.dataset)
    raise ConfigError(
        f'chip samplers need a geo_mm dataset, got {type(dataset).__name__}',
        'geo_mm.GeoDetDataset or geo_mm.GeoSegDataset, also concatenated, repeated or mixed',
        "balance classes with the sampler's positive_share and class_weights, or use the "
        'sampler DefaultSampler or InfiniteSampler with this dataset',
    )
