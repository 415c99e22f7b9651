"""What is done with objects of a class that overlap."""

import itertools

import numpy as np
import shapely

from geo_mm.detections.joining import Objects
from geo_mm.detections.suppression import nmm, nms, soft_nms

METHODS = ('nms', 'soft-nms', 'nmm', 'none')


def settle(objects: Objects, method: str, *, iou: float = 0.5, score: float = 0.0) -> Objects:
    """Suppresses, fades or merges objects of a class that overlap much.

    Args:
        objects: Of a whole scene.
        method: ``'nms'`` keeps the surest of them, ``'soft-nms'`` lowers the
            scores of the others, ``'nmm'`` merges them into it, ``'none'``
            keeps all.
        iou: Intersection over union from which ``'nms'`` and ``'nmm'`` do so.
        score: Least score after ``'soft-nms'``.

    Returns:
        By falling score.

    Raises:
        ValueError: If there is no such method.
    """
    given = objects.boxes, objects.scores, objects.labels
    outlines = objects.outlines
    if method == 'nms':
        return objects.at(nms(*given, iou, outlines=outlines))
    if method == 'nmm':
        return _merged(objects, *nmm(*given, iou, outlines=outlines))
    if method == 'soft-nms':
        kept, scores = soft_nms(*given, least=score, outlines=outlines)
        return objects.at(kept)._replace(scores=scores)
    if method == 'none':
        return objects.at(np.argsort(-objects.scores, kind='stable'))
    raise ValueError(f'no method {method!r}, only {", ".join(METHODS)}')


def _merged(objects: Objects, kept: np.ndarray, owners: np.ndarray) -> Objects:
    """The kept objects, each with what it has claimed in its box and its outline."""
    boxes = objects.boxes.copy()
    np.minimum.at(boxes[:, :2], owners, objects.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], owners, objects.boxes[:, 2:])
    merged = objects._replace(boxes=boxes)
    if objects.outlines is not None:
        outlines = objects.outlines.copy()
        order = np.argsort(owners, kind='stable')
        bounds = np.flatnonzero(np.diff(owners[order], prepend=-1, append=-1))
        for start, end in itertools.pairwise(bounds):
            if end - start > 1:
                group = order[start:end]
                outlines[owners[group[0]]] = shapely.union_all(objects.outlines[group])
        merged = merged._replace(outlines=outlines)
    return merged.at(kept)
