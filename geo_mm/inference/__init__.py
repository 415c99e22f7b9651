"""Prediction of scenes of any size."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:
    from geo_mm.inference.model import TrainedModel
    from geo_mm.inference.options import PredictOptions
    from geo_mm.inference.prediction import Prediction
    from geo_mm.inference.predictor import Predictor

__all__ = ['PredictOptions', 'Prediction', 'Predictor', 'TrainedModel']

# The options must be known without torch, to `geo-mm predict --help`.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'PredictOptions': 'geo_mm.inference.options',
        'Prediction': 'geo_mm.inference.prediction',
        'Predictor': 'geo_mm.inference.predictor',
        'TrainedModel': 'geo_mm.inference.model',
    },
)
