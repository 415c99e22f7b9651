"""Suppressing, fading and merging detections of one object, class by class."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import shapely

from geo_mm.detections.box_index import BoxPairs, Pairs
from geo_mm.detections.detections import Detections
from geo_mm.geometry import rounded, union

METHODS = ('nms', 'soft-nms', 'nmm', 'none')

CROWD = 16
"""Candidate pairs per box up to which all boxes are decided at once."""

PROBE = 512
"""Boxes from which crowding is estimated."""


def suppress(
    detections: Detections, method: str, *, iou: float = 0.5, score: float = 0.0
) -> Detections:
    """Suppresses, fades or merges detections of a class that overlap much.

    Args:
        detections: Of a whole scene.
        method: ``'nms'`` (:func:`nms`), ``'soft-nms'`` (:func:`soft_nms`),
            ``'nmm'`` (:func:`nmm`), or ``'none'``, which keeps all.
        iou: Intersection over union from which ``'nms'`` and ``'nmm'`` act.
        score: Least confidence after ``'soft-nms'``.

    Returns:
        By falling confidence.

    Raises:
        ValueError: If there is no such method.
    """
    if method == 'nms':
        return nms(detections, iou)
    if method == 'nmm':
        return nmm(detections, iou)
    if method == 'soft-nms':
        return soft_nms(detections, least=score)
    if method == 'none':
        return detections.by_confidence()
    raise ValueError(f'no method {method!r}, only {", ".join(METHODS)}')


def nms(detections: Detections, iou: float = 0.5, ios: float | None = None) -> Detections:
    """Greedy non-maximum suppression of each class, for any number of detections.

    They are taken by falling confidence (equal ones by falling area, then by
    coordinates); one is kept unless a kept one of its class covers too much
    of it. The result does not depend on the order of the input. Time grows
    about in proportion to the number of detections, crowded or not.

    Args:
        detections: With confidences. Where they have outlines, these are measured.
        iou: Suppress at this intersection over union or more.
        ios: Suppress also at this intersection over the *smaller* area or
            more. None: do not.

    Returns:
        The kept ones, by falling confidence.
    """
    ranked = detections[_falling(detections)]
    owner = _claimed(ranked, iou, ios)
    return ranked[owner == np.arange(len(owner))]


def nmm(detections: Detections, iou: float = 0.5, ios: float | None = None) -> Detections:
    """Greedy non-maximum merging: :func:`nms`, but the suppressed ones are merged into the kept.

    Args:
        detections: As for :func:`nms`.
        iou: As for :func:`nms`.
        ios: As for :func:`nms`.

    Returns:
        The kept ones, by falling confidence, each with the union of its box
        and its outline with those of the ones it has suppressed.
    """
    ranked = detections[_falling(detections)]
    owner = _claimed(ranked, iou, ios)
    boxes = ranked.boxes.copy()
    np.minimum.at(boxes[:, :2], owner, ranked.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], owner, ranked.boxes[:, 2:])
    merged = replace(ranked, boxes=boxes)
    if ranked.outlines is not None:
        merged = replace(merged, outlines=_united(ranked.outlines, owner))
    return merged[owner == np.arange(len(owner))]


def suppressors(detections: Detections, iou: float = 0.5, ios: float | None = None) -> np.ndarray:
    """``(N,)`` index of the kept detection that suppresses each: the most confident one of them.

    Those that :func:`nms` keeps have their own index.

    Args:
        detections: As for :func:`nms`.
        iou: As for :func:`nms`.
        ios: As for :func:`nms`.
    """
    order = _falling(detections)
    found = np.empty_like(order)
    found[order] = order[_claimed(detections[order], iou, ios)]
    return found


def soft_nms(
    detections: Detections, *, sigma: float | None = 0.5, iou: float = 0.3, least: float = 0.001
) -> Detections:
    """Soft non-maximum suppression of each class (Bodla et al. 2017, arXiv 1704.04503).

    The most confident detection is taken, the confidences of those that
    overlap it are lowered, and so on. Memory grows with the number of
    overlapping pairs.

    Args:
        detections: As for :func:`nms`.
        sigma: A confidence is multiplied by ``exp(-IoU^2 / sigma)``. None: by
            ``1 - IoU`` where the IoU is at least ``iou``.
        iou: Only for ``sigma=None``.
        least: Detections whose confidence falls below are dropped, and lower
            no other.

    Returns:
        The kept ones with their new confidences, by which they fall.
    """
    ranked = detections[_falling(detections)]
    now = ranked.needed('confidences').copy()
    better, worse, factor = _fading(ranked, sigma, iou)
    open_ = now >= least
    kept = np.zeros(len(now), dtype=bool)
    while open_.any():
        live = open_[better] & open_[worse]
        better, worse, factor = better[live], worse[live], factor[live]
        # A box that none of its open neighbours beats will be beaten by none.
        ahead = now[better] >= now[worse]
        first = open_.copy()
        first[np.where(ahead, worse, better)] = False
        kept |= first
        open_ &= ~first
        for winner, loser in ((better, worse), (worse, better)):
            hit = np.flatnonzero(first[winner])
            np.multiply.at(now, loser[hit], factor[hit])
        open_ &= now >= least
    return replace(ranked, confidences=now)[kept].by_confidence()


def _united(outlines: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The union of the outlines of each owner, in its place."""
    united = outlines.copy()
    order = np.argsort(owner, kind='stable')
    bounds = np.flatnonzero(np.diff(owner[order], prepend=-1, append=-1))
    for start, end in itertools.pairwise(bounds):
        if end - start > 1:
            group = order[start:end]
            united[owner[group[0]]] = union(outlines[group])
    return united


