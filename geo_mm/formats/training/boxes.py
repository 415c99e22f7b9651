"""Boxes of one chip: Pascal VOC's XML and KITTI's text, both ways, and DOTA's corners."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import shapely

from geo_mm.errors import LabelError
from geo_mm.labels import ImageObjects

Box = tuple[float, float, float, float]
"""``x_min, y_min, x_max, y_max`` in pixels from the upper left corner of the image."""

_KITTI = 15  # columns


def read_voc(image: Path, path: Path, names: Mapping[int, str]) -> ImageObjects:
    """Boxes of a Pascal VOC file, none if there is no such file.

    Args:
        image: The chip.
        path: Its XML file.
        names: Class name of each value; other texts are names themselves.

    Raises:
        LabelError: If the file is no such XML.
    """
    found = list(_voc_objects(path)) if path.exists() else []
    named = [(None if difficult else _named(name, names), box) for name, box, difficult in found]
    return _objects(image, path, named)


def read_kitti(image: Path, path: Path, names: Mapping[int, str]) -> ImageObjects:
    """Boxes of a KITTI file, none if there is no such file.

    Raises:
        LabelError: If a line has not 15 columns, four of them a box.
    """
    lines = lines_of(path) if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        # Names of classes may hold blanks; the 14 columns after them do not.
        parts = line.rsplit(maxsplit=_KITTI - 1)
        box = _box(parts[4:8], path, f'line {number}') if len(parts) == _KITTI else None
        if box is None:
            raise LabelError(
                f'{path}: line {number} is {line!r}',
                '15 columns: the class, three, left, top, right and bottom, seven',
            )
        # KITTI's own word for regions in which nothing is labelled.
        ignored = parts[0] == 'DontCare' and 'DontCare' not in names.values()
        found.append((None if ignored else _named(parts[0], names), box))
    return _objects(image, path, found)


def read_labelled_tile(image: Path, path: Path, names: Mapping[int, str]) -> ImageObjects:
    """A chip of one class as a box around all of it.

    Raises:
        LabelError: If the file is no Pascal VOC.
    """
    if not path.exists():
        return _objects(image, path, [])
    root = _root(path)
    found = [item.findtext('name') or '' for item in root.iter('object')]
    size = [root.findtext(f'size/{side}') for side in ('width', 'height')]
    box = _box(('0', '0', *size), path, 'its size')
    return _objects(image, path, [(_named(name, names), box) for name in found[:1]])


def read_dota(image: Path, path: Path, names: Mapping[int, str]) -> ImageObjects:
    """Four corners of each object in a DOTA file, none if there is no such file.

    Raises:
        LabelError: If a line is not eight numbers, a class and a difficulty.
    """
    lines = [line for line in lines_of(path) if ':' not in line] if path.exists() else []
    corners, found = [], []
    for line in lines:
        parts = line.split()
        try:
            corners.append(np.array(parts[:8], float).reshape(4, 2))
            found.append(None if parts[9:] and int(parts[9]) else _named(parts[8], names))
        except (ValueError, IndexError) as error:
            raise LabelError(
                f'{path}: {line!r}', 'x and y of four corners, the class, and 0 or 1 if difficult'
            ) from error
    shapes = [shapely.Polygon(points) for points in corners]
    return ImageObjects(str(image), np.array(shapes, dtype=object), found, str(path))


def voc_text(
    name: str, shape: tuple[int, int, int], objects: Sequence[tuple[str | None, Box]]
) -> str:
    """A Pascal VOC file, as ArcGIS writes it.

    Args:
        name: File name of the chip.
        shape: ``(bands, height, width)``.
        objects: Class and box of each; those of no class are marked as difficult.
    """
    root = Element('annotation')
    SubElement(root, 'filename').text = name
    SubElement(SubElement(root, 'source'), 'annotation').text = 'geo_mm'
    size = SubElement(root, 'size')
    for side, value in zip(('width', 'height', 'depth'), reversed(shape), strict=True):
        SubElement(size, side).text = str(value)
    for text, box in objects:
        item = SubElement(root, 'object')
        SubElement(item, 'name').text = 'ignore' if text is None else text
        if text is None:
            SubElement(item, 'difficult').text = '1'
        corners = SubElement(item, 'bndbox')
        for side, number in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True):
            SubElement(corners, side).text = f'{number:.2f}'
    ElementTree.indent(root)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def kitti_text(objects: Sequence[tuple[str | None, Box]]) -> str:
    """A KITTI file of 15 columns; regions of no class are ``DontCare``."""
    lines = [
        f'{"DontCare" if text is None else text} 0.0 0 0.0 '
        + ' '.join(f'{number:.2f}' for number in box)
        + ' 0.0' * 7
        for text, box in objects
    ]
    return ''.join(f'{line}\n' for line in lines)


def is_voc(folder: Path) -> bool:
    """Whether the first XML file of a folder, but those of GDAL, is Pascal VOC."""
    for path in sorted(folder.glob('*.xml')):
        if not path.name.endswith('.aux.xml'):
            try:
                return _root(path).tag == 'annotation'
            except LabelError:
                return False
    return False


def is_kitti(folder: Path) -> bool:
    """Whether the first text file of a folder with something in it has KITTI's columns."""
    for path in sorted(folder.glob('*.txt')):
        if lines := lines_of(path):
            return len(lines[0].split()) >= _KITTI
    return False


def is_dota(folder: Path) -> bool:
    """Whether the first text file of a folder with objects has DOTA's columns."""
    for path in sorted(folder.glob('*.txt')):
        lines = [line.split() for line in lines_of(path) if ':' not in line]
        if lines:
            return len(lines[0]) in (9, 10) and not _is_number(lines[0][8])
    return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _voc_objects(path: Path) -> Iterator[tuple[str, Box, bool]]:
    """Class, box and difficulty of each object."""
    for number, item in enumerate(_root(path).iter('object'), 1):
        texts = [item.findtext(f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')]
        box = _box(texts, path, f'object {number}')
        yield item.findtext('name') or '', box, item.findtext('difficult', '0').strip() == '1'


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise LabelError(
            f'{path}: cannot be read as Pascal VOC: {error}',
            'an XML file with <annotation>',
            'copy or export it again',
        ) from error
    if root.tag != 'annotation':
        raise LabelError(f'{path}: an XML file of <{root.tag}>', 'Pascal VOC: <annotation>')
    return root


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        LabelError: If it cannot be read.
    """
    try:
        text = path.read_text('utf-8-sig', errors='replace')
    except OSError as error:
        raise LabelError(f'{path}: cannot be read: {error}', 'a text file of boxes') from error
    return [line for line in text.splitlines() if line.strip()]


def _box(texts: Sequence[str | None], path: Path, where: str) -> Box:
    try:
        left, top, right, bottom = (float(text or 'nan') for text in texts)
    except ValueError:
        left = top = right = bottom = math.nan
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise LabelError(f'{path}: {where} has the box {list(texts)}', 'four numbers')
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _named(text: str, names: Mapping[int, str]) -> str:
    """The name of a class that is given by its value, or by its name."""
    text = text.strip()
    try:
        return names.get(int(text), text)
    except ValueError:
        return text


def _objects(image: Path, path: Path, found: Sequence[tuple[str | None, Box]]) -> ImageObjects:
    corners = np.array([box for _, box in found], float).reshape(-1, 4)
    return ImageObjects(
        image=str(image),
        geometries=shapely.box(*corners.T),
        names=[name for name, _ in found],
        source=str(path),
    )
