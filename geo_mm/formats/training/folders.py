"""Folders of images with a label file each: Pascal VOC, KITTI, DOTA, masks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rasterio.errors import RasterioError

from geo_mm.classes import IGNORE, ClassSet
from geo_mm.formats.training import boxes, masks
from geo_mm.formats.training.data import (
    IMAGES,
    TrainingData,
    TrainingImage,
    class_set,
    images_in,
    named_classes,
)
from geo_mm.labels import ImageLabels
from geo_mm.raster.handles import open_quietly

_IMAGES = ('images', 'JPEGImages', 'Images', 'image', 'imgs', 'img')
_LABELS = (
    'labels',
    'labelTxt',
    'masks',
    'Annotations',
    'annotations',
    'mask',
    'label',
    'gt',
    'Masks',
    'Labels',
)
_SAMPLED = 32  # masks that are looked at for their values


def voc_recognised(path: Path) -> bool:
    """Whether there are images, and XML files in a folder of labels or beside them."""
    pair = _pair(path, ('.xml',))
    return pair is not None and boxes.is_voc(pair[1])


def read_voc(path: Path) -> TrainingData:
    """Images with Pascal VOC files; the classes are those that they name."""
    images, labels = _found(path, ('.xml',))
    return _with_boxes(path, 'Pascal VOC', images, labels)


def kitti_recognised(path: Path) -> bool:
    """Whether there are images, and text files of 15 columns."""
    pair = _pair(path, ('.txt',))
    return pair is not None and boxes.is_kitti(pair[1])


def read_kitti(path: Path) -> TrainingData:
    """Images with KITTI files; the classes are those that they name."""
    images, labels = _found(path, ('.txt',))
    return _with_boxes(path, 'KITTI', images, labels)


def dota_recognised(path: Path) -> bool:
    """Whether there are images, and text files of corners, in ``labelTxt`` or ``labels``."""
    pair = _pair(path, ('.txt',))
    return pair is not None and boxes.is_dota(pair[1])


def read_dota(path: Path) -> TrainingData:
    """Images with DOTA's files; the classes are those that they name."""
    images, labels = _found(path, ('.txt',))
    return _with_boxes(path, 'DOTA', images, labels)


def masks_recognised(path: Path) -> bool:
    """Whether there are images, and a folder of rasters of the same names."""
    pair = _pair(path, tuple(IMAGES))
    if pair is None or pair[0] == pair[1]:
        return False
    first = next(images_in(pair[0]), None)
    return first is not None and masks.beside(pair[1], first) is not None


def read_masks(path: Path) -> TrainingData:
    """Images with masks of classes.

    Without a list of names, ``classes.txt``, values are class numbers; those of
    masks of two values, as 0 and 255, are background and foreground.
    """
    images, labels = _found(path, tuple(IMAGES))
    listed = _listed_names(path)
    values: Mapping[int, str | None]
    values = {IGNORE: None, **listed} if listed else _named_values(images, labels)

    def read_labels(key: str) -> ImageLabels:
        return masks.read_classes(images / key, labels, values)

    return TrainingData(
        path=str(path),
        format='images and masks',
        kind='pixels',
        images=tuple(_training_images(path, images, labels)),
        read_labels=read_labels,
        find_classes=partial(_ordered, values),
    )


def _ordered(values: Mapping[int, str | None]) -> ClassSet | None:
    names = [name for _, name in sorted(values.items()) if name is not None]
    return class_set(names, background='background' in names)


def _with_boxes(path: Path, name: str, images: Path, labels: Path) -> TrainingData:
    reader = {
        'Pascal VOC': boxes.read_voc,
        'KITTI': boxes.read_kitti,
        'DOTA': boxes.read_dota,
    }[name]
    suffix = '.xml' if name == 'Pascal VOC' else '.txt'
    values = _listed_names(path) or {}

    def read_labels(key: str) -> ImageLabels:
        return reader(images / key, labels / f'{Path(key).stem}{suffix}', values)

    found = tuple(_training_images(path, images, None))
    return TrainingData(
        path=str(path),
        format=name,
        kind='boxes',
        images=found,
        read_labels=read_labels,
        find_classes=partial(named_classes, found, read_labels),
    )


def _training_images(path: Path, images: Path, labels: Path | None) -> Iterator[TrainingImage]:
    splits = _split_lists(path)
    for image in images_in(images):
        if labels is None or masks.beside(labels, image) is not None:
            yield TrainingImage(image.name, str(image), splits.get(image.stem))


def _split_lists(path: Path) -> dict[str, str]:
    """The split of each image in ``ImageSets/Main`` or beside the folders, by stem."""
    found: dict[str, str] = {}
    for folder in (path / 'ImageSets' / 'Main', path / 'ImageSets' / 'Segmentation', path):
        for name in ('train', 'val', 'test'):
            file = folder / f'{name}.txt'
            for line in boxes.lines_of(file) if file.is_file() else ():
                found.setdefault(Path(line.split()[0]).stem, name)
        if found:
            break
    return found


def _found(path: Path, suffixes: Sequence[str]) -> tuple[Path, Path]:
    pair = _pair(path, suffixes)
    assert pair is not None  # recognised
    return pair


def _pair(path: Path, suffixes: Sequence[str]) -> tuple[Path, Path] | None:
    """The folders of images and of labels, which may be one."""
    if not path.is_dir():
        return None
    images = next(
        (path / name for name in (*_IMAGES, '.') if next(_images(path / name), None)), None
    )
    if images is None:
        return None
    for name in (*_LABELS, '.'):
        folder = path / name
        if folder.is_dir() and any(
            file.suffix.lower() in suffixes and not file.name.endswith('.aux.xml')
            for file in folder.iterdir()
        ):
            return images, folder
    return None


def _images(folder: Path) -> Iterator[Path]:
    return images_in(folder) if folder.is_dir() else iter(())


def _listed_names(path: Path) -> dict[int, str] | None:
    """Names in ``classes.txt``, one a line, of the values from 0."""
    for folder in (path, path / 'labels'):
        file = folder / 'classes.txt'
        if file.is_file():
            return dict(enumerate(line.strip() for line in boxes.lines_of(file)))
    return None


def _named_values(images: Path, labels: Path) -> dict[int, str | None]:
    """A name for each value of some masks."""
    files = [mask for image in images_in(images) if (mask := masks.beside(labels, image))]
    found: set[int] = set()
    for file in files[:: max(len(files) // _SAMPLED, 1)]:
        try:
            with open_quietly(str(file)) as dataset:
                found.update(np.unique(dataset.read(1)).astype(int).tolist())
        except (RasterioError, ValueError):
            continue  # opening its scene says what is wrong with it
    if len(found) == 2 and 0 in found:
        return {0: 'background', max(found): 'foreground'}
    names: dict[int, str | None] = {
        value: f'class {value}' for value in range(max(found - {IGNORE}, default=-1) + 1)
    }
    return names | ({IGNORE: None} if IGNORE in found else {})
