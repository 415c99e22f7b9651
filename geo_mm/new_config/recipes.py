"""The models that ``geo-mm new`` writes configs for: bases, settings and sizes."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from geo_mm.errors import ConfigError
from geo_mm.new_config.python_text import Code

Kind = Literal['det', 'ins', 'seg']

KINDS: dict[Kind, str] = {
    'det': 'objects as boxes',
    'ins': 'objects as boxes and outlines',
    'seg': 'classes of pixels',
}

Size = Literal['small', 'full']


BANDS, CLASSES, WIDTH, CHANNELS = map(Code, ('len(bands)', 'len(classes)', 'width', 'channels'))


def times(factor: int) -> Code:
    """A multiple of the variable ``width``."""
    return Code(f'{factor} * width')


@dataclass(frozen=True)
class Variant:
    """A model of one size.

    Attributes:
        base: Its file below ``configs/_base_/models``.
        what: The model in words.
        lr: Learning rate of AdamW.
        model: Settings of the model that depend on the data or its size.
        width: Value of the variable ``width`` that the settings use, and what it is.
        pretrained: Weights of torchvision that fit the backbone.
    """

    base: str
    what: str
    lr: float
    model: Mapping[str, Any]
    width: tuple[int, str] | None = None
    pretrained: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A model that configs can be written for.

    Attributes:
        kind: What it predicts.
        small: For CPUs.
        full: For GPUs.
        variables: Further assignments that the settings use, by name.
    """

    kind: Kind
    small: Variant
    full: Variant
    variables: Mapping[str, Code] = field(default_factory=dict)

    def variant(self, size: Size) -> Variant:
        """The model of a size."""
        return self.small if size == 'small' else self.full


def recipe(name: str) -> Recipe:
    """The recipe of a model.

    Raises:
        ConfigError: If there is none of this name.
    """
    known = name.lower().replace('_', '-')
    if known not in RECIPES:
        close = difflib.get_close_matches(known, RECIPES, n=1)
        raise ConfigError(
            f'no model {name!r}',
            f'one of {", ".join(RECIPES)}',
            f'did you mean {close[0]}?' if close else '',
        )
    return RECIPES[known]


def _two_stage(base: str, what: str, kind: Kind, classes: Mapping | None = None) -> Recipe:
    model = {
        'backbone': {'in_channels': BANDS},
        'roi_head': classes or {'bbox_head': {'num_classes': CLASSES}},
    }
    return _detector(base, what, kind, model)


def _one_stage(base: str, what: str) -> Recipe:
    model = {'backbone': {'in_channels': BANDS}, 'bbox_head': {'num_classes': CLASSES}}
    return _detector(base, what, 'det', model)


def _detector(base: str, what: str, kind: Kind, model: Mapping) -> Recipe:
    small = base.format('r18-c128')
    return Recipe(
        kind,
        Variant(small, f'{what} on ResNet-18', 1e-3, model, pretrained='resnet18'),
        Variant(base.format('r50'), f'{what} on ResNet-50', 5e-4, model, pretrained='resnet50'),
    )


def _only_small(made: Recipe) -> Recipe:
    return Recipe(made.kind, made.small, made.small)


def _dilated(base: str, what: str, small: Mapping[str, Any], refined: bool = False) -> Recipe:
    """A segmentor on a dilated ResNet; ``small`` are the settings of its parts at half width."""
    backbone = {
        'depth': 18,
        'in_channels': BANDS,
        'base_channels': WIDTH,
        'stem_channels': WIDTH,
    }
    parts: dict[str, Any] = {'backbone': backbone, **small}
    if refined:
        parts['point_head'] = {'channels': times(2)}
    parts['decode_head'] = {**parts['decode_head'], 'num_classes': CLASSES}
    full = {'backbone': {'in_channels': BANDS}, 'decode_head': {'num_classes': CLASSES}}
    width = (32, 'base_channels, 64 is the full ResNet')
    return Recipe(
        'seg',
        Variant(base, f'{what} on a ResNet-18 of half width', 2e-3, parts, width),
        Variant(base, f'{what} on ResNet-50', 5e-4, full),
    )


def _unet() -> Recipe:
    model = {
        'backbone': {'in_channels': BANDS, 'base_channels': WIDTH},
        'decode_head': {'num_classes': CLASSES},
    }
    what, width = 'base_channels, 64 in the paper', 'U-Net of a quarter of its width'
    return Recipe(
        'seg',
        Variant('unet.py', width, 2e-3, model, (16, what)),
        Variant('unet.py', 'U-Net', 5e-4, model, (64, what)),
    )


def _unet_resnet(base: str, what: str, width: int, resolution: str) -> Recipe:
    head = {'channels': WIDTH, 'num_classes': CLASSES}
    words = f'of the decoder at {resolution} of the resolution'
    small = {'backbone': {'in_channels': BANDS}, 'decode_head': head}
    full = {'backbone': {'depth': 50, 'in_channels': BANDS}, 'decode_head': head}
    return Recipe(
        'seg',
        Variant(base, f'{what} ResNet-18', 2e-3, small, (width, words), 'resnet18'),
        Variant(base, f'{what} ResNet-50', 5e-4, full, (32, words), 'resnet50'),
    )


