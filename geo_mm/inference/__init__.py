"""Prediction of scenes of any size."""

from geo_mm.inference.model import TrainedModel
from geo_mm.inference.predictor import Predictor, Result

__all__ = ['Predictor', 'Result', 'TrainedModel']
