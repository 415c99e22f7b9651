"""Suppressing, fading and merging boxes that a detector gives of one object."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely

from geo_mm.detections.box_index import BoxPairs, Pairs, areas_of

CROWD = 16
"""Candidate pairs per box up to which boxes are settled in one go."""

PROBE = 512
"""Boxes of which crowding is estimated."""


class _Ranked(NamedTuple):
    """Boxes and who goes before whom.

    Attributes:
        boxes: ``(N, 4)`` float64.
        scores: ``(N,)``.
        labels: ``(N,)``.
        outlines: ``(N,)`` polygons, or None.
        areas: ``(N,)``, of the outlines if there are any.
        order: ``(N,)`` indices by falling rank.
        rank: ``(N,)`` place in that order.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    outlines: np.ndarray | None
    areas: np.ndarray
    order: np.ndarray
    rank: np.ndarray


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    iou: float = 0.5,
    ios: float | None = None,
    *,
    outlines: np.ndarray | None = None,
) -> np.ndarray:
    """Class-wise greedy non-maximum suppression, for any number of boxes.

    Boxes are taken by falling score (equal ones by falling area, then by
    coordinates); a box is kept unless a kept box of its class covers too much
    of it. The result does not depend on the order of the input. Time grows
    about in proportion to the number of boxes, crowded or not.

    Args:
        boxes: ``(N, 4)`` ``x_min, y_min, x_max, y_max``.
        scores: ``(N,)``.
        labels: ``(N,)`` integer classes.
        iou: Suppress at this intersection over union or more.
        ios: Suppress also at this intersection over the *smaller* area or
            more. None: do not.
        outlines: ``(N,)`` polygons to measure in place of the boxes, which
            must be their bounds.

    Returns:
        Indices of the kept boxes, by falling score.

    Raises:
        ValueError: If the arrays do not fit together or are not finite.
    """
    ranked = _ranked(boxes, scores, labels, outlines)
    owner = _claimed(ranked, iou, ios)
    kept = owner == np.arange(len(owner))
    return ranked.order[kept[ranked.order]]


def nmm(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    iou: float = 0.5,
    ios: float | None = None,
    *,
    outlines: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Class-wise greedy non-maximum merging: :func:`nms`, but what is suppressed is remembered.

    Args:
        boxes: As for :func:`nms`.
        scores: As for :func:`nms`.
        labels: As for :func:`nms`.
        iou: As for :func:`nms`.
        ios: As for :func:`nms`.
        outlines: As for :func:`nms`.

    Returns:
        Indices of the kept boxes, by falling score, and for each box of the
        input the index of the kept box that it belongs to: the best of those
        that suppress it, or itself.

    Raises:
        ValueError: As for :func:`nms`.
    """
    ranked = _ranked(boxes, scores, labels, outlines)
    owner = _claimed(ranked, iou, ios)
    kept = owner == np.arange(len(owner))
    return ranked.order[kept[ranked.order]], owner


def soft_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    sigma: float | None = 0.5,
    iou: float = 0.3,
    least: float = 0.001,
    outlines: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Class-wise soft non-maximum suppression (Bodla et al. 2017, arXiv 1704.04503).

    The best box is taken, the scores of those that overlap it are lowered, and
    so on. Memory grows with the number of overlapping pairs.

    Args:
        boxes: As for :func:`nms`.
        scores: ``(N,)`` 0..1.
        labels: As for :func:`nms`.
        sigma: A score is multiplied by ``exp(-IoU^2 / sigma)``. None: by
            ``1 - IoU`` where the IoU is at least ``iou``.
        iou: Only for ``sigma=None``.
        least: Boxes whose score falls below are dropped, and lower no other.
        outlines: As for :func:`nms`.

    Returns:
        Indices of the kept boxes, by falling new score, and their new scores.

    Raises:
        ValueError: As for :func:`nms`.
    """
    ranked = _ranked(boxes, scores, labels, outlines)
    now = ranked.scores.astype(np.float64)
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
    found = ranked.order[kept[ranked.order]]
    found = found[np.argsort(-now[found], kind='stable')]
    return found, now[found]


def _ranked(boxes, scores, labels, outlines) -> _Ranked:
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f'{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels')
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError('boxes and scores must be finite')
    areas = areas_of(boxes) if outlines is None else shapely.area(outlines)
    order = _falling(scores, areas, boxes, labels)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return _Ranked(boxes, scores, labels, outlines, areas, order, rank)


