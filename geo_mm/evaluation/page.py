"""One HTML page with tables and maps that needs nothing from outside."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.pictures import (
    CLASS_COLORS,
    RESULT_COLORS,
    Backdrop,
    object_picture,
    pixel_pictures,
)
from geo_mm.evaluation.pixels import PixelEvaluation
from geo_mm.evaluation.tables import Table, object_tables, pixel_tables, settings_lines

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2730; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1d2730; }
tbody td { border-bottom: 1px solid #dde3e8; }
tr.total td { font-weight: 600; border-top: 2px solid #1d2730; }
td.diagonal { background: #e3eef6; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
            vertical-align: -.1em; border: 1px solid #0004; }
figure { margin: 1rem 0; } figcaption { color: #54616c; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; } .panels figure { flex: 1 1 30rem; }
img { max-width: 100%; border: 1px solid #c8d0d7; image-rendering: auto; }
footer { margin-top: 3rem; color: #54616c; font-size: .85rem; }
"""


def object_page(
    result: ObjectEvaluation, title: str, images: Mapping[str, Backdrop] | None = None
) -> str:
    """The page for objects.

    Args:
        result: What to show.
        title: Heading.
        images: Picture to draw the map on, by the name of the evaluated scene.
    """
    parts = _head(title, result, object_tables(result))
    legend = _legend(RESULT_COLORS)
    for scene in result.scenes:
        picture = object_picture(scene.features, (images or {}).get(scene.name), scene.areas)
        counts = scene.features['result'].value_counts()
        said = ', '.join(f'{name}: {counts.get(name, 0):,}' for name in RESULT_COLORS)
        parts.append(f'<h2>Map of {_text(scene.name)}</h2>{legend}')
        parts.append(_figure(picture, f'{scene.sources[0]} against {scene.sources[1]}. {said}.'))
    return _document(title, parts)


def pixel_page(result: PixelEvaluation, title: str) -> str:
    """The page for class rasters."""
    parts = _head(title, result, pixel_tables(result))
    names = {
        name: CLASS_COLORS[index % len(CLASS_COLORS)] for index, name in enumerate(result.classes)
    }
    for scene in result.scenes:
        parts.append(f'<h2>Map of {_text(scene.name)}</h2>')
        captions = {
            'truth': f'Truth: {scene.sources[1]}',
            'prediction': f'Prediction: {scene.sources[0]}',
            'errors': 'Errors: grey is right, red is wrong; white is not compared',
        }
        figures = {
            name: _figure(picture, captions[name])
            for name, picture in pixel_pictures(scene.sketch, len(result.classes)).items()
        }
        panels = f'<div class="panels">{figures["truth"]}{figures["prediction"]}</div>'
        parts += [figures['errors'], _legend(names), panels]
        if scene.sketch.step > 1:
            parts.append(
                f'<p>One dot stands for {scene.sketch.step} x {scene.sketch.step} pixels: of '
                'classes one of them is shown, of errors their share.</p>'
            )
    return _document(title, parts)


def _head(title: str, result, tables: Sequence[Table]) -> list[str]:
    parts = [f'<h1>{_text(title)}</h1>']
    parts += [f'<p>{_text(line)}</p>' for line in settings_lines(result)]
    parts += [_table(table) for table in tables]
    return parts


def _table(table: Table) -> str:
    head = ''.join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    rows = []
    square = table.title.startswith('Confusion')
    for number, row in enumerate(table.rows):
        last = table.total and number == len(table.rows) - 1
        cells = ''.join(
            f'<td{_diagonal(square and not last and place == number + 1)}>{_text(cell)}</td>'
            for place, cell in enumerate(row)
        )
        rows.append(f'<tr{" class=total" if last else ""}>{cells}</tr>')
    return (
        f'<h2>{_text(table.title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _diagonal(is_it: bool) -> str:
    return ' class="diagonal"' if is_it else ''


def _legend(colors: Mapping[str, Sequence[int]]) -> str:
    entries = ''.join(
        f'<span><i style="background:rgb({",".join(map(str, color))})"></i>{_text(name)}</span>'
        for name, color in colors.items()
    )
    return f'<p class="legend">{entries}</p>'


def _figure(picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, 'PNG', optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode('ascii')
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}">'
        f'<figcaption>{_text(caption)}</figcaption></figure>'
    )


def _document(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>'
        + '\n'.join(parts)
        + '\n<footer>Made by tools/evaluate.py of geo_mm.</footer></body></html>\n'
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
