"""Which classes labels hold: their names from attributes or pixel values."""

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely

from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.labelled_scene import SceneOptions, open_labelled
from geo_mm.classes import IGNORE, ClassSet
from geo_mm.errors import CatalogError, ConfigError, LabelError, listed
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import ImageClasses, ImageObjects, LabelOptions, read_layer
from geo_mm.labels.classification import IGNORED_NAME, NULL, attribute_text, attribute_values
from geo_mm.labels.opening import is_label_raster
from geo_mm.raster.handles import open_quietly

CLASS_COLUMNS = ('class', 'classname', 'class_name', 'label', 'category')
"""Columns that are taken for the class of a feature, in the order they are looked for."""

LOOKED_AT = 64
"""Label files, or scenes, that are looked at; more take long and seldom hold anything else."""

_FEWEST = 5  # features of a class that something can be learnt from
_SLIP = 10  # times as many features has a name that another is a misspelling of
_ALIKE = 0.85  # of two spellings, as difflib measures it


@dataclass(frozen=True)
class LabelClasses:
    """The classes of some labels, and how labels become classes.

    Attributes:
        classes: Names and colours; with a background where features are drawn as pixels.
        options: How features or pixel values become these classes.
        notes: What was decided, and why, by the name of an option.
    """

    classes: ClassSet
    options: LabelOptions
    notes: Mapping[str, str]


def find_classes(
    entries: Sequence[CatalogEntry],
    *,
    objects: bool,
    column: str | None = None,
    name: str | None = None,
    mapping: Mapping | None = None,
) -> LabelClasses:
    """Look through labels for their classes.

    Args:
        entries: Scenes with labels: vector layers or label rasters.
        objects: Whether objects are learnt; otherwise classes of pixels, with a
            background where labels are vector layers.
        column: Attribute that holds the class of a feature. None takes one that
            is called 'class' or the like, or else a single class.
        name: Name of the single class; None takes it from the file.
        mapping: Class name for an attribute or pixel value, as text or number; several
            values may be one class. Features of other values are left out, pixels of
            others are ignored. None makes a class of each value.

    Raises:
        CatalogError: If a scene has no labels.
        ConfigError: If the column does not exist, objects are asked of a label raster, or
            the mapping has a class that nothing is labelled as.
    """
    unlabelled = [entry.name for entry in entries if entry.labels is None]
    if unlabelled:
        raise CatalogError(
            f'{len(unlabelled)} of {len(entries)} scenes have no labels, such as {unlabelled[0]}',
            'labels for every scene',
            'give --labels, or fill the column `labels` of the catalog',
        )
    chosen = spread(list({(entry.labels, entry.layer): entry for entry in entries}.values()))
    in_pixels = [read_image_labels(str(entry.labels), entry.image) for entry in chosen]
    if all(labels is not None for labels in in_pixels):
        return _of_training_set(in_pixels, objects, mapping)
    rasters = [is_label_raster(str(entry.labels)) for entry in chosen]
    if any(rasters):
        if objects or not all(rasters):
            raise ConfigError(
                f'{chosen[rasters.index(True)].labels}: a label raster has no single objects',
                'a vector layer for all scenes, or a model for pixels such as unet',
            )
        return _of_rasters(chosen, mapping)
    if mapping and name is not None:
        raise ConfigError(
            f'class_mapping, and {name!r} as the name of all features', 'one of the two'
        )
    return _of_layers(chosen, objects, column, name, mapping)


def spread(entries: Sequence[CatalogEntry], most: int = LOOKED_AT) -> list[CatalogEntry]:
    """The entries, or so many evenly spread ones."""
    step = max(len(entries) / most, 1)
    return [entries[int(i * step)] for i in range(min(len(entries), most))]


def of_training_set(
    known: ClassSet,
    objects: bool,
    mapping: Mapping | None = None,
    values: Mapping[int, str] | None = None,
) -> LabelClasses:
    """The classes that a training set names.

    Args:
        known: Its classes.
        objects: Whether objects are learnt, not classes of pixels.
        mapping: As for :func:`find_classes`; by the names of its classes, or by their values.
        values: Name of the class of each value, if it has values.
    """
    names = tuple(name for name in known.names if name != known.background)
    background = None if objects else known.background
    notes = {'classes': 'of the training set'}
    class_map = None
    if mapping:
        by_value = {str(value): name for value, name in (values or {}).items()}
        if background is not None:
            by_value.setdefault('0', background)
        by_name = {
            key if key in known.names else by_value.get(key, key): target
            for key, target in _as_texts(mapping).items()
        }
        names, class_map, notes = _mapped(by_name, names)
        names = tuple(name for name in names if name != background)
    if background is not None:
        names = (background, *names)
    colours = known.colours if names == known.names else _colours(names, background)
    options = LabelOptions(background=background, class_map=class_map)
    return LabelClasses(ClassSet(names, colours, background), options, notes)


