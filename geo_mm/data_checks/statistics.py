"""Statistics of data: bands, classes and sizes of objects, as JSON that configs read."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geo_mm.catalog.label_classes import spread
from geo_mm.data_checks.examined import DataSet, ExaminedScene, find_data
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.data_checks.summary import SceneSummary, counts_of, summarise
from geo_mm.raster import BandStatistics, Scene, band_statistics

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
) -> DataStatistics:
    """Statistics of the scenes of a config, folder, table or training set.

    Mean and standard deviation, and the labels, are of all scenes to learn from;
    labels of other splits are of at most ``options.most`` scenes.

    Args:
        source: As for :func:`geo_mm.doctor`.
        options: What a config would say about the data, if the source is none.
        progress: Wraps the scenes as they are read, to show how far it is.

    Raises:
        GeoMMError: If a scene or its labels cannot be opened.
    """
    options = options or DoctorOptions()
    data = find_data(source, options)
    if data.error is not None:
        raise data.error
    summaries: list[SceneSummary] = []
    learnt: list[Scene] = []
    for split in data.splits:
        looked_at = spread(split.entries, options.most)
        for entry in split.entries if split.is_learnt else looked_at:
            scene = ExaminedScene.open(entry, split)
            if scene.image_error or scene.label_error:
                raise scene.image_error or scene.label_error  # type: ignore[misc]
            if split.is_learnt and scene.scene is not None:
                learnt.append(scene.scene)
            counted = split.is_learnt or entry in looked_at
            if counted and (summary := summarise(scene)) is not None:
                summaries.append(summary)
    return DataStatistics(data, band_statistics(progress(learnt)), tuple(summaries))
