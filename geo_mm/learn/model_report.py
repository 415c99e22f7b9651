"""A report of a trained model, from one pass over the chips of a split."""

import heapq
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

import geo_mm
from geo_mm.catalog import read_catalog
from geo_mm.catalog.audit import AuditedScene
from geo_mm.classes import ClassSet
from geo_mm.engine.config_data import audited_scenes, described_datasets
from geo_mm.errors import GeoMMError, counted
from geo_mm.evaluation.matching import COCO_IOUS, SceneMatches
from geo_mm.evaluation.metric import MapMetric, confusion_of
from geo_mm.evaluation.scores import Confusion, ObjectScores, score_objects
from geo_mm.evaluation.thresholds import (
    ProbabilityCounts,
    ThresholdCurve,
    object_confusion,
    object_curve,
    without_classes,
)
from geo_mm.formats.provenance import FileRecord, library_versions
from geo_mm.inference.model import probabilities
from geo_mm.learn.options import ReportOptions
from geo_mm.learn.results import ComparedChip, TestedSplit
from geo_mm.paths import make_folder, write_text
from geo_mm.visualization.chip_errors import OBJECT_ERRORS, ErrorDrawing
from geo_mm.visualization.chips import class_map, contact_sheet
from geo_mm.visualization.report_page import ErrorExample, ModelReport, ObjectSizes
from geo_mm.visualization.training_plots import training_records

_MOST_KINDS = 6  # of errors that are shown; pixels of K classes have K * (K - 1)
_MOST_SCENES = 500  # of which a map is drawn; each is opened


def report(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    options: ReportOptions | None = None,
    path: str | os.PathLike | None = None,
    *,
    runs: Sequence[str | os.PathLike] = (),
    device: str | None = None,
    trust_checkpoint: bool = False,
) -> Path:
    """Writes a page on a trained model, and its numbers as JSON beside it.

    Args:
        checkpoint: Of the model.
        config: Names the chips; None takes the one in the checkpoint, of which only
            the test split may be used unless it is trusted.
        options: Which chips, and how errors are counted.
        path: ``.html`` file; None takes ``report_SPLIT.html`` beside the checkpoint.
        runs: Work dirs of its trainings, in order; none takes that of the checkpoint.
        device: Torch device; None takes the first GPU, else the CPU.
        trust_checkpoint: Let the config in the checkpoint import and call anything.

    Returns:
        The page.

    Raises:
        ConfigError: If the checkpoint does not fit the config, or there is no such split.
        OutputError: If it cannot be written.
    """
    options = options or ReportOptions()
    tested = TestedSplit.open(
        checkpoint, config, options.split, device=device, trust_checkpoint=trust_checkpoint
    )
    found = _Pass(tested, options).report(
        checkpoint,
        [training_records(run) for run in runs or [Path(checkpoint).parent]],
        _splits(tested.config) if config is not None or trust_checkpoint else {},
    )
    beside = Path(checkpoint).with_name(f'report_{options.split}.html')
    page = beside if path is None else Path(path)
    page = page if page.suffix else page.with_suffix('.html')
    make_folder(page.parent)
    write_text(page, found.page())
    numbers = {'geo_mm': geo_mm.__version__, **found.to_dict()}
    write_text(page.with_suffix('.json'), json.dumps(numbers, indent=2) + '\n')
    return page


def class_scores(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    options: ReportOptions | None = None,
) -> dict[str, dict[str, float]]:
    """The scores of each class that a :func:`report` has, by class and name.

    Args:
        checkpoint: As for :func:`report`, as are the others.
        config: Names the chips.
        options: Which chips, and how errors are counted.

    Returns:
        ``precision``, ``recall``, ``f1`` and others, each between 0 and 1, and counts.

    Raises:
        ConfigError: If the checkpoint does not fit the config, or there is no such split.
    """
    options = options or ReportOptions()
    tested = TestedSplit.open(checkpoint, config, options.split)
    found = _Pass(tested, replace(options, examples=0)).scores()
    return found.to_dict()['classes']


