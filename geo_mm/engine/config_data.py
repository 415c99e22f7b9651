"""The data that a config names: its datasets, loaders, and what they hold."""

from collections.abc import Callable, Iterable

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from geo_mm.datasets import ClassFrequencies, chip_datasets, class_frequencies, object_counts
from geo_mm.engine.launch import explained_config_errors
from geo_mm.errors import ConfigError
from geo_mm.raster import BandStatistics, Scene, band_statistics


def build_dataset(config: Config, split: str = 'train') -> Dataset:
    """The dataset of a split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        ConfigError: If the config has none, or it cannot be built.
    """
    loader = _loader_config(config, split)
    with explained_config_errors(), _scope(config):
        return DATASETS.build(loader['dataset'])


def build_loader(config: Config, split: str = 'train') -> DataLoader:
    """The DataLoader of a split, as training has it but without worker processes.

    Raises:
        ConfigError: If the config has none, or it cannot be built.
    """
    loader = dict(_loader_config(config, split), num_workers=0)
    loader.pop('persistent_workers', None)
    with explained_config_errors(), _scope(config):
        return Runner.build_dataloader(loader, seed=config.get('randomness', {}).get('seed', 0))


def train_statistics(
    config: Config, progress: Callable[[Iterable[Scene]], Iterable[Scene]] = iter
) -> BandStatistics:
    """Mean, standard deviation, least and largest value of each band of the training scenes.

    Args:
        config: Any config of chips.
        progress: Wraps the scenes as they are read, to show how far it is.
    """
    datasets = chip_datasets(build_dataset(config))
    scenes = [item.scene for _, chips in datasets for item in chips.labelled]
    return band_statistics(progress(scenes))


def train_frequencies(
    config: Config, progress: Callable = iter
) -> ClassFrequencies | dict[str, int]:
    """How often classes occur in training: pixels of its chips, or numbers of objects.

    Args:
        config: Any config of chips.
        progress: Wraps the chips as they are read, to show how far it is.

    Returns:
        The pixels, for semantic segmentation; else the number of objects by class.
    """
    dataset = build_dataset(config)
    if chip_datasets(dataset)[0][1].objects:
        return object_counts(dataset)
    return class_frequencies(dataset, progress)


def _scope(config: Config):
    return DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine'))


def _loader_config(config: Config, split: str) -> dict:
    loader = config.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(
            f'{config.filename or "the config"} has no {split}_dataloader', fix='choose --split'
        )
    return loader
