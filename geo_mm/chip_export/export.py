"""Writing the chips of a catalog as a training set of another program."""

import functools
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geo_mm.catalog import CatalogEntry, LabelledScene, SceneOptions, open_labelled
from geo_mm.chip_export.chips import ChipPlace, check_format, chip_places, cut, write_chip
from geo_mm.chip_export.options import ExportOptions
from geo_mm.chip_export.writers import LabelWriter, Record, has_features, moments
from geo_mm.classes import ClassSet
from geo_mm.cluster import mapping
from geo_mm.errors import CatalogError, OutputError
from geo_mm.labels import LabelOptions
from geo_mm.paths import absolute, discard, make_folder, reported
from geo_mm.raster import Grid

JOURNAL = '.geo_mm_export.jsonl'
"""Says how far an unfinished export is; a finished one has none."""

_TOGETHER = 16
"""Chips of a scene that are one task of a cluster."""

_KEPT = 16
"""Scenes that a process keeps open."""


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        folder: The training set.
        chips: Number of its chips.
        objects: Number of labelled objects, by class; of pixels, for formats of those.
        resumed: How many chips were there from an earlier run.
    """

    folder: Path
    chips: int
    objects: dict[str, int]
    resumed: int


def export_chips(
    entries: Sequence[CatalogEntry],
    classes: ClassSet,
    out: str | Path,
    options: ExportOptions | None = None,
    *,
    scene_options: SceneOptions | None = None,
    label_options: LabelOptions | None = None,
    progress: Callable[[Iterable[ChipPlace], int], Iterable[ChipPlace]] = lambda chips, _: chips,
) -> ExportResult:
    """Cut labelled scenes into chips and write them for another program.

    Chips are numbered by their place, so that a run that was interrupted goes
    on where it stopped when it is started again with the same arguments. The
    files that describe the whole come last.

    Args:
        entries: Of a catalog; all must have labels.
        classes: Class names, and the background of pixels.
        out: Folder to make.
        options: Format, size, stride, ... of the chips.
        scene_options: Bands, GSD and nodata.
        label_options: How labels become classes.
        progress: Wraps the chips, given with their number, to show how far it is.

    Raises:
        CatalogError: If a scene has no labels, or nothing is to be written.
        OutputError: If the folder holds something else, or cannot be written.
    """
    options, out = options or ExportOptions(), Path(out)
    scene_options, label_options = scene_options or SceneOptions(), label_options or LabelOptions()
    label_options = replace(label_options, background=classes.background)
    if missing := [entry.name for entry in entries if entry.labels is None]:
        raise CatalogError(f'{missing[0]} has no labels to export', 'labels for every scene')
    content = replace(options, workers=1, cluster=None)  # which chips do not depend on
    export = _Export(Path(absolute(out)), classes, content, scene_options, label_options)
    with mapping(options.cluster, 'export-chips', options.workers) as mapped:
        scenes = list(mapped(functools.partial(_open, export), entries, _title))
        grids = [grid for grid, _ in scenes]
        places = [place for i, grid in enumerate(grids) for place in chip_places(i, grid, options)]
        journal = _Journal(
            out, _digest(list(entries), classes, content, scene_options, label_options)
        )
        done = journal.records
        writer = export.writer()
        todo = [number for number in range(len(places)) if number not in done]
        runs = _runs(entries, places, todo, _TOGETHER if options.cluster else 1)
        shown = iter(progress((places[number] for number in todo), len(todo)))
        with journal:
            for written in mapped(functools.partial(_write, export), runs, _title_of_run):
                for number, record in written:
                    journal.add(number, record)
                    next(shown, None)
            next(shown, None)  # so that it ends
    records = [done[number] for number in sorted(done) if done[number]]
    if not records:
        raise CatalogError(
            f'{len(places)} chips of {len(entries)} scenes, none with a labelled object',
            'chips to write',
            'write all with output_nofeature_tiles=ALL_TILES',
        )
    first = places[min(number for number, record in done.items() if record)]
    writer.finish(records, scenes[0][1], grids[first.scene].crop(first.window))
    _tidy(out)
    journal.remove()
    return ExportResult(out, len(records), _counts(records, writer), len(places) - len(todo))


def _counts(records: Sequence[Record], writer: LabelWriter) -> dict[str, int]:
    """Objects, or pixels, of each class."""
    column = 3 if writer.options.of_pixels else 0
    return {
        writer.classes.names[index]: sum(
            int(record['areas'].get(str(value), (0, 0, 0, 0))[column]) for record in records
        )
        for index, value in writer.values.items()
    }


@dataclass(frozen=True)
class _Export:
    """What all chips have in common."""

    folder: Path
    classes: ClassSet
    options: ExportOptions
    scene_options: SceneOptions
    label_options: LabelOptions

    def writer(self) -> LabelWriter:
        return LabelWriter(self.folder, self.classes, self.options)

    def open(self, entry: CatalogEntry) -> LabelledScene:
        """The scene, which is kept open for other chips."""
        key = repr((entry, self))
        with _opening:
            if key not in _opened:
                _opened[key] = open_labelled(
                    entry,
                    self.classes.names,
                    self.scene_options,
                    self.label_options,
                    objects=not self.options.of_pixels,
                )
                if len(_opened) > _KEPT:
                    del _opened[next(iter(_opened))]
            return _opened[key]


_opened: dict[str, LabelledScene] = {}
_opening = threading.Lock()

_Run = tuple[CatalogEntry, list[tuple[int, ChipPlace]]]
"""A scene and some of its chips, each with its number."""


def _runs(
    entries: Sequence[CatalogEntry], places: Sequence[ChipPlace], todo: Sequence[int], most: int
) -> Iterator[_Run]:
    for scene, numbers in itertools.groupby(todo, key=lambda number: places[number].scene):
        while some := list(itertools.islice(numbers, most)):
            yield entries[scene], [(number, places[number]) for number in some]


def _title(entry: CatalogEntry) -> str:
    return entry.name or str(entry.image)


def _title_of_run(run: _Run) -> str:
    return f'{_title(run[0])}, chip {run[1][0][0]}'


def _open(export: _Export, entry: CatalogEntry) -> tuple[Grid, tuple[str, ...]]:
    """Where a scene is, and its bands, if it can be exported at all."""
    scene = export.open(entry).scene
    check_format(scene, export.options.suffix)
    return scene.grid, scene.band_names


def _write(export: _Export, run: _Run) -> list[tuple[int, Record]]:
    """Write some chips of a scene."""
    entry, chips = run
    labelled, writer = export.open(entry), export.writer()
    return [
        (number, _write_chip(labelled, place, f'{number:09d}', writer)) for number, place in chips
    ]


def _write_chip(
    labelled: LabelledScene, place: ChipPlace, stem: str, writer: LabelWriter
) -> Record:
    """Write one chip; an empty record if there is nothing to write."""
    options = writer.options
    chip = cut(labelled, place, stem, options)
    if chip is None:
        return {}
    if options.output_nofeature_tiles != 'ALL_TILES' and not has_features(chip, writer.classes):
        return {}
    record = writer.write(chip)
    path = writer.folder / writer.images / f'{stem}{options.suffix}'
    write_chip(path, chip, labelled.scene)
    return {'stem': stem, 'bands': moments(chip), **record}


def _tidy(folder: Path) -> None:
    """Remove what processes that were killed had not finished."""
    for path in folder.rglob('.*'):
        if path.name != JOURNAL:
            discard(path)


def _digest(*parts: object) -> str:
    """Stands for what the chips depend on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Journal:
    """Which chips of an unfinished export were written, one line each."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.path = make_folder(folder), folder / JOURNAL
        self.records: dict[int, Record] = {}
        lines = list(self._lines())
        if not lines and any(folder.iterdir()):
            raise OutputError(
                f'{folder}: is not empty',
                'an empty or new folder, or an export that was interrupted',
                'choose another one, or delete it',
            )
        if lines and lines[0] != {'export': identity}:
            raise OutputError(
                f'{folder}: holds an unfinished export of other data or options',
                'the same arguments, to go on with it',
                'choose another folder, or delete it',
            )
        for line in lines[1:]:
            self.records[line['chip']] = line['record']
        self._new = None if lines else {'export': identity}

    def _lines(self) -> Iterator[dict]:
        if not self.path.exists():
            return
        for line in self.path.read_text('utf-8').splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # the last of a run that was killed
                continue

    def __enter__(self) -> '_Journal':
        with reported(self.path):
            self._file = self.path.open('a', encoding='utf-8')
        if self._new:
            self._append(self._new)
        else:
            self._file.write('\n')  # ends a line that was cut off
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, number: int, record: Record) -> None:
        self.records[number] = record
        self._append({'chip': number, 'record': record})

    def _append(self, line: dict) -> None:
        with reported(self.path):
            self._file.write(json.dumps(line) + '\n')
            self._file.flush()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
