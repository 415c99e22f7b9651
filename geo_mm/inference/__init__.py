"""Prediction of scenes of any size."""

from geo_mm.inference.model import TrainedModel
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.predictor import Predictor
from geo_mm.inference.results import Result

__all__ = ['PredictOptions', 'Predictor', 'Result', 'TrainedModel']
