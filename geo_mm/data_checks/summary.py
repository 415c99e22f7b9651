"""The numbers of each scene that are kept: statistics, and checks of all scenes, need no more."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import STRtree

from geo_mm.catalog import AuditedScene
from geo_mm.catalog.audit import picture_part
from geo_mm.catalog.ground import scene_ground
from geo_mm.data_checks.examined import ExaminedScene
from geo_mm.errors import GeoMMError
from geo_mm.labels import LabelRaster

_SAMPLE = 20_000  # pixels of a scene


@dataclass(frozen=True)
class SceneSummary:
    """What is remembered of a scene.

    Attributes:
        name: Of the scene.
        file: Its first file.
        split: That it belongs to.
        bands: Names of the bands that are used.
        dtype: Type of their pixels.
        gsd: Metres per pixel of the file; None without a CRS.
        sample: ``(bands, n)`` pixels, evenly spread over those that are valid.
        audited: Its ground and classes.
        counts: Objects, or sampled pixels, of each class.
        pixels: ``(N, 2)`` width and height of the objects' boxes in pixels as trained.
        metres: The same in metres; None without a CRS.
        numbers: ``(N,)`` class of each object, -1 for ignored ones.
        chips: Chips side by side that are mostly valid.
        with_labels: How many of them hold a label.
        key: The same for scenes that are one: their files and part.
    """

    name: str
    file: str
    split: str
    bands: tuple[str, ...]
    dtype: str
    gsd: float | None
    sample: np.ndarray
    audited: AuditedScene
    counts: dict[str, int]
    pixels: np.ndarray
    metres: np.ndarray | None
    numbers: np.ndarray
    chips: int
    with_labels: int
    key: tuple = field(repr=False, default=())


def summarise(scene: ExaminedScene) -> SceneSummary | None:
    """The numbers of a scene; None if it cannot be opened as it is trained on."""
    if scene.labelled is None or scene.whole is None:
        return None
    opened, labels = scene.labelled.scene, scene.labelled.labels
    names = scene.split.classes.names if scene.split.classes else ()
    try:
        found = np.empty(0, np.int64) if labels is None else scene.labelled.points()[1]
    except GeoMMError:  # a label raster with values of no class
        found = np.empty(0, np.int64)
    known = np.bincount(found[found >= 0], minlength=len(names)).tolist()
    counts = dict(zip(names, known, strict=False)) if labels is not None else {}
    if scene.objects is not None and scene.split.classes is not None:
        counts.pop(scene.split.classes.background or '', None)
    sizes: np.ndarray = np.empty((0, 2))
    numbers: np.ndarray = np.empty(0, np.int64)
    if scene.objects is not None and len(scene.objects):
        bounds = shapely.bounds(scene.objects.geometries)
        sizes, numbers = bounds[:, 2:] - bounds[:, :2], scene.objects.labels
    ground = scene_ground(opened, scene.labelled.aoi)
    pixels = scene.overview[0][:, scene.usable]
    chips, with_labels = _chips(scene)
    return SceneSummary(
        name=scene.name,
        file=scene.file,
        split=scene.split.name,
        bands=opened.band_names,
        dtype=str(opened.dtype),
        gsd=None if scene.whole.gsd is None else float(np.sqrt(np.prod(scene.whole.gsd))),
        sample=pixels[:, :: max(pixels.shape[1] // _SAMPLE, 1)].copy(),
        audited=AuditedScene(
            scene.name, opened.sources[0], ground, picture_part(opened, ground), counts
        ),
        counts=counts,
        pixels=sizes,
        metres=None if opened.gsd is None else sizes * opened.gsd,
        numbers=numbers,
        chips=chips,
        with_labels=with_labels,
        key=(scene.split.name, opened.sources, scene.entry.area, scene.entry.aoi),
    )


def _chips(scene: ExaminedScene) -> tuple[int, int]:
    """Chips side by side that are at least half valid, and those of them with a label."""
    assert scene.labelled is not None
    opened, side = scene.labelled.scene, scene.split.chip_size
    rows, cols = max(opened.height // side, 1), max(opened.width // side, 1)
    valid, grid = scene.usable, scene.overview[2]
    row = np.minimum(np.arange(grid.height) * rows // grid.height, rows - 1)
    col = np.minimum(np.arange(grid.width) * cols // grid.width, cols - 1)
    owner = row[:, None] * cols + col[None]
    total = np.bincount(owner.ravel(), minlength=rows * cols)
    share = np.bincount(owner[valid], minlength=rows * cols) / np.maximum(total, 1)
    used = share >= 0.5
    if isinstance(scene.labelled.labels, LabelRaster):
        return int(used.sum()), int(used.sum())
    has = np.zeros(rows * cols, bool)
    if scene.objects is not None and len(scene.objects):
        number = np.flatnonzero(used)
        width, height = opened.width / cols, opened.height / rows
        left, top = (number % cols) * width, (number // cols) * height
        boxes = shapely.box(left, top, left + width, top + height)
        hit = STRtree(boxes).query(scene.objects.geometries, predicate='intersects')[1]
        has[number[hit]] = True
    return int(used.sum()), int((used & has).sum())


def counts_of(scenes: Sequence[SceneSummary], split: str) -> dict[str, int]:
    """Labels of each class in the scenes of a split."""
    total: dict[str, int] = {}
    for scene in scenes:
        if scene.split == split:
            for name, count in scene.counts.items():
                total[name] = total.get(name, 0) + count
    return total
