"""Pipeline steps that read chips and their labels.

What they add is what the libraries' own steps expect, so resizing, flipping,
cropping, mosaics and packing come from MMDetection and MMSegmentation.
"""

import random
from collections.abc import Sized

import numpy as np
import shapely
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Mosaic as MMDetMosaic
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as coco_mask

from geo_mm.classes import IGNORE
from geo_mm.errors import ConfigError
from geo_mm.labels import ClippedObjects, Labels, SceneLabels
from geo_mm.registry import TRANSFORMS

META_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'pad_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'scene_id',
    'scene_size',
    'window',
    'crs',
    'transform',
)
"""``meta_keys`` for PackDetInputs and PackSegInputs: the libraries' own, and where on Earth."""


@TRANSFORMS.register_module()
class LoadChip(BaseTransform):
    """Reads a chip's pixels.

    Required Keys:

    - labelled_scene (:class:`geo_mm.catalog.LabelledScene`)
    - window (:class:`geo_mm.raster.Window`)
    - fill (float | Sequence[float])
    - pixels (Future), optional: what the scene gives there, where it is being read already

    Added Keys:

    - img (np.float32, or the scene's type if ``stored``): ``(height, width, bands)``,
      bands in the order asked for, digital numbers as in the file.
    - valid (bool): ``(height, width)``, False where the scene has no data,
      beyond its edge and outside the AOI.
    - img_shape, ori_shape (tuple[int, int]), scale_factor, flip

    Invalid pixels are given the value ``fill``, rounded in whole numbers.

    Args:
        stored: Keep the type of the scene's pixels, which travels faster from workers;
            the data preprocessor makes floats of it. Steps that follow must take it:
            flips and crops do.
    """

    def __init__(self, stored: bool = False) -> None:
        self.stored = stored

    def transform(self, results: dict) -> dict:
        scene = results['labelled_scene']
        ahead = results.pop('pixels', None)
        dtype = None if self.stored else np.dtype(np.float32)
        found = scene.read(results['window'], dtype) if ahead is None else ahead.result()
        data, valid = found
        # A view: bands stay apart in memory, which is what packing wants again.
        image = (data if self.stored else data.astype(np.float32, copy=False)).transpose(1, 2, 0)
        fill = self._fill(results, image.shape[-1])
        if not valid.all():
            image[~valid] = _rounded(fill, image.dtype)
        results['img'] = image
        results['valid'] = valid
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        results['scale_factor'] = (1.0, 1.0)
        results['flip'] = False
        results['flip_direction'] = None
        return results

    @staticmethod
    def _fill(results: dict, bands: int) -> np.ndarray:
        fill = np.asarray(results['fill'], np.float32)
        if fill.size not in (1, bands):
            scene = results['labelled_scene'].scene
            raise ConfigError(
                f'the dataset has a fill of {fill.size} values, {scene.name} has '
                f'{bands} bands ({", ".join(scene.band_names)})',
                'one value, or one per band',
                'choose bands=(...) in the dataset, or give a fill for each',
            )
        return fill

    def __repr__(self) -> str:
        return f'{type(self).__name__}(stored={self.stored})'


