"""Weights of torchvision's Faster and Mask R-CNN, in the networks of MMDetection.

Both compute the same, once names and the order of classes are changed, anchors are rounded
and boxes are limited as in torchvision. Read are ResNets with a feature pyramid, as
``fasterrcnn_resnet50_fpn`` and ``maskrcnn_resnet50_fpn`` build it with their defaults; what
a state dict does not say, such as thresholds and the size that images are resized to, is that
of torchvision.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from torch import Tensor

from geo_mm.errors import ConfigError
from geo_mm.registry import TASK_UTILS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of images from 0 to 1, red, green and blue."""

SHORTER, LONGER = 800, 1333
"""What the sides of an image are resized to: the shorter one, unless the longer gets too long."""

_SIGNS = ('backbone.body.conv1.weight', 'rpn.head.cls_logits.weight')
_CLASSES = 'roi_heads.box_predictor.cls_score.weight'
_MASKS = 'roi_heads.mask_predictor.mask_fcn_logits.weight'
_BLOCKS = {
    (False, 2): 18, (False, 6): 34, (True, 6): 50, (True, 23): 101, (True, 36): 152,
}  # fmt: skip
"""Depth of a ResNet by whether its blocks are bottlenecks, and how many its third layer has."""

_NAMES = (
    (r'backbone\.body\.', 'backbone.'),
    (r'backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?', r'neck.lateral_convs.\1.conv.'),
    (r'backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?', r'neck.fpn_convs.\1.conv.'),
    (r'rpn\.head\.conv\.(?:0\.0\.)?', 'rpn_head.rpn_conv.'),
    (r'rpn\.head\.cls_logits\.', 'rpn_head.rpn_cls.'),
    (r'rpn\.head\.bbox_pred\.', 'rpn_head.rpn_reg.'),
    (r'roi_heads\.box_head\.fc6\.', 'roi_head.bbox_head.shared_fcs.0.'),
    (r'roi_heads\.box_head\.fc7\.', 'roi_head.bbox_head.shared_fcs.1.'),
    (r'roi_heads\.box_predictor\.cls_score\.', 'roi_head.bbox_head.fc_cls.'),
    (r'roi_heads\.box_predictor\.bbox_pred\.', 'roi_head.bbox_head.fc_reg.'),
    (r'roi_heads\.mask_head\.mask_fcn1\.', 'roi_head.mask_head.convs.0.conv.'),
    (r'roi_heads\.mask_head\.mask_fcn2\.', 'roi_head.mask_head.convs.1.conv.'),
    (r'roi_heads\.mask_head\.mask_fcn3\.', 'roi_head.mask_head.convs.2.conv.'),
    (r'roi_heads\.mask_head\.mask_fcn4\.', 'roi_head.mask_head.convs.3.conv.'),
    (r'roi_heads\.mask_head\.(\d)\.0\.', r'roi_head.mask_head.convs.\1.conv.'),
    (r'roi_heads\.mask_predictor\.conv5_mask\.', 'roi_head.mask_head.upsample.'),
    (r'roi_heads\.mask_predictor\.mask_fcn_logits\.', 'roi_head.mask_head.conv_logits.'),
)


