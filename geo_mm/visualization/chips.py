"""Pictures of chips: input with labels, and sheets of image, ground truth and prediction."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.inputspec import InputSpec
from geo_mm.raster import Scene, Window
from geo_mm.raster.rgb import INVALID_COLOUR, to_rgb
from geo_mm.registry import VISUALIZERS
from geo_mm.visualization.map_frame import Entry, font_for, legend_block
from geo_mm.visualization.quicklook import overlay

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


def browse_chips(
    config: Config, split: str = 'train', number: int = 16, columns: int = 4
) -> Image.Image:
    """Draw chips with their labels and valid areas, in the order of the sampler.

    The title of each is its scene, and the column and row where it begins there.

    Args:
        config: Any config of chips.
        split: ``'train'``, ``'val'`` or ``'test'``.
        number: How many chips.
        columns: Chips per row.

    Returns:
        The chips; ``info`` has their ``number`` and their ``size`` in pixels, (height, width).

    Raises:
        ConfigError: If the config has no such split, it cannot be built, or a
            transform fails on the chips.
    """
    # Pictures of results do without what these import.
    from geo_mm.engine import input_spec_of
    from geo_mm.engine.config_data import build_loader
    from geo_mm.engine.launch import build_model, explained_config_errors
    from geo_mm.engine.runner import explained_chip_errors

    loader = build_loader(config, split)
    with explained_config_errors():
        spec = input_spec_of(loader.dataset, build_model(config))
    images = []
    with explained_chip_errors():
        for index in islice(iter(loader.sampler), number):
            item = loader.dataset[index]
            sample = item['data_samples']
            left, top, *_ = sample.window
            picture = draw_chip(item['inputs'].numpy(), sample, spec)
            images.append(titled(picture, f'{sample.scene_id}: {left}, {top}'))
    sheet = with_legend(contact_sheet(images, columns), spec.classes)
    sheet.info |= {'number': len(images), 'size': spec.chip_size}
    return sheet


def valid_pixels(sample: BaseDataElement, shape: tuple[int, int]) -> np.ndarray:
    """``(h, w)`` bool, False where a sample has no data or no label."""
    if 'gt_sem_seg' not in sample:
        return np.ones(shape, bool)
    labels = sample.gt_sem_seg
    # MMDetection calls the map of a PixelData sem_seg, MMSegmentation data.
    return class_map(labels.sem_seg if 'sem_seg' in labels else labels.data) != IGNORE


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
            overlay(picture, class_map(sample.get(f'{key}_sem_seg').data), classes)
        )
    objects = sample.get(f'{key}_instances')
    if predicted:
        objects = objects[objects.scores >= least]
    image = _draw_objects(picture, objects, classes)
    if not predicted and 'ignored_instances' in sample:
        draw = ImageDraw.Draw(image)
        for box in boxes_of(sample.ignored_instances):
            draw.rectangle(tuple(box), outline=INVALID_COLOUR, width=1)
    return image


def with_legend(image: Image.Image, classes: ClassSet, more: Sequence[Entry] = ()) -> Image.Image:
    """A picture with names and colours of the classes, and ``more``, below it."""
    entries = [Entry(name, colour) for _, name, colour in classes.items()]
    entries += [Entry('no data or ignored', INVALID_COLOUR), *more]
    width = max(image.width, 240)
    legend = legend_block(entries, width - 12, 13)
    canvas = Image.new('RGB', (width, image.height + legend.height + 12), 'white')
    canvas.paste(image)
    canvas.paste(legend, (6, image.height + 6))
    return canvas


def class_map(data: Any) -> np.ndarray:
    """Class numbers ``(h, w)`` uint8 of the data of a PixelData, ``(1, h, w)``."""
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
    for box, label in zip(boxes_of(objects), labels, strict=True):
        draw.rectangle(tuple(box), outline=classes.colours[label], width=2)
    return image


def boxes_of(instances: BaseDataElement) -> np.ndarray:
    """Boxes ``(N, 4)`` of instances, whatever type holds them."""
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


_TITLE = 18  # pixels above each picture
_LEAST_SIDE = 224  # pixels of a picture; narrower ones have no room for their title


@VISUALIZERS.register_module()
class GeoLocalVisualizer(Visualizer):
    """Draws chips of any number of bands, as SegLocalVisualizer and DetLocalVisualizer draw RGB.

    Colours and names of the classes are those of the data set. One sheet shows
    image, ground truth and prediction side by side, with a legend.

    MMSegmentation's and MMDetection's own visualization hooks hand over the
    whole file that a chip is cut from, as far as OpenCV can read it; the chip is
    then read anew from that file. :class:`geo_mm.engine.ChipVisualizationHook`
    hands over what the model was given, which is faster and always possible.

    Args:
        name: By which the runner and the hooks find it.
        bands: Names of the bands, by which those to show as red, green and
            blue are chosen; by default the first three.
        **kwargs: Those of :class:`mmengine.visualization.Visualizer`.
    """

    def __init__(
        self, name: str = 'visualizer', *, bands: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(name, **kwargs)
        self.bands = tuple(bands)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray | None,
        data_sample: BaseDataElement | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        *,
        pred_score_thr: float = 0.3,
        **output: Any,
    ) -> None:
        """Draw a sheet and hand it to all backends.

        Args:
            name: Of the sheet.
            image: ``(h, w, bands)``, of any type.
            data_sample: DetDataSample or SegDataSample.
            draw_gt: Whether to draw the ground truth, if there is one.
            draw_pred: Whether to draw the prediction, if there is one.
            pred_score_thr: Confidence from which objects are drawn.
            **output: ``out_file`` (a picture instead of the backends), ``show``,
                ``wait_time`` and ``step``, as in the libraries.
        """
        sheet = self.draw_sheet(image, data_sample, draw_gt, draw_pred, pred_score_thr)
        if output.get('show'):
            self.show(sheet, win_name=name, wait_time=output.get('wait_time', 0))
        if output.get('out_file') is not None:
            mmcv.imwrite(sheet[..., ::-1], output['out_file'])
        elif not output.get('show'):
            self.add_image(name, sheet, output.get('step', 0))
        self.set_image(sheet)

    def draw_sheet(
        self,
        image: np.ndarray | None,
        sample: BaseDataElement | None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        least: float = 0.3,
    ) -> np.ndarray:
        """The sheet, ``(h, w, 3)`` uint8 RGB; arguments as of :meth:`add_datasample`."""
        if sample is None:
            if image is None:
                raise ValueError('there is neither an image nor a sample to draw')
            return self._picture(image, None)
        picture = self._picture(_chip_of(sample, image), sample)
        classes = ClassSet.from_metainfo(self.dataset_meta, self.dataset_meta.get('background'))
        panels = [('image', Image.fromarray(picture))]
        for predicted, title, wanted in (
            (False, 'ground truth', draw_gt),
            (True, 'prediction', draw_pred),
        ):
            key = 'pred' if predicted else 'gt'
            if wanted and ({f'{key}_instances', f'{key}_sem_seg'} & {*sample.keys()}):
                labels = draw_labels(picture, sample, classes, predicted=predicted, least=least)
                panels.append((title, labels))
        sheet = contact_sheet([titled(panel, title) for title, panel in panels], len(panels))
        return np.array(with_legend(sheet, classes))

    def _picture(self, image: np.ndarray, sample: BaseDataElement | None) -> np.ndarray:
        shape = image.shape[:2]
        valid = np.ones(shape, bool) if sample is None else valid_pixels(sample, shape)
        names = self.bands if len(self.bands) == image.shape[2] else [''] * image.shape[2]
        return to_rgb(image.transpose(2, 0, 1), valid, names)


def _chip_of(sample: BaseDataElement, image: np.ndarray | None) -> np.ndarray:
    """The chip that a sample is of: ``image``, or read from its file if that is no chip."""
    shape = tuple(sample.metainfo['ori_shape'])
    if image is not None and image.shape[:2] == shape:
        return image
    if image is not None and image.shape[:2] == tuple(sample.metainfo.get('img_shape', ())):
        return np.array(mmcv.imresize(image, shape[::-1], interpolation='nearest'))
    data, _ = Scene.open(sample.img_path).read(Window(*sample.window))
    return data.transpose(1, 2, 0)


def titled(image: Image.Image, title: str) -> Image.Image:
    """A picture with a title above it; a small one is enlarged."""
    factor = -(-_LEAST_SIDE // min(image.size))
    if factor > 1:  # pixels of a small chip become squares
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    canvas = Image.new('RGB', (image.width, image.height + _TITLE), 'white')
    canvas.paste(image, (0, _TITLE))
    font = font_for(title, 13)
    ImageDraw.Draw(canvas).text((2, 1), title, fill='black', font=font)
    return canvas
