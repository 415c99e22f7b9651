"""What an evaluation leaves behind: metrics.json, report.html, matched features.

The page needs nothing from outside.
"""

import base64
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from PIL import Image
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
from geo_mm.formats import write_layer
from geo_mm.formats.qgis_project import ProjectLayer, write_project
from geo_mm.formats.qml import category_style, write_style
from geo_mm.paths import make_folder, write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2730; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p, figcaption { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid #0072b2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; } tbody th { font-weight: 400; }
thead th { border-bottom: 2px solid #1d2730; }
tbody th, tbody td { border-bottom: 1px solid #dde3e8; }
tr.total > * { font-weight: 600; border-top: 2px solid #1d2730; }
td.diagonal { background: #e3eef6; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i, th i { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
            vertical-align: -.1em; border: 1px solid #0004; }
figure { margin: 1rem 0; } figcaption { color: #54616c; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; }
.panels figure { flex: 1 1 min(30rem, 100%); }
img { max-width: 100%; border: 1px solid #c8d0d7; image-rendering: auto; }
footer { margin-top: 3rem; color: #54616c; font-size: .85rem; }
"""


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
    parts = [f'<h1>{_text(title)}</h1>']
    parts += [f'<p>{_text(line)}</p>' for line in settings_lines(result)]
    parts += [_table(table, result.class_set) for table in tables]
    parts += maps
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>'
        + '\n'.join(parts)
        + f'\n<footer>Evaluated with geo_mm {geo_mm.__version__} on {date.today().isoformat()}.'
        '</footer></body></html>\n'
    )


def _object_maps(result: ObjectEvaluation, images: Mapping[str, Backdrop]) -> list[str]:
    parts, legend = [], _legend(RESULT_COLORS)
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
        parts += [f'<h2>Map of {_text(scene.name)}</h2>{legend}', _figure(picture, caption)]
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
            name: _figure(picture, captions[name])
            for name, picture in pixel_pictures(scene.sketch, result.class_set).items()
        }
        panels = f'<div class="panels">{figures["truth"]}{figures["prediction"]}</div>'
        parts += [f'<h2>Map of {_text(scene.name)}</h2>', figures['errors']]
        parts += [_legend(colours), panels]
        if scene.sketch.step > 1:
            parts.append(
                f'<p>One dot stands for {scene.sketch.step} x {scene.sketch.step} pixels: of '
                'classes one of them is shown, of errors their share.</p>'
            )
    return parts


def _sources(scene) -> str:
    return f'Prediction {scene.sources[0]}, ground truth {scene.sources[1]}.'


def _table(table: Table, classes: ClassSet) -> str:
    head = ''.join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    rows = []
    square = table.title.startswith('Confusion')
    for number, (name, *values) in enumerate(table.rows):
        last = table.total and number == len(table.rows) - 1
        coloured = table.columns[0] == 'class' and name in classes and not last
        swatch = _swatch(classes.colours[classes.index(name)]) if coloured else ''
        cells = ''.join(
            f'<td{_diagonal(square and not last and place == number)}>{_text(value)}</td>'
            for place, value in enumerate(values)
        )
        header = f'<th scope="row">{swatch}{_text(name)}</th>'
        rows.append(f'<tr{" class=total" if last else ""}>{header}{cells}</tr>')
    title = _text(table.title)
    # Can be focused, so that it can be scrolled by keyboard.
    return (
        f'<h2>{title}</h2><div class="scroll" role="region" tabindex="0" aria-label="{title}">'
        f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _diagonal(is_it: bool) -> str:
    return ' class="diagonal"' if is_it else ''


def _legend(colours: Mapping[str, Sequence[int]]) -> str:
    entries = (f'<span>{_swatch(colour)}{_text(name)}</span>' for name, colour in colours.items())
    return f'<p class="legend">{"".join(entries)}</p>'


def _swatch(colour: Sequence[int]) -> str:
    return f'<i style="background:rgb({",".join(map(str, colour))})"></i>'


def _figure(picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, 'PNG', optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode('ascii')
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}">'
        f'<figcaption>{_text(caption)}</figcaption></figure>'
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
