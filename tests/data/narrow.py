"""Every model of configs/_base_/models, narrow."""

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from geo_mm.engine.launch import build_model, load_config
from tests.data.models import spec_of, write_checkpoint, write_config

BASES = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'

R18_FPN = {
    'backbone': {'depth': 18, 'base_channels': 8},
    'neck': {'in_channels': [8, 16, 32, 64], 'out_channels': 16},
}
ROI_HEAD = {
    'bbox_roi_extractor': {'out_channels': 16},
    'bbox_head': {'in_channels': 16, 'fc_out_channels': 32, 'num_classes': 2},
}
PSPNET = {
    'backbone': {'depth': 18, 'base_channels': 8, 'stem_channels': 8},
    'auxiliary_head': {'in_channels': 32, 'channels': 8},
}
SSD_CHANNELS = (64, 128, 64, 32, 32)
CASCADE_HEAD = {'in_channels': 16, 'fc_out_channels': 32, 'num_classes': 2}
# Of 32 groups in its norm.
GROUPS_HEAD = {'in_channels': 16, 'feat_channels': 32, 'num_classes': 2}
# What makes each base small, and two classes.
NARROW = {
    'faster-rcnn_r50_fpn': R18_FPN
    | {'rpn_head': {'in_channels': 16, 'feat_channels': 16}, 'roi_head': ROI_HEAD},
    'mask-rcnn_r50_fpn': R18_FPN
    | {
        'rpn_head': {'in_channels': 16, 'feat_channels': 16},
        'roi_head': ROI_HEAD
        | {
            'mask_roi_extractor': {'out_channels': 16},
            'mask_head': {'in_channels': 16, 'conv_out_channels': 16, 'num_classes': 2},
        },
    },
    'mask-rcnn_r50_fpn_point-rend': R18_FPN
    | {
        'rpn_head': {'in_channels': 16, 'feat_channels': 16},
        'roi_head': ROI_HEAD
        | {
            'mask_roi_extractor': {'out_channels': 16},
            'mask_head': {
                'in_channels': 16,
                'conv_out_channels': 16,
                'fc_out_channels': 32,
                'num_classes': 2,
            },
            'point_head': {'in_channels': 16, 'fc_channels': 16, 'num_classes': 2},
        },
    },
    'retinanet_r50_fpn': R18_FPN
    | {'bbox_head': {'in_channels': 16, 'feat_channels': 16, 'num_classes': 2}},
    'ssd_vgg16': {
        'backbone': {'depth': 11, 'base_channels': 8},
        'neck': {'in_channels': SSD_CHANNELS[:2], 'out_channels': SSD_CHANNELS},
        'bbox_head': {'in_channels': SSD_CHANNELS, 'num_classes': 2},
    },
    'yolov3_d53': {
        'backbone': {'depth': 21, 'base_channels': 4},
        'neck': {'in_channels': [128, 64, 32], 'out_channels': [64, 32, 16]},
        'bbox_head': {
            'in_channels': [64, 32, 16],
            'out_channels': [128, 64, 32],
            'num_classes': 2,
        },
    },
    'unet': {
        'backbone': {'base_channels': 4},
        'decode_head': {'in_channels': 4, 'channels': 4},
        'auxiliary_head': {'in_channels': 8, 'channels': 4},
    },
    'unet_r18': {
        'backbone': {'base_channels': 8, 'stem_channels': 8},
        'decode_head': {'in_channels': [8, 8, 16, 32, 64], 'channels': 4},
    },
    'unet_r18_point-rend': {
        'backbone': {'base_channels': 8, 'stem_channels': 8},
        'decode_head': {'in_channels': [8, 16, 32, 64], 'channels': 4},
        'point_head': {'in_channels': [8, 8], 'channels': 8},
    },
    'unet_vgg16': {
        'backbone': {'depth': 11, 'base_channels': 8},
        'decode_head': {'in_channels': [8, 16, 32, 64, 64], 'channels': 4},
    },
    'pspnet_r50-d8': PSPNET | {'decode_head': {'in_channels': 64, 'channels': 16}},
    'pspnet_r50-d8_point-rend': PSPNET
    | {
        'decode_head': {'in_channels': 64, 'channels': 16},
        'point_head': {'in_channels': [8, 8], 'channels': 8},
    },
    'pspnet-unet_r50-d8': PSPNET | {'decode_head': {'in_channels': [8, 8, 16, 64], 'channels': 4}},
    'pspnet-unet_r50-d8_point-rend': PSPNET
    | {
        'decode_head': {'in_channels': [8, 16, 64], 'channels': 4},
        'point_head': {'in_channels': [8, 8], 'channels': 8},
    },
    # Nothing but configs: no part of these is ours.
    'cascade-rcnn_r18-c128_fpn': R18_FPN
    | {
        'rpn_head': {'in_channels': 16, 'feat_channels': 16},
        'roi_head': {
            'bbox_roi_extractor': {'out_channels': 16},
            'bbox_head': {'0': CASCADE_HEAD, '1': CASCADE_HEAD, '2': CASCADE_HEAD},
        },
    },
    'fcos_r18-c128_fpn': R18_FPN | {'bbox_head': GROUPS_HEAD},
    'atss_r18-c128_fpn': R18_FPN | {'bbox_head': GROUPS_HEAD},
    'deeplabv3plus_r50-d8': PSPNET
    | {'decode_head': {'in_channels': 64, 'channels': 16, 'c1_in_channels': 8, 'c1_channels': 8}},
    'segformer_mit-b0': {
        'backbone': {'embed_dims': 8, 'num_layers': [1] * 4, 'num_heads': [1, 2, 2, 2]},
        'decode_head': {'in_channels': [8, 16, 16, 16], 'channels': 16},
    },
    'fpn_r50': {
        'backbone': {'depth': 18, 'base_channels': 8, 'stem_channels': 8},
        'neck': {'in_channels': [8, 16, 32, 64], 'out_channels': 8},
        'decode_head': {'in_channels': [8] * 4, 'channels': 8},
    },
}
if find_spec('timm'):  # made for tests
    NARROW['unet_timm'] = {
        'backbone': {'name': 'test_efficientnet'},
        'decode_head': {'channels': 4},
    }
    NARROW['faster-rcnn_timm_fpn'] = {
        'backbone': {'name': 'test_efficientnet'},
        'neck': {'in_channels': [24, 32, 48, 64], 'out_channels': 16},
        'rpn_head': {'in_channels': 16, 'feat_channels': 16},
        'roi_head': ROI_HEAD,
    }
