"""The analyst's loop: see data, train, see results, from Python and the command line."""

from typing import TYPE_CHECKING

from geo_mm import lazy_names

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.learn.data import TrainingData as TrainingData
    from geo_mm.learn.data import prepare_data as prepare_data
    from geo_mm.learn.learner import Learner as Learner
    from geo_mm.learn.model_report import report as report
    from geo_mm.learn.models import SSD as SSD
    from geo_mm.learn.models import FasterRCNN as FasterRCNN
    from geo_mm.learn.models import MaskRCNN as MaskRCNN
    from geo_mm.learn.models import MMDetection as MMDetection
    from geo_mm.learn.models import MMSegmentation as MMSegmentation
    from geo_mm.learn.models import PSPNet as PSPNet
    from geo_mm.learn.models import RetinaNet as RetinaNet
    from geo_mm.learn.models import UNet as UNet
    from geo_mm.learn.models import YOLOv3 as YOLOv3
    from geo_mm.learn.options import ReportOptions as ReportOptions
    from geo_mm.learn.options import ShowOptions as ShowOptions
    from geo_mm.learn.results import show_results as show_results

# The options must be known without torch, to `geo-mm show --help`.
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'data': ('TrainingData', 'prepare_data'),
        'learner': ('Learner',),
        'models': (
            'FasterRCNN',
            'MMDetection',
            'MMSegmentation',
            'MaskRCNN',
            'PSPNet',
            'RetinaNet',
            'SSD',
            'UNet',
            'YOLOv3',
        ),
        'options': ('ReportOptions', 'ShowOptions'),
        'model_report': ('report',),
        'results': ('show_results',),
    },
)
