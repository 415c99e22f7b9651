"""Prediction of scenes of any size."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.inference.model import TrainedModel as TrainedModel
    from geo_mm.inference.options import PredictOptions as PredictOptions
    from geo_mm.inference.prediction import Prediction as Prediction
    from geo_mm.inference.predictor import Predictor as Predictor
    from geo_mm.inference.status import prediction_status as prediction_status

# The options must be known without torch, to `geo-mm predict --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'model': ('TrainedModel',),
        'options': ('PredictOptions',),
        'prediction': ('Prediction',),
        'predictor': ('Predictor',),
        'status': ('prediction_status',),
    },
)
