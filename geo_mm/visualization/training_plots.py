"""Plots of training."""

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
