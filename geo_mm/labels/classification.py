"""From attributes of features to classes."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from geo_mm.errors import ConfigError, LabelError, counted, listed

NULL = '<null>'
IGNORED_NAME = 'ignore'
LISTED = 40  # values shown in a message


@dataclass(frozen=True)
class LabelOptions:
    """How labels become classes.

    Attributes:
        class_column: Attribute that holds the class of a feature; None where all
            features belong to the one class.
        class_map: Attribute or pixel value to class name, compared as text
            (``'<null>'`` for features without a value); None as the name drops
            the feature, ``'ignore'`` makes it an ignored region. Pixels of a
            label raster are ignored by either, and where its classes are
            colours, they are ``'#ff0000'``. Values that are class names
            need no entry.
        background: Class of pixels that no feature covers; None ignores them.
        point_size: Side in metres of the square around a labelled point.
        line_width: Width in metres of a labelled line.
        layer: Layer of the label file.
        where: SQL condition that the features must meet.
    """

    class_column: str | None = None
    class_map: Mapping | None = None
    background: str | None = 'background'
    point_size: float | None = None
    line_width: float | None = None
    layer: str | None = None
    where: str | None = None

    @classmethod
    def from_cfg(cls, cfg: Mapping | None) -> 'LabelOptions':
        """Options from a config dict.

        Raises:
            ConfigError: For a key that does not exist.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = set(cfg or {}) - set(known)
        if unknown:
            raise ConfigError(
                f'label_cfg has the unknown key {", ".join(sorted(unknown))}',
                f'keys out of {", ".join(known)}',
            )
        return cls(**(cfg or {}))


def checked_classes(
    classes: Sequence[str] | Mapping[str, int], options: LabelOptions, name: str
) -> dict[str, int]:
    """Number of each class."""
    if isinstance(classes, str):
        raise LabelError(
            f'{name}: classes is the text {classes!r}', f'a list of names, such as [{classes!r}]'
        )
    names = tuple(classes)
    if not names or len(set(names)) != len(names) or IGNORED_NAME in names:
        raise LabelError(
            f'{name}: the classes are {list(names)}',
            f'at least one name, each once, none called {IGNORED_NAME!r}',
        )
    if options.class_column is None:
        if len(names) > 1:
            raise LabelError(
                f'{name}: {counted(len(names), "class")} given, but no class_column',
                'an attribute that tells the classes apart',
                'set class_column=...',
            )
        if options.class_map:
            raise LabelError(
                f'{name}: a class_map is given, but no class_column',
                fix='set class_column=..., or leave class_map out',
            )
    for value, target in (options.class_map or {}).items():
        if target is not None and target != IGNORED_NAME and target not in names:
            raise LabelError(
                f'{name}: class_map sends {value!r} to {target!r}, which is no class',
                f'one of {list(names)}, None (drop) or {IGNORED_NAME!r}',
            )
    if isinstance(classes, Mapping):
        return dict(classes)
    return {text: number for number, text in enumerate(names)}


def check_sizes(gdf: gpd.GeoDataFrame, name: str, options: LabelOptions) -> None:
    dimensions = shapely.get_dimensions(np.asarray(gdf.geometry.array))
    needs = ((0, 'points', 'point_size'), (1, 'lines', 'line_width'))
    for dimension, what, argument in needs:
        size = getattr(options, argument)
        if size is not None and not 0 < size < np.inf:
            raise LabelError(f'{name}: {argument} is {size}', 'a positive number of metres')
        count = int((dimensions == dimension).sum())
        if count and size is None:
            raise LabelError(
                f'{name}: {count} of {len(gdf)} features are {what}, which have no area',
                'polygons',
                f'set {argument}=... (metres on the ground), or leave them out with where=...',
            )


def classify(
    gdf: gpd.GeoDataFrame, numbers: Mapping[str, int], options: LabelOptions, name: str
) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """Features of the classes asked for, and their class numbers."""
    column = options.class_column
    if column is None or gdf.empty:
        return gdf, np.full(len(gdf), next(iter(numbers.values())), np.int64)
    if column not in gdf.columns or column == gdf.geometry.name:
        columns = [found for found in gdf.columns if found != gdf.geometry.name]
        raise LabelError(
            f'{name}: has no column {column!r}', f'one of {columns}', 'correct class_column=...'
        )
    row, values = attribute_values(gdf[column])
    kept, found = _numbers_of(row, values, numbers, options, f'{name}: column {column!r}')
    return gdf[kept].reset_index(drop=True), found


def numbers_of_names(
    names: Sequence[str], numbers: Mapping[str, int], options: LabelOptions, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """Which of some named objects are of the classes asked for, and their class numbers.

    Args:
        names: Class name of each object.
        numbers: Class number by name.
        options: ``class_map`` may rename, drop or ignore classes.
        source: Where the objects are from, for messages.

    Returns:
        ``(N,)`` bool, and the numbers of those that are, -1 for ignored ones.

    Raises:
        LabelError: If a name is no class.
    """
    values = list(dict.fromkeys(names))
    position = {text: index for index, text in enumerate(values)}
    row = np.array([position[text] for text in names], np.int64)
    return _numbers_of(row, values, numbers, options, source)


def _numbers_of(
    row: np.ndarray,
    values: list[str],
    numbers: Mapping[str, int],
    options: LabelOptions,
    what: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Which objects are kept, and the class numbers of those."""
    targets = class_targets(numbers, options)
    unknown = [value for value in values if value not in targets]
    if unknown:
        times = Counter(dict(zip(values, np.bincount(row).tolist(), strict=True)))
        raise LabelError(
            f'{what} has {counted(len(unknown), "value")} without a class: '
            f'{_counts(Counter({value: times[value] for value in unknown}))}\n'
            f'  all values found: {_counts(times)}',
            f'one of {list(numbers)}',
            "name a class for each in class_map, as {'value': 'class'}, or in --class-map of "
            f'geo-mm evaluate, as value=class; None drops the features, {IGNORED_NAME!r} excludes '
            'their area',
        )
    number_of = {**numbers, IGNORED_NAME: -1}
    chosen = [targets[value] for value in values]
    kept = np.array([name is not None for name in chosen], bool)[row]
    found = np.array([-1 if name is None else number_of.get(name, -1) for name in chosen], np.int64)
    return kept, found[row][kept]


def class_targets(names: Iterable[str], options: LabelOptions) -> dict[str, str | None]:
    """The class name, ``'ignore'`` or None (dropped) of each attribute value that has one."""
    targets: dict[str, str | None] = {value: value for value in (*names, IGNORED_NAME)}
    mapped = (options.class_map or {}).items()
    return {**targets, **{attribute_text(value): target for value, target in mapped}}


def attribute_values(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The different values of a column as texts, and for each row the index of its own."""
    try:
        rows, unique = pd.factorize(column, use_na_sentinel=False)
    except TypeError:  # lists and the like
        rows, unique = pd.factorize(column.map(str), use_na_sentinel=False)
    texts = [attribute_text(value) for value in unique]
    # Values of different types can be one text.
    values = list(dict.fromkeys(texts))
    position = {text: index for index, text in enumerate(values)}
    return np.array([position[text] for text in texts], np.int64)[rows], values


def attribute_text(value: Any) -> str:
    """An attribute value as the text that class names are compared with."""
    if pd.isna(value):
        return NULL
    # A column of integers with nulls arrives as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _counts(counter: Counter) -> str:
    most = [f'{value} ({count})' for value, count in counter.most_common(LISTED)]
    return listed(most, LISTED, len(counter))
