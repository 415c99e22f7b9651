"""Results as tables of text, the same for terminal and page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geo_mm.evaluation.confusion import Confusion
from geo_mm.evaluation.object_scores import SizeRange
from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.pixels import PixelEvaluation

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
    scores = result.scores.to_dict()
    iou = f'IoU {result.settings.iou:g}'
    rows = dict(scores['classes'])
    several = len(rows) != 1
    if several:
        rows['all'] = scores['overall']
    counts = dict(_COUNTS)
    if all(scene.crs is not None for scene in result.scenes):
        counts |= {'true area': ('truth_area', _area), 'pred. area': ('predicted_area', _area)}
    rates = _rates(result)
    tables = [
        _plain(f'Objects by class, {iou}', 'class', rows, counts, total=several),
        _plain(f'Rates by class, {iou}', 'class', rows, rates, total=several),
    ]
    if result.sizes:
        sizes = {_size(size): each.to_dict()['overall'] for size, each in result.sizes}
        tables.append(_plain(f'Objects by size on the ground, {iou}', 'size', sizes, _COUNTS))
        tables.append(_plain(f'Rates by size on the ground, {iou}', 'size', sizes, rates))
    if len(result.scenes) > 1:
        scenes = {scene.name: scene.scores.to_dict()['overall'] for scene in result.scenes}
        tables.append(_plain(f'Objects by scene, {iou}', 'scene', scenes, _COUNTS))
        tables.append(_plain(f'Rates by scene, {iou}', 'scene', scenes, rates))
    return tables


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
    rates = {
        'IoU': ('iou', _share),
        'F1': ('f1', _share),
        'precision': ('precision', _share),
        'recall': ('recall', _share),
        'true area': ('truth_area', _area),
        'pred. area': ('predicted_area', _area),
    }
    return [
        _plain('Pixels by scene', 'scene', scenes, overall, total=len(scenes) > 1),
        _plain('Pixels by class', 'class', data['classes'], rates),
        _confusion(result.confusion),
    ]


def _rates(result: ObjectEvaluation) -> dict:
    columns = {
        'precision': ('precision', _share),
        'recall': ('recall', _share),
        'F1': ('f1', _share),
        'mean IoU': ('mean_iou', _share),
        'AP': ('ap', _share),
    }
    if result.settings.coco:
        columns |= {'AP 50:95': ('ap_50_95', _share), 'AR 50:95': ('ar_50_95', _share)}
    return columns | {'best F1': ('best_f1', _share), 'at score': ('best_score', _share)}


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


def _confusion(confusion: Confusion) -> Table:
    rows = tuple(
        (name, *map(_count, row), _count(row.sum()))
        for name, row in zip(confusion.classes, confusion.matrix, strict=True)
    )
    sums = ('all', *map(_count, confusion.predicted), _count(confusion.total))
    return Table(
        'Confusion matrix: rows are the truth, columns the prediction',
        ('truth', *confusion.classes, 'all'),
        (*rows, sums),
        total=True,
    )


def settings_lines(result: ObjectEvaluation | PixelEvaluation) -> Sequence[str]:
    """Sentences that say how the numbers are meant."""
    if isinstance(result, PixelEvaluation):
        return [
            'Every pixel of the prediction is compared with the class of the truth at its centre.',
            result.scored.sentence(),
            *result.notes,
        ]
    settings = result.settings
    lines = [
        f'A prediction is a hit if its {"bounding box" if settings.boxes else "outline"} and that '
        f'of a true object of its class have an IoU of at least {settings.iou:g}; each true '
        'object can be hit once. Duplicates are false alarms on objects that were hit already.',
    ]
    if settings.min_score is not None:
        lines.append(f'Predictions with a score below {settings.min_score:g} are not counted.')
    if any(each.curve for each in result.scores.classes.values()):
        lines.append(
            'AP is the average precision of COCO (101 points) over all scores; that of all '
            'classes is the mean over the classes.'
        )
    sentence = result.scored.sentence()
    if result.scored.is_limited:
        sentence += ' Objects count if their centroid lies there.'
    return [*lines, sentence, *result.notes]


def _cell(value: float | None, text: Callable[[float], str]) -> str:
    return UNDEFINED if value is None else text(value)


def _count(value: float) -> str:
    return f'{int(value):,}'


def _share(value: float) -> str:
    return f'{value:.3f}'


def _area(value: float) -> str:
    """An area in m2, or in hectares or km2 where that reads better."""
    if value < 1e4:
        return f'{value:,.1f} m²'
    return f'{value / 1e4:,.2f} ha' if value < 1e8 else f'{value / 1e6:,.2f} km²'


def _size(size: SizeRange) -> str:
    if not np.isfinite(size.high):
        return f'from {size.low:g} m²'
    return f'{size.low:g} to {size.high:g} m²'


_COUNTS = {
    'true': ('truth', _count),
    'predicted': ('predicted', _count),
    'hits': ('hits', _count),
    'missed': ('missed', _count),
    'false alarms': ('false_alarms', _count),
    'duplicates': ('duplicates', _count),
}
