"""Chips for detection and instance segmentation."""

from collections.abc import Sequence

from mmdet.datasets import BaseDetDataset

from geo_mm.datasets.chips import ChipDataset
from geo_mm.errors import ConfigError, LabelError
from geo_mm.labels import LabelRaster
from geo_mm.registry import DATASETS


@DATASETS.register_module()
class GeoDetDataset(ChipDataset, BaseDetDataset):
    """Objects in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. All classes in
    ``metainfo`` are kinds of objects; there is no background class.
    """

    def _check_classes(self, classes: Sequence[str]) -> None:
        background = self.label_options.background
        if background in classes:
            raise ConfigError(
                f'GeoDetDataset with a background class {background!r}',
                'classes of objects only',
                'remove it from metainfo.classes, and from num_classes of the model',
            )

    def load_data_list(self) -> list:
        chips = super().load_data_list()
        for item in self.labelled:
            if isinstance(item.labels, LabelRaster):
                raise LabelError(
                    f'{item.labels.path}: a label raster has no single objects',
                    'a vector layer',
                    'polygonise it, or use geo_mm.GeoSegDataset',
                )
        return chips

    def get_cat_ids(self, idx: int) -> Sequence[int]:
        """Classes of the objects in a chip, for ClassBalancedDataset."""
        info = self.get_data_info(idx)
        labels = info['labelled_scene'].labels
        found = labels.labels[labels.query(info['window'])] if labels else []
        return [int(label) for label in found if label >= 0]
