"""Parts of a scene without labels that look as parts with labels do."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

_OBJECTS = 3  # that a cell should hold, on average
_MOST, _FEWEST = 24, 5  # cells along the longer side
_NEIGHBOURS = 9
_PART = 0.1  # least share of a scene that is suspected
_ALIKE = 0.7  # share of its cells that must look labelled


class UnlabelledPart(NamedTuple):
    """A connected part without labels.

    Attributes:
        boxes: ``(1, 4)`` its bounds in pixels.
        share: Of the scene's valid cells.
        expected: Objects that as many cells with labels hold.
    """

    boxes: np.ndarray
    share: float
    expected: float


def unlabelled_part(
    data: np.ndarray, valid: np.ndarray, points: np.ndarray
) -> UnlabelledPart | None:
    """The largest part without labels, if it looks as parts with labels do.

    The scene is divided into cells. A cell is alike to others by mean, spread and
    edges of its bands. The part is suspected if the cells outside of it that are
    most alike have labels as often as those that are alike to labelled cells.

    Args:
        data: ``(bands, h, w)``.
        valid: ``(h, w)`` bool.
        points: ``(N, 2)`` a point in each object, in these pixels.
    """
    height, width = valid.shape
    side = max(height, width)
    along = int(np.clip(np.sqrt(len(points) / _OBJECTS), 0, _MOST))
    if along < _FEWEST or side < 8 * along:
        return None
    cell = side / along
    rows, cols = max(round(height / cell), 1), max(round(width / cell), 1)
    numbers = (np.arange(height) * rows // height)[:, None] * cols
    numbers = numbers + (np.arange(width) * cols // width)[None]
    pixels = np.bincount(numbers[valid], minlength=rows * cols)
    used = pixels >= 0.8 * (numbers.size / (rows * cols))
    place = np.clip(points.astype(int), 0, [width - 1, height - 1])
    counts = np.bincount(numbers[place[:, 1], place[:, 0]], minlength=rows * cols)
    empty = (used & (counts == 0)).reshape(rows, cols)
    groups, found = ndimage.label(empty, np.ones((3, 3)))
    if not found or used.sum() < _FEWEST**2:
        return None
    sizes = np.bincount(groups.ravel(), minlength=found + 1)
    sizes[0] = 0
    part = (groups == sizes.argmax()).ravel()
    share = float(part.sum() / used.sum())
    others = used & ~part
    labelled = others & (counts > 0)
    if share < _PART or labelled.sum() < 2 * _NEIGHBOURS:
        return None
    looks = _looks(data, valid, numbers, rows * cols)
    tree, has = cKDTree(looks[others]), (counts > 0)[others]
    own, near = tree.query(looks[labelled], _NEIGHBOURS + 1)
    usual = has[near[:, 1:]].mean()
    far, near = tree.query(looks[part], _NEIGHBOURS)
    # What looks as nothing else does says nothing.
    known = far[:, -1] <= np.percentile(own[:, -1], 95)
    alike = known & (has[near].mean(axis=1) >= 0.8 * usual)
    if alike.mean() < _ALIKE:
        return None
    row, col = np.nonzero(part.reshape(rows, cols))
    box = np.array(
        [col.min() / cols, row.min() / rows, (col.max() + 1) / cols, (row.max() + 1) / rows]
    )
    expected = float(part.sum() * counts[others].mean())
    return UnlabelledPart((box * [width, height, width, height])[None], share, expected)


def _looks(data: np.ndarray, valid: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """``(cells, features)`` with a spread of about one each."""
    owner = numbers[valid]
    pixels = np.maximum(np.bincount(owner, minlength=count), 1)
    features = []
    for band in data:
        values = band.astype(np.float64)
        edges = np.hypot(ndimage.sobel(values, 0), ndimage.sobel(values, 1))
        mean = np.bincount(owner, values[valid], count) / pixels
        square = np.bincount(owner, (values[valid] - mean[owner]) ** 2, count) / pixels
        features += [mean, np.sqrt(square), np.bincount(owner, edges[valid], count) / pixels]
    looks = np.stack(features, axis=1)
    ranks = np.percentile(looks, (16, 84), axis=0)
    return (looks - np.median(looks, axis=0)) / np.maximum(ranks[1] - ranks[0], 1e-9)
