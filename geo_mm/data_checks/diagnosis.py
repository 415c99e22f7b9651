"""The doctor: all checks of a config, folder or table, scene by scene."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geo_mm.catalog import CatalogEntry
from geo_mm.catalog.label_classes import spread
from geo_mm.cluster import mapping
from geo_mm.data_checks.examined import DataSet, ExaminedScene, SplitData, find_data, title
from geo_mm.data_checks.findings import SEVERITIES, Finding, Severity, merged, worst_first
from geo_mm.data_checks.image_checks import IMAGE_CHECKS, unreadable
from geo_mm.data_checks.label_checks import LABEL_CHECKS, LAYER_CHECKS
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.data_checks.set_checks import SET_CHECKS
from geo_mm.data_checks.summary import SceneSummary, summarise
from geo_mm.errors import SceneError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        data: What was examined.
        findings: The worst first.
        scenes: The numbers of each scene that was looked at.
    """

    data: DataSet
    findings: tuple[Finding, ...]
    scenes: tuple[SceneSummary, ...]

    def count(self, severity: Severity) -> int:
        """How many findings are so severe."""
        return sum(finding.severity == severity for finding in self.findings)

    def fails(self, on: Severity = 'error') -> bool:
        """Whether there is a finding at least as severe."""
        limit = SEVERITIES.index(on)
        return any(SEVERITIES.index(finding.severity) <= limit for finding in self.findings)

    def summary(self) -> str:
        """Such as ``1 error, 0 warnings, 2 notes in 12 scenes``."""
        counts = [f'{n} {name}{"s" * (n != 1)}' for name in SEVERITIES for n in [self.count(name)]]
        scenes = sum(len(split.entries) for split in self.data.splits)
        return f'{", ".join(counts)} in {scenes} scene{"s" * (scenes != 1)}'

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {
            'source': self.data.source,
            'scenes': {split.name: len(split.entries) for split in self.data.splits},
            'counts': {name: self.count(name) for name in SEVERITIES},
            'findings': [finding.to_dict() for finding in self.findings],
        }


def doctor(
    source: 'str | os.PathLike | Config',
    options: DoctorOptions | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
    *,
    cluster: str | None = None,
) -> Diagnosis:
    """Look for what is wrong with data, before a model is trained on them.

    Scenes are read one by one, coarsely or in a few windows, so memory does not
    depend on their size or number; a label layer is held as a whole.

    Args:
        source: Config, catalog, folder, pattern, image or training set of another program.
        options: What a config would say about the data, if the source is none.
        progress: Wraps the scenes as they are looked at, to show how far it is.
        cluster: Of Dask, whose workers look at the scenes: see
            :func:`geo_mm.cluster.mapping`.

    Raises:
        GeoMMError: If there is nothing to look at.
    """
    options = options or DoctorOptions()
    data = find_data(source, options)
    findings: list[Finding] = []
    summaries: list[SceneSummary] = []
    layers: set[tuple] = set()
    chosen = [
        (entry, split) for split in data.splits for entry in spread(split.entries, options.most)
    ]
    items = []
    for entry, split in chosen:
        layer = (entry.labels, entry.layer, str(split.label_options))
        items.append((entry, split.alone(), layer not in layers))
        layers.add(layer)
    with mapping(cluster, 'doctor') as mapped:
        results = mapped(_examine, items, title)
        for _, (found, summary) in zip(progress(items), results, strict=True):
            findings += found
            if summary is not None:
                summaries.append(summary)
    findings += [finding for check in SET_CHECKS for finding in check(data, summaries)]
    findings += _remarks(data, findings, len(chosen))
    return Diagnosis(data, tuple(worst_first(merged(findings))), tuple(summaries))


def _examine(
    item: tuple[CatalogEntry, SplitData, bool],
) -> tuple[list[Finding], SceneSummary | None]:
    """What is wrong with a scene, or with its layer if asked for, and its summary if it has one."""
    entry, split, with_layer = item
    scene = ExaminedScene.open(entry, split)
    checks: list[Callable] = [*IMAGE_CHECKS, *LABEL_CHECKS, *(LAYER_CHECKS if with_layer else ())]
    try:
        return [finding for check in checks for finding in check(scene)], summarise(scene)
    except SceneError as error:  # it opens, but its pixels cannot be read
        scene.image_error = error
        return unreadable(scene), None


def _remarks(data: DataSet, findings: Sequence[Finding], looked_at: int) -> list[Finding]:
    """What the checks could not see."""
    found = []
    total = sum(len(split.entries) for split in data.splits)
    if looked_at < total:
        found.append(
            Finding(
                'not-all-scenes',
                'note',
                data.source,
                f'{looked_at} of {total} scenes were looked at',
                'faults of the others, and ground that splits share, are not seen',
                'look at more with --most, and at all splits with geo-mm audit',
            )
        )
    if all(split.classes is None for split in data.splits):
        found.append(
            Finding(
                'no-labels',
                'note',
                data.source,
                'no labels are known',
                'only the images were looked at',
                'name them with --labels, or examine a config or catalog',
            )
        )
    if data.error is not None and all(finding.severity != 'error' for finding in findings):
        found.append(
            Finding(
                'unusable-labels',
                'error',
                data.source,
                data.error.found,
                'the classes of the labels are not known',
                data.error.fix or data.error.expected,
            )
        )
    return found
