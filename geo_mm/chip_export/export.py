"""Writing the chips of a catalog as a training set of another program."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from geo_mm.catalog import CatalogEntry, LabelledScene, SceneOptions, open_labelled
from geo_mm.chip_export.chips import ChipPlace, check_format, chip_places, cut, write_chip
from geo_mm.chip_export.options import ExportOptions
from geo_mm.chip_export.writers import LabelWriter, Record, has_features, moments
from geo_mm.classes import ClassSet
from geo_mm.errors import CatalogError, OutputError
from geo_mm.labels import LabelOptions
from geo_mm.paths import make_folder, reported
from geo_mm.raster import Grid

JOURNAL = '.geo_mm_export.jsonl'
"""Says how far an unfinished export is; a finished one has none."""


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
    scenes = [
        open_labelled(
            entry, classes.names, scene_options, label_options, objects=not options.of_pixels
        )
        for entry in entries
    ]
    for item in scenes:
        check_format(item.scene, options.suffix)
    places = [
        place for i, item in enumerate(scenes) for place in chip_places(i, item.scene.grid, options)
    ]
    same = replace(options, workers=1)
    journal = _Journal(out, _digest(list(entries), classes, same, scene_options, label_options))
    done = journal.records
    writer = LabelWriter(out, classes, options)
    todo = [number for number in range(len(places)) if number not in done]

    def write(number: int) -> tuple[int, Record]:
        return number, _write(scenes, places[number], f'{number:09d}', writer)

    shown = iter(progress((places[number] for number in todo), len(todo)))
    with journal, ThreadPoolExecutor(options.workers) as pool:
        try:
            for number, record in pool.map(write, todo):
                journal.add(number, record)
                next(shown, None)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        next(shown, None)  # so that it ends
    records = [done[number] for number in sorted(done) if done[number]]
    if not records:
        raise CatalogError(
            f'{len(places)} chips of {len(entries)} scenes, none with a labelled object',
            'chips to write',
            'write all with output_nofeature_tiles=ALL_TILES',
        )
    writer.finish(records, scenes[0].scene.band_names, _grid_of(scenes, places, done))
    journal.remove()
    counts = {
        classes.names[index]: sum(
            int(record['areas'].get(str(value), (0, 0, 0, 0))[3 if options.of_pixels else 0])
            for record in records
        )
        for index, value in writer.values.items()
    }
    return ExportResult(out, len(records), counts, len(places) - len(todo))


def _write(
    scenes: Sequence[LabelledScene], place: ChipPlace, stem: str, writer: LabelWriter
) -> Record:
    """Write one chip; an empty record if there is nothing to write."""
    labelled, options = scenes[place.scene], writer.options
    chip = cut(labelled, place, stem, options)
    if chip is None:
        return {}
    if options.output_nofeature_tiles != 'ALL_TILES' and not has_features(chip, writer.classes):
        return {}
    record = writer.write(chip)
    path = writer.folder / writer.images / f'{stem}{options.suffix}'
    write_chip(path, chip, labelled.scene)
    return {'stem': stem, 'bands': moments(chip), **record}


def _grid_of(
    scenes: Sequence[LabelledScene], places: Sequence[ChipPlace], done: dict[int, Record]
) -> Grid:
    first = places[min(number for number, record in done.items() if record)]
    return scenes[first.scene].scene.grid.crop(first.window)


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
