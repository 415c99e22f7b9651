"""Parts of web pages that need nothing from outside: style, tables, pictures, legends."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from PIL import Image

import geo_mm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With scrollbars that are seen on phones, too: else nothing tells of more columns.
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2730; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p, figcaption { overflow-wrap: anywhere; }
main ::-webkit-scrollbar { width: .5rem; height: .5rem; background: #e3e8ec; }
main ::-webkit-scrollbar-thumb { background: #6b7884; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid #0072b2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; } tbody th { font-weight: 400; }
tbody th span { display: inline-block; vertical-align: top; white-space: normal;
  width: max-content; max-width: max(9rem, 30vw); overflow-wrap: break-word; }
thead th { border-bottom: 2px solid #1d2730; }
tbody th, tbody td { border-bottom: 1px solid #dde3e8; }
tr.total > * { font-weight: 600; border-top: 2px solid #1d2730; }
.pairs th, .pairs td { text-align: left; vertical-align: top; white-space: normal;
  overflow-wrap: anywhere; } .pairs th { min-width: 7rem; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i, th i { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
            vertical-align: -.1em; border: 1px solid #0004; }
figure { margin: 1rem 0; } figcaption { color: #54616c; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; }
.panels figure { flex: 1 1 min(30rem, 100%); }
img { max-width: 100%; border: 1px solid #c8d0d7; image-rendering: auto; }
.plot { overflow-x: auto; } .plot img { max-width: max(100%, 34rem); }
.plot:focus-visible { outline: 2px solid #0072b2; }
dl.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1.5rem 0; }
dl.facts div { display: flex; flex-direction: column-reverse; } dl.facts dd { margin: 0;
  font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums; }
dl.facts dt { color: #54616c; }
pre { overflow: auto; max-height: 40rem; background: #f4f6f8; padding: 1rem; font-size: .85rem; }
summary { cursor: pointer; }
footer { margin-top: 3rem; color: #54616c; font-size: .85rem; }
"""


def page(title: str, parts: Sequence[str], made: str, style: str = '') -> str:
    """A whole page.

    Args:
        title: Of the window.
        parts: What it consists of, as HTML.
        made: How it came about, such as 'Evaluated', for its last line.
        style: Further CSS.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><style>{_STYLE}{style}</style></head>\n<body><main>'
        + '\n'.join(parts)
        + f'\n</main><footer>{made} with geo_mm {geo_mm.__version__} on {date.today().isoformat()}.'
        '</footer></body></html>\n'
    )


def table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table with a heading, which can be scrolled if it is wider than the page.

    Args:
        title: Heading.
        columns: Head of each column.
        rows: HTML of each row, ``<tr>...</tr>``.
    """
    head = ''.join(f'<th scope="col">{text(column)}</th>' for column in columns)
    # Can be focused, so that it can be scrolled by keyboard.
    return (
        f'<h2>{text(title)}</h2>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(title)}">'
        f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def legend(colours: Mapping[str, Sequence[int]]) -> str:
    """A line of coloured fields with what they stand for."""
    entries = (f'<span>{swatch(colour)}{text(name)}</span>' for name, colour in colours.items())
    return f'<p class="legend">{"".join(entries)}</p>'


def swatch(colour: Sequence[int]) -> str:
    """A coloured field."""
    return f'<i style="background:rgb({",".join(map(str, colour))})"></i>'


def figure(picture: Image.Image, caption: str, *, photo: bool = False) -> str:
    """A picture with a caption, which is its alternative text, too.

    Args:
        picture: It becomes a part of the page.
        caption: What is to be seen.
        photo: Whether to store it as JPEG, not PNG.
    """
    buffer, kind = io.BytesIO(), 'jpeg' if photo else 'png'
    picture.save(buffer, kind, optimize=True, **({'quality': 85} if photo else {}))
    data = base64.b64encode(buffer.getvalue()).decode('ascii')
    return (
        f'<figure><img alt="{text(caption)}" src="data:image/{kind};base64,{data}">'
        f'<figcaption>{text(caption)}</figcaption></figure>'
    )


def plot(title: str, caption: str, drawn: 'Figure') -> str:
    """A figure of matplotlib under a heading, which can be scrolled on a narrow screen."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format='png', dpi=110)
    picture = Image.open(buffer).convert('P', palette=Image.Palette.ADAPTIVE)
    return f'<h2>{text(title)}</h2>{scrolled(title, figure(picture, caption))}'


def scrolled(label: str, content: str) -> str:
    """Pictures that are scrolled where they are wider than the screen, also by keyboard."""
    return (
        f'<div class="plot" role="region" tabindex="0" aria-label="{text(label)}">{content}</div>'
    )


def facts(values: Mapping[str, str]) -> str:
    """A few numbers that are the gist of a page."""
    items = (
        f'<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>' for name, value in values.items()
    )
    return f'<dl class="facts">{"".join(items)}</dl>'


def pairs(title: str, values: Mapping[str, object]) -> str:
    """A table of names and texts, with a heading."""
    rows = ''.join(row(name, [value]) for name, value in values.items())
    return f'<h2>{text(title)}</h2><table class="pairs"><tbody>{rows}</tbody></table>'


def row(name: str, cells: Sequence[object]) -> str:
    """A row of a :func:`table`."""
    values = ''.join(f'<td>{text(cell)}</td>' for cell in cells)
    return f'<tr>{row_head(name)}{values}</tr>'


def row_head(name: str, mark: str = '') -> str:
    """The head of a row, which leaves room for its cells however long the name is.

    Args:
        name: What the row is about.
        mark: HTML before it, such as a :func:`swatch`.
    """
    return f'<th scope="row">{mark}<span>{text(name)}</span></th>'


def folded(title: str, content: str) -> str:
    """Plain text that is shown when one asks for it."""
    label = f'tabindex="0" role="region" aria-label="{text(title)}"'
    return f'<details><summary>{text(title)}</summary><pre {label}>{text(content)}</pre></details>'


def text(value: object) -> str:
    """A value as text of a page."""
    return html.escape(str(value), quote=True)