def _rounded(fill: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values as pixels of this type hold them."""
    if dtype.kind not in 'iu':
        return fill
    limits = np.iinfo(dtype)
    return np.rint(fill).clip(limits.min, limits.max)


@TRANSFORMS.register_module()
class LoadChipObjects(BaseTransform):
    """Cuts the objects of a chip out of its scene's labels.

    An object that the chip's edge cuts is clipped to the chip. If too little
    of it is left in the chip, or its visible part is on invalid pixels, it
    is flagged as ignored: neither a target nor background.

    Required Keys:

    - labelled_scene, window, valid

    Added Keys:

    - gt_bboxes (HorizontalBoxes[np.float32]): ``(N, 4)`` xyxy in chip pixels
    - gt_bboxes_labels (np.int64): ``(N,)``
    - gt_ignore_flags (bool): ``(N,)``
    - gt_masks (BitmapMasks), if ``with_mask``
    - gt_seg_map (np.uint8): ``(height, width)``, 0 on valid pixels and 255
      elsewhere, so that the valid mask follows the image through the pipeline
    - instances (list[dict]): the same objects as COCO-style dicts, for metrics;
      if ``with_outlines``, with ``outline``, that of the whole object in pixels
      of the scene as WKB, ``fid``, the feature that it belongs to, and
      ``crowd``, whether it is ignored by its class

    Args:
        with_mask: Add instance masks.
        min_visible: Least share 0..1 of an object's area that must be in the
            chip for it to be a target.
        min_size: Least width and height of a target's visible box, in pixels.
        with_outlines: Add what geo_mm.MapMetric needs to ``instances``.
    """

    def __init__(
        self,
        with_mask: bool = False,
        min_visible: float = 0.3,
        min_size: float = 2.0,
        with_outlines: bool = False,
    ) -> None:
        self.with_mask = with_mask
        self.min_visible = min_visible
        self.min_size = min_size
        self.with_outlines = with_outlines

    def transform(self, results: dict) -> dict:
        labels = _labels_of(results, type(self).__name__)
        valid = results.pop('valid')
        clipped = labels.objects(results['window'])
        masks = clipped.masks() if self.with_mask else None
        ignored = self._ignored(clipped, valid)
        if masks is not None:
            # A sliver between pixel centres has a box, but nothing to learn from.
            ignored |= ~masks.any(axis=(1, 2))
        targets = np.where(clipped.labels < 0, 0, clipped.labels).astype(np.int64)
        boxes = clipped.boxes.astype(np.float32).reshape(-1, 4)
        results['gt_bboxes'] = HorizontalBoxes(boxes)
        results['gt_bboxes_labels'] = targets
        results['gt_ignore_flags'] = ignored
        if masks is not None:
            results['gt_masks'] = BitmapMasks(masks, *valid.shape)
        results['gt_seg_map'] = np.where(valid, 0, IGNORE).astype(np.uint8)
        results['instances'] = _instances(boxes, targets, ignored, masks)
        if self.with_outlines and isinstance(labels, SceneLabels):
            fids = labels.fids[clipped.indices].tolist()
            outlines = shapely.to_wkb(clipped.outlines).tolist()
            crowds = (clipped.labels < 0).tolist()
            rows = zip(results['instances'], outlines, fids, crowds, strict=True)
            for instance, outline, fid, crowd in rows:
                instance |= {'outline': outline, 'fid': fid, 'crowd': crowd}
        return results

    def _ignored(self, clipped: ClippedObjects, valid: np.ndarray) -> np.ndarray:
        boxes = clipped.boxes
        sizes = boxes[:, 2:] - boxes[:, :2]
        # An object whose box's middle has no data cannot be seen.
        height, width = valid.shape
        cols = np.clip((boxes[:, 0] + boxes[:, 2]) / 2, 0, width - 1).astype(int)
        rows = np.clip((boxes[:, 1] + boxes[:, 3]) / 2, 0, height - 1).astype(int)
        return (
            (clipped.labels < 0)
            | (clipped.visible < self.min_visible)
            | (sizes < self.min_size).any(axis=1)
            | ~valid[rows, cols]
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(with_mask={self.with_mask}, '
            f'min_visible={self.min_visible}, min_size={self.min_size}, '
            f'with_outlines={self.with_outlines})'
        )


def _labels_of(results: dict, step: str) -> Labels:
    labels = results['labelled_scene'].labels_near(results['window'])
    if labels is None:
        raise ConfigError(
            f'{results["scene_id"]} has no labels',
            '`labels` in its catalog entry',
            f'leave {step} out of the pipeline to predict only',
        )
    return labels


def _instances(boxes, labels, ignored, masks) -> list[dict]:
    instances = [
        {'bbox': box.tolist(), 'bbox_label': int(label), 'ignore_flag': int(flag)}
        for box, label, flag in zip(boxes, labels, ignored, strict=True)
    ]
    if masks is not None:
        for instance, mask in zip(instances, masks, strict=True):
            instance['mask'] = coco_mask.encode(np.asfortranarray(mask))
    return instances


@TRANSFORMS.register_module()
class LoadChipClasses(BaseTransform):
    """Reads the class of each pixel of a chip.

    Required Keys:

    - labelled_scene, window, valid

    Added Keys:

    - gt_seg_map (np.uint8): ``(height, width)`` class indices, 255 where the
      image is invalid or the label unknown
    - seg_fields (list[str])
    """

    def transform(self, results: dict) -> dict:
        labels = _labels_of(results, type(self).__name__)
        classes = labels.classes(results['window'])
        classes[~results.pop('valid')] = IGNORE
        results['gt_seg_map'] = classes
        results['seg_fields'] = ['gt_seg_map']
        return results


@TRANSFORMS.register_module()
class Mosaic(MMDetMosaic):
    """``mmdet.Mosaic`` over chips, in a ``MultiImageMixDataset``.

    The library's own draws one index too many once in a while, which ends
    training with an IndexError, and leaves the map of the first chip's valid
    pixels behind at its old size; this one does neither.

    Takes the arguments of ``mmdet.Mosaic``, and 3 bands only, as that does.
    The three chips to mix in are drawn evenly from all, also empty ones.

    Required Keys:

    - img, gt_bboxes, gt_bboxes_labels, gt_ignore_flags, mix_results

    Modified Keys:

    - img, img_shape, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Removed Keys:

    - gt_seg_map
    """

    def get_indexes(self, dataset: Sized) -> list[int]:
        return [random.randrange(len(dataset)) for _ in range(3)]

    def transform(self, results: dict) -> dict:
        bands = results['img'].shape[-1]
        if bands != 3:
            raise ConfigError(
                f'Mosaic of chips with {bands} bands',
                '3 bands',
                'choose three with bands=(...) in the dataset, or leave Mosaic out',
            )
        if 'gt_masks' in results:
            raise ConfigError('Mosaic of chips with masks', 'boxes only', 'leave Mosaic out')
        before = results['img']
        results = super().transform(results)
        if results['img'] is not before:
            results.pop('gt_seg_map', None)
        return results
