"""Training sets of other programs: their images, classes and labels.

Each format is a module with ``recognised(path)`` and ``read(path)``, entered in
:data:`FORMATS`. Labels of one image are referred to by a text that stands in
catalogs in place of a file: ``FORMAT:PATH#KEY``.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from geo_mm.errors import CatalogError, LabelError, listed
from geo_mm.formats.training import arcgis, boxes, coco, folders, yolo
from geo_mm.formats.training.data import Kind, TrainingData, TrainingImage
from geo_mm.labels import ImageLabels
from geo_mm.paths import absolute

__all__ = [
    'DESCRIPTIONS',
    'FORMATS',
    'Kind',
    'Reference',
    'TrainingData',
    'TrainingImage',
    'find_format',
    'read_image_labels',
    'read_training_data',
]


_MOST = 16  # training sets kept in memory


class Format(NamedTuple):
    """One format of training sets.

    Attributes:
        what: What it is recognised by, for messages.
        recognised: Whether a path is a training set of this format.
        read: Its contents.
    """

    what: str
    recognised: Callable[[Path], bool]
    read: Callable[[Path], TrainingData]


FORMATS: dict[str, Format] = {
    'arcgis': Format(
        f'an ArcGIS export: a folder with images, labels and one of {", ".join(arcgis.METADATA)}',
        arcgis.recognised,
        arcgis.read,
    ),
    'yolo': Format('YOLO: a data.yaml with names and images', yolo.recognised, yolo.read),
    'coco': Format(
        'COCO: a .json with images, annotations and categories, or a folder with such files',
        coco.recognised,
        coco.read,
    ),
    'voc': Format(
        'Pascal VOC: a folder of images, and one of .xml files (Annotations, labels)',
        folders.voc_recognised,
        folders.read_voc,
    ),
    'kitti': Format(
        'KITTI: folders images and labels, with .txt files of 15 columns',
        folders.kitti_recognised,
        folders.read_kitti,
    ),
    'dota': Format(
        'DOTA: folders images and labelTxt, with .txt files of four corners and a class',
        folders.dota_recognised,
        folders.read_dota,
    ),
    'masks': Format(
        'folders images and masks (or labels), with rasters of the same names',
        folders.masks_recognised,
        folders.read_masks,
    ),
}
"""The formats that are read, in the order in which they are tried."""

DESCRIPTIONS = ('.json', '.yaml', '.yml')
"""Suffixes of files that stand for a training set; others are folders."""


def find_format(path: str | os.PathLike) -> str | None:
    """The format of a training set, or None if it is none that is read."""
    path = Path(path)
    return next((name for name, format in FORMATS.items() if format.recognised(path)), None)


def read_training_data(path: str | os.PathLike) -> TrainingData:
    """The contents of a training set.

    Raises:
        CatalogError: If it is of no format that is read; it names what was found.
    """
    name = find_format(path)
    if name is None:
        raise _unknown(Path(path))
    return _keep(name, os.path.abspath(path))


class Reference(NamedTuple):
    """What stands for the labels of an image in a catalog, as ``FORMAT:PATH#KEY``.

    Attributes:
        format: Of the training set.
        path: Its file or folder.
        key: Name of the image in it.
    """

    format: str
    path: str
    key: str

    def __str__(self) -> str:
        return f'{self.format}:{self.path}#{self.key}'

    @classmethod
    def parse(cls, text: str, root: str | os.PathLike = '') -> 'Reference | None':
        """A reference with an absolute path, or None for a text of another kind.

        Args:
            text: As in a catalog.
            root: Folder that relative paths start from.

        Raises:
            LabelError: If there is no such training set.
        """
        format, _, rest = text.partition(':')
        if format not in FORMATS or '#' not in rest:
            return None
        # Folders may have a '#' in their names, as may images.
        for sign in re.finditer('#', rest):
            path = absolute(rest[: sign.start()], root)
            if os.path.exists(path):
                return cls(format, path, rest[sign.end() :])
        raise LabelError(
            f'{text}: there is no such training set',
            'labels of an image in a training set: FORMAT:PATH#IMAGE',
            'correct the path, or make the catalog again',
        )

    def relative_to(self, folder: Path) -> 'Reference':
        """With a path that starts from a folder, if it is in there."""
        path = Path(self.path)
        inside = path.is_relative_to(folder)
        return self._replace(path=path.relative_to(folder).as_posix()) if inside else self


def read_image_labels(labels: str, image: object) -> ImageLabels | None:
    """The labels of an image in a format of training sets.

    Args:
        labels: What a catalog has as labels: a reference into a training set,
            the Pascal VOC file of the image, or the file of another kind of labels.
        image: The image file of the catalog.

    Returns:
        None if they are of another kind.

    Raises:
        LabelError: If they cannot be read.
    """
    found = Reference.parse(labels)
    if found is None:
        is_voc = labels.lower().endswith('.xml') and isinstance(image, str)
        return boxes.read_voc(Path(str(image)), Path(labels), {}) if is_voc else None
    data = _kept.get(found[:2]) or _keep(*found[:2])
    return data.read_labels(found.key)


_kept: 'OrderedDict[tuple[str, str], TrainingData]' = OrderedDict()
"""What was read last, for the labels of its images, which are read one by one."""


def _keep(name: str, path: str) -> TrainingData:
    _kept[name, path] = data = FORMATS[name].read(Path(path))
    _kept.move_to_end((name, path))
    while len(_kept) > _MOST:
        _kept.popitem(last=False)
    return data


def _unknown(path: Path) -> CatalogError:
    if path.is_dir():
        names = sorted(item.name + ('/' if item.is_dir() else '') for item in path.iterdir())
        found = f'{path}: a folder with {listed(names, 8) or "nothing in it"}'
        inside = [item for item in path.iterdir() if item.is_dir() and find_format(item)]
        near = inside or [item for item in (path.parent,) if find_format(item)]
    else:
        found, near = f'{path}: not a training set', []
    return CatalogError(
        found,
        '\n    '.join(['a training set:', *(format.what for format in FORMATS.values())]),
        f'give {" or ".join(map(str, near[:8]))}'
        if near
        else 'for images without labels, give a pattern such as images/*.tif',
    )
