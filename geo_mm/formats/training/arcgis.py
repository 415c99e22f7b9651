"""Exports of ArcGIS' "Export Training Data For Deep Learning"."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geo_mm.classes import ClassSet, Colour
from geo_mm.errors import CatalogError
from geo_mm.formats.training import boxes, masks
from geo_mm.formats.training.data import (
    Kind,
    TrainingData,
    TrainingImage,
    class_set,
    images_in,
    named_classes,
)
from geo_mm.labels import ImageLabels
from geo_mm.labels.classification import IGNORED_NAME

METADATA = ('map.txt', 'esri_model_definition.emd', 'esri_accumulated_stats.json')
"""Files by which an export is recognised."""

KINDS: dict[str, Kind] = {
    'PASCAL_VOC_rectangles': 'boxes',
    'KITTI_rectangles': 'boxes',
    'RCNN_Masks': 'instances',
    'Classified_Tiles': 'pixels',
    'Labeled_Tiles': 'boxes',
}
"""The metadata formats that are read, and what they label."""


@dataclass(frozen=True)
class ExportInfo:
    """What the files beside the chips say.

    Attributes:
        mode: Metadata format, such as 'RCNN_Masks'; None if they do not say.
        names: Class name of each value.
        colours: Colours by class name.
        bands: Names of the bands.
        chip_size: ``(height, width)``.
        unlabelled: Whether there are pixels of no class; None if they do not say.
    """

    mode: str | None
    names: dict[int, str]
    colours: dict[str, Colour]
    bands: tuple[str, ...]
    chip_size: tuple[int, int] | None
    unlabelled: bool | None


def recognised(path: Path) -> bool:
    """Whether a folder is an export: it has ``images`` and one of the files beside it."""
    return (path / 'images').is_dir() and any((path / name).is_file() for name in METADATA)


def read(path: Path) -> TrainingData:
    """An export.

    Raises:
        CatalogError: If its metadata format is not read, or chips or labels are missing.
    """
    info = read_info(path)
    mode = info.mode or _mode_by_labels(path)
    if mode not in KINDS:
        raise CatalogError(
            f'{path}: an ArcGIS export of the metadata format {mode}',
            f'one of {", ".join(KINDS)}',
            'export it again in the format that suits the task',
        )
    images = [
        TrainingImage(f'images/{file.name}', str(file)) for file in images_in(path / 'images')
    ]
    if not images:
        raise CatalogError(
            f'{path}: no chips in the folder images', 'an export with its chips', 'copy it again'
        )
    if not (path / 'labels').is_dir():
        raise CatalogError(
            f'{path}: an ArcGIS export without a folder labels',
            'chips with labels',
            'copy it again, with all of its folders',
        )
    background = KINDS[mode] == 'pixels' and (info.unlabelled is not False or len(info.names) < 2)
    names = [name for name in info.names.values() if name != IGNORED_NAME]
    classes = class_set(names, info.colours, background)
    return TrainingData(
        path=str(path),
        format=f'ArcGIS {mode}',
        kind=KINDS[mode],
        images=tuple(images),
        read_labels=partial(_read_labels, mode, path, info.names),
        find_classes=lambda: classes or _found_classes(mode, path, images),
        bands=info.bands,
        chip_size=info.chip_size,
    )


def read_info(path: Path) -> ExportInfo:
    """The facts in an export's .emd and statistics.

    Both are templates to some extent: what is missing or of another type than
    it should be is left out.
    """
    emd = _json(path / 'esri_model_definition.emd')
    stats = _json(path / 'esri_accumulated_stats.json')
    names: dict[int, str] = {}
    colours: dict[str, Colour] = {}
    for data in (stats, emd):  # the .emd counts where they differ
        for item in _dicts(data.get('Classes')):
            value = _integer(item.get('Value', item.get('ClassValue')))
            name = item.get('Name', item.get('ClassName'))
            if value is None:
                continue
            names[value] = str(name).strip() if name not in (None, '') else str(value)
            parts = [_integer(part) for part in _list(item.get('Color'))]
            match [part for part in parts if part is not None and 0 <= part < 256]:
                case [red, green, blue]:  # others, such as -1, stand for no colour
                    colours[names[value]] = (red, green, blue)
    mode = emd.get('MetaDataMode') or stats.get('MetaDataMode')
    if mode in KINDS and KINDS[mode] != 'boxes':
        names.pop(0, None)  # pixels of no class
    props = emd.get('InputRastersProps')
    bands = _list(props.get('BandNames')) if isinstance(props, dict) else []
    size = (
        _integer(stats.get('TileSizeY', emd.get('ImageHeight'))),
        _integer(stats.get('TileSizeX', emd.get('ImageWidth'))),
    )
    return ExportInfo(
        mode=mode if isinstance(mode, str) and ' ' not in mode else None,
        names=names,
        colours=colours,
        bands=tuple(map(str, bands)),
        chip_size=(size[0], size[1]) if size[0] and size[1] else None,
        unlabelled=_unlabelled(stats),
    )


def _unlabelled(stats: dict) -> bool | None:
    """Whether the classes cover less than all pixels."""
    pixels = stats.get('ClassPixelStats')
    counts = _list(pixels.get('NumPixelsPerClass')) if isinstance(pixels, dict) else []
    parts = (stats.get('NumTilesAsDouble', stats.get('NumTiles')), stats.get('TileSizeX'))
    tiles, width, height = (_integer(part) for part in (*parts, stats.get('TileSizeY')))
    labelled = [_integer(count) for count in counts]
    if not (tiles and width and height and labelled) or None in labelled:
        return None
    return sum(count or 0 for count in labelled) < tiles * width * height


def _read_labels(mode: str, path: Path, names: dict[int, str], key: str) -> ImageLabels:
    image, folder = path / key, path / 'labels'
    if mode == 'RCNN_Masks':
        return masks.read_instances(image, folder, names)
    if mode == 'Classified_Tiles':
        return masks.read_classes(image, folder, names)
    if mode == 'KITTI_rectangles':
        return boxes.read_kitti(image, folder / f'{image.stem}.txt', names)
    read = boxes.read_labelled_tile if mode == 'Labeled_Tiles' else boxes.read_voc
    return read(image, folder / f'{image.stem}.xml', names)


def _mode_by_labels(path: Path) -> str | None:
    """The metadata format of an old or incomplete export, by the files in ``labels``."""
    folder = path / 'labels'
    if not folder.is_dir():
        return None
    if any(item.is_dir() for item in folder.iterdir()):
        return 'RCNN_Masks'
    suffixes = {item.suffix.lower() for item in folder.iterdir()}
    if '.xml' in suffixes - {'.aux.xml'} and not suffixes & {'.tif', '.tiff', '.png'}:
        return 'PASCAL_VOC_rectangles'
    if '.txt' in suffixes:
        return 'KITTI_rectangles'
    return 'Classified_Tiles' if suffixes & {'.tif', '.tiff', '.png'} else None


def _found_classes(mode: str, path: Path, images: list[TrainingImage]) -> ClassSet | None:
    """Classes of an export that does not list them: those that its labels name."""
    if mode == 'RCNN_Masks':
        return class_set(sorted(item.name for item in (path / 'labels').iterdir() if item.is_dir()))
    if KINDS[mode] == 'pixels':
        return None
    return named_classes(images, partial(_read_labels, mode, path, {}))


def _json(path: Path) -> dict:
    """A JSON file's object; empty if there is none, or none that can be read."""
    try:
        data = json.loads(path.read_text('utf-8-sig', errors='replace'))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _dicts(value: Any) -> list[dict]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _integer(value: Any) -> int | None:
    """A number of a template, in which ``"e.g. 256"`` may stand for one."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
