"""Plots of training."""

import json
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from geo_mm.paths import atomic_write, reported
from geo_mm.visualization.figures import rendered

if TYPE_CHECKING:
    from geo_mm.engine import LrCurve

# Okabe and Ito's, which the colour-blind can tell apart.
_COLOURS = {'valley': '#d55e00', 'steepest': '#009e73', 'minimum': '#cc79a7'}


def draw_lr_curve(curve: 'LrCurve', path: str | PathLike) -> None:
    """Draws the loss over the learning rate as PNG, with what is suggested; trials beside it.

    Raises:
        OutputError: If it cannot be written.
    """
    panels = 2 if curve.trials else 1
    figure = Figure(figsize=(6 * panels, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes, *beside = figure.subplots(1, panels, squeeze=False)[0]
    batches = curve.losses / curve.untrained * curve.untrained.mean()
    axes.plot(curve.rates, batches, color='#bbbbbb', linewidth=0.8, label='of each batch')
    axes.plot(curve.rates, curve.smoothed, color='#0072b2', label='smoothed')
    for rule, rate in curve.suggestions.items():
        if rule == 'trials':
            continue
        loss = np.interp(rate, curve.rates, curve.smoothed)
        axes.plot(rate, loss, 'o', color=_COLOURS[rule], label=f'{rule}: {rate:.2g}')
    axes.set_xscale('log')
    axes.set_ylim(*_loss_limits(curve.smoothed))
    axes.set_xlabel('learning rate')
    axes.set_ylabel('loss')
    axes.legend(frameon=False)
    if beside:
        _draw_trials(beside[0], curve)
    with reported(path), atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format='png')


def _draw_trials(axes: Axes, curve: 'LrCurve') -> None:
    """The loss at the end of each trial; those that diverged have none."""
    rates, losses = np.array(list(curve.trials.items())).T
    best = curve.suggestion('trials')
    axes.plot(rates, losses, '.-', color='#0072b2', label='trials')
    axes.plot(best, curve.trials[best], 'o', color='#000000', label=f'lowest: {best:g}')
    axes.set_xscale('log')
    axes.set_xlabel('learning rate')
    axes.set_ylabel('loss at the end of a trial')
    axes.legend(frameon=False)


def _loss_limits(smoothed: np.ndarray) -> tuple[float, float]:
    """Where an axis of losses begins and ends: diverging ones would flatten all the rest."""
    low, first = smoothed.min(), smoothed[0]
    high = min(smoothed.max(), max(2 * low, first + (first - low)))
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


Records = Sequence[Mapping[str, float]]
"""What a run has logged, in order: records of training have ``loss``, ``lr`` and
``iter``, those of validation other numbers and ``step``."""


def training_records(run: str | PathLike) -> Records:
    """What a training has logged in its work dir; nothing if it has not."""
    files = sorted(Path(run).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def draw_training(runs: Sequence[Records]) -> Image.Image:
    """Draws :func:`training_figure`."""
    return rendered(training_figure(runs))


def training_figure(runs: Sequence[Records]) -> Figure:
    """Loss, learning rate and validation scores over the iterations.

    Scores of classes are a panel of their own, where they are logged: CocoMetric
    does it, and geo_mm.MapMetric.

    Args:
        runs: What each run logged. A run begins where the one before ended.
    """
    begin = 0
    lines: dict[str, list[tuple[np.ndarray, list[float]]]] = {'loss': [], 'lr': []}
    scores: dict[str, list[tuple[float, float]]] = {}
    for records in runs:
        trained = [record for record in records if 'loss' in record]
        steps = begin + np.array([record['iter'] for record in trained])
        for key, drawn in lines.items():
            drawn.append((steps, [record[key] for record in trained]))
        for record in records:
            for name, value in record.items():
                if 'loss' not in record and name != 'step':
                    scores.setdefault(name, []).append((begin + record['step'], value))
        begin = int(steps[-1]) if len(steps) else begin
    shown = {name: scores[name] for name in _SCORES if name in scores}
    classes = {found[1]: scores[name] for name in scores if (found := _OF_CLASS.match(name))}
    figure = Figure(figsize=(9, 8 if classes else 6), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(4 if classes else 3, 1, sharex=True)
    for axes, (key, colour) in zip(panels, (('loss', '#0072b2'), ('lr', '#009e73')), strict=False):
        for steps, values in lines[key]:
            axes.plot(steps, values, '.-', color=colour)
    for axes, curves in zip(panels[2:], (shown, classes), strict=False):
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker='o', label=plain(name))
        if curves:
            axes.legend(frameon=False, fontsize=8, ncols=1 + len(curves) // 6)
    labels = ('loss', 'learning rate', 'validation', 'score of each class')
    for axes, label in zip(panels, labels, strict=False):
        axes.set_ylabel(label)
    panels[-1].set_xlabel('iteration')
    return figure


def plain(name: str) -> str:
    """A name as a label of matplotlib, which reads ``$`` as mathematics, and hides names that
    begin with an underscore from legends."""
    return '\u200b' + name.replace('$', r'\$')


_SCORES = (
    'mIoU',
    'mFscore',
    'coco/bbox_mAP',
    'coco/bbox_mAP_50',
    'coco/segm_mAP_50',
    'map/f1',
    'map/ap',
    'map/mean_iou',
)
_OF_CLASS = re.compile(
    r'(?:coco/(?=.+_precision$)|map/(?=.+/(?:ap|iou)$))(.+?)(?:_precision|/\w+)$'
)
