"""Exports of ArcGIS' "Export Training Data For Deep Learning", read and written.

Chips and labels are written elsewhere, the files beside them here.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geo_mm.classes import ClassSet, Colour
from geo_mm.errors import CatalogError
from geo_mm.formats.esri_json import as_integer, as_list, classes_of, parsed
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
from geo_mm.paths import write_text
from geo_mm.raster import Grid

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
        values=info.names,
    )


def read_info(path: Path) -> ExportInfo:
    """The facts in an export's .emd and statistics.

    Both are templates to some extent: what is missing or of another type than
    it should be is left out.
    """
    emd = _json(path / 'esri_model_definition.emd')
    stats = _json(path / 'esri_accumulated_stats.json')
    names, colours = classes_of(stats, emd)  # the .emd counts where they differ
    mode = emd.get('MetaDataMode') or stats.get('MetaDataMode')
    if mode in KINDS and KINDS[mode] != 'boxes':
        names.pop(0, None)  # pixels of no class
    props = emd.get('InputRastersProps')
    bands = as_list(props.get('BandNames')) if isinstance(props, dict) else []
    size = (
        as_integer(stats.get('TileSizeY', emd.get('ImageHeight'))),
        as_integer(stats.get('TileSizeX', emd.get('ImageWidth'))),
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
    counts = as_list(pixels.get('NumPixelsPerClass')) if isinstance(pixels, dict) else []
    parts = (stats.get('NumTilesAsDouble', stats.get('NumTiles')), stats.get('TileSizeX'))
    tiles, width, height = (as_integer(part) for part in (*parts, stats.get('TileSizeY')))
    labelled = [as_integer(count) for count in counts]
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
        return parsed(path.read_bytes())
    except OSError:
        return {}


@dataclass(frozen=True)
class ExportSummary:
    """What the files beside the chips of an export say of all of them.

    Attributes:
        mode: Metadata format.
        names: Class name of each value.
        colours: Of each of them.
        shape: ``(bands, height, width)`` of a chip.
        bands: Names of the bands.
        grid: Of some chip.
        pairs: Image and label of each chip, relative to the export.
        band_stats: ``(bands, 5)``: minimum, maximum, mean, sum of squared
            deviations and number of pixels.
        per_class: For each class, of the chips that it is in: ``(n, 4)`` the
            number of objects (1 for pixels), and the smallest, largest and
            total area of one.
        per_chip: How many objects, or classes of pixels, are in each chip.
    """

    mode: str
    names: dict[int, str]
    colours: list[Colour]
    shape: tuple[int, int, int]
    bands: tuple[str, ...]
    grid: Grid
    pairs: list[tuple[str, str]]
    band_stats: np.ndarray
    per_class: list[np.ndarray]
    per_chip: np.ndarray


def write_metadata(folder: Path, summary: ExportSummary) -> list[Path]:
    """Write map.txt, stats.txt, the statistics and the .emd of an export.

    Raises:
        OutputError: If they cannot be written.
    """
    lines = [f'{image}  {label} \n'.replace('/', '\\') for image, label in summary.pairs]
    return [
        write_text(folder / 'stats.txt', _stats_text(summary)),
        write_text(folder / 'esri_accumulated_stats.json', json.dumps(_stats(summary), indent=2)),
        write_text(
            folder / 'esri_model_definition.emd', json.dumps(_definition(summary), indent=2)
        ),
        write_text(folder / 'map.txt', ''.join(lines)),
    ]


def _stats(summary: ExportSummary) -> dict:
    bands, height, width = summary.shape
    of_pixels = KINDS[summary.mode] == 'pixels'
    counts = [found[:, 0].sum() for found in summary.per_class]
    chips = len(summary.pairs)
    common = {
        'NumClasses': len(summary.names),
        'NumImagesTotal': chips,
        'NumImagesPerClass': [len(found) for found in summary.per_class],
    }
    areas = [_area_stats(found) for found in summary.per_class]
    found: dict[str, Any]
    if of_pixels:
        found = {
            'ClassPixelStats': {
                **common,
                'NumPixelsPerClass': [int(area['Sum']) for area in areas],
                'NumClassesPerImage': _count_stats(summary.per_chip),
                'PixelsPerClass': areas,
            }
        }
    else:
        found = {
            'FeatureStats': {
                **common,
                'NumFeaturesTotal': int(sum(counts)),
                'NumFeaturesPerClass': [int(count) for count in counts],
                'NumFeaturesPerImage': _count_stats(summary.per_chip),
                'FeatureAreaPerClass': areas,
            }
        }
    return {
        'Version': 1,
        'NumBands': bands,
        'TileSizeX': width,
        'TileSizeY': height,
        'NumClasses': len(summary.names),
        'NumTiles': chips,
        'OutputFeatures': not of_pixels,
        'MetaDataMode': summary.mode,
        'Classes': [{'ClassValue': v, 'ClassName': name} for v, name in summary.names.items()],
        **found,
        'BandStatsState': [
            {'Min': low, 'Max': high, 'M1': mean, 'M2': squares, 'Num': int(number)}
            for low, high, mean, squares, number in summary.band_stats.tolist()
        ],
    }


def _definition(summary: ExportSummary) -> dict:
    """The .emd: a template for a model, with what is known of its input."""
    _, height, width = summary.shape
    transform, crs = summary.grid.transform, summary.grid.crs
    code = None if crs is None else crs.to_epsg()
    reference = {'wkid': code, 'latestWkid': code} if code else {'wkt': crs.to_wkt() if crs else ''}
    sides = (transform.a, transform.d), (transform.b, transform.e)
    x, y = (float(np.hypot(*side)) for side in sides)
    cell = {'x': x, 'y': y, 'spatialReference': reference}
    return {
        'Framework': 'e.g. PyTorch',
        'ModelConfiguration': 'some description',
        'ModelType': 'e.g. ObjectDetection or ImageClassification',
        'ModelFile': 'e.g. .\\trained.model',
        'ImageHeight': height,
        'ImageWidth': width,
        'ExtractBands': list(range(len(summary.bands))),
        'MetaDataMode': summary.mode,
        'ImageSpaceUsed': 'MAP_SPACE',
        'CropTileMode': 'Fixed_Size',
        'BlackenAroundFeature': False,
        'IsMultidimensional': False,
        'MinCellSize': cell,
        'MaxCellSize': cell,
        'Classes': [
            {'Value': value, 'Name': name, 'Color': list(colour)}
            for (value, name), colour in zip(summary.names.items(), summary.colours, strict=True)
        ],
        'InputRastersProps': {
            'RasterCount': 1,
            'SensorName': '',
            'BandNames': list(summary.bands),
        },
        'AllTilesStats': [
            {
                'BandName': name,
                'Min': low,
                'Max': high,
                'Mean': mean,
                'StdDev': float(np.sqrt(squares / max(number, 1))),
            }
            for name, (low, high, mean, squares, number) in zip(
                summary.bands, summary.band_stats.tolist(), strict=True
            )
        ],
    }


def _stats_text(summary: ExportSummary) -> str:
    bands, height, width = summary.shape
    what = 'pixels' if KINDS[summary.mode] == 'pixels' else 'features'
    chips = _count_stats(summary.per_chip)
    per = 'classes' if what == 'pixels' else 'features'
    spread = f'min = {chips["Min"]}, mean = {chips["Mean"]:.2f}, max = {chips["Max"]}'
    lines = [
        f'images = {len(summary.pairs)} *{bands}*{height}*{width}',
        *([f'features = {chips["Sum"]}'] if what == 'features' else []),
        f'{per} per image = [{spread}]',
        f'classes = {len(summary.names)}',
        f'{"cls name":<22}cls value     images   {what:<8}    min size   mean size    max size',
    ]
    for (value, name), found in zip(summary.names.items(), summary.per_class, strict=True):
        area = _area_stats(found)
        number = area['Sum'] if what == 'pixels' else found[:, 0].sum()
        sizes = ''.join(f'{area[key]:>12.2f}' for key in ('Min', 'Mean', 'Max'))
        lines.append(f'{name:<22}{value:>9} {len(found):>10} {number:>10.0f}{sizes}')
    return ''.join(f'{line}\n' for line in lines)


def _count_stats(counts: np.ndarray) -> dict:
    number = max(len(counts), 1)
    return {
        'Min': int(counts.min()) if len(counts) else 0,
        'Max': int(counts.max(initial=0)),
        'Mean': float(counts.sum() / number),
        'Sum': int(counts.sum()),
        'Count': len(counts),
    }


def _area_stats(found: np.ndarray) -> dict:
    count, total = float(found[:, 0].sum()), float(found[:, 3].sum())
    return {
        'Min': float(found[:, 1].min()) if len(found) else 0.0,
        'Max': float(found[:, 2].max(initial=0)),
        'Mean': total / max(count, 1),
        'Sum': total,
        'Count': int(count),
    }
