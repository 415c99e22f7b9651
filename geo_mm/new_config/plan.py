"""The settings of a config, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geo_mm.catalog import CatalogEntry
from geo_mm.catalog.label_classes import LabelClasses
from geo_mm.catalog.profile import CatalogProfile, SceneBands
from geo_mm.new_config.options import Size
from geo_mm.new_config.recipes import Recipe, Variant


@dataclass(frozen=True)
class Plan:
    """The settings of a config with the reasons for them.

    Attributes:
        recipe: The model.
        size: Its size.
        labels: The classes.
        bands: The bands.
        nodata: Value of pixels without data, ``'auto'`` for what the files declare.
        entries: The scenes, with their split.
        table: The user's catalog, if that has splits.
        profile: What the training scenes are like.
        gsd: Metres per pixel; None for that of each file.
        chip_size: Side of a chip in pixels.
        batch_size: Chips of one iteration.
        iterations: Of the run.
        model: Settings found by measuring: anchors, weights to start from.
        class_weight: Weight of each class in the loss, where one is rare.
        load_from: Checkpoint of geo_mm to start from.
        why: Reason of each setting, by its name in the config.
    """

    recipe: Recipe
    size: Size
    labels: LabelClasses
    bands: SceneBands
    nodata: float | str
    entries: tuple[CatalogEntry, ...]
    table: str | None
    profile: CatalogProfile
    gsd: float | None
    chip_size: int
    batch_size: int
    iterations: int
    model: Mapping[str, Any]
    class_weight: tuple[float, ...]
    load_from: str | None
    why: Mapping[str, str]

    @property
    def variant(self) -> Variant:
        """The model of the size."""
        return self.recipe.variant(self.size)

    def because(self, **reasons: str) -> Mapping[str, str]:
        """The reasons with further or other ones."""
        return {**self.why, **reasons}


def merged(first: Mapping, second: Mapping) -> dict:
    """Nested settings of both; the second has precedence."""
    both = dict(first)
    for key, value in second.items():
        own = both.get(key)
        if isinstance(own, Mapping) and isinstance(value, Mapping):
            both[key] = merged(own, value)
        else:
            both[key] = value
    return both
