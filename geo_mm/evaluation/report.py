"""What an evaluation leaves behind: metrics.json, report.html, matched features.

The page needs nothing from outside.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rasterio.crs import CRS

import geo_mm
from geo_mm.classes import ClassSet
from geo_mm.evaluation.maps import (
    DUPLICATE,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    RESULT_COLORS,
    TRUE_POSITIVE,
    Backdrop,
    object_picture,
    pixel_pictures,
)
from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.pixels import PixelEvaluation
from geo_mm.evaluation.tables import Table, object_tables, pixel_tables, settings_lines
from geo_mm.formats import html_page, write_layer
from geo_mm.formats.qgis_project import ProjectLayer, write_project
from geo_mm.formats.qml import category_style, write_style
from geo_mm.paths import make_folder, write_text


def write_report(
    result: ObjectEvaluation | PixelEvaluation,
    folder: str | os.PathLike,
    *,
    title: str = 'Evaluation in map space',
    images: Mapping[str, Backdrop] | None = None,
) -> list[Path]:
    """Write ``metrics.json``, ``report.html`` and, for objects, GeoPackages with their styles.

    One scene gives ``matches.gpkg`` and ``matches.qml``; several give
    ``<scene>_matches`` each, as they may have different CRSs. Where the image is
    known, a QGIS project ``matches.qgz`` shows them on it.

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
    metrics = json.dumps({'geo_mm': geo_mm.__version__, **result.to_dict()}, indent=2)
    texts = {'metrics.json': metrics + '\n', 'report.html': page(result, title, images)}
    make_folder(folder)
    files = [write_text(folder / name, text) for name, text in texts.items()]
    if isinstance(result, ObjectEvaluation):
        style = category_style(
            'result', {key: (key, colour) for key, colour in RESULT_COLORS.items()}
        )
        for scene in result.scenes:
            name = 'matches' if len(result.scenes) == 1 else f'{scene.name}_matches'
            path = folder / f'{name}.gpkg'
            files.append(write_layer(scene.features, path, layer='matches', style=style))
            files.append(write_style(style, path))
            backdrop = (images or {}).get(scene.name)
            if backdrop is not None and backdrop.image is not None:
                crs = scene.features.crs and CRS.from_user_input(scene.features.crs)
                matches = ProjectLayer(path.absolute(), 'Matches', style, 'matches', crs=crs)
                layers = [matches, ProjectLayer(backdrop.image, 'Image')]
                files.append(write_project(folder / f'{name}.qgz', layers, backdrop.grid, folder))
    return files


def page(
    result: ObjectEvaluation | PixelEvaluation,
    title: str,
    images: Mapping[str, Backdrop] | None = None,
) -> str:
    """The report as HTML.

    Args:
        result: What to show.
        title: Heading.
        images: As for :func:`write_report`.
    """
    if isinstance(result, ObjectEvaluation):
        tables, maps = object_tables(result), _object_maps(result, images or {})
    else:
        tables, maps = pixel_tables(result), _pixel_maps(result)
    parts = [f'<h1>{html_page.text(title)}</h1>']
    parts += [f'<p>{html_page.text(line)}</p>' for line in settings_lines(result)]
    parts += [table_html(table, result.class_set) for table in tables]
    parts += maps
    return html_page.page(title, parts, 'Evaluated')


def _object_maps(result: ObjectEvaluation, images: Mapping[str, Backdrop]) -> list[str]:
    parts, legend = [], html_page.legend(RESULT_COLORS)
    for scene in result.scenes:
        picture = object_picture(scene.features, images.get(scene.name), scene.areas)
        found = scene.features['result'].value_counts()
        right, missed = found.get(TRUE_POSITIVE, 0), found.get(FALSE_NEGATIVE, 0)
        twice = found.get(DUPLICATE, 0)
        wrong = found.get(FALSE_POSITIVE, 0) + twice
        caption = (
            f'{_sources(scene)} True positives: {right:,}. False positives: {wrong:,} '
            f'(duplicates: {twice:,}). False negatives: {missed:,}.'
        )
        parts += [
            f'<h2>Map of {html_page.text(scene.name)}</h2>{legend}',
            html_page.figure(picture, caption),
        ]
    return parts


def _pixel_maps(result: PixelEvaluation) -> list[str]:
    parts = []
    colours = dict(zip(result.class_set.names, result.class_set.colours, strict=True))
    for scene in result.scenes:
        captions = {
            'truth': f'Ground truth: {scene.sources[1]}',
            'prediction': f'Prediction: {scene.sources[0]}',
            'errors': f'Errors: grey is right, red is wrong; white is not compared. '
            f'{_sources(scene)}',
        }
        figures = {
            name: html_page.figure(picture, captions[name])
            for name, picture in pixel_pictures(scene.sketch, result.class_set).items()
        }
        panels = f'<div class="panels">{figures["truth"]}{figures["prediction"]}</div>'
        parts += [f'<h2>Map of {html_page.text(scene.name)}</h2>', figures['errors']]
        parts += [html_page.legend(colours), panels]
        if scene.sketch.step > 1:
            parts.append(
                f'<p>One dot stands for {scene.sketch.step} x {scene.sketch.step} pixels: of '
                'classes one of them is shown, of errors their share.</p>'
            )
    return parts


def _sources(scene) -> str:
    return f'Prediction {scene.sources[0]}, ground truth {scene.sources[1]}.'


def table_html(table: Table, classes: ClassSet) -> str:
    """A table for a page, with the colours of the classes; a confusion matrix is shaded."""
    rows = []
    square = table.title.startswith('Confusion')
    for number, (name, *values) in enumerate(table.rows):
        last = table.total and number == len(table.rows) - 1
        coloured = table.columns[0] == 'class' and name in classes and not last
        swatch = html_page.swatch(classes.colours[classes.index(name)]) if coloured else ''
        shades = [
            _shade(values, place) if square and not last else '' for place in range(len(values))
        ]
        cells = ''.join(
            f'<td{shade}>{html_page.text(value)}</td>'
            for shade, value in zip(shades, values, strict=True)
        )
        head = html_page.row_head(name, swatch)
        rows.append(f'<tr{" class=total" if last else ""}>{head}{cells}</tr>')
    return html_page.table(table.title, table.columns, rows)


def _shade(row: Sequence[str], place: int) -> str:
    """The deeper, the larger the share of the row, whose last cell is its sum."""
    cells = [int(cell.replace(',', '')) for cell in row]
    share = cells[place] / max(cells[-1], 1) if place < len(cells) - 1 else 0
    # Not so deep that the number would be hard to read.
    return f' style="background:rgb(0 114 178/{share * 45:.0f}%)"' if share else ''
