"""Results as tables of text, the same on the terminal and on the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from geo_mm.evaluation.matching import SizeRange
from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.pixels import PixelEvaluation
from geo_mm.evaluation.scores import Confusion, ObjectScores

UNDEFINED = '-'


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Attributes:
        title: What it shows.
        columns: Headings; the first column names the row.
        rows: Cells.
        total: Whether the last row sums the others up.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: bool = False


def object_tables(result: ObjectEvaluation) -> list[Table]:
    """Per class, per size class and per scene: counts, then rates."""
    iou, coco = f'IoU {result.settings.iou:g}', result.settings.coco
    on_earth = all(scene.crs is not None for scene in result.scenes)
    tables = object_class_tables(result.scores, iou, coco=coco, areas=on_earth)
    rates = _rates(coco)
    if result.sizes:
        sizes = {_size(size): each.to_dict()['overall'] for size, each in result.sizes}
        tables.append(_plain(f'Objects by size on the ground, {iou}', 'size', sizes, _COUNTS))
        tables.append(_plain(f'Rates by size on the ground, {iou}', 'size', sizes, rates))
    if len(result.scenes) > 1:
        scenes = {scene.name: scene.scores.to_dict()['overall'] for scene in result.scenes}
        tables.append(_plain(f'Objects by scene, {iou}', 'scene', scenes, _COUNTS))
        tables.append(_plain(f'Rates by scene, {iou}', 'scene', scenes, rates))
    return tables


def object_class_tables(
    scores: ObjectScores, iou: str, *, coco: bool = False, areas: bool = False
) -> list[Table]:
    """Counts of objects, then rates, per class.

    Args:
        scores: The scores.
        iou: From which overlap an object is found, for the titles.
        coco: Whether average precisions over COCO's IoUs are shown.
        areas: Whether areas are.
    """
    data = scores.to_dict()
    rows = dict(data['classes'])
    several = len(rows) != 1
    if several:
        rows['all'] = data['overall']
    counts = {**_COUNTS, **(_areas(rows.values()) if areas else {})}
    return [
        _plain(f'Objects by class, {iou}', 'class', rows, counts, total=several),
        _plain(f'Rates by class, {iou}', 'class', rows, _rates(coco), total=several),
    ]


def pixel_class_table(classes: Mapping[str, Mapping]) -> Table:
    """Rates per class, from :meth:`Confusion.to_dict`."""
    rates = {
        'IoU': ('iou', _share),
        'F1': ('f1', _share),
        'precision': ('precision', _share),
        'recall': ('recall', _share),
        'AP': ('ap', _share),
        **_areas(classes.values()),
    }
    return _plain('Pixels by class', 'class', classes, rates)


def pixel_tables(result: PixelEvaluation) -> list[Table]:
    """Summary, per class, confusion matrix and per scene."""
    data = result.to_dict()
    overall = {
        'pixels': ('pixels', _count),
        'overall accuracy': ('accuracy', _share),
        'kappa': ('kappa', _share),
        'mean IoU': ('mean_iou', _share),
        'mean F1': ('mean_f1', _share),
    }
    scenes = {scene['name']: scene['overall'] for scene in data['scenes']}
    if len(scenes) > 1:
        scenes['all scenes'] = data['overall']
    return [
        _plain('Pixels by scene', 'scene', scenes, overall, total=len(scenes) > 1),
        pixel_class_table(data['classes']),
        confusion_table(result.confusion),
    ]


def _rates(coco: bool) -> dict:
    columns = {
        'precision': ('precision', _share),
        'recall': ('recall', _share),
        'F1': ('f1', _share),
        'mean IoU': ('mean_iou', _share),
        'AP': ('ap', _share),
    }
    if coco:
        columns |= {'AP 50:95': ('ap_50_95', _share), 'AR 50:95': ('ar_50_95', _share)}
    return columns | {'best F1': ('best_f1', _share), 'at confidence': ('best_score', _share)}


Columns = Mapping[str, tuple[str, Callable[[float], str]]]


def _plain(
    title: str, first: str, rows: Mapping[str, Mapping], columns: Columns, total: bool = False
) -> Table:
    used = {
        heading: column
        for heading, column in columns.items()
        if any(row.get(column[0]) is not None for row in rows.values())
    }
    cells = tuple(
        (name, *(_cell(row.get(key), text) for key, text in used.values()))
        for name, row in rows.items()
    )
    return Table(title, (first, *used), cells, total)


def confusion_table(confusion: Confusion) -> Table:
    """How often each true class was given each class."""
    rows = tuple(
        (name, *map(_count, row), _count(row.sum()))
        for name, row in zip(confusion.classes, confusion.matrix, strict=True)
    )
    sums = ('all', *map(_count, confusion.predicted), _count(confusion.total))
    return Table(
        'Confusion matrix: rows are the ground truth, columns the prediction',
        ('class', *confusion.classes, 'all'),
        (*rows, sums),
        total=True,
    )


def settings_lines(result: ObjectEvaluation | PixelEvaluation) -> Sequence[str]:
    """Sentences that say how the numbers are meant."""
    made = dict.fromkeys(_origin(scene) for scene in result.scenes if scene.record)
    if isinstance(result, PixelEvaluation):
        return [
            'Every pixel of the prediction is compared with the class of the ground truth at its '
            'centre.',
            result.scored.sentence(),
            *result.notes,
            *made,
        ]
    settings = result.settings
    lines = [
        f'A prediction is a true positive if its {"bounding box" if settings.boxes else "outline"} '
        f'and that of a true object of its class have an IoU of at least {settings.iou:g}; each '
        'true object is matched once. Duplicates are those false positives that overlap a true '
        'object which another prediction is matched to.',
    ]
    if settings.min_score is not None:
        lines.append(f'Predictions with a confidence below {settings.min_score:g} are not counted.')
    if any(each.curve for each in result.scores.classes.values()):
        lines.append(
            'AP is the average precision of COCO (101 points) over all confidences; that of all '
            'classes is the mean over the classes.'
        )
    sentence = result.scored.sentence()
    if result.scored.is_limited:
        sentence += ' Objects count if their centroid is inside.'
    return [*lines, sentence, *result.notes, *made]


def show(result: ObjectEvaluation | PixelEvaluation) -> None:
    """Prints the tables, and how the numbers are meant."""
    # Names of classes and files may hold [brackets] and :colons:.
    plain: dict[str, Any] = {'markup': False, 'emoji': False, 'highlight': False}
    console = Console(**plain)
    tables = pixel_tables(result) if isinstance(result, PixelEvaluation) else object_tables(result)
    for table in tables:
        shown = RichTable(title=table.title, title_justify='left', box=box.SIMPLE_HEAD)
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify='right' if index else 'left', no_wrap=True)
        for number, row in enumerate(table.rows):
            if table.total and number == len(table.rows) - 1:
                shown.add_section()
            shown.add_row(*row)
        # A narrow terminal may wrap lines, but numbers are never cut.
        widest = Console(**plain, width=1000).measure(shown).maximum
        Console(**plain, width=max(console.width, widest)).print(shown)
    for line in settings_lines(result):
        console.print(line)


def _origin(scene) -> str:
    models, date = ', '.join(scene.record.models), scene.record.date
    model = f'by {models}' if models else 'by an unknown model'
    return f'Predicted {model}{f" on {date}" if date else ""}.'


def _cell(value: float | None, text: Callable[[float], str]) -> str:
    return UNDEFINED if value is None else text(value)


def _count(value: float) -> str:
    return f'{int(value):,}'


def _share(value: float) -> str:
    return f'{value:.3f}'


def _areas(rows: Iterable[Mapping]) -> Columns:
    """Columns of areas, all in the unit that suits the largest."""
    keys = {'true area': 'truth_area', 'pred. area': 'predicted_area'}
    largest = max((row.get(key) or 0 for row in rows for key in keys.values()), default=0)
    unit, size, digits = 'm²', 1.0, 1
    if largest >= 1e4:
        unit, size, digits = ('ha', 1e4, 2) if largest < 1e8 else ('km²', 1e6, 2)
    return {
        f'{heading}, {unit}': (key, lambda value: f'{value / size:,.{digits}f}')
        for heading, key in keys.items()
    }


def _size(size: SizeRange) -> str:
    if not np.isfinite(size.high):
        return f'from {size.low:g} m²'
    return f'{size.low:g} to {size.high:g} m²'


_COUNTS = {
    'true': ('truth', _count),
    'predicted': ('predicted', _count),
    'true pos.': ('true_positives', _count),
    'false neg.': ('false_negatives', _count),
    'false pos.': ('false_positives', _count),
    'duplicates': ('duplicates', _count),
}
