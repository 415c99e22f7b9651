"""Map scores of chips, for ``val_evaluator`` and ``test_evaluator`` of configs."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import shapely
import torch
from affine import Affine
from mmengine.evaluator import BaseMetric
from pycocotools import mask as run_lengths

from geo_mm.classes import IGNORE
from geo_mm.detections import METHODS, Detections, join_tiles, suppress
from geo_mm.errors import ConfigError
from geo_mm.evaluation.layers import areas_of
from geo_mm.evaluation.matching import COCO_IOUS, SceneMatches, SizeRange, match_scene
from geo_mm.evaluation.scores import Confusion, score_objects
from geo_mm.geometry import union
from geo_mm.raster import Window
from geo_mm.registry import METRICS
from geo_mm.vectorize import mask_to_polygon, mostly_on_data

with warnings.catch_warnings():
    # Said on import, with advice to install it, where this metric does without.
    warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
    from mmdet.evaluation import CocoMetric as MMDetCocoMetric


@dataclass(frozen=True)
class ScoredChip:
    """What a model found in a chip, and what is there.

    Attributes:
        scene: What chips of one scene share: its name, CRS as WKT, transform and size.
        window: Of the chip in the scene.
        pred: :meth:`Detections.to_arrays` in pixels of the scene, or ``(h, w)``
            uint8 classes.
        truth: The same of the ground truth. Of objects whole outlines, with
            ``fid`` and ``crowd`` in their data.
        valid: ``(h, w)`` bool, packed with ``np.packbits``; None for classes.
    """

    scene: tuple
    window: tuple[int, int, int, int]
    pred: Any
    truth: Any
    valid: np.ndarray | None


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """``mmdet.CocoMetric`` for chips, with the same number of detections for all of its scores.

    Predicted objects on pixels without data, as beyond the edge of the scene or of the AOI,
    are left out, as in the prediction of a scene: what is there was no part of training, and
    is neither right nor wrong. The library's own takes the best 100 of each chip for
    ``mAP``, and 1000 for ``mAP_50``, those of sizes and those of classes, so that a single
    class has two scores. Here it is 100, as COCO defines it. Where nothing at all was
    found the scores are 0; the library gives none, and no best checkpoint then. What there
    is nothing of to find, as objects of a size, has the score NaN, which the library
    writes as -1 or NaN.

    Args:
        proposal_nums: Detections of a chip, of which ``mAP`` takes 100 and the others the last.
        **kwargs: Of ``mmdet.CocoMetric``.
    """

    def __init__(self, *args, proposal_nums: Sequence[int] = (1, 10, 100), **kwargs) -> None:
        super().__init__(*args, proposal_nums=proposal_nums, **kwargs)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        super().process(data_batch, [_without_those_off_data(each) for each in data_samples])

    def compute_metrics(self, results: list) -> dict[str, float]:
        found = super().compute_metrics(_with_one_object(results))
        return {name: np.nan if value == -1 else value for name, value in found.items()}


def on_data(sample: Any) -> np.ndarray:
    """Which predicted objects of a chip are where it has data.

    Args:
        sample: DetDataSample, or a dict of one, with ``pred_instances``, in pixels of the
            chip as it was read, and ``gt_sem_seg``, 0 on valid pixels, as
            ``LoadChipObjects`` gives it.

    Returns:
        ``(N,)`` bool: where the middle of a box is valid, or at least half of a mask.
    """
    found = sample.get('pred_instances')
    labels = _array(sample.get('gt_sem_seg').get('sem_seg'))[0]
    height, width = sample.get('img_shape')
    valid = _of_size(labels[:height, :width] == 0, sample.get('ori_shape'))
    if 'masks' in found:
        masks = _array(found.get('masks'))
        return np.array([mostly_on_data(mask, valid) for mask in masks], bool)
    return _at_middles(valid, _array(found.get('bboxes')))


def _of_size(valid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map of pixels in another size, if a step of the pipeline has resized the chip."""
    rows, cols = (np.arange(n) * m // n for n, m in zip(shape, valid.shape, strict=True))
    return valid[np.ix_(rows, cols)]


def _at_middles(valid: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    middles = np.nan_to_num((boxes[:, :2] + boxes[:, 2:]) / 2)
    cols, rows = np.clip(middles, 0, np.array(valid.shape[::-1]) - 1).astype(int).T
    return valid[rows, cols]


def _without_those_off_data(sample: dict) -> dict:
    if 'gt_sem_seg' not in sample:  # a pipeline without LoadChipObjects
        return sample
    keep = torch.from_numpy(np.flatnonzero(on_data(sample)))
    found = {key: value[keep.to(value.device)] for key, value in sample['pred_instances'].items()}
    return {**sample, 'pred_instances': found}


def _with_one_object(results: list[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    """Results, or if no object is in any of them, those with an empty one that finds nothing."""
    if not results or any(len(found['bboxes']) for _, found in results):
        return results
    truth, found = results[0]
    one = {'bboxes': np.zeros((1, 4)), 'scores': np.zeros(1), 'labels': np.zeros(1, int)}
    if 'masks' in found:
        mask = np.zeros((truth['height'], truth['width'], 1), np.uint8, order='F')
        one |= {'masks': run_lengths.encode(mask), 'mask_scores': one['scores']}
    return [(truth, {**found, **one}), *results[1:]]


@METRICS.register_module()
class MapMetric(BaseMetric):
    """Scores on the map: what ``geo-mm evaluate`` says of whole scenes, from chips.

    Chips are put back where they were cut from. What overlapping chips report
    of one object is joined and suppressed as in prediction, objects are
    matched one to one with the whole true objects, and every pixel counts
    once, also where chips overlap. Where a scene is predicted in the same
    tiles, the numbers are those of its evaluation; an object that is cut
    where chips do not overlap counts as two (``stride`` of the dataset).

    Of objects it gives ``precision``, ``recall``, ``f1``, ``mean_iou``, ``ap``
    and ``ap_50_95``, of pixels ``accuracy``, ``kappa``, ``mean_iou`` and
    ``mean_f1``; of each class ``<class>/ap`` and ``<class>/f1``, or
    ``<class>/iou`` and ``<class>/f1``; all with the prefix ``map``.

    Objects count whose centroid is in the chips and has data. The
    ``meta_keys`` of the base configs are needed, for objects also
    ``LoadChipObjects(with_outlines=True)``, as in the base configs.

    Args:
        iou: Least intersection over union of a true positive.
        min_score: Least confidence of objects that are counted; average
            precision takes all.
        boxes: Compare bounding boxes instead of outlines. None: if the model
            gives no masks.
        suppress: One of :data:`geo_mm.detections.METHODS`, as in prediction.
        suppress_iou: Intersection over union from which that is done.
        collect_device: Of MMEngine: device on which ranks exchange results.
        prefix: Of the names of the scores.
    """

    default_prefix = 'map'

    def __init__(
        self,
        iou: float = 0.5,
        min_score: float = 0.3,
        boxes: bool | None = None,
        suppress: str = 'nms',
        suppress_iou: float = 0.5,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if suppress not in METHODS:
            raise ConfigError(f'suppress={suppress!r}', f'one of {", ".join(METHODS)}')
        self.iou = iou
        self.min_score = min_score
        self.boxes = boxes
        self.suppress = suppress
        self.suppress_iou = suppress_iou

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keeps what is found in the chips of a batch, and what is there."""
        for sample in data_samples:
            _check_keys(sample)
            window = Window(*sample['window'])
            pixels = Affine(*sample['transform']) @ Affine.translation(
                -window.col_off, -window.row_off
            )
            # Rounded: chips of one scene compute it from their own corners.
            transform = tuple(float(f'{value:.12g}') for value in tuple(pixels)[:6])
            size = tuple(sample['scene_size'])
            scene = (sample['scene_id'], sample['crs'], transform, size)
            place = (window.col_off, window.row_off, window.width, window.height)
            if 'pred_sem_seg' in sample:
                pred, truth = (
                    _array(sample[key]['data'])[0].astype(np.uint8)
                    for key in ('pred_sem_seg', 'gt_sem_seg')
                )
                chip = ScoredChip(scene, place, pred, truth, None)
            else:
                valid = _array(sample['gt_sem_seg']['sem_seg'])[0] == 0
                found = _found(sample['pred_instances'], window, valid, size)
                true = _true(sample['instances'])
                packed = np.packbits(valid, axis=1)
                arrays = found.to_arrays(), true.to_arrays()
                chip = ScoredChip(scene, place, *arrays, packed)
            self.results.append(chip)

    def compute_metrics(self, results: Sequence[ScoredChip]) -> dict[str, float]:
        """Scores over the scenes that the chips of all ranks belong to."""
        classes = tuple(self.dataset_meta['classes'])
        if results[0].valid is None:
            return _pixel_scores(confusion_of(results, classes))
        matches = self.matches(results, np.append(self.iou, COCO_IOUS))
        scores = score_objects(matches, classes, min_score=self.min_score)
        overall = scores.to_dict()['overall']
        keys = ('precision', 'recall', 'f1', 'mean_iou', 'ap', 'ap_50_95')
        found = {key: overall[key] for key in keys}
        for name, each in scores.to_dict()['classes'].items():
            found |= {f'{name}/ap': each['ap'], f'{name}/f1': each['f1']}
        return _numbers(found)

    def matches(
        self,
        results: Sequence[ScoredChip],
        thresholds: np.ndarray,
        change: Callable[[Detections], Detections] = lambda objects: objects,
    ) -> list[SceneMatches]:
        """How the objects of each scene are matched, one to one.

        Args:
            results: Chips, as :meth:`process` keeps them.
            thresholds: (T,) IoUs, the chosen one first.
            change: Applied to the predicted and the true objects of a scene before.
        """
        boxes = self.boxes
        if boxes is None:
            boxes = not any('outlines' in chip.pred for chip in results)
        matched = []
        for chips in by_scene(results):
            sides = _with_crowds(*map(change, self._sides(chips, boxes)))
            matched += match_scene(*sides, thresholds, [SizeRange()])
        return matched

    def _sides(self, chips: Sequence[ScoredChip], boxes: bool) -> list[Detections]:
        """What is predicted in a scene, and what is there, on the map."""
        _, crs, transform, size = chips[0].scene
        windows, cores = _windows_and_cores([chip.window for chip in chips], size)
        parts = [Detections.from_arrays(chip.pred) for chip in chips]
        tiles = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        reported = replace(Detections.concatenate(parts), tiles=tiles)
        joined = join_tiles(reported, windows, cores)
        objects = joined[joined.data['on_data']]
        pred = suppress(objects, self.suppress, iou=self.suppress_iou, score=0.001)
        # As layers hold them: what is equal there is equal here.
        pred = replace(pred, confidences=pred.needed('confidences').round(4))
        truth = _whole(Detections.concatenate([Detections.from_arrays(c.truth) for c in chips]))
        sides = []
        for objects in (pred, truth):
            middles = shapely.get_coordinates(shapely.centroid(objects.shapes))
            on_map = objects.to_map(Affine(*transform))
            if boxes:
                on_map = replace(on_map, outlines=shapely.box(*on_map.boxes.T))
            data = objects.data | {
                'inside': _has_data(middles, chips),
                'area_m2': areas_of(on_map.shapes, crs),
            }
            sides.append(replace(on_map, data=data))
        return sides


def by_scene(results: Sequence[ScoredChip]) -> list[list[ScoredChip]]:
    """The chips of each scene; one that was repeated counts once."""
    scenes: dict[tuple, dict[tuple, ScoredChip]] = defaultdict(dict)
    for chip in results:
        scenes[chip.scene][chip.window] = chip
    return [list(chips.values()) for chips in scenes.values()]


def _check_keys(sample: Mapping) -> None:
    needed = ['scene_id', 'window', 'crs', 'transform', 'scene_size']
    of_objects = 'pred_instances' in sample
    missing = [key for key in needed + ['instances'] * of_objects if key not in sample]
    if missing:
        raise ConfigError(
            f'geo_mm.MapMetric and chips without {", ".join(missing)}',
            'the meta_keys of configs/_base_/datasets in the packing step of the pipeline',
            'take meta_keys from there, or use geo_mm.datasets.META_KEYS',
        )
    if any('outline' not in instance for instance in sample.get('instances', ())):
        raise ConfigError(
            'geo_mm.MapMetric and chips without the outlines of whole objects',
            "dict(type='geo_mm.LoadChipObjects', with_outlines=True) in the test pipeline",
        )


def _found(instances: Mapping, window: Window, valid: np.ndarray, size) -> Detections:
    """What the model found in a chip, in pixels of the scene."""
    confidences, class_ids = _array(instances['scores']), _array(instances['labels'])
    boxes = _array(instances['bboxes']).astype(np.float64).reshape(-1, 4)
    if 'masks' in instances:
        masks = _array(instances['masks'])
        outlines = [mask_to_polygon(mask & valid, window) for mask in masks]
        data = {'on_data': np.array([mostly_on_data(mask, valid) for mask in masks], bool)}
        found = Detections.from_outlines(outlines, class_ids, confidences, data=data)
    else:
        data = {'on_data': _at_middles(valid, boxes)}
        corner = np.array([window.col_off, window.row_off])
        low, high = np.maximum(corner, 0), np.minimum(corner + valid.shape[::-1], size)
        boxes = np.clip(boxes + np.tile(corner, 2), np.tile(low, 2), np.tile(high, 2))
        found = Detections(np.nan_to_num(boxes), class_ids, confidences, data=data)
    return found[np.all(found.boxes[:, :2] < found.boxes[:, 2:], axis=1)]


def _true(instances: Sequence[Mapping]) -> Detections:
    """The whole objects that a chip shows a part of."""
    data = {
        'fid': np.array([item['fid'] for item in instances], np.int64),
        'crowd': np.array([item['crowd'] for item in instances], bool),
    }
    outlines = shapely.from_wkb([item['outline'] for item in instances])
    return Detections.from_outlines(outlines, [item['bbox_label'] for item in instances], data=data)


def _whole(parts: Detections) -> Detections:
    """Each feature once, its parts united."""
    _, first, feature = np.unique(parts.data['fid'], return_index=True, return_inverse=True)
    outlines = parts.shapes
    united = []
    for number in range(len(first)):
        different = np.unique(shapely.to_wkb(outlines[feature == number]))
        united.append(union(shapely.from_wkb(different)))
    chosen = parts[first]
    return Detections.from_outlines(united, chosen.class_ids, data=chosen.data)


def _with_crowds(pred: Detections, truth: Detections) -> tuple[Detections, Detections]:
    """An area to ignore is one for every class that is predicted."""
    crowd = truth.data['crowd']
    areas, others = truth[crowd], truth[~crowd]
    every = np.unique(pred.class_ids)
    copies = areas[np.repeat(np.arange(len(areas)), len(every))]
    copies = replace(copies, class_ids=np.tile(every, len(areas)))
    return pred, Detections.concatenate([others, copies])


def _windows_and_cores(windows: Sequence[tuple], size) -> tuple[np.ndarray, np.ndarray]:
    """What each chip sees, infinite where the scene ends, and what it is responsible for."""
    low = np.array(windows, np.float64)[:, :2]
    high = low + np.array(windows, np.float64)[:, 2:]
    cores = np.hstack([low, high])
    for axis in (0, 1):
        starts, place = np.unique(low[:, axis], return_inverse=True)
        ends = np.zeros(len(starts))
        np.maximum.at(ends, place, high[:, axis])
        overlap = ends[:-1] > starts[1:]
        middles = np.floor((ends[:-1] + starts[1:]) / 2)
        cores[:, axis] = np.append(0, np.where(overlap, middles, starts[1:]))[place]
        cores[:, axis + 2] = np.append(np.where(overlap, middles, ends[:-1]), ends[-1])[place]
    seen_low, seen_high = np.where(low <= 0, -np.inf, low), np.where(high >= size, np.inf, high)
    return np.hstack([seen_low, seen_high]), cores


def _has_data(points: np.ndarray, chips: Sequence[ScoredChip]) -> np.ndarray:
    """``(N,)`` bool, whether a chip shows data at points in pixels of the scene."""
    found = np.zeros(len(points), bool)
    for chip in chips:
        col, row, width, height = chip.window
        x, y = np.floor(points - (col, row)).astype(int).T
        here = np.flatnonzero((x >= 0) & (y >= 0) & (x < width) & (y < height))
        packed = cast(np.ndarray, chip.valid)  # all chips of objects have it
        valid = np.unpackbits(packed, axis=1, count=width).astype(bool)
        found[here] |= valid[y[here], x[here]]
    return found


def confusion_of(results: Sequence[ScoredChip], classes: tuple[str, ...]) -> Confusion:
    """How often pixels of each class were given each class, every pixel once."""
    count = len(classes)
    matrix = np.zeros((count, count), np.int64)
    for chips in by_scene(results):
        _, cores = _windows_and_cores([chip.window for chip in chips], chips[0].scene[3])
        for chip, (left, top, right, bottom) in zip(chips, cores.astype(int), strict=True):
            col, row = chip.window[:2]
            core = slice(top - row, bottom - row), slice(left - col, right - col)
            pred, truth = chip.pred[core], chip.truth[core]
            counted = (truth != IGNORE) & (pred < count)
            flat = truth[counted].astype(np.int64) * count + pred[counted]
            matrix += np.bincount(flat, minlength=count**2).reshape(count, count)
    return Confusion(classes, matrix)


def _pixel_scores(confusion: Confusion) -> dict[str, float]:
    scores = confusion.scores
    overall = vars(scores.overall)
    found = {key: overall[key] for key in ('accuracy', 'kappa', 'mean_iou', 'mean_f1')}
    for name, each in scores.classes.items():
        found |= {f'{name}/iou': each.iou, f'{name}/f1': each.f1}
    return _numbers(found)


def _numbers(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Undefined ones are NaN."""
    return {key: float('nan') if value is None else value for key, value in scores.items()}


def _array(values) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
