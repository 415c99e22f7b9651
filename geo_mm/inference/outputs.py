"""The files of a result, written from what a journal holds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from geo_mm.inference.objects import merge_rows
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.pixels import SHARE_STEPS, PixelOutputs, write_pixels
from geo_mm.inference.sources import Area
from geo_mm.inputspec import InputSpec
from geo_mm.provenance import Provenance, write_record
from geo_mm.raster import Grid
from geo_mm.vector import write_layer
from geo_mm.visualization import draw_objects_quicklook, draw_pixels_quicklook
from geo_mm.visualization.qml import class_style, share_style, write_style

Rows = Iterable[Mapping[str, np.ndarray]]
Written = tuple[list[str], dict[str, int]]
"""Names of the files, the main one first, and pixels or objects of each class."""


def write_pixel_results(
    rows: Rows,
    area: Area,
    grid: Grid,
    folder: Path,
    name: str,
    spec: InputSpec,
    outputs: PixelOutputs,
    record: Provenance,
) -> Written:
    """Writes class rasters, styles, a picture and a record.

    Args:
        rows: What :class:`geo_mm.inference.pixels.PixelRows` gave, from the top down.
        area: What was predicted.
        grid: Grid of the rasters.
        folder: Where to.
        name: Of the files.
        spec: Class names and colours.
        outputs: What the rows hold.
        record: How it was made.
    """
    files, counts = write_pixels(rows, grid, folder, name, spec, outputs, record.tags())
    write_style(_style(spec), folder / f'{name}.tif')
    for file in files[1:]:
        eight_bits = file.endswith('_confidence.tif') or outputs.probabilities == 'uint8'
        write_style(share_style(0, SHARE_STEPS if eight_bits else 1), folder / file)
    picture = draw_pixels_quicklook(area.scene, folder / f'{name}.tif', spec)
    return [*files, *_write_rest(folder, name, picture, record, counts)], counts


def write_object_results(
    rows: Rows,
    area: Area,
    folder: Path,
    name: str,
    spec: InputSpec,
    options: PredictOptions,
    record: Provenance,
) -> Written:
    """Merges objects and writes layers, a style, a picture and a record.

    Args:
        rows: What :class:`geo_mm.inference.objects.ObjectRows` gave.
        area: What was predicted.
        folder: Where to.
        name: Of the files.
        spec: Class names and colours.
        options: How to merge.
        record: How it was made.
    """
    objects = merge_rows(
        rows, area.scene, spec, method=options.suppress, iou=options.iou, score=options.score
    )
    found = objects['class'].value_counts()
    counts = {key: int(found.get(key, 0)) for key in spec.classes}
    files = [f'{name}.gpkg', f'{name}.geojson'] if area.scene.gsd else [f'{name}.gpkg']
    style = _style(spec)
    for file in files:
        write_layer(
            objects,
            folder / file,
            layer='objects',
            metadata=record.metadata(),
            style=style,
            time=record.time,
        )
    write_style(style, folder / files[0])
    picture = draw_objects_quicklook(area.scene, objects, spec)
    return [*files, *_write_rest(folder, name, picture, record, counts)], counts


def _style(spec: InputSpec) -> str:
    classes = dict(enumerate(zip(spec.classes, spec.palette, strict=True)))
    clear = [value for value, (name, _) in classes.items() if name == spec.background]
    return class_style(classes, clear=clear)


def _write_rest(
    folder: Path, name: str, picture: Image.Image, record: Provenance, counts: dict[str, int]
) -> list[str]:
    # A fifth larger than it could be, in a third of the time.
    picture.save(folder / f'{name}.png', compress_level=1)
    # What is asked for most stands on top; the provenance has it too.
    write_record(
        folder / f'{name}.tif',
        record,
        scene=[item.path for item in record.inputs],
        window=record.options['window'],
        input_spec=record.spec.to_dict(),
        counts=counts,
    )
    return [f'{name}.png', f'{name}.json']
