"""Chips of a config as the model sees them."""

from itertools import islice

from mmengine.config import Config
from PIL import Image

from geo_mm.engine import input_spec_of
from geo_mm.engine.config_data import build_loader
from geo_mm.engine.launch import build_model, explained_config_errors
from geo_mm.engine.runner import explained_chip_errors
from geo_mm.visualization import contact_sheet, draw_chip, with_legend


def browse_chips(
    config: Config, split: str = 'train', number: int = 16, columns: int = 4
) -> Image.Image:
    """Draw chips with their labels and valid areas, in the order of the sampler.

    Args:
        config: Any config of chips.
        split: ``'train'``, ``'val'`` or ``'test'``.
        number: How many chips.
        columns: Chips per row.

    Returns:
        The chips; ``info`` has their ``number`` and their ``size`` in pixels, (height, width).

    Raises:
        ConfigError: If the config has no such split, it cannot be built, or a
            transform fails on the chips.
    """
    loader = build_loader(config, split)
    with explained_config_errors():
        spec = input_spec_of(loader.dataset, build_model(config))
    images = []
    with explained_chip_errors():
        for index in islice(iter(loader.sampler), number):
            item = loader.dataset[index]
            images.append(draw_chip(item['inputs'].numpy(), item['data_samples'], spec))
    sheet = with_legend(contact_sheet(images, columns), spec.classes)
    sheet.info |= {'number': len(images), 'size': spec.chip_size}
    return sheet
