"""What a training set of another program is, in words."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from geo_mm.catalog.training_sets import TrainingSet, read_training_set
from geo_mm.labels import ImageObjects


@dataclass(frozen=True)
class SetDescription:
    """What :func:`describe_set` finds; printed, it is a text of a few lines.

    Attributes:
        path: The folder or file.
        format: Of the training set.
        kind: What is labelled: ``boxes``, ``instances`` or ``pixels``.
        images: How many there are.
        chip_size: ``(height, width)`` of the images, if the set says so.
        bands: Their names, if the set says so.
        gsd: Metres per pixel of the first image, if it is georeferenced.
        groups: How many groups of images there are that do not overlap.
        empty: Images without an object; None if pixels are labelled.
        objects: How many objects of each class; None if pixels are labelled.
        classes: Names of the classes.
    """

    path: str
    format: str
    kind: str
    images: int
    chip_size: tuple[int, int] | None
    bands: tuple[str, ...]
    gsd: float | None
    groups: int
    empty: int | None
    objects: dict[str, int] | None
    classes: tuple[str, ...]

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the lines below each."""
        yield self.path, list(self._about())
        counts = self.objects or {}
        yield (
            'classes',
            [f'{name}: {counts[name]:,}' if name in counts else name for name in self.classes],
        )
        option = '--arcgis' if 'ArcGIS' in self.format else '--coco'
        yield 'train with it', [f'geo-mm new MODEL {option} {self.path} -o config.py']

    def _about(self) -> Iterator[str]:
        yield f'training set: {self.format}, {self.kind}'
        size = f' of {self.chip_size[1]} x {self.chip_size[0]} pixels' if self.chip_size else ''
        place = '' if self.gsd is None else f', {self.gsd:.3g} m per pixel'
        bands = f', bands {", ".join(self.bands)}' if self.bands else ''
        yield f'{self.images:,} images{size}{place}{bands}'
        if self.groups < self.images:
            areas = 'area' if self.groups == 1 else 'separate areas'
            yield f'images overlap: together they cover {self.groups:,} {areas}'
        if self.objects is not None:
            yield f'{sum(self.objects.values()):,} objects; {self.empty:,} images have none'

    def to_dict(self) -> dict:
        """The facts as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return '\n'.join('\n  '.join([title, *lines]) for title, lines in self.sections())


def describe_set(path: str | os.PathLike) -> SetDescription:
    """Say what a training set of another program is; the labels of all images are read.

    Args:
        path: A folder that ArcGIS exported, a COCO ``.json``, or one of the other
            formats of :func:`geo_mm.read_training_set`.

    Raises:
        CatalogError: If it is none of them.
        LabelError: If labels cannot be read.
    """
    found = read_training_set(os.fspath(path))
    groups = {entry.group for entry in found.entries if entry.group is not None}
    alone = sum(entry.group is None for entry in found.entries)
    objects, empty = (None, None) if found.kind == 'pixels' else _counted(found)
    return SetDescription(
        os.fspath(path),
        found.format,
        found.kind,
        len(found.entries),
        found.chip_size,
        found.bands,
        found.gsd,
        len(groups) + alone,
        empty,
        objects,
        found.classes.names if found.classes is not None else (),
    )


def _counted(found: TrainingSet) -> tuple[dict[str, int], int]:
    counts: Counter = Counter()
    empty = 0
    for source in found.sources:
        for image in source.images:
            labels = source.read_labels(image.key)
            if isinstance(labels, ImageObjects):
                counts.update(name for name in labels.names if name is not None)
                empty += not len(labels.names)
    return dict(counts), empty
