"""How many objects a detector may report of a tile."""

import copy
import math
from collections.abc import Iterator, Mapping

from mmengine.config import Config

LIMITS = ('max_per_img', 'nms_pre', 'topk', 'top_k')
"""Settings of mmdet's test_cfg that say how many objects, or candidates, of an image are kept."""

QUERIES = ('num_queries', 'num_query', 'num_proposals')
"""Settings of models that look for a fixed number of objects, such as DETR."""


def for_tiles(config: Config, chip_size: tuple[int, int], tile: int) -> Config:
    """The config, with limits on objects raised from those of a chip to those of a tile.

    Limits are chosen for chips, and four times the ground holds four times
    the objects. They never fall, and -1, which is no limit, stays. A model
    with a fixed number of queries stays as it is: it cannot report more.

    Args:
        config: What the model was trained with; not changed.
        chip_size: ``(height, width)`` of the chips in pixels.
        tile: Side of the tiles in pixels.
    """
    config = copy.deepcopy(config)
    if any(key in QUERIES for mapping in _mappings(config.model) for key in mapping):
        return config
    share = max(tile * tile / (chip_size[0] * chip_size[1]), 1.0)
    for mapping in _mappings(config.model.get('test_cfg') or {}):
        for key in LIMITS:
            if mapping.get(key, 0) > 0:
                mapping[key] = math.ceil(mapping[key] * share)
    return config


def most_objects(config: Config) -> int | None:
    """How many objects the model reports of one tile at most, if it says so."""
    test_cfg = config.model.get('test_cfg') or {}
    return (test_cfg.get('rcnn') or test_cfg).get('max_per_img')


def _mappings(value: object) -> Iterator[Mapping]:
    """The dicts in nested dicts and lists."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _mappings(item)
