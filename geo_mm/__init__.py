"""Deep learning on georeferenced imagery with MMDetection and MMSegmentation.

The names below are the public ones; each is imported when it is first used.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geo_mm.catalog import read_catalog, read_training_set
    from geo_mm.chip_export import ExportOptions, export_chips
    from geo_mm.classes import ClassSet
    from geo_mm.engine import LrFindOptions, TestOptions, TrainOptions, lr_find, test, train
    from geo_mm.engine.launch import load_config
    from geo_mm.evaluation import (
        ObjectSettings,
        PixelSettings,
        evaluate_objects,
        evaluate_pixels,
    )
    from geo_mm.inference import PredictOptions, Predictor
    from geo_mm.inputspec import InputSpec
    from geo_mm.raster import Grid, Scene
    from geo_mm.synthetic import make_town

__version__ = '0.1.0'

__all__ = [
    'ClassSet',
    'ExportOptions',
    'Grid',
    'InputSpec',
    'LrFindOptions',
    'ObjectSettings',
    'PixelSettings',
    'PredictOptions',
    'Predictor',
    'Scene',
    'TestOptions',
    'TrainOptions',
    'evaluate_objects',
    'evaluate_pixels',
    'export_chips',
    'load_config',
    'lr_find',
    'make_town',
    'read_catalog',
    'read_training_set',
    'test',
    'train',
]


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a package whose names are imported when first used.

    Args:
        package: ``__name__`` of the package.
        modules: Name to the module that defines it, in full.
    """
    namespace = vars(sys.modules[package])

    def getattr_(name: str) -> object:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(importlib.import_module(modules[name]), name)
        namespace[name] = value  # found there from now on
        return value

    def dir_() -> list[str]:
        return sorted({*namespace, *modules})

    return getattr_, dir_


__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'ClassSet': 'geo_mm.classes',
        'ExportOptions': 'geo_mm.chip_export',
        'Grid': 'geo_mm.raster',
        'InputSpec': 'geo_mm.inputspec',
        'ObjectSettings': 'geo_mm.evaluation',
        'LrFindOptions': 'geo_mm.engine',
        'PixelSettings': 'geo_mm.evaluation',
        'PredictOptions': 'geo_mm.inference',
        'Predictor': 'geo_mm.inference',
        'Scene': 'geo_mm.raster',
        'TestOptions': 'geo_mm.engine',
        'TrainOptions': 'geo_mm.engine',
        'evaluate_objects': 'geo_mm.evaluation',
        'evaluate_pixels': 'geo_mm.evaluation',
        'export_chips': 'geo_mm.chip_export',
        'load_config': 'geo_mm.engine.launch',
        'lr_find': 'geo_mm.engine',
        'make_town': 'geo_mm.synthetic',
        'read_catalog': 'geo_mm.catalog',
        'read_training_set': 'geo_mm.catalog',
        'test': 'geo_mm.engine',
        'train': 'geo_mm.engine',
    },
)
