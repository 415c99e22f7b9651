"""Figures of matplotlib as pictures."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure
from PIL import Image

_DPI = 110


def rendered(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    file = io.BytesIO()
    figure.savefig(file, dpi=_DPI, format='png')
    return Image.open(file).convert('RGB')


def stacked(figures: Sequence[Figure]) -> Image.Image:
    """Figures below each other, as one picture."""
    pictures = [rendered(figure) for figure in figures]
    size = max(each.width for each in pictures), sum(each.height for each in pictures)
    sheet, top = Image.new('RGB', size, 'white'), 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet
