"""The files beside the chips of an ArcGIS export: statistics, list of chips, .emd."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geo_mm.classes import Colour
from geo_mm.formats.training.arcgis import KINDS
from geo_mm.paths import write_text
from geo_mm.raster import Grid


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