PIXEL_NAMES = ('unet', 'pspnet', 'deeplabv3plus', 'segformer', 'fpn')
PIXELS = tuple(name for name in NARROW if name.startswith(PIXEL_NAMES))


def narrow_config(name: str, bands: int, changes: Mapping[str, Any] | None = None) -> Config:
    """The config of a narrow model for bands with mean 100 and standard deviation 50."""
    config = Config.fromfile(BASES / f'{name}.py')
    config.merge_from_dict({'model': copy.deepcopy(NARROW[name])})
    config.model.backbone.in_channels = bands
    config.model.data_preprocessor.update(mean=[100.0] * bands, std=[50.0] * bands)
    if name not in PIXELS:
        # Networks that know nothing still have to predict something.
        test_cfg = config.model.test_cfg.get('rcnn', config.model.test_cfg)
        test_cfg.update(score_thr=0.0, conf_thr=0.0, max_per_img=20)
    config.merge_from_dict(changes or {})
    return config


def narrow_files(
    folder: Path, name: str, bands: int = 4, changes: Mapping[str, Any] | None = None, **spec: Any
) -> tuple[Path, Path]:
    """Config and checkpoint of a narrow model with weights that tell pixels apart.

    Args:
        folder: Where to write.
        name: Of the file below configs/_base_/models.
        bands: Number of bands.
        changes: Of the config, by dotted keys.
        **spec: Fields of the input specification.
    """
    task = 'pixels' if name in PIXELS else 'objects'
    model = narrow_config(name, bands, changes).model
    config = write_config(folder, 'mmseg' if name in PIXELS else 'mmdet', model)
    torch.manual_seed(0)
    network = build_model(load_config(config))
    _give_weights(network, bands)
    own = dict(mean=(100.0,) * bands, std=(50.0,) * bands, chip_size=(64, 64), **spec)
    classes = ['background', 'roof'] if task == 'pixels' else ['roof', 'tree']
    names = [f'B{number}' for number in range(1, bands + 1)]
    about = spec_of(task, classes, names, **own)
    return config, write_checkpoint(folder, about, network.state_dict(), config)


def _give_weights(network: nn.Module, bands: int) -> None:
    """Random weights with which features neither fade nor explode, layer after layer."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if any(word in name for word in ('_reg', 'reg_', 'convs_pred')):
                module.weight.data *= 0.03  # exponents of the sides of boxes
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    images = torch.randn(4, bands, 64, 96)
    with torch.no_grad():
        network.train()
        (network.extract_feat if hasattr(network, 'roi_head') else network)(images)
