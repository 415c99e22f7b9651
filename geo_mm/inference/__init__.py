"""Prediction of scenes of any size."""

from geo_mm.inference.model import TrainedModel
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.prediction import Prediction
from geo_mm.inference.predictor import Predictor

__all__ = ['PredictOptions', 'Prediction', 'Predictor', 'TrainedModel']
