"""Splitting a scene into strips with a gap between them: what costs least of little ground."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geo_mm.catalog.coverage import Coverage
from geo_mm.catalog.entries import CatalogEntry
from geo_mm.catalog.labelled_scene import LabelledScene, SceneOptions, read_aoi
from geo_mm.raster import Scene

_TRAIN = 0.75
"""Share of the ground in the training part; the rest validates and tests."""

_CELL = 64  # pixels, of a chip whose eighth is the unit in which valid ground is measured


def group_count(entries: Sequence[CatalogEntry]) -> int:
    """How many parts of a catalog may go to different splits."""
    alone = sum(entry.group is None for entry in entries)
    return alone + len({entry.group for entry in entries if entry.group is not None})


def split_by_strips(
    entry: CatalogEntry, options: SceneOptions, gap: float, shortest: float
) -> list[CatalogEntry]:
    """Cut a scene across its longer side into parts to train, validate and test.

    Args:
        entry: The scene; it uses all of it.
        options: How it is opened, at its own GSD.
        gap: Pixels between two parts, of which none is read.
        shortest: Pixels that a part must have along the longer side.

    Returns:
        Two or three entries with their parts and splits: where the ground does
        not suffice for three parts, the second both validates and tests.
        Without room for two, the scene itself, without a split.
    """
    scene = Scene.open(entry.image, bands=options.bands, nodata=options.nodata, name=entry.name)
    aoi = None if entry.aoi is None else read_aoi(entry.aoi, scene, scene)
    coverage = Coverage(LabelledScene(scene, None, aoi), (_CELL, _CELL))
    across = scene.width >= scene.height
    ground = coverage.valid.sum(axis=0 if across else 1).astype(float)
    cell = coverage.cell_width if across else coverage.cell_height
    begin, end = np.flatnonzero(ground)[[0, -1]] + np.array([0, 1])
    cut = _cut(ground, begin, end, gap / cell, _TRAIN)
    if cut is None or min(cut[0] - begin, end - cut[1]) * cell < shortest:
        return [entry]
    again = _cut(ground, cut[1], end, gap / cell, 0.5)
    if again is None or min(again[0] - cut[1], end - again[1]) * cell < shortest:
        parts = {'train': (0, cut[0]), 'val': (cut[1], len(ground)), 'test': (cut[1], len(ground))}
    else:
        parts = {
            'train': (0, cut[0]),
            'val': (cut[1], again[0]),
            'test': (again[1], len(ground)),
        }
    return [
        replace(entry, split=split, area=_area(low / len(ground), high / len(ground), across))
        for split, (low, high) in parts.items()
    ]


def _cut(
    ground: np.ndarray, begin: int, end: int, gap: float, share: float
) -> tuple[int, int] | None:
    """Where the first part ends and the second begins, so that the first has its share of both."""
    step = int(np.ceil(gap))
    total = np.concatenate([[0], ground.cumsum()])
    for cell in range(begin + 1, end - step):
        first, second = total[cell] - total[begin], total[end] - total[cell + step]
        if first and second and first >= share * (first + second):
            return cell, cell + step
    return None


def _area(low: float, high: float, across: bool) -> tuple[float, float, float, float]:
    """The part of a scene between two fractions of its longer side; the gap never shrinks."""
    low, high = float(np.ceil(low * 1e4) / 1e4), float(np.floor(high * 1e4) / 1e4)
    return (low, 0.0, high, 1.0) if across else (0.0, low, 1.0, high)
