"""One class per algorithm, and models of any config."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from geo_mm import engine
from geo_mm.errors import ConfigError
from geo_mm.learn.data import TrainingData
from geo_mm.learn.learner import Learner
from geo_mm.new_config.recipes import Size


class FasterRCNN(Learner):
    """Faster R-CNN: objects as boxes."""

    algorithm = 'faster-rcnn'


class MaskRCNN(Learner):
    """Mask R-CNN: objects as boxes and outlines."""

    algorithm = 'mask-rcnn'


class RetinaNet(Learner):
    """RetinaNet: objects as boxes."""

    algorithm = 'retinanet'


class SSD(Learner):
    """SSD: objects as boxes."""

    algorithm = 'ssd'


class YOLOv3(Learner):
    """YOLOv3: objects as boxes."""

    algorithm = 'yolov3'


class UNet(Learner):
    """U-Net: classes of pixels."""

    algorithm = 'unet'


class PSPNet(Learner):
    """PSPNet: classes of pixels."""

    algorithm = 'pspnet'


class _OfConfig(Learner):
    """A model out of any config, on the data, samplers and schedule that are chosen for them.

    Args:
        data: What to learn from.
        config: Its ``model`` is taken, with as many classes and bands as the data
            have, and its ``optim_wrapper``, if it has one.
        size: For what is chosen: ``'small'`` or ``'full'``.

    Raises:
        ConfigError: If the config cannot be read, or has no model.
        CatalogError: If data are missing.
    """

    def __init__(
        self,
        data: TrainingData,
        config: str | os.PathLike | Config,
        *,
        size: Size | None = None,
    ) -> None:
        given = engine.load_config(config)
        if 'model' not in given:
            raise ConfigError(f'{given.filename or "the config"} has no model', 'a config with one')
        written = data.config(self._like(given.model), size=size)
        preprocessor = {
            **given.model.get('data_preprocessor', {}),
            **written.model.data_preprocessor,
        }
        written.model = {**given.model.to_dict(), 'data_preprocessor': preprocessor}
        count = len(written.train_dataloader.dataset.metainfo.classes)
        _set_classes(written.model, count)
        if 'in_channels' in written.model.backbone:
            written.model.backbone.in_channels = len(written.model.data_preprocessor.mean)
        if 'optim_wrapper' in given:
            written.optim_wrapper = given.optim_wrapper
        name = Path(given.filename).stem if given.filename else type(self).__name__
        self._start(written, data.work_dir / name)

    def _like(self, model: Mapping[str, Any]) -> str:
        """The algorithm whose data, samplers and schedule suit a model."""
        raise NotImplementedError


class MMDetection(_OfConfig):
    """Any model of MMDetection, from a config; see the arguments of the base class."""

    def _like(self, model: Mapping[str, Any]) -> str:
        masks = 'mask_head' in str(model) or 'mask_branch' in str(model)
        return 'mask-rcnn' if masks else 'faster-rcnn'


class MMSegmentation(_OfConfig):
    """Any model of MMSegmentation, from a config; see the arguments of the base class."""

    def _like(self, model: Mapping[str, Any]) -> str:
        return 'unet'


def _set_classes(part: Any, count: int) -> None:
    """Gives all parts of a model their number of classes; proposals have none."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == 'num_classes':
                part[key] = count  # type: ignore[index]
            elif key != 'rpn_head':
                _set_classes(value, count)
    elif isinstance(part, list | tuple):
        for value in part:
            _set_classes(value, count)