def _falling(scores, areas, boxes, labels) -> np.ndarray:
    """Order by falling score, then area, then coordinates and label."""
    order = np.argsort(-scores)
    # Sorting by many keys is slow. Few scores are equal, and fewer areas with them.
    tied = _repeated(scores[order])
    among = order[tied]
    among = among[np.lexsort((-areas[among], -scores[among]))]
    again = _repeated(scores[among], areas[among])
    rest = among[again]
    keys = (labels[rest], *boxes[rest].T[::-1], -areas[rest], -scores[rest])
    among[again] = rest[np.lexsort(keys)]
    order[tied] = among
    return order


def _repeated(*values: np.ndarray) -> np.ndarray:
    """Where sorted values equal a neighbour, in all arrays."""
    equal = np.logical_and.reduce([value[1:] == value[:-1] for value in values])
    return np.flatnonzero(np.append(False, equal) | np.append(equal, False))


def _claimed(ranked: _Ranked, iou: float, ios: float | None) -> np.ndarray:
    """For each box the kept one that claims it; itself if it is kept.

    As many of the best boxes as have few candidate pairs are settled at once,
    and what they suppress is never compared with anything else: in a crowd,
    few boxes settle most of the others.
    """
    # What is small against the other has a small IoU with it.
    exact = ios is None and ranked.outlines is None
    pairs = BoxPairs(ranked.boxes, ranked.labels, iou if exact else 0.0)
    owner = np.arange(len(ranked.order))
    undecided = np.ones(len(owner), dtype=bool)
    while undecided.any():
        block = _block(ranked, pairs, undecided)
        better, worse = _conflicts(ranked, pairs.among(block), iou, ios)
        kept = _kept(block, better, worse)
        _claim(ranked, owner, better, worse, kept)
        undecided &= ~block
        if undecided.any():
            better, worse = _conflicts(ranked, pairs.between(kept, undecided), iou, ios)
            _claim(ranked, owner, better, worse, kept)
            undecided[worse] = False
    return owner


def _block(ranked: _Ranked, pairs: BoxPairs, undecided: np.ndarray) -> np.ndarray:
    """The best of the undecided boxes, about as many as have ``CROWD`` candidates each."""
    best = ranked.order[undecided[ranked.order]]
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
    settles all independent groups at once.
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


def _claim(ranked: _Ranked, owner, better, worse, kept) -> None:
    """Gives each suppressed box to the best kept box that suppresses it."""
    claims = np.flatnonzero(kept[better])
    # Of several claims on a box the last one written counts.
    claims = claims[np.argsort(-ranked.rank[better[claims]], kind='stable')]
    owner[worse[claims]] = better[claims]


def _conflicts(ranked: _Ranked, pairs: Iterator[Pairs], iou: float, ios: float | None):
    """The better and the worse box of those pairs that cannot both be kept."""
    found = [np.empty((2, 0), np.int32)]
    for one, other, shared in _measured(ranked, pairs):
        areas = ranked.areas[one], ranked.areas[other]
        conflict = shared >= iou * (areas[0] + areas[1] - shared)
        if ios is not None:
            conflict |= shared >= ios * np.minimum(*areas)
        found.append(_by_rank(ranked, one[conflict], other[conflict]))
    return np.concatenate(found, axis=1)


def _fading(ranked: _Ranked, sigma: float | None, iou: float):
    """Better and worse box of pairs, and what taking one multiplies the other's score by."""
    found, factors = [np.empty((2, 0), np.int32)], [np.empty(0)]
    for one, other, shared in _measured(ranked, BoxPairs(ranked.boxes, ranked.labels).among()):
        overlap = shared / (ranked.areas[one] + ranked.areas[other] - shared)
        if sigma is None:
            fades = overlap >= iou
            one, other, factor = one[fades], other[fades], 1 - overlap[fades]
        else:
            factor = np.exp(-(overlap**2) / sigma)
        found.append(_by_rank(ranked, one, other))
        factors.append(factor)
    return *np.concatenate(found, axis=1), np.concatenate(factors)


def _measured(ranked: _Ranked, pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """The pairs with the areas that their outlines share, if they have any."""
    for one, other, shared in pairs:
        if ranked.outlines is not None:
            both = shapely.intersection(ranked.outlines[one], ranked.outlines[other])
            shared = shapely.area(both)
            hit = shared > 0
            one, other, shared = one[hit], other[hit], shared[hit]
        yield Pairs(one, other, shared)


def _by_rank(ranked: _Ranked, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``(2, P)``: the better and the worse of each pair."""
    swapped = ranked.rank[one] > ranked.rank[other]
    return np.stack([np.where(swapped, other, one), np.where(swapped, one, other)])