def _unet_vgg() -> Recipe:
    head = {'channels': WIDTH, 'num_classes': CLASSES}
    small = {'backbone': {'in_channels': BANDS, 'base_channels': WIDTH}, 'decode_head': head}
    full = {'backbone': {'in_channels': BANDS}, 'decode_head': {'num_classes': CLASSES}}
    width = (16, 'base_channels, 64 is the full VGG')
    what = 'U-Net with an encoder of VGG-16'
    return Recipe(
        'seg',
        Variant('unet_vgg16.py', f'{what} of a quarter of its width', 2e-3, small, width),
        Variant('unet_vgg16.py', what, 5e-4, full, pretrained='vgg16_bn'),
    )


def _ssd() -> Recipe:
    head = {'num_classes': CLASSES}
    small = {
        'backbone': {'depth': 11, 'in_channels': BANDS, 'base_channels': WIDTH},
        'neck': {'in_channels': Code('channels[:2]'), 'out_channels': CHANNELS},
        'bbox_head': {'in_channels': CHANNELS, **head},
    }
    full = {'backbone': {'in_channels': BANDS}, 'bbox_head': head}
    width = (32, 'base_channels, 64 is the full VGG')
    return Recipe(
        'det',
        Variant('ssd_vgg16.py', 'SSD on a VGG-11 of half width', 4e-4, small, width),
        Variant('ssd_vgg16.py', 'SSD on VGG-16', 4e-4, full),
        {'channels': Code('(8 * width, 16 * width, 8 * width, 4 * width, 4 * width)')},
    )


def _yolo() -> Recipe:
    wide, narrow = [times(32), times(16), times(8)], [times(16), times(8), times(4)]
    small = {
        'backbone': {'depth': 21, 'in_channels': BANDS, 'base_channels': WIDTH},
        'neck': {'in_channels': wide, 'out_channels': narrow},
        'bbox_head': {'in_channels': narrow, 'out_channels': wide, 'num_classes': CLASSES},
    }
    full = {'backbone': {'in_channels': BANDS}, 'bbox_head': {'num_classes': CLASSES}}
    width = (16, 'base_channels, 32 is the full Darknet')
    return Recipe(
        'det',
        Variant('yolov3_d53.py', 'YOLOv3 on a Darknet-21 of half width', 1e-3, small, width),
        Variant('yolov3_d53.py', 'YOLOv3 on Darknet-53', 5e-4, full),
    )


def _fpn() -> Recipe:
    pyramid = {
        'in_channels': [WIDTH, times(2), times(4), times(8)],
        'out_channels': times(2),
    }
    parts = {'neck': pyramid, 'decode_head': {'channels': times(2)}}
    return _dilated('fpn_r50.py', 'Semantic FPN', parts)


def _segformer() -> Recipe:
    model = {'backbone': {'in_channels': BANDS}, 'decode_head': {'num_classes': CLASSES}}
    variant = Variant('segformer_mit-b0.py', 'SegFormer B0', 5e-4, model)
    return Recipe('seg', variant, variant)


_AUXILIARY = {'auxiliary_head': {'channels': WIDTH}}
_PSP = {'decode_head': {'channels': times(2)}, **_AUXILIARY}
_PSP_UNET = {'decode_head': {'channels': WIDTH}, **_AUXILIARY}
_ASPP = {
    'decode_head': {'channels': times(2), 'c1_in_channels': WIDTH, 'c1_channels': WIDTH},
    **_AUXILIARY,
}

RECIPES: dict[str, Recipe] = {
    'faster-rcnn': _two_stage('faster-rcnn_{}_fpn.py', 'Faster R-CNN', 'det'),
    'mask-rcnn': _two_stage('mask-rcnn_{}_fpn.py', 'Mask R-CNN', 'ins'),
    'mask-rcnn-point-rend': _two_stage(
        'mask-rcnn_{}_fpn_point-rend.py', 'Mask R-CNN with PointRend', 'ins'
    ),
    'retinanet': _one_stage('retinanet_{}_fpn.py', 'RetinaNet'),
    'ssd': _ssd(),
    'yolov3': _yolo(),
    'unet': _unet(),
    'unet-resnet': _unet_resnet('unet_r18.py', 'U-Net with an encoder of', 16, 'half'),
    'unet-vgg': _unet_vgg(),
    'unet-point-rend': _unet_resnet(
        'unet_r18_point-rend.py', 'U-Net with PointRend on', 32, 'a quarter'
    ),
    'pspnet': _dilated('pspnet_r50-d8.py', 'PSPNet', _PSP),
    'pspnet-point-rend': _dilated(
        'pspnet_r50-d8_point-rend.py', 'PSPNet with PointRend', _PSP, refined=True
    ),
    'pspnet-unet': _dilated('pspnet-unet_r50-d8.py', 'PSPNet with a U-Net decoder', _PSP_UNET),
    'pspnet-unet-point-rend': _dilated(
        'pspnet-unet_r50-d8_point-rend.py',
        'PSPNet with a U-Net decoder and PointRend',
        {'decode_head': {'channels': times(2)}, **_AUXILIARY},
        refined=True,
    ),
    'atss': _only_small(_one_stage('atss_{}_fpn.py', 'ATSS')),
    'fcos': _only_small(_one_stage('fcos_{}_fpn.py', 'FCOS')),
    'cascade-rcnn': _only_small(
        _two_stage('cascade-rcnn_{}_fpn.py', 'Cascade R-CNN', 'det', {'num_classes': CLASSES})
    ),
    'deeplabv3plus': _dilated('deeplabv3plus_r50-d8.py', 'DeepLabV3+', _ASPP),
    'fpn': _fpn(),
    'segformer': _segformer(),
}
"""By the name that ``geo-mm new`` takes: the seven models and their variants, then further ones."""
