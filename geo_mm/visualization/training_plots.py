"""Plots of training."""

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from geo_mm.paths import atomic_write, reported

if TYPE_CHECKING:
    from geo_mm.engine import LrCurve

# Okabe and Ito's, which the colour-blind can tell apart.
_COLOURS = {'valley': '#d55e00', 'steepest': '#009e73', 'minimum': '#cc79a7'}


def draw_lr_curve(curve: 'LrCurve', path: str | PathLike) -> None:
    """Draws the loss over the learning rate as PNG, with what is suggested.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color='#bbbbbb', linewidth=0.8, label='of each batch')
    axes.plot(curve.rates, curve.smoothed, color='#0072b2', label='smoothed')
    for rule, rate in curve.to_dict()['suggestions'].items():
        loss = np.interp(rate, curve.rates, curve.smoothed)
        axes.plot(rate, loss, 'o', color=_COLOURS[rule], label=f'{rule}: {rate:.2g}')
    axes.set_xscale('log')
    # A batch of a diverging loss would flatten all the rest.
    low, high = curve.smoothed.min(), curve.smoothed.max()
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_xlabel('learning rate')
    axes.set_ylabel('loss')
    axes.legend(frameon=False)
    with reported(path), atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format='png')


def draw_training(runs: Sequence[Sequence[Mapping[str, float]]]) -> Image.Image:
    """Draws loss, learning rate and validation scores over the iterations.

    Args:
        runs: What each run logged, in order: records of training have ``loss``, ``lr``
            and ``iter``, those of validation other numbers and ``step``. A run
            begins where the one before ended.
    """
    figure = Figure(figsize=(9, 6), layout='constrained')
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    begin = 0
    scores: dict[str, list[tuple[float, float]]] = {}
    for records in runs:
        trained = [record for record in records if 'loss' in record]
        steps = begin + np.array([record['iter'] for record in trained])
        top.plot(steps, [record['loss'] for record in trained], '.-', color='#0072b2')
        middle.plot(steps, [record['lr'] for record in trained], '.-', color='#009e73')
        for record in records:
            for name in _shown_scores(record):
                scores.setdefault(name, []).append((begin + record['step'], record[name]))
        begin = int(steps[-1]) if len(steps) else begin
    for name, points in scores.items():
        bottom.plot(*zip(*points, strict=True), marker='o', label=name)
    if scores:
        bottom.legend(frameon=False)
    top.set_ylabel('loss')
    middle.set_ylabel('learning rate')
    bottom.set_ylabel('validation')
    bottom.set_xlabel('iteration')
    file = io.BytesIO()
    figure.savefig(file, dpi=110, format='png')
    return Image.open(file)


_SCORES = ('mIoU', 'mFscore', 'coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/segm_mAP_50')


def _shown_scores(record: Mapping[str, float]) -> list[str]:
    return [name for name in _SCORES if name in record and 'loss' not in record]
