"""Deep learning on georeferenced imagery with MMDetection and MMSegmentation.

The names below are the public ones; each is imported when it is first used.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from geo_mm.catalog import read_catalog as read_catalog
    from geo_mm.catalog import read_training_set as read_training_set
    from geo_mm.chip_export import ExportOptions as ExportOptions
    from geo_mm.chip_export import export_chips as export_chips
    from geo_mm.classes import ClassSet as ClassSet
    from geo_mm.data_checks import DoctorOptions as DoctorOptions
    from geo_mm.data_checks import doctor as doctor
    from geo_mm.deploy import ModelExportOptions as ModelExportOptions
    from geo_mm.deploy import describe as describe
    from geo_mm.deploy import export_model as export_model
    from geo_mm.engine import LrFindOptions as LrFindOptions
    from geo_mm.engine import TestOptions as TestOptions
    from geo_mm.engine import TrainOptions as TrainOptions
    from geo_mm.engine import lr_find as lr_find
    from geo_mm.engine import test as test
    from geo_mm.engine import train as train
    from geo_mm.engine.launch import load_config as load_config
    from geo_mm.evaluation import ObjectSettings as ObjectSettings
    from geo_mm.evaluation import PixelSettings as PixelSettings
    from geo_mm.evaluation import evaluate_files as evaluate_files
    from geo_mm.evaluation import evaluate_objects as evaluate_objects
    from geo_mm.evaluation import evaluate_pixels as evaluate_pixels
    from geo_mm.inference import PredictOptions as PredictOptions
    from geo_mm.inference import Predictor as Predictor
    from geo_mm.inference import prediction_status as prediction_status
    from geo_mm.inputspec import InputSpec as InputSpec
    from geo_mm.learn import SSD as SSD
    from geo_mm.learn import FasterRCNN as FasterRCNN
    from geo_mm.learn import MaskRCNN as MaskRCNN
    from geo_mm.learn import MMDetection as MMDetection
    from geo_mm.learn import MMSegmentation as MMSegmentation
    from geo_mm.learn import PSPNet as PSPNet
    from geo_mm.learn import ReportOptions as ReportOptions
    from geo_mm.learn import RetinaNet as RetinaNet
    from geo_mm.learn import ShowOptions as ShowOptions
    from geo_mm.learn import UNet as UNet
    from geo_mm.learn import YOLOv3 as YOLOv3
    from geo_mm.learn import prepare_data as prepare_data
    from geo_mm.learn import report as report
    from geo_mm.learn import show_results as show_results
    from geo_mm.models.pretrained import fetch_weights as fetch_weights
    from geo_mm.models.pretrained import pretrained_set as pretrained_set
    from geo_mm.models.pretrained import pretrained_sets as pretrained_sets
    from geo_mm.models.timm_backbone import timm_levels as timm_levels
    from geo_mm.mosaics import MosaicOptions as MosaicOptions
    from geo_mm.mosaics import mosaic as mosaic
    from geo_mm.raster import Grid as Grid
    from geo_mm.raster import Scene as Scene
    from geo_mm.synthetic import make_town as make_town
    from geo_mm.viewer import ViewOptions as ViewOptions
    from geo_mm.viewer import view as view

__version__ = '0.1.0'


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make a package import its public names when they are first used (PEP 562).

    Args:
        package: ``__name__`` of the package.
        modules: The names that each module below it defines.

    Returns:
        ``__getattr__``, ``__dir__`` and ``__all__`` of the package.
    """
    namespace = vars(sys.modules[package])
    known = {name: f'{package}.{module}' for module, names in modules.items() for name in names}

    def getattr_(name: str) -> object:
        if name not in known:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(importlib.import_module(known[name]), name)
        namespace[name] = value  # found there from now on
        return value

    return getattr_, lambda: sorted({*namespace, *known}), sorted(known)


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'catalog': ('read_catalog', 'read_training_set'),
        'chip_export': ('ExportOptions', 'export_chips'),
        'classes': ('ClassSet',),
        'data_checks': ('DoctorOptions', 'doctor'),
        'deploy': ('ModelExportOptions', 'describe', 'export_model'),
        'engine': ('LrFindOptions', 'TestOptions', 'TrainOptions', 'lr_find', 'test', 'train'),
        'engine.launch': ('load_config',),
        'evaluation': (
            'ObjectSettings',
            'PixelSettings',
            'evaluate_files',
            'evaluate_objects',
            'evaluate_pixels',
        ),
        'inference': ('PredictOptions', 'Predictor', 'prediction_status'),
        'inputspec': ('InputSpec',),
        'learn': (
            'FasterRCNN',
            'MMDetection',
            'MMSegmentation',
            'MaskRCNN',
            'PSPNet',
            'ReportOptions',
            'RetinaNet',
            'SSD',
            'ShowOptions',
            'UNet',
            'YOLOv3',
            'prepare_data',
            'report',
            'show_results',
        ),
        'models.pretrained': ('fetch_weights', 'pretrained_set', 'pretrained_sets'),
        'models.timm_backbone': ('timm_levels',),
        'mosaics': ('MosaicOptions', 'mosaic'),
        'raster': ('Grid', 'Scene'),
        'synthetic': ('make_town',),
        'viewer': ('ViewOptions', 'view'),
    },
)
