"""Chips for pixel classification."""

from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset

from geo_mm.classes import IGNORE
from geo_mm.datasets.chips import ChipDataset
from geo_mm.errors import ConfigError
from geo_mm.registry import DATASETS


@DATASETS.register_module()
class GeoSegDataset(ChipDataset, BaseSegDataset):
    """Classes of pixels in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. Labels are
    vector layers, burnt in the order of the classes (later ones on top), or
    label rasters. ``label_cfg.background`` names the class of pixels that no
    feature covers.
    """

    library = 'mmseg'

    def _check_classes(self, classes: Sequence[str]) -> None:
        if len(classes) > IGNORE:
            raise ConfigError(f'{len(classes)} classes', f'at most {IGNORE}')

    def _background(self) -> str | None:
        # The default is no class where all labels are rasters.
        background = self.label_options.background
        return background if background in self._metainfo['classes'] else None
