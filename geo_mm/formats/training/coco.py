"""COCO's JSON: boxes, polygons and run-length masks of many images in one file, both ways."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pycocotools import mask as run_lengths

from geo_mm.classes import ClassSet, Colour
from geo_mm.errors import CatalogError, LabelError
from geo_mm.formats.training.data import TrainingData, TrainingImage, class_set, split_of
from geo_mm.formats.training.masks import outlines_of
from geo_mm.labels import ImageLabels, ImageObjects
from geo_mm.labels.label_raster import file_grid

_PATTERNS = ('annotations/*.json', '*.json', '*/_annotations.coco.json')
"""Where a folder has its JSON files."""


def recognised(path: Path) -> bool:
    """Whether it is a JSON file with ``images`` and ``annotations``, or a folder with some."""
    return bool(_files(path))


def read(path: Path) -> TrainingData:
    """A JSON file, or a folder with one for each split.

    Raises:
        CatalogError: If images are missing, or files are not told apart by a split.
    """
    files = _files(path)
    splits = [
        split_of(file.name if file == path else str(file.relative_to(path))) for file in files
    ]
    if len(files) > 1 and len(set(splits)) < len(files):
        raise CatalogError(
            f'{path}: {len(files)} COCO files: {", ".join(file.name for file in files)}',
            'one, or one for each of train, val and test',
            'give the file itself',
        )
    images: list[TrainingImage] = []
    found: dict[str, tuple[str, list[dict], dict[int, str]]] = {}
    names: list[str] = []
    colours: dict[str, Colour] = {}
    values: dict[int, str] = {}
    outlined = False
    for file, split in zip(files, splits, strict=True):
        data = _parsed(file, file.stat().st_mtime_ns)
        own = _categories(data, colours)
        names += own.values()
        values |= own
        objects = _by_image(data, file)
        outlined |= any(item.get('segmentation') for items in objects.values() for item in items)
        where = None if file == path else file.relative_to(path).as_posix()
        for item in _dicts(data['images']):
            name = str(item.get('file_name'))
            key = name if where is None else f'{where}/{name}'
            image = str(_image(file, name, split))
            images.append(TrainingImage(key, image, split if len(files) > 1 else None))
            found[key] = image, objects.get(item.get('id'), []), own

    def read_labels(key: str) -> ImageLabels:
        if key not in found:
            raise LabelError(f'{path}: no image {key}', 'an image of the COCO file')
        return _objects(*found[key], str(path))

    return TrainingData(
        path=str(path),
        format='COCO',
        kind='instances' if outlined else 'boxes',
        images=tuple(images),
        read_labels=read_labels,
        find_classes=partial(class_set, names, colours),
        values=values,
    )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [file for pattern in _PATTERNS for file in sorted(path.glob(pattern))]
        # COCO's own folder also has captions and keypoints of the same images.
        found = [file for file in found if file.name.startswith('instances')] or found
    else:
        found = [path] if path.suffix.lower() == '.json' else []
    return [file for file in found if _parsed(file, file.stat().st_mtime_ns)]


@lru_cache(maxsize=8)
def _parsed(path: Path, stamp: int) -> dict:
    """The file's content; empty if it is no COCO."""
    try:
        data = json.loads(path.read_text('utf-8-sig'))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    lists = (data.get('images'), data.get('annotations'), data.get('categories'))
    return data if all(isinstance(part, list) for part in lists) else {}


def _dicts(items: Sequence) -> list[dict]:
    return [item for item in items if isinstance(item, dict)]


def _categories(data: dict, colours: dict[str, Colour]) -> dict[int, str]:
    names = {}
    for item in _dicts(data['categories']):
        names[item.get('id', -1)] = name = str(item.get('name', item.get('id')))
        match item.get('color'):
            case [int(red), int(green), int(blue)]:
                colours[name] = (red, green, blue)
    return names


def _by_image(data: dict, path: Path) -> dict[Any, list[dict]]:
    objects = defaultdict(list)
    for item in _dicts(data['annotations']):
        if not isinstance(item.get('image_id'), int | str):
            raise CatalogError(
                f'{path}: annotation {item.get("id")} has the image_id {item.get("image_id")!r}',
                'the id of an image',
            )
        objects[item['image_id']].append(item)
    return objects


def _image(path: Path, name: str, split: str | None) -> Path:
    """The file of an image: beside the JSON, or in a folder where others look for it, too."""
    top = path.parent.parent
    # instances_train2017.json belongs to the folder train2017.
    own = path.stem.removeprefix('instances_')
    folders = [path.parent, path.parent / 'images', top, top / 'images']
    folders += [base / part for base in folders[-2:] for part in (own, split) if part]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise CatalogError(
        f'{path}: the image {name} is in none of {", ".join(map(str, folders))}',
        'images beside the JSON file or in a folder called images',
        'copy the images there',
    )


