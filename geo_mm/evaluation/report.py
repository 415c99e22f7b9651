"""What an evaluation leaves behind: metrics.json, report.html, matched features."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import geo_mm
from geo_mm.errors import OutputError
from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.page import object_page, pixel_page
from geo_mm.evaluation.pictures import Backdrop
from geo_mm.evaluation.pixels import PixelEvaluation
from geo_mm.formats import write_layer


def write_report(
    result: ObjectEvaluation | PixelEvaluation,
    folder: str | os.PathLike,
    *,
    title: str = 'Evaluation in map space',
    images: Mapping[str, Backdrop] | None = None,
) -> list[Path]:
    """Write ``metrics.json``, ``report.html`` and, for objects, GeoPackages.

    One scene gives ``matches.gpkg``; several give ``<scene>_matches.gpkg``
    each, as they may have different CRSs.

    Args:
        result: The evaluation.
        folder: Where to; made if missing.
        title: Heading of the page.
        images: Picture to draw the map of objects on, by the name of the evaluated scene.

    Returns:
        The files.

    Raises:
        OutputError: If they cannot be written.
    """
    folder = Path(folder)
    if isinstance(result, ObjectEvaluation):
        page = object_page(result, title, images)
    else:
        page = pixel_page(result, title)
    metrics = json.dumps({'geo_mm': geo_mm.__version__, **result.to_dict()}, indent=2)
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (('metrics.json', metrics + '\n'), ('report.html', page)):
            partial = folder / f'.{name}'
            partial.write_text(text, encoding='utf-8')
            files.append(partial.replace(folder / name))
    except OSError as error:
        raise OutputError(
            f'{folder}: the report cannot be written: {error.strerror}',
            'a folder you may write to',
            'choose another one with -o',
        ) from error
    if isinstance(result, ObjectEvaluation):
        for scene in result.scenes:
            name = 'matches' if len(result.scenes) == 1 else f'{scene.name}_matches'
            files.append(write_layer(scene.features, folder / f'{name}.gpkg', layer='matches'))
    return files