def _falling(detections: Detections) -> np.ndarray:
    """Order by falling confidence, then area, then coordinates and class."""
    confidences, areas = detections.needed('confidences'), detections.areas
    order = np.argsort(-confidences)
    # Sorting by many keys is slow. Few confidences are equal, and fewer areas with them.
    tied = _repeated(confidences[order])
    among = order[tied]
    among = among[np.lexsort((-areas[among], -confidences[among]))]
    again = _repeated(confidences[among], areas[among])
    rest = among[again]
    columns = detections.boxes[rest].T[::-1]
    keys = (detections.class_ids[rest], *columns, -areas[rest], -confidences[rest])
    among[again] = rest[np.lexsort(keys)]
    order[tied] = among
    return order


def _repeated(*values: np.ndarray) -> np.ndarray:
    """Where sorted values equal a neighbour, in all arrays."""
    equal = np.logical_and.reduce([value[1:] == value[:-1] for value in values])
    return np.flatnonzero(np.append(False, equal) | np.append(equal, False))


def _claimed(ranked: Detections, iou: float, ios: float | None) -> np.ndarray:
    """For each detection, given by falling rank, the kept one that claims it; itself if kept.

    As many of the best boxes as have few candidate pairs are decided at once,
    and what they suppress is never compared with anything else: in a crowd,
    few boxes decide about most of the others.
    """
    # What is small against the other has a small IoU with it.
    exact = ios is None and ranked.outlines is None
    pairs = BoxPairs(ranked.boxes, ranked.class_ids, iou if exact else 0.0)
    owner = np.arange(len(ranked))
    undecided = np.ones(len(owner), dtype=bool)
    while undecided.any():
        block = _block(pairs, undecided)
        better, worse = _conflicts(ranked, pairs.among(block), iou, ios)
        kept = _kept(block, better, worse)
        _claim(owner, better, worse, kept)
        undecided &= ~block
        if undecided.any():
            better, worse = _conflicts(ranked, pairs.between(kept, undecided), iou, ios)
            _claim(owner, better, worse, kept)
            undecided[worse] = False
    return owner


def _block(pairs: BoxPairs, undecided: np.ndarray) -> np.ndarray:
    """The best of the undecided boxes, about as many as have ``CROWD`` candidates each."""
    best = np.flatnonzero(undecided)
    probe = best[:PROBE]
    block = np.zeros_like(undecided)
    block[probe] = True
    # Of twice as many boxes, each has twice as many candidates.
    crowd = pairs.candidates(block) / len(probe) * len(best) / len(probe)
    block[best[: max(int(len(best) * min(CROWD / max(crowd, CROWD), 1)), 1)]] = True
    return block


def _kept(block: np.ndarray, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """Which boxes of a block the greedy rule keeps, decided in rounds.

    An undecided box without an undecided better rival is kept, and its worse
    rivals are suppressed. This decides as going box by box does, but a round
    decides about all independent groups at once.
    """
    kept = np.zeros_like(block)
    undecided = block.copy()
    while len(better):
        first = undecided.copy()
        first[worse] = False
        kept |= first
        undecided &= ~first
        undecided[worse[first[better]]] = False
        open_ = undecided[better] & undecided[worse]
        better, worse = better[open_], worse[open_]
    return kept | undecided


def _claim(owner: np.ndarray, better: np.ndarray, worse: np.ndarray, kept: np.ndarray) -> None:
    """Gives each suppressed box to the best kept box that suppresses it."""
    claims = np.flatnonzero(kept[better])
    # Of several claims on a box the last one written counts.
    claims = claims[np.argsort(-better[claims], kind='stable')]
    owner[worse[claims]] = better[claims]


def _conflicts(ranked: Detections, pairs: Iterator[Pairs], iou: float, ios: float | None):
    """The better and the worse box of those pairs that cannot both be kept."""
    found = [np.empty((2, 0), np.int32)]
    for one, other, shared in _measured(ranked, pairs):
        areas = ranked.areas[one], ranked.areas[other]
        conflict = shared >= iou * (areas[0] + areas[1] - shared)
        if ios is not None:
            conflict |= shared >= ios * np.minimum(*areas)
        found.append(_by_rank(one[conflict], other[conflict]))
    return np.concatenate(found, axis=1)


def _fading(ranked: Detections, sigma: float | None, iou: float):
    """Better and worse box of pairs, and what taking one multiplies the other's score by."""
    found, factors = [np.empty((2, 0), np.int32)], [np.empty(0)]
    for one, other, shared in _measured(ranked, BoxPairs(ranked.boxes, ranked.class_ids).among()):
        overlap = shared / (ranked.areas[one] + ranked.areas[other] - shared)
        if sigma is None:
            fades = overlap >= iou
            one, other, factor = one[fades], other[fades], 1 - overlap[fades]
        else:
            factor = np.exp(-(overlap**2) / sigma)
        found.append(_by_rank(one, other))
        factors.append(factor)
    return *np.concatenate(found, axis=1), np.concatenate(factors)


def _measured(ranked: Detections, pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """The pairs with the areas that their outlines share, if they have any."""
    for one, other, shared in pairs:
        if ranked.outlines is not None:
            both = rounded(ranked.outlines[one], ranked.outlines[other])
            shared = shapely.area(shapely.intersection(*both))
            hit = shared > 0
            one, other, shared = one[hit], other[hit], shared[hit]
        yield Pairs(one, other, shared)


def _by_rank(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``(2, P)``: the better and the worse of each pair."""
    return np.stack([np.minimum(one, other), np.maximum(one, other)])
