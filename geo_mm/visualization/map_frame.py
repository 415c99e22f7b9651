"""What makes a map of a picture: title, scale bar, north arrow, legend."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from pyproj.exceptions import ProjError

from geo_mm.classes import Colour
from geo_mm.raster import Grid
from geo_mm.raster.projection import LONLAT, transformer

_FACES = {False: 'DejaVuSans.ttf', True: 'DejaVuSans-Bold.ttf'}
"""Of matplotlib's; Latin, Greek, Cyrillic, Arabic, Hebrew and more, not CJK."""


@functools.lru_cache(maxsize=512)
def font_for(text: str, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font that has the letters of a text.

    DejaVu Sans if that has them, else a font of the system. If there is none,
    DejaVu Sans again, which shows boxes for what it lacks.

    Args:
        text: What is to be written.
        size: Height of the letters, in pixels.
        bold: Whether to make it bold, where the font can.
    """
    face = str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', _FACES[bold]))
    wanted = {ord(letter) for letter in text if not letter.isspace()}
    if not wanted <= _letters(face, 0):
        face = next((path for path in _system_fonts() if wanted <= _letters(path, 0)), face)
    return ImageFont.truetype(face, size)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines no wider than ``width`` pixels, broken at spaces if possible."""
    lines, line = [], ''
    for word in _pieces(text, font, width):
        if line and font.getlength(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ''
        line += word
    return [*lines, line.rstrip()]


def _pieces(text: str, font: ImageFont.FreeTypeFont, width: float) -> Iterator[str]:
    """Words with the space after them, cut where they are too wide by themselves."""
    for word in text.split(' '):
        piece = ''
        for letter in word:
            if piece and font.getlength(piece + letter) > width:
                yield piece
                piece = ''
            piece += letter
        yield f'{piece} '


@functools.lru_cache(maxsize=512)
def _letters(path: str, number: int) -> frozenset[int]:
    try:
        with TTFont(path, fontNumber=number, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except Exception:  # a damaged font of the system is none
        return frozenset()


@functools.cache
def _system_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager  # looks through the whole system

    return tuple(sorted(font_manager.findSystemFonts()))


_LEAST_WIDTH = 480  # pixels; narrower pictures get a margin to the right
_INK = (20, 20, 20)


@dataclass(frozen=True)
class Entry:
    """A line of a legend.

    Attributes:
        text: What it says.
        colour: That of the field beside it; None leaves the field empty.
        line: Whether the field is an outline.
    """

    text: str
    colour: Colour | None
    line: bool = False


def framed(image: Image.Image, grid: Grid, title: str, legend: Sequence[Entry]) -> Image.Image:
    """A picture with what is needed to read it as a map, below it.

    The picture stays in the upper left corner, pixel by pixel, so that the
    whole has the same transform.

    Args:
        image: The picture.
        grid: Of the picture; scale bar and north arrow need its CRS.
        title: Written first, in as many lines as it takes.
        legend: Entries, in as many columns as fit.
    """
    width = max(image.width, _LEAST_WIDTH)
    size = max(13, width // 66)
    margin = size
    blocks = [
        _text_block(title, width - 2 * margin, round(size * 1.2), bold=True),
        _text_block(_place(grid), width - 2 * margin, size),
        _scale_block(grid, width - 2 * margin, size),
        legend_block(legend, width - 2 * margin, size),
    ]
    blocks = [block for block in blocks if block.height]
    height = image.height + margin + sum(block.height + size // 2 for block in blocks)
    canvas = Image.new('RGB', (width, height + size // 2), 'white')
    canvas.paste(image)
    top = image.height + margin
    for block in blocks:
        canvas.paste(block, (margin, top))
        top += block.height + size // 2
    return canvas


def north(grid: Grid) -> tuple[float, float] | None:
    """Direction of true north at the grid's centre, in pixels; None if not georeferenced."""
    if grid.crs is None:
        return None
    centre = grid.width / 2, grid.height / 2
    try:
        lon, lat = transformer(grid.crs, LONLAT).transform(*(grid.transform @ centre))
        x, y = transformer(LONLAT, grid.crs).transform(lon, lat + math.copysign(1e-4, -lat))
    except ProjError:
        return None
    # The step is towards the equator, which a projection does not end at.
    step = (np.array(~grid.transform @ (x, y)) - centre) * math.copysign(1, -lat)
    length = float(np.hypot(*step))
    if not (math.isfinite(length) and length):
        return None
    return float(step[0]) / length, float(step[1]) / length


def bar_length(metres: float) -> float:
    """The longest 1, 2 or 5 times a power of ten that is not above ``metres``."""
    power = 10 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _place(grid: Grid) -> str:
    if grid.crs is None:
        return 'no CRS, pixels' if grid.is_picture else 'no CRS'
    code = grid.crs.to_authority()
    name = grid.crs.to_dict(projjson=True).get('name', '')
    return f'{":".join(code)} {name}' if code else name


@functools.lru_cache(maxsize=256)
def _text_block(text: str, width: int, size: int, *, bold: bool = False) -> Image.Image:
    font = font_for(text, size, bold=bold)
    lines = wrapped(text, font, width)
    row = round(size * 1.35)
    block = Image.new('RGB', (width, row * len(lines)), 'white')
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((0, number * row), line, fill=_INK, font=font)
    return block


def _scale_block(grid: Grid, width: int, size: int) -> Image.Image:
    """Scale bar, and an arrow to the north beside it."""
    try:
        gsd = grid.gsd
    except ProjError:  # a local system, such as that of a building site
        gsd = None
    if gsd is None or not math.isfinite(gsd[0]) or gsd[0] <= 0:
        return Image.new('RGB', (width, 0))
    longest = min(width - 6 * size, max(grid.width // 3, 4 * size))
    metres = bar_length(longest * gsd[0])
    length = round(metres / gsd[0])
    block = Image.new('RGB', (width, round(size * 2.4)), 'white')
    draw = ImageDraw.Draw(block)
    thick = max(2, size // 5)
    bottom = block.height - thick
    draw.rectangle((0, bottom - thick, length, bottom), fill=_INK)
    for x in (0, length):
        draw.rectangle((x, bottom - 2 * thick, x + thick // 2, bottom), fill=_INK)
    text = f'{metres / 1000:g} km' if metres >= 1000 else f'{metres:g} m'
    draw.text((0, 0), text, fill=_INK, font=font_for(text, size))
    if (direction := north(grid)) is not None:
        at = (max(length, 4 * size) + 2.5 * size, block.height / 2)
        _draw_arrow(draw, at, direction, size)
    return block


def _draw_arrow(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], direction: tuple[float, float], size: int
) -> None:
    ahead = np.array(direction) * size * 1.1
    aside = np.array([-direction[1], direction[0]]) * size * 0.45
    centre = np.array(at)
    points = [centre + ahead, centre - ahead + aside, centre - ahead * 0.5, centre - ahead - aside]
    draw.polygon([tuple(point) for point in points], fill=_INK)
    draw.text((at[0] + size * 1.4, at[1] - size * 0.7), 'N', fill=_INK, font=font_for('N', size))


def legend_block(legend: Sequence[Entry], width: int, size: int) -> Image.Image:
    """A legend by itself.

    Args:
        legend: Entries, in as many columns as fit.
        width: Of the block, in pixels.
        size: Height of the letters, in pixels.
    """
    field, row = round(size * 1.6), round(size * 1.5)
    room = width - field - size
    texts = [_text_block(entry.text, room, size) for entry in legend]
    lengths = [font_for(entry.text, size).getlength(entry.text) for entry in legend]
    column = min(round(max(lengths, default=0)), room) + field + 2 * size
    columns = max(1, min(len(legend), width // column))
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    heights = [max(row, *(text.height for text in line)) for line in rows]
    block = Image.new('RGB', (width, sum(heights)), 'white')
    draw = ImageDraw.Draw(block)
    top = 0
    for number, line in enumerate(rows):
        for index, text in enumerate(line):
            entry, left = legend[number * columns + index], index * column
            shape = (left, top + size // 6, left + field, top + size)
            fill = None if entry.line else entry.colour
            outline = entry.colour if entry.line else _INK
            draw.rectangle(shape, fill=fill, outline=outline, width=3 if entry.line else 1)
            block.paste(text, (left + field + size // 2, top))
        top += heights[number]
    return block
