"""Registered hooks, optimisers and schedules, and the way from a config file to a Runner."""

from geo_mm.engine.channels_last_hook import ChannelsLastHook
from geo_mm.engine.chip_visualization_hook import ChipVisualizationHook
from geo_mm.engine.early_stopping_hook import EarlyStoppingHook
from geo_mm.engine.input_spec_hook import InputSpecHook, input_spec_of
from geo_mm.engine.mixed_precision import BFloat16OptimWrapper
from geo_mm.engine.same_run_hook import SameRunHook
from geo_mm.engine.schedulers import MultiStepLR, OneCycleLR
from geo_mm.engine.stage_rates import StageRateConstructor
from geo_mm.engine.start_weights_hook import StartWeightsHook
from geo_mm.engine.transfer_hook import TransferHook

__all__ = [
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'ChipVisualizationHook',
    'EarlyStoppingHook',
    'InputSpecHook',
    'MultiStepLR',
    'OneCycleLR',
    'SameRunHook',
    'StageRateConstructor',
    'StartWeightsHook',
    'TransferHook',
    'input_spec_of',
]
