"""YOLO's text files, both ways: a data.yaml, and boxes or polygons as fractions of each image."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import yaml

from geo_mm.errors import CatalogError, LabelError
from geo_mm.formats.training.boxes import lines_of
from geo_mm.formats.training.data import TrainingData, TrainingImage, class_set, images_in
from geo_mm.labels import ImageObjects

_SPLITS = ('train', 'val', 'test')
_LOOKED_AT = 1000  # images, to tell boxes from polygons


def recognised(path: Path) -> bool:
    """Whether it is a YAML file with ``names`` and images of a split, or a folder with one."""
    return _file(path) is not None


def read(path: Path) -> TrainingData:
    """A data set that a YAML file describes.

    Raises:
        CatalogError: If its images are missing.
    """
    file = _file(path)
    assert file is not None  # recognised
    data = _parsed(file)
    names = _names(data['names'])
    images: dict[str, TrainingImage] = {}
    for split in _SPLITS:
        for image in _images(data.get(split), data, file):
            key = os.path.relpath(image, file.parent)
            images.setdefault(key, TrainingImage(key, str(image), split))
    if not images:
        raise CatalogError(f'{file}: names no images', 'folders of images as train, val or test')

    def read_labels(key: str) -> ImageObjects:
        return read_objects(Path(images[key].path), names)

    outlined = any(
        len(line.split()) > 5
        for image in islice(images.values(), _LOOKED_AT)
        for line in _lines(_label_file(Path(image.path)))
    )
    return TrainingData(
        path=str(path),
        format='YOLO',
        kind='instances' if outlined else 'boxes',
        images=tuple(images.values()),
        read_labels=read_labels,
        find_classes=partial(class_set, [names[number] for number in sorted(names)]),
        values=names,
    )


def read_objects(image: Path, names: Mapping[int, str]) -> ImageObjects:
    """Boxes and polygons of the text file of an image, none if there is no such file.

    Raises:
        LabelError: If a line is neither, or of no class.
    """
    path = _label_file(image)
    geometries: list[shapely.Geometry] = []
    found: list[str | None] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            value, *numbers = map(float, line.split())
            name, xy = names[int(value)], np.array(numbers)
            if not np.isfinite(xy).all():
                raise ValueError('not finite')
            if len(xy) == 4:
                left, top = xy[:2] - xy[2:] / 2
                geometries.append(shapely.box(left, top, left + xy[2], top + xy[3]))
            else:
                geometries.append(shapely.Polygon(xy.reshape(-1, 2)))
        except (ValueError, KeyError) as error:
            raise LabelError(
                f'{path}: line {number} is {line[:80]!r}',
                'the number of a class, then the centre x, y, width and height of a box, or x, y '
                f'of at least three corners; classes are {", ".join(map(str, sorted(names)))}',
            ) from error
        found.append(name)
    shapes = np.empty(len(geometries), dtype=object)
    shapes[:] = geometries
    return ImageObjects(str(image), shapes, found, str(path), relative=True)


def _file(path: Path) -> Path | None:
    if path.is_dir():
        files = sorted([*path.glob('*.yaml'), *path.glob('*.yml')])
        files = [file for file in files if file.stem in ('data', 'dataset')] or files
    else:
        files = [path] if path.suffix.lower() in ('.yaml', '.yml') else []
    return next((file for file in files if _parsed(file)), None)


def _parsed(path: Path) -> dict:
    """The file's content; empty if it describes no data set."""
    try:
        data = yaml.safe_load(path.read_text('utf-8-sig'))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    if not isinstance(data, dict) or not isinstance(data.get('names'), list | dict):
        return {}
    return data if any(data.get(split) for split in _SPLITS) else {}


def _names(names: Any) -> dict[int, str]:
    items = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(number): str(name) for number, name in items}


def _images(source: Any, data: dict, file: Path) -> Iterator[Path]:
    """The images of a split: of a folder, of a list of their names, or of several of these."""
    for item in source if isinstance(source, list) else [source] if source else []:
        place = _found(str(item), data, file)
        if place.is_dir():
            yield from images_in(place)
        else:
            for line in lines_of(place):
                image = Path(line.strip())
                yield image if image.is_absolute() else place.parent / image


def _found(name: str, data: dict, file: Path) -> Path:
    """A place in a data set: its ``path`` is often one on the machine of its author."""
    bases = [file.parent / str(data.get('path') or ''), file.parent]
    # Roboflow counts from a folder deeper than the file.
    for place in (*(base / name for base in bases), file.parent / name.removeprefix('../')):
        if place.exists():
            return place
    raise CatalogError(
        f'{file}: no such folder or list of images: {name}',
        f'a folder in {file.parent}, or in that of `path`',
        'correct `path` in the file',
    )


def _label_file(image: Path) -> Path:
    """The text file of an image: in ``labels`` in place of ``images``, or beside it."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == 'images':
            parts[position] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _lines(path: Path) -> list[str]:
    return lines_of(path) if path.exists() else []


def yolo_text(
    objects: Sequence[tuple[int, shapely.Geometry]], size: tuple[int, int], outlined: bool
) -> str:
    """A YOLO file.

    Args:
        objects: Class number and outline of each, in pixels of the image.
        size: ``(width, height)`` of the image.
        outlined: Write polygons, of each part of an object and without holes, not boxes.
    """
    lines = []
    rows: list[np.ndarray]
    for number, geometry in objects:
        if outlined:
            rings = [shapely.get_coordinates(part.exterior) for part in shapely.get_parts(geometry)]
            rows = [(ring[:-1] / size).ravel() for ring in rings]
        else:
            left, top, right, bottom = shapely.bounds(geometry)
            box = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
            rows = [box / (*size, *size)]
        lines += [f'{number} {" ".join(f"{value:.7f}" for value in row)}' for row in rows]
    return ''.join(f'{line}\n' for line in lines)


def yaml_text(names: Sequence[str], images: str) -> str:
    """The data.yaml of images without splits, which serve for training and validation."""
    data = {'train': images, 'val': images, 'names': dict(enumerate(names))}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
