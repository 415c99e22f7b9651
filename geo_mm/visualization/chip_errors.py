"""Errors of a prediction on a chip, as a picture and in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageDraw

from geo_mm.classes import IGNORE, Colour
from geo_mm.detections import Detections
from geo_mm.evaluation.matching import SceneMatches, SizeRange, match_scene, overlapping_pairs
from geo_mm.visualization.chips import boxes_of, class_map
from geo_mm.visualization.map_frame import Entry

# Okabe and Ito's, which the colour-blind can tell apart.
TRUE_POSITIVE: Colour = (0, 158, 115)
FALSE_POSITIVE: Colour = (213, 94, 0)
FALSE_NEGATIVE: Colour = (86, 180, 233)
WRONG: Colour = (220, 0, 40)

OBJECT_LEGEND = (
    Entry('true positive', TRUE_POSITIVE, line=True),
    Entry('false positive', FALSE_POSITIVE, line=True),
    Entry('false negative', FALSE_NEGATIVE, line=True),
)
PIXEL_LEGEND = (Entry('wrong class', WRONG),)

OBJECT_ERRORS = {
    'missed': 'true objects that no prediction meets',
    'background': 'predictions where there is no object',
    'wrong class': 'predictions of an object of another class',
    'inexact': 'predictions of an object whose boxes agree too little',
    'duplicate': 'predictions of an object that another one has met',
}
"""Kinds of errors of objects, and what they are (after Bolya et al., "TIDE", 2020)."""
_NEAR = 0.1  # IoU from which a prediction is one of an object, though inexact

_DIMMED = 0.5  # brightness of the picture below errors


@dataclass(frozen=True)
class ChipErrors:
    """Errors of one chip.

    Attributes:
        image: The picture with its errors.
        share: 0..1: of labelled pixels whose class is wrong; or of false positives
            and false negatives among all objects.
        count: Wrong pixels, or objects.
        text: In words.
        kinds: How many of each kind of error: false positives by what they are,
            and ``'missed'``; or ``'A as B'`` of pixels of class number A taken for B.
    """

    image: Image.Image
    share: float
    count: int
    text: str
    kinds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorDrawing:
    """How errors of objects are counted; those of pixels need no settings.

    Attributes:
        confidence: Confidence from which an object counts as predicted.
        iou: Intersection over union of boxes from which it is a true object.
    """

    confidence: float = 0.3
    iou: float = 0.5

    def __call__(self, picture: np.ndarray, sample: BaseDataElement) -> ChipErrors:
        """Compares prediction and ground truth of a chip.

        Args:
            picture: ``(h, w, 3)`` uint8.
            sample: DetDataSample or SegDataSample with both.
        """
        dimmed = (picture * _DIMMED).astype(np.uint8)
        if 'pred_instances' in sample:
            return self._of_objects(dimmed, sample)
        return _of_pixels(dimmed, sample)

    def _of_objects(self, picture: np.ndarray, sample: BaseDataElement) -> ChipErrors:
        found = sample.pred_instances
        pred = _detections(found[found.scores >= self.confidence])
        truth = _detections(sample.gt_instances, sample.get('ignored_instances'))
        match = match_scene(pred, truth, np.array([self.iou]), [SizeRange()])[0]
        hit, counted = match.matched[0] >= 0, match.counted[0]
        missed = match.truth_counted.copy()
        missed[match.matched[0][hit]] = False
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        for boxes, colour in (
            (match.truth.boxes[missed], FALSE_NEGATIVE),
            (match.pred.boxes[counted & ~hit], FALSE_POSITIVE),
            (match.pred.boxes[counted & hit], TRUE_POSITIVE),
        ):
            for box in boxes:
                draw.rectangle(tuple(box), outline=colour, width=2)
        right = int((counted & hit).sum())
        extra, lacking = int((counted & ~hit).sum()), int(missed.sum())
        share = (extra + lacking) / max(right + extra + lacking, 1)
        text = f'{right} TP, {extra} FP, {lacking} FN'
        kinds = self._kinds(match, counted & ~hit, lacking)
        return ChipErrors(image, share, extra + lacking, text, kinds)

    def _kinds(self, match: SceneMatches, extra: np.ndarray, missed: int) -> dict[str, int]:
        """False positives by what they are, and false negatives."""
        pred, truth = (
            replace(each, class_ids=np.zeros_like(each.class_ids))
            for each in (match.pred, match.truth)
        )
        pairs = overlapping_pairs(pred, truth, _NEAR)
        nearest = np.zeros(len(pred))
        np.maximum.at(nearest, pairs.pred, pairs.iou)
        other = np.zeros(len(pred), bool)
        differs = match.pred.class_ids[pairs.pred] != match.truth.class_ids[pairs.truth]
        other[pairs.pred[differs & (pairs.iou >= self.iou)]] = True
        twice = extra & match.duplicate
        wrong = extra & ~twice & other
        rest = extra & ~twice & ~wrong
        return {
            'missed': missed,
            'background': int((rest & (nearest < _NEAR)).sum()),
            'wrong class': int(wrong.sum()),
            'inexact': int((rest & (nearest >= _NEAR)).sum()),
            'duplicate': int(twice.sum()),
        }


def _of_pixels(picture: np.ndarray, sample: BaseDataElement) -> ChipErrors:
    truth, pred = class_map(sample.gt_sem_seg.data), class_map(sample.pred_sem_seg.data)
    labelled = truth != IGNORE
    wrong = labelled & (pred != truth)
    picture[wrong] = WRONG
    count = int(wrong.sum())
    share = count / max(int(labelled.sum()), 1)
    pairs, numbers = np.unique(np.stack([truth[wrong], pred[wrong]]), axis=1, return_counts=True)
    kinds = {f'{a} as {b}': int(n) for (a, b), n in zip(pairs.T, numbers, strict=True)}
    return ChipErrors(Image.fromarray(picture), share, count, f'{share:.1%} wrong', kinds)


def _detections(objects: BaseDataElement, ignored: BaseDataElement | None = None) -> Detections:
    """Boxes of a chip as they are matched; what is ignored counts as a crowd."""
    parts = [objects] if ignored is None else [objects, ignored]
    boxes = np.concatenate([boxes_of(part) for part in parts])
    data = {
        'area_m2': np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
        'inside': np.ones(len(boxes), bool),
        'crowd': np.arange(len(boxes)) >= len(objects),
    }
    labels = np.concatenate([part.labels.cpu().numpy() for part in parts])
    scores = objects.scores.cpu().numpy() if 'scores' in objects else None
    return Detections(boxes, labels, scores, data=data)
