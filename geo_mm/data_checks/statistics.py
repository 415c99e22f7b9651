"""Statistics of data: bands, classes and sizes of objects, as JSON that configs read."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geo_mm.catalog import CatalogEntry
from geo_mm.catalog.label_classes import spread
from geo_mm.cluster import mapping
from geo_mm.data_checks.examined import DataSet, ExaminedScene, SplitData, find_data, title
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.data_checks.summary import SceneSummary, counts_of, summarise
from geo_mm.errors import SceneError
from geo_mm.raster import BandStatistics
from geo_mm.raster.statistics import RunningStatistics

if TYPE_CHECKING:
    from mmengine.config import Config

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class DataStatistics:
    """What data are like.

    Attributes:
        data: What was read.
        bands: Of all valid pixels of the scenes to learn from.
        scenes: The numbers of each scene that was looked at.
    """

    data: DataSet
    bands: BandStatistics
    scenes: tuple[SceneSummary, ...]

    def sizes(self, unit: str) -> np.ndarray:
        """``(N,)`` sides of squares as large as the objects' boxes, in ``pixels`` or ``metres``."""
        found = [getattr(scene, unit) for scene in self.scenes]
        return np.concatenate(
            [np.empty(0), *(np.sqrt(own.prod(axis=1)) for own in found if own is not None)]
        )

    def to_dict(self) -> dict:
        """Plain data for JSON, with one key so that it can be a base of a config beside others."""
        names = [split.name for split in self.data.splits]
        percentiles = {
            unit: dict(zip(map(str, _PERCENTILES), np.percentile(sides, _PERCENTILES), strict=True))
            for unit in ('pixels', 'metres')
            if len(sides := self.sizes(unit))
        }
        gsds = [scene.gsd for scene in self.scenes if scene.gsd is not None]
        return {
            'statistics': {
                'source': self.data.source,
                'scenes': {split.name: len(split.entries) for split in self.data.splits},
                'gsd': {'min': min(gsds), 'max': max(gsds)} if gsds else None,
                'bands': self.bands.to_dict(),
                'labels': {name: counts_of(self.scenes, name) for name in names},
                'object_side_percentiles': percentiles,
            }
        }


def data_statistics(
    source: 'str | os.PathLike | Config',
    options: DoctorOptions | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
    *,
    cluster: str | None = None,
) -> DataStatistics:
    """Statistics of the scenes of a config, folder, table or training set.

    Mean and standard deviation, and the labels, are of all scenes to learn from;
    labels of other splits are of at most ``options.most`` scenes.

    Args:
        source: As for :func:`geo_mm.doctor`.
        options: What a config would say about the data, if the source is none.
        progress: Wraps the scenes as they are read, to show how far it is.
        cluster: Of Dask, whose workers read the scenes: see
            :func:`geo_mm.cluster.mapping`.

    Raises:
        GeoMMError: If a scene or its labels cannot be opened.
    """
    options = options or DoctorOptions()
    data = find_data(source, options)
    if data.error is not None:
        raise data.error
    chosen = [
        (split, entry)
        for split in data.splits
        for entry in (split.entries if split.is_learnt else spread(split.entries, options.most))
    ]
    items = [(entry, split.alone(), number) for number, (split, entry) in enumerate(chosen)]
    summaries: list[SceneSummary] = []
    bands: RunningStatistics | None = None
    with mapping(cluster, 'statistics') as mapped:
        results = mapped(_measure, items, title)
        for _, (part, summary) in zip(progress(items), results, strict=True):
            summaries.append(summary)
            if part is None:
                continue
            if bands is None:
                bands = RunningStatistics(part.names)
            bands.join(part, summary.name)
    if bands is None:
        raise SceneError('no scenes to take statistics of', 'at least one')
    names = [summary.name for summary in summaries]
    return DataStatistics(data, bands.result(names), tuple(summaries))


def _measure(
    item: tuple[CatalogEntry, SplitData, int],
) -> tuple[RunningStatistics | None, SceneSummary]:
    """The numbers of a scene, and of its bands if they are learnt from."""
    entry, split, number = item
    scene = ExaminedScene.open(entry, split)
    if error := scene.image_error or scene.label_error:
        raise error
    summary = summarise(scene)
    assert scene.scene is not None and summary is not None  # or there were an error
    part = RunningStatistics.of_scene(scene.scene, number) if split.is_learnt else None
    return part, summary