@TASK_UTILS.register_module()
class RoundedAnchorGenerator(AnchorGenerator):
    """``mmdet.AnchorGenerator`` with corners and strides in whole pixels, as in torchvision."""

    def gen_base_anchors(self) -> list[Tensor]:
        """Anchors ``(A, 4)`` of each level, around 0."""
        return [anchors.round() for anchors in super().gen_base_anchors()]

    def grid_priors(
        self, featmap_sizes: Sequence[tuple[int, int]], *args: object, **kwargs: object
    ) -> list[Tensor]:
        """Anchors ``(N, 4)`` of each level, whose steps are those that fit into the image."""
        # Images are padded to multiples of 32: the finest level has a quarter of their size.
        height, width = (4 * side for side in featmap_sizes[0])
        self.strides = [(width // cols, height // rows) for rows, cols in featmap_sizes]
        return super().grid_priors(featmap_sizes, *args, **kwargs)


@TASK_UTILS.register_module()
class UnboundedBelowBoxCoder(DeltaXYWHBBoxCoder):
    """``mmdet.DeltaXYWHBBoxCoder`` that limits how much boxes grow, but not how much they shrink.

    So does torchvision: boxes that shrink to less than 1.6 % of their anchor would differ.
    """

    def decode(
        self,
        bboxes: Tensor,
        pred_bboxes: Tensor,
        max_shape: Any = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor:
        """Boxes; arguments are those of the class that this one is made from."""
        deltas = pred_bboxes.unflatten(-1, (-1, 4))
        most = -math.log(wh_ratio_clip) / deltas.new_tensor(self.stds[2:])
        sides = torch.minimum(deltas[..., 2:], most)
        deltas = torch.cat([deltas[..., :2], sides], dim=-1).flatten(-2)
        return super().decode(bboxes, deltas, max_shape, wh_ratio_clip=1e-30)


def is_torchvision_detector(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of torchvision's Faster or Mask R-CNN."""
    return all(name in weights for name in (*_SIGNS, _CLASSES))


def count_classes(weights: Mapping[str, Tensor]) -> int:
    """Of objects, without the background."""
    return len(weights[_CLASSES]) - 1


def converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under MMDetection's names: the background is the last class, not the first.

    Raises:
        ConfigError: If there are others than of a ResNet with a feature pyramid, such as
            those of torchvision's second versions (``fasterrcnn_resnet50_fpn_v2``).
    """
    found = {}
    for key, value in weights.items():
        names = [re.sub(f'^{old}', new, key) for old, new in _NAMES if re.match(old, key)]
        if len(names) != 1:
            raise ConfigError(
                f"a variant of torchvision's detectors, with weights {key}",
                'Faster or Mask R-CNN on a ResNet with a feature pyramid, of the first version',
            )
        found[names[0]] = value
    for key in [key for key in found if key.endswith('running_var')]:
        # Frozen batch norms count no batches.
        found.setdefault(key.replace('running_var', 'num_batches_tracked'), torch.tensor(0))
    for kind in ('weight', 'bias'):
        classes, boxes = (f'roi_head.bbox_head.fc_{part}.{kind}' for part in ('cls', 'reg'))
        found[classes] = found[classes].roll(-1, 0)
        found[boxes] = found[boxes][4:]
        masks = f'roi_head.mask_head.conv_logits.{kind}'
        if masks in found:
            found[masks] = found[masks][1:]
    return found


def model_config(weights: Mapping[str, Tensor], scale: float) -> dict:
    """The ``model`` of a config that computes what torchvision does.

    Args:
        weights: As torchvision names them.
        scale: How much larger images get before they are looked at.

    Raises:
        ConfigError: If it is no ResNet of a known depth, or has other anchors.
    """
    blocks = {int(key.split('.')[3]) for key in weights if key.startswith('backbone.body.layer3.')}
    wide = 'backbone.body.layer1.0.conv3.weight' in weights
    depth = _BLOCKS.get((wide, len(blocks)))
    anchors = len(weights[_SIGNS[1]])
    if depth is None or anchors != 3:
        raise ConfigError(
            f'a ResNet of {len(blocks)} blocks in its third layer, and {anchors} anchors a pixel',
            'ResNet-18, -34, -50, -101 or -152, and 3 anchors',
        )
    # Frozen batch norms count no batches; in torchvision's models for COCO they add nothing.
    eps = 1e-5 if 'backbone.body.bn1.num_batches_tracked' in weights else 0.0
    channels = [(256 if wide else 64) * factor for factor in (1, 2, 4, 8)]
    classes = count_classes(weights)
    head = {
        'type': 'StandardRoIHead',
        'bbox_roi_extractor': _extractor(7),
        'bbox_head': {
            'type': 'Shared2FCBBoxHead',
            'in_channels': 256,
            'fc_out_channels': 1024,
            'roi_feat_size': 7,
            'num_classes': classes,
            'bbox_coder': _coder([0.1, 0.1, 0.2, 0.2]),
        },
    }
    if _MASKS in weights:
        head['mask_roi_extractor'] = _extractor(14)
        head['mask_head'] = {
            'type': 'FCNMaskHead',
            'num_convs': 4,
            'in_channels': 256,
            'conv_out_channels': 256,
            'num_classes': classes,
        }
    return {
        'type': 'MaskRCNN' if _MASKS in weights else 'FasterRCNN',
        'train_cfg': None,
        'data_preprocessor': {
            'type': 'geo_mm.GeoDetDataPreprocessor',
            'mean': [255 * value for value in MEAN],
            'std': [255 * value for value in STD],
            'scale': scale,
            'pad_size_divisor': 32,
        },
        'backbone': {
            'type': 'ResNet',
            'depth': depth,
            'norm_cfg': {'type': 'BN', 'requires_grad': False, 'eps': eps},
            'style': 'pytorch',
        },
        'neck': {'type': 'FPN', 'in_channels': channels, 'out_channels': 256, 'num_outs': 5},
        'rpn_head': {
            'type': 'RPNHead',
            'in_channels': 256,
            'feat_channels': 256,
            'anchor_generator': {
                'type': 'geo_mm.RoundedAnchorGenerator',
                'base_sizes': [32, 64, 128, 256, 512],
                'scales': [1],
                'ratios': [0.5, 1.0, 2.0],
                'strides': [4, 8, 16, 32, 64],
            },
            'bbox_coder': _coder([1.0] * 4),
        },
        'roi_head': head,
        'test_cfg': {
            'rpn': {
                'nms_pre': 1000,
                'max_per_img': 1000,
                'nms': {'type': 'nms', 'iou_threshold': 0.7},
                'min_bbox_size': 1e-3,
            },
            'rcnn': {
                'score_thr': 0.05,
                'nms': {'type': 'nms', 'iou_threshold': 0.5},
                'max_per_img': 100,
                'mask_thr_binary': 0.5,
            },
        },
    }


def _coder(stds: Sequence[float]) -> dict:
    return {
        'type': 'geo_mm.UnboundedBelowBoxCoder',
        'target_means': [0.0] * 4,
        'target_stds': list(stds),
    }


def _extractor(cells: int) -> dict:
    layer = {'type': 'RoIAlign', 'output_size': cells, 'sampling_ratio': 2, 'aligned': False}
    return {
        'type': 'SingleRoIExtractor',
        'roi_layer': layer,
        'out_channels': 256,
        'featmap_strides': [4, 8, 16, 32],
    }


def scale_of(chip_size: tuple[int, int], shorter: float = SHORTER, longer: float = LONGER) -> float:
    """How much larger torchvision makes an image of a size."""
    return min(shorter / min(chip_size), longer / max(chip_size))


def as_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what wrappers have put before their names."""
    names = [name for name in weights if name.endswith(_SIGNS[0])]
    start = names[0].removesuffix(_SIGNS[0]) if len(names) == 1 else ''
    return {
        name.removeprefix(start): value
        for name, value in weights.items()
        if name.startswith(start) and isinstance(value, torch.Tensor)
    }
