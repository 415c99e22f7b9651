"""Pairs of overlapping boxes, for any number of boxes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BAND = 1 << 14
"""Boxes that are compared with each other at a time: they fit into a CPU's cache."""

CHUNK = 1 << 16
"""Candidate pairs that are compared at once, for the same reason."""

_BUCKETS = (1 << 16) - 1


class Pairs(NamedTuple):
    """Pairs of boxes.

    Attributes:
        one: ``(P,)`` numbers of boxes.
        other: ``(P,)`` numbers of others.
        shared: ``(P,)`` areas that they share, above 0.
    """

    one: np.ndarray
    other: np.ndarray
    shared: np.ndarray


class BoxPairs:
    """Finds the pairs of boxes of one class that overlap.

    Bands of boxes are taken from bottom to top, each with those of the bands
    below that reach into it. A band is cut into strips as high as its mean
    box, so a box reaches two of them on average, and giants cost no more than
    their number. Along a strip, boxes are sorted by their left edge: those
    that begin between the left and the right edge of a box are its candidates.

    Args:
        boxes: ``(N, 4)`` float64 ``x_min, y_min, x_max, y_max``, finite.
        labels: ``(N,)`` integers; boxes of different labels are no pairs.
        iou: Only pairs with this intersection over union or more are wanted.
            Others may be found, too.
    """

    def __init__(self, boxes: np.ndarray, labels: np.ndarray, iou: float = 0.0) -> None:
        mixed = len(labels) > 0 and bool((labels != labels[0]).any())
        # With an IoU of t, two boxes share t of the width and of the height of
        # each, so the one begins before the other has only t of it left.
        self._share = max(min(iou, 1.0), 0.0) * (1 - 1e-9)
        low, high = boxes[:, 1], boxes[:, 3] - self._share * (boxes[:, 3] - boxes[:, 1])
        bottom = low.min(initial=np.inf)
        extent = high.max(initial=-np.inf) - bottom
        scale = _BUCKETS / extent if extent > 0 else 0.0
        bucket = np.clip((low - bottom) * scale, 0, _BUCKETS).astype(np.uint16)
        order = np.argsort(bucket, kind='stable')
        self._number = order.astype(np.int32)
        self._boxes = boxes.take(order, axis=0)
        self._labels = labels[order] if mixed else None
        self._bucket = bucket[order]
        self._reach = np.clip((high - bottom) * scale, 0, _BUCKETS).astype(np.uint16)[order]

    def candidates(self, chosen: np.ndarray | None = None) -> int:
        """How many pairs must be compared to find those among the ``chosen``."""
        total = 0
        for strips, _ in self._bands(chosen):
            start = np.arange(1, len(strips.begin) + 1)
            total += int((np.searchsorted(strips.begin, strips.end, 'right') - start).sum())
        return total

    def among(self, chosen: np.ndarray | None = None) -> Iterator[Pairs]:
        """Pairs of two of the chosen boxes, each pair once, in chunks.

        Args:
            chosen: ``(N,)`` bool; None is all.
        """
        for strips, carried in self._bands(chosen):
            start = np.arange(1, len(strips.begin) + 1)
            stop = np.searchsorted(strips.begin, strips.end, 'right')
            yield from _compared(strips, strips, start, stop, carried)

    def between(self, some: np.ndarray, others: np.ndarray) -> Iterator[Pairs]:
        """Pairs of one box of ``some`` and one of ``others``, each once, in chunks.

        Args:
            some: ``(N,)`` bool.
            others: ``(N,)`` bool, true for none of ``some``.
        """
        for strips, carried in self._bands(some | others):
            of_some = some[strips.number]
            one, two = strips.at(of_some), strips.at(~of_some)
            start = np.searchsorted(two.begin, one.begin, 'left')
            stop = np.searchsorted(two.begin, one.end, 'right')
            yield from _compared(one, two, start, stop, carried)
            start = np.searchsorted(one.begin, two.begin, 'right')
            stop = np.searchsorted(one.begin, two.end, 'right')
            for pairs in _compared(two, one, start, stop, carried):
                yield Pairs(pairs.other, pairs.one, pairs.shared)

    def _bands(self, chosen: np.ndarray | None) -> Iterator[tuple['_Strips', int]]:
        """Strips of each band, and how many of its boxes the bands below have had."""
        where = np.arange(len(self._number))
        if chosen is not None:
            where = where[chosen[self._number]]
        buckets = self._bucket[where]
        carried, at = where[:0], 0
        while at < len(where):
            # Boxes of a bucket are in no order, so they stay together.
            last = buckets[min(at + BAND, len(where)) - 1]
            upto = int(np.searchsorted(buckets, last, 'right'))
            band = np.concatenate([carried, where[at:upto]])
            labels = None if self._labels is None else self._labels[band]
            strips = _strips(
                self._boxes.take(band, axis=0), labels, self._number[band], self._share
            )
            yield strips, len(carried)
            at = upto
            if at < len(where):
                carried = band[self._reach[band] >= buckets[at]]


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas ``(N,)`` of boxes ``(N, 4)``; 0 where a side is negative."""
    return _products(boxes[:, 2:] - boxes[:, :2])


def intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas ``(N,)`` that boxes ``(N, 4)`` share with others, one by one."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:])
    sides -= np.maximum(boxes[:, :2], others[:, :2])
    return _products(sides)


def _products(sides: np.ndarray) -> np.ndarray:
    np.maximum(sides, 0, out=sides)
    return sides[:, 0] * sides[:, 1]


class _Strips(NamedTuple):
    """Boxes, once for each strip that they reach, sorted by strip and left edge.

    Attributes:
        begin: Left edge, shifted by strip so that one axis holds all strips.
        end: Right edge likewise, less the share that need not be looked at.
        place: Of the box in the band.
        number: Of the box.
        strip: Of this entry.
        first: First strip of the box.
        box: ``(E, 4)`` the box.
    """

    begin: np.ndarray
    end: np.ndarray
    place: np.ndarray
    number: np.ndarray
    strip: np.ndarray
    first: np.ndarray
    box: np.ndarray

    def at(self, chosen: np.ndarray) -> '_Strips':
        where = np.flatnonzero(chosen)
        return _Strips(*(values.take(where, axis=0) for values in self))


def _strips(
    boxes: np.ndarray, labels: np.ndarray | None, number: np.ndarray, share: float
) -> _Strips:
    left, bottom = boxes[:, :2].min(axis=0)
    x_max, y_max = (boxes[:, 2:] - share * (boxes[:, 2:] - boxes[:, :2])).T
    # Twice the width: the strips do not touch on the common axis.
    width = 2 * (max(x_max.max(), boxes[:, 0].max()) - left) or 1.0
    height = (y_max - boxes[:, 1]).mean()
    height = height if height > 0 else 1.0
    first = np.floor((boxes[:, 1] - bottom) / height)
    last = np.maximum(np.floor((y_max - bottom) / height), first)
    counts = (last - first).astype(np.int64) + 1
    if labels is not None:
        first += (labels - labels.min()) * (last.max() + 1)
    place = np.repeat(np.arange(len(boxes)), counts)
    strip = first[place]
    strip += np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = strip * width + (boxes[place, 0] - left)
    order = np.argsort(begin)
    place, strip = place[order], strip[order]
    end = strip * width + (x_max[place] - left)
    return _Strips(
        begin[order], end, place, number[place], strip, first[place], boxes.take(place, axis=0)
    )


def _compared(
    one: _Strips, two: _Strips, start: np.ndarray, stop: np.ndarray, carried: int
) -> Iterator[Pairs]:
    """Pairs of entry ``i`` of one with the entries ``start[i]`` to ``stop[i]`` of two."""
    counts = np.maximum(stop - start, 0)
    ends = np.cumsum(counts)
    at = 0
    while at < len(ends):
        done = ends[at - 1] if at else 0
        upto = max(int(np.searchsorted(ends, done + CHUNK, 'right')), at + 1)
        here = counts[at:upto]
        i = np.repeat(np.arange(at, upto), here)
        j = np.arange(len(i)) + np.repeat(start[at:upto] - (ends[at:upto] - here - done), here)
        at = upto
        # A pair that shares several strips counts in the first of them, and
        # one that shares several bands in the first of these.
        new = one.strip[i] == np.maximum(one.first[i], two.first[j])
        if carried:
            new &= np.maximum(one.place[i], two.place[j]) >= carried
        i, j = i[new], j[new]
        shared = intersections(one.box.take(i, axis=0), two.box.take(j, axis=0))
        hit = np.flatnonzero(shared)
        yield Pairs(one.number[i[hit]], two.number[j[hit]], shared[hit])
