"""Evaluation in map space: results as users keep them against the ground truth.

Imports neither torch nor mm*, so the results of any program can be evaluated;
only :mod:`geo_mm.evaluation.metric` does, which configs name.
"""

from geo_mm.evaluation.objects import ObjectEvaluation, ObjectSettings, evaluate_objects
from geo_mm.evaluation.pixels import PixelEvaluation, PixelSettings, evaluate_pixels
from geo_mm.evaluation.scenes import backdrops, evaluate_files
from geo_mm.evaluation.scores import Confusion

__all__ = [
    'Confusion',
    'ObjectEvaluation',
    'ObjectSettings',
    'PixelEvaluation',
    'PixelSettings',
    'backdrops',
    'evaluate_files',
    'evaluate_objects',
    'evaluate_pixels',
]
