"""What the readers of training sets have in common."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from geo_mm.classes import ClassSet
from geo_mm.labels import ImageLabels, ImageObjects

Kind = Literal['boxes', 'instances', 'pixels']
"""What is labelled: boxes around objects, their outlines, or classes of pixels."""

IMAGES = frozenset(
    ('.bmp', '.img', '.jp2', '.jpeg', '.jpg', '.mrf', '.png', '.tif', '.tiff', '.vrt')
)
"""Suffixes of images of training sets."""


@dataclass(frozen=True)
class TrainingImage:
    """One labelled image.

    Attributes:
        key: Its name inside the training set.
        path: Its file.
        split: The split that the training set puts it in, or None.
    """

    key: str
    path: str
    split: str | None = None


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A training set as its own format describes it.

    Attributes:
        path: The file or folder that it was read from.
        format: Name of the format, such as 'ArcGIS PASCAL_VOC_rectangles'.
        kind: What is labelled.
        images: The images, those without any object included.
        read_labels: The labels of an image, by its key.
        find_classes: Its classes, or None if it does not name them; where only
            the labels of all images do, that takes a while.
        bands: Names of the bands, empty if it does not tell them.
        chip_size: ``(height, width)`` of its images, if it says so.
        values: Class name of each value, if its classes have values.
    """

    path: str
    format: str
    kind: Kind
    images: tuple[TrainingImage, ...]
    read_labels: Callable[[str], ImageLabels] = field(repr=False)
    find_classes: Callable[[], ClassSet | None] = field(repr=False)
    bands: tuple[str, ...] = ()
    chip_size: tuple[int, int] | None = None
    values: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def classes(self) -> ClassSet | None:
        """Its classes, or None if it does not name them."""
        return self.find_classes()


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of a folder, sorted; those that begin with a dot are left out."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGES and not path.name.startswith('.'):
            yield path


def split_of(name: str) -> str | None:
    """The split that a file or folder is called after, such as ``instances_train2017.json``."""
    found = re.search(r'(?<![a-z])(train|val|test)(?:id|idation|ing)?(?![a-z])', name.lower())
    return found[1] if found else None


def class_set(
    names: list[str],
    colours: dict[str, tuple[int, int, int]] | None = None,
    background: bool = False,
) -> ClassSet | None:
    """Classes of a training set; those without a colour get one of ours.

    Args:
        names: Their names; repetitions are one class.
        colours: Colours by name, of some of them.
        background: Whether there are pixels of no class.
    """
    found = list(dict.fromkeys(names))
    ground = 'background' if background else None
    if ground and ground not in found:
        found.insert(0, ground)
    if not found:
        return None
    default = ClassSet(tuple(found)).colours
    own = colours or {}
    return ClassSet(
        tuple(found),
        tuple(own.get(name, colour) for name, colour in zip(found, default, strict=True)),
        ground,
    )


def named_classes(
    images: Iterable[TrainingImage], read_labels: Callable[[str], ImageLabels]
) -> ClassSet | None:
    """Classes of a training set that does not list them: those that its labels name."""
    found: set[str] = set()
    for image in images:
        labels = read_labels(image.key)
        if isinstance(labels, ImageObjects):
            found.update(name for name in labels.names if name is not None)
    return class_set(sorted(found))