class _Pass:
    """One pass over the chips, and what it found."""

    def __init__(self, tested: TestedSplit, options: ReportOptions) -> None:
        self.tested, self.options = tested, options
        self.classes: ClassSet = tested.model.spec.classes
        self.metric = MapMetric(options.iou, options.confidence)
        self.probabilities = ProbabilityCounts(len(self.classes))
        self.kinds: Counter[str] = Counter()
        self.worst: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.drawing = ErrorDrawing(options.confidence, options.iou)
        numbers = tested.numbers
        self.chips = len(numbers)
        for number, chip in zip(numbers, tested.compared(numbers, self.drawing), strict=True):
            self._add(number, chip)

    def _add(self, number: int, chip: ComparedChip) -> None:
        self.metric.process(None, [chip.sample.to_dict()])
        if 'seg_logits' in chip.sample:
            truth = class_map(chip.sample.gt_sem_seg.data)
            self.probabilities.add(probabilities(chip.sample), truth)
        for kind, count in chip.errors.kinds.items():
            if count:
                self.kinds[kind] += count
                heapq.heappush(self.worst[kind], (count, -number))
                if len(self.worst[kind]) > self.options.examples:
                    heapq.heappop(self.worst[kind])

    def report(
        self,
        checkpoint: str | os.PathLike,
        runs: Sequence[Sequence[Mapping[str, float]]],
        splits: Mapping[str, Sequence[AuditedScene]],
    ) -> ModelReport:
        options, tested = self.options, self.tested
        found = self._pixels() if self.of_pixels else self._objects()
        name = Path(tested.model.config_name or checkpoint).stem
        return ModelReport(
            title=f'{name}, {options.split} split',
            classes=self.classes,
            examples=self._examples(),
            runs=runs,
            splits=splits,
            config=tested.config.pretty_text,
            origin=self._origin(checkpoint),
            iou=options.iou,
            confidence=options.confidence,
            plain={'split': options.split, 'chips': self.chips, **vars(options)},
            **found,
        )

    @property
    def of_pixels(self) -> bool:
        """Whether the model classifies pixels, and does not find objects."""
        return self.metric.results[0].valid is None

    def scores(self) -> ObjectScores | Confusion:
        """Of objects, or of pixels."""
        if self.of_pixels:
            return confusion_of(self.metric.results, self.classes.names)
        return self._object_scores(self._matches())

    def _matches(self) -> list[SceneMatches]:
        return self.metric.matches(self.metric.results, np.append(self.options.iou, COCO_IOUS))

    def _object_scores(self, matches: Sequence[SceneMatches]) -> ObjectScores:
        return score_objects(matches, self.classes.names, min_score=self.options.confidence)

    def _objects(self) -> dict[str, Any]:
        names, results = self.classes.names, self.metric.results
        matches = self._matches()
        scores = self._object_scores(matches)
        overall = scores.to_dict()['overall']
        least = self.options.confidence
        alike = self.metric.matches(
            results, np.array([self.options.iou]), lambda found: without_classes(found, least)
        )
        curves = {name: object_curve(matches, label) for label, name in enumerate(names)}
        compared = 'outlines' if self._has_outlines() else 'boxes'
        notes = [
            f'{counted(self.chips, "chip")}, put back where they were cut from. A prediction is a '
            f'true positive if it and a true object of its class have an IoU of their {compared} '
            f'of at least {self.options.iou:g}; counted are predictions with a confidence of at '
            f'least {least:g}. AP is over all confidences.',
            'In the confusion matrix a prediction may meet an object of any class; the background '
            'is where there is no object, or no prediction.',
        ]
        keys = {'F1': 'f1', 'precision': 'precision', 'recall': 'recall', 'AP': 'ap'}
        keys |= {'AP 50:95': 'ap_50_95'}
        return {
            'notes': notes,
            'facts': {name: overall[key] for name, key in keys.items()},
            'scores': scores,
            'confusion': object_confusion(alike, names),
            'curves': _known(curves),
            'sizes': _sizes(matches, least, all(chip.scene[1] for chip in results)),
        }

    def _has_outlines(self) -> bool:
        return any('outlines' in chip.pred for chip in self.metric.results)

    def _pixels(self) -> dict[str, Any]:
        names = self.classes.names
        confusion = confusion_of(self.metric.results, names)
        overall = confusion.scores.overall
        curves = {name: self.probabilities.curve(label) for label, name in enumerate(names)}
        return {
            'notes': [
                f'{counted(self.chips, "chip")}, put back where they were cut from: in the '
                'confusion matrix each pixel counts once. AP and the curves take one class '
                'against all others, by its probability, chip by chip.'
            ],
            'facts': {
                'mean IoU': overall.mean_iou,
                'mean F1': overall.mean_f1,
                'overall accuracy': overall.accuracy,
                'kappa': overall.kappa,
            },
            'scores': None,
            'confusion': confusion,
            'curves': _known(curves),
            'sizes': None,
        }

    def _examples(self) -> list[ErrorExample]:
        """Chips with the most frequent kinds of errors, predicted once more."""
        kinds = [kind for kind, _ in self.kinds.most_common(_MOST_KINDS)]
        chosen = {
            kind: [-number for _, number in sorted(self.worst[kind], reverse=True)]
            for kind in kinds
        }
        numbers = sorted({number for own in chosen.values() for number in own})
        rows = {
            number: chip.panels(self.classes, self.options.confidence)
            for number, chip in zip(numbers, self._again(numbers), strict=True)
        }
        return [
            ErrorExample(
                *self._named(kind),
                self.kinds[kind],
                contact_sheet([panel for number in own for panel in rows[number]], 4),
            )
            for kind, own in chosen.items()
            if own
        ]

    def _again(self, numbers: Sequence[int]) -> Iterator[ComparedChip]:
        return self.tested.compared(numbers, self.drawing)

    def _named(self, kind: str) -> tuple[str, str]:
        if kind in OBJECT_ERRORS:
            return kind, OBJECT_ERRORS[kind]
        true, found = (self.classes.names[int(number)] for number in kind.split(' as '))
        return f'{true} as {found}', f'pixels of {true} that were predicted as {found}'

    def _origin(self, checkpoint: str | os.PathLike) -> dict[str, str]:
        model = self.tested.model
        about, spec = model.about(), model.spec
        file = FileRecord.of(checkpoint)
        rows = {
            'checkpoint': file.path,
            'SHA-256': file.sha256,
            'architecture': about['architecture'],
            'parameters': f'{about["parameters"]:,}',
            'pretrained': about.get('pretrained'),
            'licence of these weights': about.get('pretrained_licence'),
            'bands': ', '.join(spec.bands),
            'ground sampling distance': None if spec.gsd is None else f'{spec.gsd:g} m',
            'chip size': f'{spec.chip_size[1]} x {spec.chip_size[0]} pixels',
            'scenes': ', '.join(sorted({str(c.scene[0]) for c in self.metric.results})[:20]),
            'device': str(model.device),
            **library_versions(),
        }
        return {name: str(value) for name, value in rows.items() if value}


