"""The files of a result, written from what a journal holds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import shapely

from geo_mm.errors import OutputError
from geo_mm.formats import write_layer, write_stac_item
from geo_mm.formats.provenance import Provenance, write_record
from geo_mm.formats.qml import class_style, share_style, write_style
from geo_mm.inference.objects import merge_rows
from geo_mm.inference.options import PredictOptions
from geo_mm.inference.pixels import write_pixels
from geo_mm.inference.polygons import write_polygons
from geo_mm.inference.sources import Area
from geo_mm.inputspec import InputSpec
from geo_mm.labels import SceneLabels
from geo_mm.raster import Grid
from geo_mm.raster.handles import open_quietly
from geo_mm.visualization.quicklook import (
    Quicklook,
    draw_objects_quicklook,
    draw_pixels_quicklook,
    quicklook_shape,
)

Rows = Iterable[Mapping[str, np.ndarray]]
Written = tuple[list[str], dict[str, int]]
"""Names of the files, the main one first, and pixels or objects of each class."""


def check_place(area: Area, options: PredictOptions) -> None:
    """Makes sure that what is asked for has a place on Earth if it needs one.

    Raises:
        OutputError: If GeoJSON, which is in longitude and latitude, is wanted
            of a scene without.
    """
    if 'geojson' in options.formats and not area.native.gsd:
        raise OutputError(
            f'{area.native.sources[0]} has no place on Earth, and GeoJSON is in longitude and '
            'latitude',
            'a georeferenced scene',
            'write gpkg, which can do without',
        )


def write_pixel_results(
    rows: Rows,
    area: Area,
    grid: Grid,
    folder: Path,
    name: str,
    spec: InputSpec,
    options: PredictOptions,
    record: Provenance,
) -> Written:
    """Writes class rasters, polygons, styles, a picture and a record.

    Args:
        rows: What :class:`geo_mm.inference.pixels.PixelRows` gave, from the top down.
        area: What was predicted.
        grid: Grid of the rasters.
        folder: Where to.
        name: Of the files.
        spec: Class names and colours.
        options: What is kept, which the rows hold.
        record: How it was made.
    """
    files, counts = write_pixels(rows, grid, folder, name, spec, options.outputs, record.tags())
    style = class_style(spec.classes)
    write_style(style, folder / f'{name}.tif')
    for file in files[1:]:
        # Probabilities open on the first class that is not the background.
        band = 1 if file.endswith('_confidence.tif') else min(spec.classes.foreground) + 1
        write_style(share_style(band), folder / file)
    layers = [f'{name}.{suffix}' for suffix in options.formats if options.polygons]
    drawn = {}
    if layers:
        polygons = write_polygons(
            folder / f'{name}.tif',
            [folder / layer for layer in layers],
            spec,
            options.polygon_outputs,
            record,
            style,
        )
        drawn = {'polygons': polygons}
    with open_quietly(str(folder / f'{name}.tif')) as dataset:
        # Nearest neighbour, from overviews: classes cannot be averaged.
        labels = dataset.read(1, out_shape=quicklook_shape(area.scene))
    total = grid.width * grid.height
    picture = draw_pixels_quicklook(
        area.scene,
        labels,
        spec.classes,
        shares={key: count / total for key, count in counts.items()},
        aoi=_outlines(area.aoi),
    )
    files += [*layers, *_write_rest(folder, name, picture, record, counts, **drawn)]
    return files + _described(folder, files, area, name, options, record), counts


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
        options: How to merge, and what is kept.
        record: How it was made.
    """
    objects = merge_rows(
        rows, area.scene, spec, method=options.suppress, iou=options.iou, score=options.score
    )
    found = objects['class'].value_counts()
    counts = {key: int(found.get(key, 0)) for key in spec.classes.names}
    files = [f'{name}.{suffix}' for suffix in options.formats]
    style = class_style(spec.classes)
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
    picture = draw_objects_quicklook(area.scene, objects, spec.classes, aoi=_outlines(area.aoi))
    files += _write_rest(folder, name, picture, record, counts)
    return files + _described(folder, files, area, name, options, record), counts


def _write_rest(
    folder: Path,
    name: str,
    picture: Quicklook,
    record: Provenance,
    counts: dict[str, int],
    **more: dict,
) -> list[str]:
    picture.save(folder / f'{name}_quicklook.png')
    # What is asked for most stands on top; the provenance has it too.
    write_record(
        folder / f'{name}.tif',
        record,
        scene=[item.path for item in record.inputs],
        window=record.options['window'],
        input_spec=record.spec.to_dict(),
        counts=counts,
        **more,
    )
    return [f'{name}_quicklook.png', f'{name}.json']


def _described(
    folder: Path,
    files: list[str],
    area: Area,
    name: str,
    options: PredictOptions,
    record: Provenance,
) -> list[str]:
    """Writes a STAC item of all files if it is asked for."""
    if not options.stac:
        return []
    beside = sorted({path.name for path in folder.iterdir()} - set(files))
    paths = [folder / file for file in [*files, *beside]]
    return [write_stac_item(folder, paths, record, area.native.grid, name).name]


def _outlines(aoi: SceneLabels | None) -> list[shapely.Geometry]:
    return [] if aoi is None else list(aoi.geometries)