def _objects(
    image: str, annotations: Sequence[dict], names: Mapping[int, str], source: str
) -> ImageObjects:
    geometries = np.empty(len(annotations), dtype=object)
    classes: list[str | None] = []
    for number, item in enumerate(annotations):
        where = f'{source}: annotation {item.get("id")} of {Path(image).name}'
        if item.get('category_id') not in names:
            raise LabelError(
                f'{where} has the category {item.get("category_id")!r}',
                f'one of {", ".join(map(str, names))}',
            )
        geometries[number] = _geometry(item, image, where)
        crowd = item.get('iscrowd') or item.get('ignore')
        classes.append(None if crowd else names[item['category_id']])
    return ImageObjects(image, geometries, classes, f'{source}: {Path(image).name}')


def _geometry(item: dict, image: str, where: str) -> shapely.Geometry:
    """An object's outline, or its box if it has none.

    Raises:
        LabelError: If it is neither polygons nor run lengths of the image's size.
    """
    try:
        match item.get('segmentation'):
            case {'counts': counts, 'size': [int(height), int(width)]}:
                grid = file_grid(image)
                if (height, width) != (grid.height, grid.width):
                    raise ValueError(
                        f'run lengths of {width} x {height} pixels, '
                        f'the image has {grid.width} x {grid.height}'
                    )
                return _decoded(counts, height, width)
            case [_, *_] as rings:
                return _polygons(rings)
            case _:
                left, top, *size = map(float, item['bbox'])
                if len(size) != 2 or not all(map(math.isfinite, (left, top, *size))):
                    raise ValueError(f'bbox {item["bbox"]}')
                return shapely.box(left, top, left + size[0], top + size[1])
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(
            f'{where} cannot be read: {error}',
            'a bbox [x, y, width, height], polygons [[x, y, x, y, ...]], or run lengths',
            'correct or remove it',
        ) from error


def _polygons(rings: Sequence) -> shapely.Geometry:
    parts = []
    for ring in rings:
        xy = np.array(ring, float).reshape(-1, 2)
        if len(xy) < 3 or not np.isfinite(xy).all():
            raise ValueError(f'a polygon of {len(xy)} points')
        parts.append(shapely.Polygon(xy))
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _decoded(counts: Any, height: int, width: int) -> shapely.Geometry:
    """The outline of a run-length mask, along the edges of its pixels."""
    if isinstance(counts, list):
        if sum(counts) != height * width:
            raise ValueError(f'run lengths of {sum(counts)} pixels, not {height} x {width}')
        # Runs go down the columns.
        values = np.arange(len(counts)) % 2
        mask = np.repeat(values, counts).reshape(width, height).T
    else:
        text = counts.encode() if isinstance(counts, str) else counts
        mask = run_lengths.decode({'size': [height, width], 'counts': text})
    return next(outlines_of(mask), shapely.Polygon())


def annotation(geometry: shapely.Geometry, category: int, crowd: bool, mask: np.ndarray) -> dict:
    """One object, without the numbers of its own and of its image.

    Args:
        geometry: Its outline in pixels of the image.
        category: Number of its class.
        crowd: Whether it is a region to ignore.
        mask: ``(height, width)``, 1 inside: run lengths of it are written where
            polygons cannot tell the outline, because it has holes, and for crowds.
    """
    parts = shapely.get_parts(geometry)
    left, top, right, bottom = shapely.bounds(geometry).tolist()
    found: dict[str, Any] = {
        'category_id': category,
        'bbox': [round(value, 3) for value in (left, top, right - left, bottom - top)],
        'area': round(float(shapely.area(geometry)), 3),
        'iscrowd': int(crowd),
    }
    if crowd or shapely.get_num_interior_rings(parts).any():
        counts = run_lengths.encode(np.asfortranarray(mask))['counts']
        found['segmentation'] = {'size': list(mask.shape), 'counts': counts.decode()}
    else:
        rings = [shapely.get_coordinates(part.exterior)[:-1] for part in parts]
        found['segmentation'] = [ring.round(3).ravel().tolist() for ring in rings]
    return found


def coco_text(images: Sequence[dict], annotations: Sequence[dict], classes: ClassSet) -> str:
    """A COCO file; categories are numbered from 1."""
    categories = [
        {'id': number, 'name': classes.names[index], 'color': list(classes.colours[index])}
        for number, index in enumerate(classes.foreground, 1)
    ]
    numbered = [{'id': number, **item} for number, item in enumerate(annotations, 1)]
    data = {'images': list(images), 'annotations': numbered, 'categories': categories}
    return json.dumps(data)
