"""Chips for pixel classification."""

from collections.abc import Sequence
from dataclasses import replace

from mmseg.datasets import BaseSegDataset

from geo_mm.classes import IGNORE
from geo_mm.datasets.chips import ChipDataset
from geo_mm.errors import ConfigError
from geo_mm.labels import BurntLabels, SceneLabels
from geo_mm.registry import DATASETS


@DATASETS.register_module()
class GeoSegDataset(ChipDataset, BaseSegDataset):
    """Classes of pixels in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. Labels are
    vector layers, burnt in the order of the classes (later ones on top), or
    label rasters. ``label_cfg.background`` names the class of pixels that no
    feature covers.
    """

    def _check_classes(self, classes: Sequence[str]) -> None:
        if len(classes) > IGNORE:
            raise ConfigError(f'{len(classes)} classes', f'at most {IGNORE}')

    def _background(self) -> str | None:
        # The default is no class where all labels are rasters.
        background = self.label_options.background
        return background if background in self._metainfo['classes'] else None

    def load_data_list(self) -> list:
        chips = super().load_data_list()
        background = self.label_options.background
        classes = self.classes.names
        for number, item in enumerate(self.labelled):
            if isinstance(item.labels, SceneLabels):
                self._check_background(background, classes)
                burnt = BurntLabels.of(item.labels, classes, background)
                self.labelled[number] = replace(item, labels=burnt)
        return chips

    @staticmethod
    def _check_background(background: str | None, classes: Sequence[str]) -> None:
        if background is not None and background not in classes:
            raise ConfigError(
                f'the background class {background!r} is not one of {", ".join(classes)}',
                'a class for pixels that no feature covers',
                'name it in label_cfg.background, or set that to None to ignore such pixels',
            )
