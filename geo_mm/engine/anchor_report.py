"""The objects of a config's training chips, and anchors fitted to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mmengine.config import Config

from geo_mm.datasets import ObjectSizes, object_sizes
from geo_mm.engine.config_data import build_loader
from geo_mm.errors import ConfigError
from geo_mm.models import AnchorGrid, anchor_grid, fit_anchors

MOST = 2000
"""Objects of a class that anchors are fitted to: more take longer and change little."""


@dataclass(frozen=True)
class AnchorReport:
    """What :func:`fit_config_anchors` finds.

    Attributes:
        head: Key of the part of the model that has the anchors.
        settings: Of its anchor generator: those that were fitted.
        objects: The objects of the chips that were read.
        good_iou: From which IoU the config takes an anchor for a positive.
        before: The anchors of the config.
        after: The fitted ones.
    """

    head: str
    settings: dict
    objects: ObjectSizes
    good_iou: float
    before: AnchorGrid
    after: AnchorGrid


def fit_config_anchors(config: Config, chips: int = 400, progress: Callable = iter) -> AnchorReport:
    """Fit the anchors of a detector to the objects of its training chips.

    Args:
        config: Of a detector with anchors.
        chips: How many chips are read, as training sees them.
        progress: Wraps the chips as they are read, to show how far it is.

    Raises:
        ConfigError: If the model has no anchors.
    """
    head = _head_with_anchors(config.model)
    objects = object_sizes(build_loader(config), chips, progress)
    divisor = config.model.data_preprocessor.get('pad_size_divisor', 1)
    objects = replace(objects, extents=np.ceil(objects.extents / divisor) * divisor)
    generator = config.model[head].anchor_generator
    some = objects.some(MOST, np.random.default_rng(0))
    good = _good_iou(config.model.train_cfg)
    settings = fit_anchors(generator, some.boxes, some.extents, some.weights, good)
    after = anchor_grid({**generator, **settings})
    return AnchorReport(head, settings, objects, good, anchor_grid(generator), after)


def _head_with_anchors(model: dict) -> str:
    """The part of a model that has an anchor generator."""
    for head in ('rpn_head', 'bbox_head'):
        if head in model and 'anchor_generator' in model[head]:
            return head
    raise ConfigError(f'{model["type"]} has no anchors', 'a detector with an anchor_generator')


def _good_iou(train_cfg: dict) -> float:
    """From which IoU the config takes an anchor for a positive; 0.5 if it does not say."""
    return train_cfg.get('rpn', train_cfg)['assigner'].get('pos_iou_thr', 0.5)
