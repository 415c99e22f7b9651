"""Labels of chips in each format, and what is written once for all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geo_mm.chip_export.chips import Chip, write_raster
from geo_mm.chip_export.options import ExportOptions
from geo_mm.classes import IGNORE, ClassSet
from geo_mm.errors import ConfigError
from geo_mm.formats.training import arcgis, boxes, coco, masks, yolo
from geo_mm.labels import ClippedObjects
from geo_mm.labels.classification import IGNORED_NAME
from geo_mm.paths import file_name, make_folder, write_text
from geo_mm.raster import Grid
from geo_mm.raster.statistics import Moments

Record = dict[str, Any]
"""What is kept of a chip that was written, as plain JSON."""


class LabelWriter:
    """Writes the labels of chips in one format.

    Args:
        folder: Of the export.
        classes: Class names; those but the background get the values 1, 2, ...
        options: The format.

    Raises:
        ConfigError: If the format cannot hold the classes.
    """

    def __init__(self, folder: Path, classes: ClassSet, options: ExportOptions) -> None:
        self.folder, self.classes, self.options = folder, classes, options
        self.format = options.metadata_format
        self.values = {index: value for value, index in enumerate(classes.foreground, 1)}
        if options.of_pixels and len(self.values) >= IGNORE:
            raise ConfigError(f'{len(self.values)} classes', f'fewer than {IGNORE}')
        self.images = 'JPEGImages' if self.format == 'Pascal_VOC' else 'images'
        self.labels = {'Pascal_VOC': 'Annotations', 'Masks': 'masks'}.get(self.format, 'labels')
        make_folder(folder / self.images)
        if self.format != 'COCO':
            make_folder(folder / self.labels)

    def write(self, chip: Chip) -> Record:
        """Write the labels of a chip.

        Returns:
            What :meth:`finish` needs of it.
        """
        if isinstance(chip.labels, np.ndarray):
            return self._write_classes(chip, chip.labels)
        if self.format == 'RCNN_Masks':
            return self._write_instances(chip, chip.labels)
        return self._write_objects(chip, chip.labels)

    def _write_classes(self, chip: Chip, labels: np.ndarray) -> Record:
        """Pixels of the background, and of no class where there is none, are 0."""
        without = IGNORE if self.classes.background is not None else 0
        values = np.full(256, without, np.uint8)
        values[list(self.values)] = list(self.values.values())
        if (ground := self.classes.background_index) is not None:
            values[ground] = 0
        pixels = values[labels]
        suffix = '.tif' if self.options.is_arcgis else '.png'
        path = self.folder / self.labels / f'{chip.stem}{suffix}'
        write_raster(path, pixels[None], chip.grid)
        found, counts = np.unique(pixels, return_counts=True)
        areas = {
            str(value): [1, count, count, count]
            for value, count in zip(found.tolist(), counts.tolist(), strict=True)
            if value
        }
        return {'label': f'{self.labels}/{path.name}', 'areas': areas}

    def _write_instances(self, chip: Chip, objects: ClippedObjects) -> Record:
        drawn = objects.masks()
        path = f'{self.labels}/{chip.stem}.tif'
        for index in np.unique(objects.labels[objects.labels >= 0]):
            own = drawn[objects.labels == index]
            own = own[own.any(axis=(1, 2))]  # slivers between the centres of pixels
            if len(own):
                name = file_name(self.classes.names[index])
                path = f'{self.labels}/{name}/{chip.stem}.tif'
                make_folder(self.folder / self.labels / name)
                write_raster(self.folder / path, masks.instance_bands(own), chip.grid)
        return {'label': path, 'areas': self._areas(objects, chip.grid)}

    def _write_objects(self, chip: Chip, objects: ClippedObjects) -> Record:
        record: Record = {'areas': self._areas(objects, chip.grid)}
        if self.format == 'COCO':
            drawn = objects.masks()
            record['annotations'] = [
                coco.annotation(geometry, self.values.get(label, 1), label < 0, mask)
                for geometry, label, mask in zip(
                    objects.geometries, objects.labels.tolist(), drawn, strict=True
                )
            ]
            return record
        suffix = '.xml' if 'VOC' in self.format or self.format == 'Labeled_Tiles' else '.txt'
        label = f'{self.labels}/{chip.stem}{suffix}'
        write_text(self.folder / label, self._text(chip, objects))
        return record | {'label': label}

    def _text(self, chip: Chip, objects: ClippedObjects) -> str:
        bands, height, width = chip.pixels.shape
        labels = objects.labels.tolist()
        if self.format.startswith('YOLO'):
            rows = [
                (self.values[label] - 1, geometry)
                for label, geometry in zip(labels, objects.geometries, strict=True)
                if label >= 0
            ]
            return yolo.yolo_text(rows, (width, height), self.format == 'YOLO_polygons')
        if self.format == 'Labeled_Tiles':
            labels = [_largest(objects)]
            corners = [(0.0, 0.0, float(width), float(height))]
        else:
            corners = [tuple(box) for box in objects.boxes.tolist()]
        found = [(self._named(label), box) for label, box in zip(labels, corners, strict=True)]
        if self.options.is_arcgis:  # which would take the name of what is ignored for a class
            found = [(name, box) for name, box in found if name is not None]
        if self.format == 'KITTI_rectangles':
            return boxes.kitti_text(found)
        name = f'{chip.stem}{self.options.suffix}'
        return boxes.voc_text(name, (bands, height, width), found)

    def _named(self, label: int) -> str | None:
        """The class as the format has it: ArcGIS' own by value, others by name."""
        if label < 0:
            return None
        return str(self.values[label]) if self.options.is_arcgis else self.classes.names[label]

    def _areas(self, objects: ClippedObjects, grid: Grid) -> dict[str, list[float]]:
        """Number of objects, and smallest, largest and total area in map units, by value."""
        areas = np.array([geometry.area for geometry in objects.geometries], float)
        areas *= abs(grid.transform.determinant)
        found = {}
        for index, value in self.values.items():
            own = areas[objects.labels == index]
            if len(own):
                found[str(value)] = [len(own), *map(float, (own.min(), own.max(), own.sum()))]
        return found

    def finish(self, records: Sequence[Record], bands: tuple[str, ...], grid: Grid) -> None:
        """Write what is written once, when all chips are there.

        Args:
            records: Of the chips that were written.
            bands: Names of the bands.
            grid: Of one of the chips.
        """
        if self.format == 'COCO':
            write_text(self.folder / 'labels.json', self._coco(records))
        elif self.format.startswith('YOLO'):
            names = self.classes.foreground_names
            write_text(self.folder / 'data.yaml', yolo.yaml_text(names, self.images))
        elif self.format == 'Masks':
            names = ('background', *self.classes.foreground_names)
            write_text(self.folder / 'classes.txt', ''.join(f'{name}\n' for name in names))
        elif self.options.is_arcgis:
            summary = self._summary(records, bands, grid)
            arcgis.write_metadata(self.folder, summary)

    def _coco(self, records: Sequence[Record]) -> str:
        images, annotations = [], []
        for number, record in enumerate(records, 1):
            name = f'{self.images}/{record["stem"]}{self.options.suffix}'
            size = {'width': self.options.tile_size_x, 'height': self.options.tile_size_y}
            images.append({'id': number, 'file_name': name, **size})
            annotations += [{'image_id': number, **item} for item in record['annotations']]
        return coco.coco_text(images, annotations, self.classes)

    def _summary(
        self, records: Sequence[Record], bands: tuple[str, ...], grid: Grid
    ) -> arcgis.ExportSummary:
        names = {value: self.classes.names[index] for index, value in self.values.items()}
        colours = [self.classes.colours[index] for index in self.values]
        if any(str(IGNORE) in record['areas'] for record in records):
            names[IGNORE], colours = IGNORED_NAME, [*colours, (128, 128, 128)]
        per_class = [
            np.array([r['areas'][str(v)] for r in records if str(v) in r['areas']]).reshape(-1, 4)
            for v in names
        ]
        size = self.options.tile_size_y, self.options.tile_size_x
        of_pixels = self.options.of_pixels
        counts = [
            len(r['areas']) if of_pixels else sum(row[0] for row in r['areas'].values())
            for r in records
        ]
        return arcgis.ExportSummary(
            mode=self.format,
            names=names,
            colours=colours,
            shape=(len(bands), *size),
            bands=bands,
            grid=grid,
            pairs=[
                (f'{self.images}/{r["stem"]}{self.options.suffix}', r['label']) for r in records
            ],
            band_stats=_pooled(np.array([r['bands'] for r in records])),
            per_class=per_class,
            per_chip=np.array(counts, np.int64),
        )


