"""What a config is written for, and its settings, each with its reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geo_mm.errors import ConfigError
from geo_mm.new_config.recipes import Recipe, Size, Variant
from geo_mm.options import option

if TYPE_CHECKING:  # the command knows its options without numpy
    from geo_mm.catalog import CatalogEntry
    from geo_mm.catalog.label_classes import LabelClasses
    from geo_mm.catalog.profile import CatalogProfile, SceneBands


@dataclass(frozen=True)
class NewOptions:
    """What a config is written for.

    Attributes without a comment are options of the command, with the same text.
    """

    images: Sequence[str] = option((), 'images, or patterns in quotes', group='data')
    labels: str | None = option(
        None, 'vector layer or label raster; {stem} stands for the name of the image', group='data'
    )
    aoi: str | None = option(None, 'polygons inside which the labels are complete', group='data')
    catalog: str | None = option(
        None, 'table of images and labels, in place of the above', group='data'
    )
    stac: str | None = option(
        None,
        'STAC items that name images and labels (ItemCollection or stac-geoparquet), '
        'or whose labels are --labels',
        group='data',
        metavar='FILE',
    )
    arcgis: str | None = option(
        None, 'folder of an export of training data from ArcGIS', group='data', metavar='FOLDER'
    )
    coco: str | None = option(
        None,
        'file of annotations in COCO format, or any training set of another program',
        group='data',
        metavar='FILE',
    )
    val_split_pct: float | None = option(
        None,
        'share of the ground to validate with, between 0 and 1, and to test with; the rest is to '
        'train with (default: 0.15 each to validate and to test, or as the data say)',
        group='data',
        metavar='SHARE',
    )
    class_column: str | None = option(
        None,
        "column with the class of a feature (default: one called 'class' or the like)",
        group='classes',
    )
    class_name: str | None = option(
        None,
        'what all features are called, if there is no such column '
        '(default: from the name of the file)',
        group='classes',
    )
    class_mapping: Mapping[str, str] | None = option(
        None,
        'classes of attribute or pixel values, several of which may be one class; features of '
        'other values are left out, pixels of others are ignored (default: each value is a class)',
        group='classes',
        metavar='VALUE=CLASS',
    )
    chip_size: int | None = option(
        None, 'pixels of a side (default: from the ground that there is)', group='model'
    )
    batch_size: int | None = option(None, 'chips (default: from the memory)', group='model')
    size: Size | None = option(
        None, 'of the model (default: full where there is a GPU, else small)', group='model'
    )
    weights: str | None = option(
        None,
        'to start from: a name that geo-mm weights lists, or a checkpoint, also of a backbone',
        group='model',
        metavar='NAME',
    )
    seed: int = option(0, 'of the split and of training', group='model')

    def __post_init__(self) -> None:
        val = self.val_split_pct
        if val is not None and not 0 < val < 1:
            raise ConfigError(
                f'a share of {val:g} of the ground to validate with', 'one between 0 and 1'
            )


@dataclass(frozen=True)
class ConfigPlan:
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
        normalisation: Mean and standard deviation that pretrained weights want; None for
            those of the images.
        seed: Of the split and of training.
    """

    recipe: Recipe
    size: Size
    labels: 'LabelClasses'
    bands: 'SceneBands'
    nodata: float | str
    entries: 'tuple[CatalogEntry, ...]'
    table: str | None
    profile: 'CatalogProfile'
    gsd: float | None
    chip_size: int
    batch_size: int
    iterations: int
    model: Mapping[str, Any]
    class_weight: tuple[float, ...]
    load_from: str | None
    why: Mapping[str, str]
    normalisation: tuple[list[float], list[float]] | None = None
    seed: int = 0

    @property
    def variant(self) -> Variant:
        """The model of the size."""
        return self.recipe.variant(self.size)

    def chosen(self) -> dict[str, str]:
        """Value and reason of each setting, by its name in the config."""
        mean = self.normalisation[0] if self.normalisation else self.profile.statistics.mean
        values = {
            'model': self.variant.what,
            'scenes': str(len({str(entry.image) for entry in self.entries})),
            'bands': ', '.join(map(str, self.bands.bands)),
            'mean': ', '.join(f'{value:.4g}' for value in mean),
            'nodata': '' if self.nodata == 'auto' else f'{self.nodata:g}',
            'classes': ', '.join(self.labels.classes.names),
            'gsd': '' if self.gsd is None else f'{self.gsd:g}',
            'chip_size': str(self.chip_size),
            'batch_size': str(self.batch_size),
            'max_iters': str(self.iterations),
            'class_weight': ', '.join(f'{weight:g}' for weight in self.class_weight),
            'load_from': self.load_from or '',
        }
        rows = {name: [values.get(name), self.why.get(name)] for name in {**values, **self.why}}
        return {name: '; '.join(filter(None, row)) for name, row in rows.items() if any(row)}

    def because(self, **reasons: str) -> Mapping[str, str]:
        """The reasons with further or other ones."""
        return {**self.why, **reasons}


Progress = Callable[[str], None]
"""Is told what is being looked at."""


def ignored(text: str) -> None:
    """Told what is being looked at, says nothing."""


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
