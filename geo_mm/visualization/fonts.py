"""Fonts for text in pictures: whatever alphabet a class or file name is written in."""

import functools
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont
from PIL import ImageFont

_FACES = {False: 'DejaVuSans.ttf', True: 'DejaVuSans-Bold.ttf'}
"""Of matplotlib's; Latin, Greek, Cyrillic, Arabic, Hebrew and more, not CJK."""


def font_for(text: str, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font that has the letters of a text.

    DejaVu Sans if that has them, else a font of the system. If there is none,
    DejaVu Sans again, which shows boxes for what it lacks.

    Args:
        text: What is to be written.
        size: Height of the letters, in pixels.
        bold: Whether to make it bold, where the font can.
    """
    face = Path(matplotlib.get_data_path(), 'fonts', 'ttf', _FACES[bold])
    wanted = {ord(letter) for letter in text if not letter.isspace()}
    if not wanted <= _letters(str(face), 0):
        face = next((path for path in _system_fonts() if wanted <= _letters(path, 0)), face)
    return ImageFont.truetype(str(face), size)


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
