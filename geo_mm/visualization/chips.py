"""Pictures of model input: chips after the whole pipeline, with labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageDraw

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.inputspec import InputSpec
from geo_mm.visualization.map_frame import Entry, legend_block
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
    valid = valid_pixels(sample, inputs.shape[1:])
    return draw_labels(to_rgb(inputs, valid, spec.bands), sample, spec.classes)


def valid_pixels(sample: BaseDataElement, shape: tuple[int, int]) -> np.ndarray:
    """``(h, w)`` bool, False where a sample has no data or no label."""
    if 'gt_sem_seg' not in sample:
        return np.ones(shape, bool)
    labels = sample.gt_sem_seg
    # MMDetection calls the map of a PixelData sem_seg, MMSegmentation data.
    return _class_map(labels.sem_seg if 'sem_seg' in labels else labels.data) != IGNORE


def draw_labels(
    picture: np.ndarray,
    sample: BaseDataElement,
    classes: ClassSet,
    *,
    predicted: bool = False,
    least: float = 0.0,
) -> Image.Image:
    """Ground truth or prediction of a chip over its picture.

    Args:
        picture: ``(h, w, 3)`` uint8.
        sample: DetDataSample or SegDataSample.
        classes: Names and colours.
        predicted: Whether to draw what was predicted instead of the labels.
        least: Confidence from which predicted objects are drawn.
    """
    key = 'pred' if predicted else 'gt'
    if f'{key}_instances' not in sample:
        return Image.fromarray(
            overlay(picture, _class_map(sample.get(f'{key}_sem_seg').data), classes)
        )
    objects = sample.get(f'{key}_instances')
    if predicted:
        objects = objects[objects.scores >= least]
    image = _draw_objects(picture, objects, classes)
    if not predicted and 'ignored_instances' in sample:
        draw = ImageDraw.Draw(image)
        for box in _boxes(sample.ignored_instances):
            draw.rectangle(tuple(box), outline=INVALID_COLOUR, width=1)
    return image


def with_legend(image: Image.Image, classes: ClassSet) -> Image.Image:
    """A picture with names and colours of the classes below it."""
    entries = [Entry(name, colour) for _, name, colour in classes.items()]
    width = max(image.width, 240)
    legend = legend_block([*entries, Entry('no data or ignored', INVALID_COLOUR)], width - 12, 13)
    canvas = Image.new('RGB', (width, image.height + legend.height + 12), 'white')
    canvas.paste(image)
    canvas.paste(legend, (6, image.height + 6))
    return canvas


def _class_map(data: Any) -> np.ndarray:
    return data.squeeze(0).cpu().numpy().astype(np.uint8)


def _draw_objects(picture: np.ndarray, objects: BaseDataElement, classes: ClassSet) -> Image.Image:
    picture = picture.copy()
    labels = objects.labels.tolist()
    if 'masks' in objects:
        masks = objects.masks
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.cpu().numpy()
        for mask, label in zip(masks, labels, strict=True):
            inside = mask.astype(bool)
            colour = np.array(classes.colours[label])
            picture[inside] = picture[inside] * (1 - _MASK_OPACITY) + colour * _MASK_OPACITY
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for box, label in zip(_boxes(objects), labels, strict=True):
        draw.rectangle(tuple(box), outline=classes.colours[label], width=2)
    return image


def _boxes(instances: BaseDataElement) -> np.ndarray:
    boxes = instances.bboxes
    return getattr(boxes, 'tensor', boxes).cpu().numpy()


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures side by side on one sheet."""
    width = max(image.width for image in images) + _GAP
    height = max(image.height for image in images) + _GAP
    rows = -(-len(images) // columns)
    sheet = Image.new('RGB', (columns * width, rows * height), 'white')
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    return sheet