def has_features(chip: Chip, classes: ClassSet) -> bool:
    """Whether there is a labelled object, or a pixel of a class other than the background."""
    if isinstance(chip.labels, np.ndarray):
        return bool(np.isin(chip.labels, classes.foreground).any())
    return bool((chip.labels.labels >= 0).any())


def moments(chip: Chip) -> list[list[float]]:
    """Minimum, maximum, mean, squared deviations and number of the valid pixels of each band."""
    return _table(Moments.of_pixels(chip.pixels[:, chip.valid].astype(np.float64))).tolist()


def _pooled(chips: np.ndarray) -> np.ndarray:
    """Moments of all chips together, ``(chips, bands, 5)`` to ``(bands, 5)``."""
    total = Moments.empty(chips.shape[1])
    for low, high, mean, squares, number in np.moveaxis(chips, 2, 1):
        total.add(Moments(number[0], mean, squares, low, high))
    return _table(total)


def _table(of: Moments) -> np.ndarray:
    number = np.full(len(of.mean), of.count, float)
    return np.stack([of.low, of.high, of.mean, of.squares, number], axis=1)


def _largest(objects: ClippedObjects) -> int:
    """The class that covers most of a chip; -1 if there is none."""
    known = objects.labels >= 0
    if not known.any():
        return -1
    areas = np.array([geometry.area for geometry in objects.geometries[known]])
    return int(np.bincount(objects.labels[known], areas).argmax())