def _known(curves: Mapping[str, ThresholdCurve | None]) -> dict[str, ThresholdCurve]:
    return {name: curve for name, curve in curves.items() if curve is not None}


def _sizes(matches: Sequence[SceneMatches], least: float, on_earth: bool) -> ObjectSizes:
    areas: dict[str, list[np.ndarray]] = {'found': [], 'missed': [], 'extra': []}
    for scene in matches:
        shown = scene.counted[0] & (scene.pred.needed('confidences') >= least)
        hit = shown & (scene.matched[0] >= 0)
        met = np.zeros(len(scene.truth), bool)
        met[scene.matched[0][hit]] = True
        area = scene.truth.data['area_m2']
        areas['found'].append(area[scene.truth_counted & met])
        areas['missed'].append(area[scene.truth_counted & ~met])
        areas['extra'].append(scene.pred.data['area_m2'][shown & ~hit])
    sides = {name: np.sqrt(np.concatenate(own)) for name, own in areas.items()}
    return ObjectSizes(**sides, unit='metres' if on_earth else 'map units')


def _splits(config: Config) -> dict[str, list[AuditedScene]]:
    """The scenes of the splits, if all are at hand and not too many."""
    try:
        entries = [
            read_catalog(chips.scenes, root=chips.data_root or '', split=chips.split)
            for _, chips in described_datasets(config)
        ]
        if sum(map(len, entries)) > _MOST_SCENES:
            return {}
        return audited_scenes(config)[0]
    except (GeoMMError, OSError):
        return {}
