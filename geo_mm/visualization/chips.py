"""Pictures of what a model is fed: chips after the whole pipeline, with labels."""

from collections.abc import Sequence

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageDraw

from geo_mm.classes import IGNORE
from geo_mm.inputspec import InputSpec
from geo_mm.visualization.quicklook import overlay
from geo_mm.visualization.rgb import INVALID_COLOUR, to_rgb

_GAP = 6  # pixels between the pictures of a sheet
_MASK_OPACITY = 0.4


def draw_chip(inputs: np.ndarray, sample: BaseDataElement, spec: InputSpec) -> Image.Image:
    """A chip with its labels.

    Invalid and ignored pixels are magenta, ignored objects have a magenta box.

    Args:
        inputs: Model input ``(bands, h, w)``, before normalisation.
        sample: DetDataSample or SegDataSample that goes with it.
        spec: Band names, class names and colours.
    """
    if 'gt_instances' in sample:
        return _draw_objects(inputs, sample, spec)
    classes = sample.gt_sem_seg.data.squeeze(0).numpy().astype(np.uint8)
    valid = classes != IGNORE
    return Image.fromarray(overlay(to_rgb(inputs, valid, spec.bands), classes, spec.classes))


def _draw_objects(inputs: np.ndarray, sample: BaseDataElement, spec: InputSpec) -> Image.Image:
    valid = np.ones(inputs.shape[1:], bool)
    if 'gt_sem_seg' in sample:
        valid = sample.gt_sem_seg.sem_seg.squeeze(0).numpy() != IGNORE
    picture = to_rgb(inputs, valid, spec.bands)
    objects = sample.gt_instances
    if 'masks' in objects:
        for mask, label in zip(objects.masks.to_ndarray(), objects.labels, strict=True):
            inside = mask.astype(bool)
            colour = np.array(spec.classes.colours[label])
            picture[inside] = picture[inside] * (1 - _MASK_OPACITY) + colour * _MASK_OPACITY
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for box, label in zip(_boxes(objects), objects.labels, strict=True):
        draw.rectangle(tuple(box), outline=spec.classes.colours[label], width=2)
    for box in _boxes(sample.ignored_instances):
        draw.rectangle(tuple(box), outline=INVALID_COLOUR, width=1)
    return image


def _boxes(instances: BaseDataElement) -> np.ndarray:
    boxes = instances.bboxes
    return getattr(boxes, 'tensor', boxes).numpy()


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures side by side on one sheet."""
    width = max(image.width for image in images) + _GAP
    height = max(image.height for image in images) + _GAP
    rows = -(-len(images) // columns)
    sheet = Image.new('RGB', (columns * width, rows * height), 'white')
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    return sheet
