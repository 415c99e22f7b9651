"""The report of a trained model: scores, curves, errors, training and data as one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from geo_mm.catalog.audit import AuditedScene
from geo_mm.classes import ClassSet, Colour
from geo_mm.errors import counted
from geo_mm.evaluation.report import table_html
from geo_mm.evaluation.scores import Confusion, ObjectScores
from geo_mm.evaluation.tables import confusion_table, object_class_tables, pixel_class_table
from geo_mm.evaluation.thresholds import ThresholdCurve
from geo_mm.formats import html_page
from geo_mm.visualization.audit_map import split_map
from geo_mm.visualization.training_plots import Records, plain, training_figure

_FOUND, _MISSED, _EXTRA = '#009e73', '#56b4e9', '#d55e00'
_LINES = ('-', '--', ':', '-.')
_LIGHTEST = 0.3  # luminance of a line: a contrast of 3 to 1 with white
_MOST_CURVES = 14  # more than that nobody can tell apart


@dataclass(frozen=True)
class ErrorExample:
    """Chips with many errors of one kind.

    Attributes:
        kind: Of the errors.
        meaning: What it is.
        count: How many there are in all chips: objects, or pixels.
        image: Rows of image, ground truth, prediction and errors.
    """

    kind: str
    meaning: str
    count: int
    image: Image.Image


@dataclass(frozen=True, eq=False)
class ObjectSizes:
    """Square roots of the areas of objects.

    Attributes:
        found: True objects that were found.
        missed: True objects that were not.
        extra: False positives.
        unit: Metres on the ground, or map units without a CRS.
    """

    found: np.ndarray
    missed: np.ndarray
    extra: np.ndarray
    unit: str = 'metres'

    def to_dict(self) -> dict:
        """Numbers in each class of sizes, from its lower to its upper limit."""
        edges = self.edges()
        counts = {
            name: np.histogram(np.clip(getattr(self, name), edges[0], edges[-1]), edges)[0].tolist()
            for name in ('found', 'missed', 'extra')
        }
        return {'unit': self.unit, 'edges': edges.round(3).tolist(), **counts}

    def edges(self) -> np.ndarray:
        sides = np.concatenate([self.found, self.missed, self.extra])
        low, high = np.maximum(np.percentile(sides, (1, 99)), 1e-3) if len(sides) else (1, 2)
        return np.geomspace(low, max(high, low * 1.5), 13)


@dataclass(frozen=True, eq=False)
class ModelReport:
    """What there is to say of a trained model.

    Attributes:
        title: Of the page.
        notes: Sentences that say how the numbers are meant.
        facts: The most important numbers.
        classes: Names and colours.
        scores: Of objects; None of pixels.
        confusion: Of pixels, or of objects with the background.
        curves: By class, where there is ground truth of it.
        sizes: Of objects; None of pixels.
        examples: Chips with errors of each kind, the most frequent kind first.
        runs: What its training logged.
        splits: Scenes of each split; empty if they are not at hand.
        config: Text of the config.
        origin: How it came to be, by name.
        iou: From which overlap an object is found.
        confidence: From which objects are counted.
        plain: What else the JSON has.
    """

    title: str
    notes: Sequence[str]
    facts: Mapping[str, float | None]
    classes: ClassSet
    scores: ObjectScores | None
    confusion: Confusion
    curves: Mapping[str, ThresholdCurve]
    sizes: ObjectSizes | None
    examples: Sequence[ErrorExample]
    runs: Sequence[Records]
    splits: Mapping[str, Sequence[AuditedScene]]
    config: str
    origin: Mapping[str, str]
    iou: float = 0.5
    confidence: float = 0.3
    plain: Mapping = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        pixels = self.scores is None
        curves = {}
        for name, curve in self.curves.items():
            best = curve.best
            curves[name] = {
                # That of objects is in their scores, as COCO defines it.
                **({'average_precision': curve.average_precision} if pixels else {}),
                'best_f1': best and best[0],
                'best_confidence': best and best[1],
                **curve.thinned().to_dict(),
            }
        return {
            **self.plain,
            'scores': self.confusion.to_dict() if self.scores is None else self.scores.to_dict(),
            'confusion': None if pixels else self.confusion.matrix.tolist(),
            'confusion_classes': list(self.confusion.classes),
            'curves': curves,
            'sizes': self.sizes and self.sizes.to_dict(),
            'errors': {example.kind: example.count for example in self.examples},
            'training': [list(records) for records in self.runs],
            'splits': {name: [s.source for s in scenes] for name, scenes in self.splits.items()},
            'origin': dict(self.origin),
            'config': self.config,
        }

    def page(self) -> str:
        """The page, which needs nothing from outside."""
        parts = [f'<h1>{html_page.text(self.title)}</h1>', html_page.facts(_numbers(self.facts))]
        parts += [f'<p>{html_page.text(note)}</p>' for note in self.notes]
        parts += [table_html(table, self.classes) for table in self._tables()]
        if self.curves:
            parts.append(self._curves_part())
        if self.sizes is not None and len(self.sizes.found) + len(self.sizes.missed):
            caption = (
                'Side of objects (square root of the area): true objects that were found and '
                'missed, and false positives.'
            )
            parts.append(html_page.plot('Object sizes', caption, _sizes_figure(self.sizes)))
        parts += self._examples_part()
        parts += self._training_part()
        parts += self._data_part()
        parts.append(html_page.pairs('Origin', self.origin))
        parts += ['<h2>Configuration</h2>', html_page.folded('The whole config', self.config)]
        return html_page.page(self.title, parts, 'Made', _STYLE)

    def _tables(self) -> list:
        if self.scores is not None:
            tables = object_class_tables(self.scores, f'IoU {self.iou:g}', coco=True)
        else:
            classes = self.confusion.to_dict()['classes']
            for name, curve in self.curves.items():
                classes[name]['ap'] = curve.average_precision
            tables = [pixel_class_table(classes)]
        return [*tables, confusion_table(self.confusion)]

    def _curves_part(self) -> str:
        best = [
            f'{name} {found[0]:.3f} at {found[1]:.2f}'
            for name, curve in self.curves.items()
            if (found := curve.best) and found[0]
        ]
        caption = 'Precision against recall, and F1 over the threshold of confidence.'
        caption += f' Largest F1: {"; ".join(best[:_MOST_CURVES])}.' if best else ''
        least = None if self.scores is None else self.confidence
        drawn = _curves_figure(self.curves, self.classes, least)
        return html_page.plot('Confidence thresholds', caption, drawn)

    def _examples_part(self) -> list[str]:
        parts = ['<h2>Errors</h2>'] if self.examples else []
        if self.examples and self.scores is not None:
            parts.append('<p>Counted chip by chip, by boxes: one in two chips counts twice.</p>')
        unit = 'pixel' if self.scores is None else 'object'
        for each in self.examples:
            title = f'{each.kind}: {counted(each.count, unit)}'
            caption = f'{each.meaning}. The chips with the most.'
            drawn = html_page.figure(each.image, caption[0].upper() + caption[1:], photo=True)
            parts += [f'<h3>{html_page.text(title)}</h3>', html_page.scrolled(title, drawn)]
        return parts

    def _training_part(self) -> list[str]:
        runs = [run for run in self.runs if any('loss' in record for record in run)]
        if not runs:
            return ['<h2>Training</h2>', '<p>There is no log of the training at hand.</p>']
        caption = 'Loss, learning rate and scores of validation over the iterations.'
        return [html_page.plot('Training', caption, training_figure(runs))]

    def _data_part(self) -> list[str]:
        if not self.splits:
            return []
        parts = []
        counts = {name: _labels(scenes) for name, scenes in self.splits.items()}
        names = dict.fromkeys(name for own in counts.values() for name in own)
        heads = ('split', *self.splits)
        rows = [html_page.row('scenes', [f'{len(scenes):,}' for scenes in self.splits.values()])]
        for name in names:
            cells = [f'{own.get(name, 0):,}' for own in counts.values()]
            rows.append(html_page.row(f'labels: {name}', cells))
        parts.append(html_page.table('Data', heads, rows))
        if any(each.ground.outline is not None for own in self.splits.values() for each in own):
            caption = 'Where the scenes of each split are: outlines of valid pixels.'
            parts.append(html_page.plot('Map of splits', caption, split_map(self.splits)))
        return parts


_STYLE = """
h3 { font-size: 1rem; margin: 1.5rem 0 0; } h3 + .plot figure { margin-top: .4rem; }
"""


def _numbers(facts: Mapping[str, float | None]) -> dict[str, str]:
    return {name: '-' if value is None else f'{value:.3f}' for name, value in facts.items()}


def _labels(scenes: Sequence[AuditedScene]) -> dict[str, int]:
    total: dict[str, int] = {}
    for scene in scenes:
        for name, count in scene.classes.items():
            total[name] = total.get(name, 0) + count
    return total


def _curves_figure(
    curves: Mapping[str, ThresholdCurve], classes: ClassSet, confidence: float | None
) -> Figure:
    figure = Figure(figsize=(9.5, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    by_recall = sorted(curves.items(), key=lambda item: -item[1].average_precision)
    colours = {name: _on_white(colour) for _, name, colour in classes.items()}
    drawn: list[str] = []
    for name, curve in by_recall[:_MOST_CURVES]:
        # Classes of one colour differ by the kind of line.
        line = _LINES[drawn.count(colours[name]) % len(_LINES)]
        drawn.append(colours[name])
        style = {'color': colours[name], 'linestyle': line}
        curve = curve.thinned()
        if not len(curve.thresholds):
            continue
        # Both lines begin and end at the border, where nothing changes any more.
        first, last = curve.precision[0], curve.f1[-1]
        recall, precision = np.append(0, curve.recall), np.append(first, curve.precision)
        left.step(recall, precision, where='pre', **style)
        thresholds, f1 = np.append(curve.thresholds, 0), np.append(curve.f1, last)
        right.plot(thresholds, f1, label=plain(name), **style)
    if confidence is not None:
        right.axvline(confidence, color='#777777', linestyle=':', linewidth=1)
    for axes, across, up in (
        (left, 'recall', 'precision'),
        (right, 'threshold of confidence', 'F1'),
    ):
        axes.set(xlabel=across, ylabel=up, xlim=(0, 1), ylim=(0, 1.02))
        _light(axes)
    figure.legend(loc='outside lower center', ncols=5, frameon=False, fontsize=9)
    return figure


def _on_white(colour: Colour) -> str:
    """A colour, darker if it would hardly be seen on white."""
    values = np.array(colour, float)
    luminance = (0.2126, 0.7152, 0.0722) @ (values / 255) ** 2.2
    if luminance > _LIGHTEST:
        values *= (_LIGHTEST / luminance) ** (1 / 2.2)
    return '#{:02x}{:02x}{:02x}'.format(*values.astype(int).tolist())


def _sizes_figure(sizes: ObjectSizes) -> Figure:
    figure = Figure(figsize=(9.5, 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    edges = sizes.edges()
    own = sizes.to_dict()
    found, missed, extra = (np.array(own[name]) for name in ('found', 'missed', 'extra'))
    widths = np.diff(edges)
    for values, below, colour, label in (
        (found, 0 * found, _FOUND, 'found'),
        (missed, found, _MISSED, 'missed'),
    ):
        left.bar(edges[:-1], values, widths, below, color=colour, label=label, align='edge')
    left.stairs(extra, edges, color=_EXTRA, linewidth=2, label='false positives')
    left.set_ylabel('objects')
    left.legend(frameon=False, fontsize=9)
    true = found + missed
    some = true > 0
    middles = np.sqrt(edges[:-1] * edges[1:])[some]
    right.plot(middles, found[some] / true[some], 'o-', color=_FOUND)
    right.set(ylabel='recall', ylim=(0, 1.02), xlim=(edges[0], edges[-1]))
    for axes in (left, right):
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f'side of the object, {sizes.unit}')
        _light(axes)
    return figure


def _light(axes: Axes) -> None:
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color='#e3e7ea', linewidth=0.7)
    axes.set_axisbelow(True)