def _as_texts(mapping: Mapping) -> dict[str, str | None]:
    return {attribute_text(value): name for value, name in mapping.items()}


def _mapped(
    mapping: Mapping[str, str | None], found: Sequence[str], *, all_found: bool = True
) -> tuple[tuple[str, ...], dict[str, str | None], dict[str, str]]:
    """What a mapping of the user's makes of the values that occur.

    Args:
        mapping: Class name by value; None drops a value, ``'ignore'`` ignores its area.
        found: The values.
        all_found: Whether there can be no others.

    Returns:
        The classes, in the order of the mapping; for each value without a class of its
        own name what becomes of it; and what to say of both.
    """
    targets = {value: name for value, name in mapping.items() if name not in (None, IGNORED_NAME)}
    names = tuple(dict.fromkeys(str(name) for name in targets.values()))
    class_map = {value: name for value, name in mapping.items() if value != name}
    given = {*mapping, *names, NULL}
    known = {mapping.get(value, value) for value in found}
    absent = [name for name in names if name not in known]
    if not names or (absent and all_found):
        raise ConfigError(
            f'class_mapping: nothing is labelled as {", ".join(absent)}'
            if names
            else 'class_mapping without a class',
            f'classes of values out of {listed([v for v in found if v != NULL], 40)}',
            'correct the values, or leave these classes out',
        )
    unused = [value for value in mapping if value not in found] if all_found else []
    if len(unused) == len(mapping):
        raise ConfigError(
            f'class_mapping of {listed(unused, 8)}, none of which occurs',
            f'values out of {listed([v for v in found if v != NULL], 40)}',
        )
    others = [value for value in found if value not in given]
    class_map |= dict.fromkeys(others)
    if NULL in found and NULL not in mapping:
        class_map[NULL] = IGNORED_NAME
    notes = {'classes': 'given'}
    remarks = [f'{listed(others, 8)}: not in class_mapping, so left out'] * bool(others)
    remarks += [f'{listed(unused, 8)}: in class_mapping, does not occur'] * bool(unused)
    if remarks:
        notes['class_map'] = '; '.join(remarks)
    return names, class_map, notes


def _of_training_set(
    labels: Sequence, objects: bool, mapping: Mapping | None = None
) -> LabelClasses:
    """The classes of a training set that does not name them: those that occur."""
    counts: Counter = Counter()
    for item in labels:
        if isinstance(item, ImageObjects):
            counts.update(name for name in item.names if name is not None)
        elif isinstance(item, ImageClasses):
            counts.update({name: 1 for name in item.names.values() if name is not None})
    if not counts:
        raise LabelError('no labels in the training set', 'at least one labelled object')
    names = tuple(name for name, _ in counts.most_common())
    background = 'background' if isinstance(labels[0], ImageObjects) and not objects else None
    if background is not None:
        names = (background, *(name for name in names if name != background))
    known = ClassSet(names, _colours(names, background), background)
    return of_training_set(known, objects, mapping)


def _of_rasters(entries: Sequence[CatalogEntry], mapping: Mapping | None = None) -> LabelClasses:
    """Classes called after the values of label rasters, or as a mapping names them."""
    if mapping and any(str(key).startswith('#') for key in mapping):  # colours, of three bands
        return _of_mapped_rasters(mapping, list(mapping), all_found=False)
    values: Counter = Counter()
    for entry in entries:
        values.update(_pixel_values(str(entry.labels)))
    ignored = sorted(value for value in values if value < 0 or value == IGNORE)
    known = sorted(value for value in values if value not in ignored)
    if not known:
        raise LabelError(f'{entries[0].labels}: no pixel has a class', 'class values from 0 on')
    if mapping:
        return _of_mapped_rasters(mapping, sorted(values), all_found=len(entries) < LOOKED_AT)
    class_map: dict = {value: None for value in ignored}
    class_map |= {value: f'class_{value}' for value in known}
    notes = {'classes': 'called after the values in the label rasters: rename them in both places'}
    if ignored:
        notes['class_map'] = f'{", ".join(map(str, ignored))}: not labelled, ignored'
    names = tuple(class_map[value] for value in known)
    return LabelClasses(ClassSet(names), LabelOptions(class_map=class_map), notes)


