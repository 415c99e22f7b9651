"""Where MMDetection and MMSegmentation find what geo_mm adds.

One node per kind of part, each a child of MMEngine's root node. Configs keep
``default_scope='mmdet'`` or ``'mmseg'`` and write our parts with the prefix,
``dict(type='geo_mm.RandomChipSampler')``: the library's own names then stay
unambiguous. ``locations`` makes a node import its package on first use, so no
config needs ``custom_imports``.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import INFERENCERS as MMENGINE_INFERENCERS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='geo_mm', locations=['geo_mm.datasets']
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='geo_mm',
    locations=['geo_mm.datasets.transforms'],
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='geo_mm',
    locations=['geo_mm.datasets.samplers'],
)
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='geo_mm',
    locations=[
        f'geo_mm.models.{module}'
        for module in (
            'backbones',
            'detection_heads',
            'pixel_losses',
            'preprocessors',
            'segmentors',
            'stems',
            'timm_backbone',
        )
    ],
)
TASK_UTILS = Registry(
    'task util',
    parent=MMENGINE_TASK_UTILS,
    scope='geo_mm',
    locations=['geo_mm.models.detection_heads', 'geo_mm.models.torchvision_detectors'],
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=MMENGINE_WEIGHT_INITIALIZERS,
    scope='geo_mm',
    locations=['geo_mm.models.adapted_pretrained'],
)
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, scope='geo_mm', locations=['geo_mm.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='geo_mm', locations=['geo_mm.engine'])
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='geo_mm',
    locations=['geo_mm.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='geo_mm',
    locations=['geo_mm.engine'],
)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=MMENGINE_PARAM_SCHEDULERS,
    scope='geo_mm',
    locations=['geo_mm.engine'],
)
VISUALIZERS = Registry(
    'visualizer',
    parent=MMENGINE_VISUALIZERS,
    scope='geo_mm',
    locations=['geo_mm.visualization.chips'],
)
VISBACKENDS = Registry(
    'visualization backend',
    parent=MMENGINE_VISBACKENDS,
    scope='geo_mm',
    locations=['geo_mm.visualization.training_page'],
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='geo_mm', locations=['geo_mm.evaluation.metric']
)
INFERENCERS = Registry(
    'inferencer',
    parent=MMENGINE_INFERENCERS,
    scope='geo_mm',
    locations=['geo_mm.inference.inferencer'],
)
