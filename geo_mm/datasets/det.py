"""Chips for detection and instance segmentation."""

from collections.abc import Sequence

from mmdet.datasets import BaseDetDataset

from geo_mm.datasets.chips import ChipDataset
from geo_mm.errors import ConfigError
from geo_mm.registry import DATASETS


@DATASETS.register_module()
class GeoDetDataset(ChipDataset, BaseDetDataset):
    """Objects in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. All classes in
    ``metainfo`` are kinds of objects; there is no background class.
    """

    library = 'mmdet'

    objects = True

    def _check_classes(self, classes: Sequence[str]) -> None:
        background = self.label_options.background
        if background in classes:
            raise ConfigError(
                f'GeoDetDataset with a background class {background!r}',
                'classes of objects only',
                'remove it from metainfo.classes, and from num_classes of the model',
            )

    def get_cat_ids(self, idx: int) -> Sequence[int]:
        """Classes of the objects in a chip, for ClassBalancedDataset."""
        info = self.get_data_info(idx)
        labels = info['labelled_scene'].labels
        found = [] if labels is None else labels.objects(info['window']).labels
        return [int(label) for label in found if label >= 0]