def _of_mapped_rasters(mapping: Mapping, found: Sequence, *, all_found: bool) -> LabelClasses:
    """Classes of label rasters as a mapping names them; other values are ignored."""
    names, others, notes = _mapped(_as_texts(mapping), list(map(str, found)), all_found=all_found)
    class_map: dict = {}
    for value, name in {**_as_texts(mapping), **others}.items():
        try:
            class_map[value if value.startswith('#') else int(value)] = name
        except ValueError:
            raise ConfigError(
                f'class_mapping has the value {value!r}',
                f'values of pixels, of which {listed(list(map(str, found)), 40)} occur',
            ) from None
    return LabelClasses(ClassSet(names), LabelOptions(class_map=class_map), notes)


def _pixel_values(path: str) -> Counter:
    """How many pixels have each value, those of nodata left out."""
    found: Counter = Counter()
    with open_quietly(path) as dataset:
        if np.dtype(dataset.dtypes[0]).kind not in 'iu':
            raise LabelError(
                f'{path}: pixels are {dataset.dtypes[0]}', 'whole numbers, one for each class'
            )
        for _, window in dataset.block_windows(1):
            values, counts = np.unique(dataset.read(1, window=window), return_counts=True)
            found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        found.pop(dataset.nodata, None)
    return found


def _of_layers(
    entries: Sequence[CatalogEntry],
    objects: bool,
    column: str | None,
    name: str | None,
    mapping: Mapping | None,
) -> LabelClasses:
    frames = [read_layer(str(entry.labels), layer=entry.layer) for entry in entries]
    columns = [str(key) for key in frames[0].columns if key not in ('fid', 'geometry')]
    notes = {}
    if column is None:
        by_name = {key.lower(): key for key in columns}
        column = next((by_name[key] for key in CLASS_COLUMNS if key in by_name), None)
        if name is not None:
            column = None
        elif column is not None:
            notes['class_column'] = f'found by its name among {", ".join(columns)}'
    if column is None and mapping:
        raise ConfigError(
            f'{entries[0].labels}: class_mapping, but no column is called class or the like',
            f'the column that holds the values, out of {", ".join(columns)}',
            'name it with class_column (--class-column)',
        )
    if column is None:
        names: tuple[str, ...] = (name or _word(str(entries[0].labels)),)
        notes['classes'] = 'one class'
        others = [key for key in columns if 1 < frames[0][key].nunique() <= 50]
        if others and name is None:
            notes['classes'] += f'; --class-column would take them from {", ".join(others)}'
        options = LabelOptions()
    else:
        names, options = _of_column(frames, column, str(entries[0].labels), notes, mapping)
    background = None
    if not objects:
        background = 'background'
        names = (background, *(text for text in names if text != background))
        if len(names) > 2:
            notes['classes'] = 'where features overlap, the class that stands later covers others'
    options = replace(options, background=background or 'background')
    options = _with_ground_sizes(entries, frames, names, options, notes)
    return LabelClasses(ClassSet(names, _colours(names, background), background), options, notes)


def _colours(names: Sequence[str], background: str | None) -> tuple:
    own = ClassSet(tuple(text for text in names if text != background)).colours
    return ((210, 200, 160), *own) if background else own


def _word(path: str) -> str:
    """The last word in the name of a file, such as 'roofs' of 'town_2020_roofs.gpkg'."""
    words = re.findall(r'[^\W\d_]{2,}', Path(path).stem)
    return words[-1].lower() if words else 'object'


