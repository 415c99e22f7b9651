"""What predictions say about themselves: scene, model, class names and colours."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rasterio
from rasterio.errors import RasterioError

from geo_mm.classes import ClassSet, Colour, default_colours
from geo_mm.errors import ConfigError, LabelError
from geo_mm.raster.stack import Files


@dataclass(frozen=True)
class Record:
    """How a prediction came to be.

    Attributes:
        path: The file that says so.
        scene: Files of the scene that was predicted, by role if they have roles.
        classes: Classes of the model.
        is_part: Whether only a rectangle of the scene was predicted.
        models: File names of the checkpoints.
        date: Day of the prediction, or ''.
    """

    path: str
    scene: Files
    classes: ClassSet
    is_part: bool
    models: tuple[str, ...] = ()
    date: str = ''

    @classmethod
    def of(cls, prediction: object) -> 'Record | None':
        """The record in the ``.json`` beside a prediction, else in a raster's tags.

        None where there is none, as for results of other programs.
        """
        if not isinstance(prediction, str | os.PathLike):
            return None
        beside = Path(prediction).with_suffix('.json')
        return cls._parsed(beside, _text(beside)) or cls._parsed(prediction, _tag(prediction))

    @classmethod
    def _parsed(cls, path: str | os.PathLike, text: str) -> 'Record | None':
        # Files of that name that other programs wrote are no records.
        try:
            record: Mapping[str, Any] = json.loads(text)
            provenance = record.get('provenance', record)
            options = provenance.get('options', {})
            scene = record.get('scene') or [item['path'] for item in provenance['inputs']]
            window = record.get('window') or options.get('window')
            return cls(
                os.fspath(path),
                options.get('files') or tuple(map(str, scene)),
                ClassSet.from_dict(record.get('input_spec') or provenance['spec']),
                window is not None,
                tuple(Path(item['path']).name for item in provenance.get('checkpoints', ())),
                str(provenance.get('started', ''))[:10],
            )
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
            return None


def raster_names(path: str | os.PathLike) -> dict[int, str]:
    """Class numbers and names that a raster carries.

    They are in its ``.aux.xml`` file, in GDAL's raster attribute table if that
    has values and names, else in its list of category names; or in the record
    of the prediction.

    Raises:
        LabelError: If the ``.aux.xml`` file is no XML.
    """
    sidecar = Path(f'{os.fspath(path)}.aux.xml')
    band = None
    if sidecar.is_file():
        try:
            band = ElementTree.parse(sidecar).getroot().find("PAMRasterBand[@band='1']")
        except ElementTree.ParseError as error:
            raise LabelError(
                f'{sidecar}: cannot be read: {error}',
                fix='delete it, or give the names with class_names (--classes)',
            ) from error
    names = {}
    if band is not None:
        names = _from_table(band.find('GDALRasterAttributeTable')) or _from_categories(band)
    record = None if names else Record.of(path)
    return dict(enumerate(record.classes.names)) if record else names


def raster_colours(path: str | os.PathLike) -> dict[int, Colour]:
    """Class numbers and colours that a raster carries, in its colour table or its record."""
    record = Record.of(path)
    if record:
        return dict(enumerate(record.classes.colours))
    with contextlib.suppress(RasterioError, ValueError), rasterio.open(path) as dataset:
        return {value: tuple(colour[:3]) for value, colour in dataset.colormap(1).items()}
    return {}


def in_colours(names: Sequence[str], known: Iterable[Mapping[str, Colour]]) -> ClassSet:
    """Classes in the first colours that are known by their names, or else in default ones."""
    colours = dict(zip(names, default_colours(len(names)), strict=True))
    for found in reversed(list(known)):
        colours |= {name: colour for name, colour in found.items() if name in colours}
    return ClassSet(tuple(names), tuple(colours.values()))


def source_names(pred: object, truth: object) -> tuple[str, str]:
    """Short names of prediction and ground truth, with their folders where they are alike."""
    paths = [Path(item) if isinstance(item, str | os.PathLike) else None for item in (pred, truth)]
    short, longer = (
        ['GeoDataFrame' if path is None else '/'.join(path.parts[-count:]) for path in paths]
        for count in (1, 2)
    )
    ours, theirs = longer if short[0] == short[1] else short
    return ours, theirs


def parse_class_names(texts: Sequence[str]) -> dict[int, str]:
    """Names given as ``water land`` (from class 0 on) or as ``1=water 2=land``.

    Raises:
        LabelError: If the two forms are mixed, or a number or name occurs twice.
    """
    numbered = [text for text in texts if text.partition('=')[0].strip().isdigit() and '=' in text]
    if not numbered:
        pairs = [(index, text.strip()) for index, text in enumerate(texts)]
    elif len(numbered) == len(texts):
        pairs = [
            (int(number), name.strip()) for number, _, name in (t.partition('=') for t in texts)
        ]
    else:
        raise LabelError(f'class names {list(texts)}', 'all as NAME, or all as NUMBER=NAME')
    names = dict(pairs)
    if len(names) < len(pairs) or len(set(names.values())) < len(pairs) or '' in names.values():
        raise LabelError(f'class names {list(texts)}', 'every number and every name once')
    return names


def only_class(
    truth: str, columns: Sequence[str], classes: Iterable[str], fix: str
) -> tuple[str, str]:
    """The class of true features that have no attribute for it, if only one is in question.

    Args:
        truth: Name of the layer.
        columns: Its attributes.
        classes: Those of the prediction.
        fix: What the user can do otherwise.

    Returns:
        The class, and a note that says so.

    Raises:
        LabelError: If the prediction has several classes, or none.
    """
    classes = list(classes)
    if len(classes) == 1:
        return classes[0], f'All features of {truth} are taken as class {classes[0]!r}.'
    listed = ', '.join(classes)
    raise LabelError(
        f"{truth}: has no column 'class', so the class of its features is unknown; the prediction "
        + (f'has the classes {listed}' if classes else 'has no class but the background'),
        f'a column with the class (found: {list(columns)}), or a prediction of one class',
        fix,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, ValueError):
        return ''


def _tag(path: str | os.PathLike) -> str:
    try:
        with rasterio.open(path) as dataset:
            return dataset.tags().get('GEO_MM_PROVENANCE', '')
    except RasterioError:
        return ''


def _from_table(table: ElementTree.Element | None) -> dict[int, str]:
    if table is None:
        return {}
    # Field usages of GDAL's GDALRATFieldUsage: 2 name, 5 single value.
    columns: dict[str | None, int] = {}
    for field in table.findall('FieldDefn'):
        columns.setdefault(field.findtext('Usage'), int(field.get('index', 0)))
    if '2' not in columns or '5' not in columns:
        return {}
    rows = ([cell.text or '' for cell in row.findall('F')] for row in table.findall('Row'))
    return {int(float(cells[columns['5']])): cells[columns['2']] for cells in rows}


def _from_categories(band: ElementTree.Element) -> dict[int, str]:
    categories = band.findall('CategoryNames/Category')
    return {value: each.text for value, each in enumerate(categories) if each.text}
