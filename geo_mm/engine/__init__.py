"""Registered hooks, optimisers and schedules, and the way from a config file to a Runner."""

from geo_mm.engine.acceleration import BFloat16OptimWrapper, ChannelsLastHook
from geo_mm.engine.hooks import (
    CheckpointHook,
    ChipVisualizationHook,
    InputSpecHook,
    SameRunHook,
    StartWeightsHook,
    input_spec_of,
)
from geo_mm.engine.launch import load_config
from geo_mm.engine.lr_finder import (
    LrCurve,
    LrFindHook,
    LrFindOptions,
    lr_find,
    with_lr,
)
from geo_mm.engine.lr_trials import trials_for
from geo_mm.engine.run import TestOptions, TrainOptions, config_for, test, train
from geo_mm.engine.runner import Runner
from geo_mm.engine.schedules import EarlyStoppingHook, MultiStepLR, OneCycleLR, WarmUpLR
from geo_mm.engine.transfer import StageRateConstructor, TransferHook

__all__ = [
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'CheckpointHook',
    'ChipVisualizationHook',
    'EarlyStoppingHook',
    'InputSpecHook',
    'LrCurve',
    'LrFindHook',
    'LrFindOptions',
    'MultiStepLR',
    'OneCycleLR',
    'Runner',
    'SameRunHook',
    'StageRateConstructor',
    'StartWeightsHook',
    'TestOptions',
    'TrainOptions',
    'TransferHook',
    'WarmUpLR',
    'config_for',
    'input_spec_of',
    'load_config',
    'lr_find',
    'test',
    'train',
    'trials_for',
    'with_lr',
]
