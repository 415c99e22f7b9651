"""Curves of a report."""

import numpy as np
from matplotlib.colors import to_rgb

from geo_mm.classes import ClassSet
from geo_mm.evaluation.thresholds import ThresholdCurve
from geo_mm.visualization.report_page import _curves_figure

COLOURS = ((200, 0, 0), (255, 255, 200), (200, 0, 0))


def test_curves_have_the_colours_of_their_classes():
    classes = ClassSet(('roof', 'sand', 'wall'), COLOURS)
    values = np.array([0.9, 0.5])
    curves = {name: ThresholdCurve(values, values, values[::-1]) for name in classes.names}
    left = _curves_figure(curves, classes, None).axes[0]
    drawn = [(to_rgb(line.get_color()), line.get_linestyle()) for line in left.lines]
    red = tuple(part / 255 for part in COLOURS[0])
    # Too light for white paper: darker, of the same hue; of one colour: another kind of line.
    assert [drawn[0], drawn[2]] == [(red, '-'), (red, '--')]
    assert max(drawn[1][0]) < 0.7 and drawn[1][0][0] == drawn[1][0][1] > drawn[1][0][2]