def _of_column(
    frames: Sequence, column: str, path: str, notes: dict[str, str], mapping: Mapping | None
) -> tuple[tuple[str, ...], LabelOptions]:
    """Classes from the values of an attribute."""
    counts: Counter = Counter()
    for frame in frames:
        if column not in frame.columns:
            raise ConfigError(
                f'{path}: has no column {column!r}',
                f'one of {", ".join(str(key) for key in frame.columns if key != "geometry")}',
                'correct --class-column',
            )
        rows, values = attribute_values(frame[column])
        counts.update(dict(zip(values, np.bincount(rows).tolist(), strict=True)))
    if mapping:
        given, others, said = _mapped(
            _as_texts(mapping), list(counts), all_found=len(frames) < LOOKED_AT
        )
        notes.update(said)
        return given, LabelOptions(class_column=column, class_map=others or None)
    class_map, reasons = _merged(counts)
    names = [text for text, _ in counts.most_common() if text not in class_map]
    if not names:
        if not any(len(frame) for frame in frames):
            raise LabelError(
                f'{path}: no features on the images',
                'labels to learn from',
                'check the layer, and that its CRS and the images are right',
            )
        raise LabelError(
            f'{path}: column {column!r} has no values',
            'a class for each feature',
            'fill it, or name another with --class-column',
        )
    if reasons:
        notes['class_map'] = '; '.join(reasons)
    return tuple(names), LabelOptions(class_column=column, class_map=class_map or None)


def _merged(counts: Counter) -> tuple[dict[str, str], list[str]]:
    """What becomes of values that are no class of their own, and why."""
    class_map: dict[str, str] = {}
    reasons = []
    if counts.get(NULL):
        class_map[NULL] = IGNORED_NAME
        reasons.append(f'{counts[NULL]} features without a value are ignored areas')
    common = [text for text, count in counts.items() if count >= _FEWEST and text != NULL]
    for text, count in counts.items():
        frequent = [other for other in common if counts[other] >= _SLIP * count]
        folded = {other.strip().lower(): other for other in frequent}
        close = difflib.get_close_matches(text.strip().lower(), folded, n=1, cutoff=_ALIKE)
        if text in class_map:
            continue
        if close and not re.search(r'\d', text):  # zone 1 is no misspelling of zone 2
            class_map[text] = folded[close[0]]
            reasons.append(f'{text} ({count}) is taken for a misspelling of {class_map[text]}')
        elif count < _FEWEST and common:
            class_map[text] = IGNORED_NAME
            reasons.append(f'{text} ({count}) is too rare to be learnt: ignored areas')
    return class_map, reasons


def _with_ground_sizes(
    entries: Sequence[CatalogEntry], frames: Sequence, names, options, notes: dict[str, str]
) -> LabelOptions:
    """The options with sides of the squares around points and widths of lines, in metres."""
    dimensions = np.concatenate(
        [shapely.get_dimensions(np.asarray(frame.geometry.array)) for frame in frames]
    )
    lines, points = (dimensions == 1).any(), (dimensions == 0).any()
    if not (lines or points):
        return options
    distances, gsd = _spacing(entries, names, options)
    if lines:
        options = replace(options, line_width=_rounded(4 * gsd))
        notes['line_width'] = 'metres: 4 pixels, for want of knowledge; set the true width'
    if points:
        side = np.percentile(distances, 25) if len(distances) else 16 * gsd
        side = _rounded(float(np.clip(side, 4 * gsd, 64 * gsd)))
        options = replace(options, point_size=side)
        notes['point_size'] = (
            'metres: a quarter of the points have a neighbour that is nearer; set the true size'
        )
    return options


def _rounded(size: float) -> float:
    return float(f'{size:.2g}')


def _open(entry: CatalogEntry, names, options, size: float) -> tuple[np.ndarray, float]:
    """Labelled places of a scene in metres from its corner, and its GSD."""
    background = options.background if options.background in names else None
    options = replace(options, point_size=size, line_width=size, background=background)
    labelled = open_labelled(entry, names, SceneOptions(), options, objects=background is None)
    if labelled.scene.gsd is None:
        raise LabelError(
            f'{labelled.scene.name} has no georeference, so the size of points is unknown',
            'polygons',
        )
    return labelled.points()[0] * labelled.scene.gsd, float(np.mean(labelled.scene.gsd))


def _spacing(entries: Sequence[CatalogEntry], names, options) -> tuple[np.ndarray, float]:
    """Distances in metres from each point to the nearest other, and the coarsest GSD."""
    from scipy.spatial import cKDTree

    distances, coarsest = [np.empty(0)], 0.0
    for entry in entries:
        places, gsd = _open(entry, names, options, 1.0)
        coarsest = max(coarsest, gsd)
        places = np.unique(places, axis=0)
        if len(places) > 1:
            distances.append(cKDTree(places).query(places, k=2)[0][:, 1])
    return np.concatenate(distances), coarsest
