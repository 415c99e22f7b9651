"""What is examined: the scenes and labels of a config, folder or table, opened one by one."""

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
from affine import Affine
from rasterio.features import rasterize

from geo_mm.catalog import CatalogEntry, LabelledScene, SceneOptions, open_labelled, read_catalog
from geo_mm.catalog.inventory import find_entries
from geo_mm.catalog.label_classes import LabelClasses, find_classes, of_training_set
from geo_mm.catalog.profile import OVERVIEW, undeclared_nodata
from geo_mm.catalog.tables import SUFFIXES
from geo_mm.catalog.training_sets import is_training_set, read_training_set
from geo_mm.classes import ClassSet
from geo_mm.data_checks.options import DoctorOptions
from geo_mm.errors import GeoMMError
from geo_mm.formats.training import read_image_labels
from geo_mm.labels import LabelOptions, SceneLabels
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.reading import read_unrepaired
from geo_mm.paths import absolute
from geo_mm.raster import Grid, Scene

if TYPE_CHECKING:
    from mmengine.config import Config

CONFIGS = ('.py', '.json', '.yml', '.yaml')
_KEPT_LAYERS = 4


@dataclass(frozen=True)
class SplitData:
    """The data of one split, as its dataset would open them.

    Attributes:
        name: Such as 'train'; 'all' where nothing is split.
        entries: Its scenes.
        classes: None without labels.
        scene_options: Bands, GSD and nodata.
        label_options: How labels become classes.
        objects: Whether objects are learnt, not classes of pixels.
        chip_size: Shorter side of a chip in pixels.
    """

    name: str
    entries: tuple[CatalogEntry, ...]
    classes: ClassSet | None
    scene_options: SceneOptions
    label_options: LabelOptions
    objects: bool
    chip_size: int

    @property
    def is_learnt(self) -> bool:
        return self.name in ('train', 'all')

    def alone(self) -> 'SplitData':
        """All but its scenes, as one of them needs it."""
        return replace(self, entries=())


@dataclass(frozen=True)
class DataSet:
    """All that is examined.

    Attributes:
        source: Config, folder or table.
        splits: Its splits.
        mean: What the config subtracts from each band; None without a config.
        std: What it divides by.
        error: Why the classes of the labels could not be found.
    """

    source: str
    splits: tuple[SplitData, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    error: GeoMMError | None = None


def find_data(source: 'str | os.PathLike | Config', options: DoctorOptions) -> DataSet:
    """The data of a config, a folder, a table, a training set, a pattern or an image.

    Raises:
        GeoMMError: If there are no scenes, or the config cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        return _of_config(source)
    path = os.fspath(source)
    if path.startswith('geo_mm::') or (path.endswith(CONFIGS) and _is_config(path)):
        return _of_config(path)
    if is_training_set(path):
        data = read_training_set(path)
        entries: Sequence[CatalogEntry] = data.entries
        objects, known = data.kind != 'pixels', data.classes
    else:
        is_table = Path(path).suffix.lower() in SUFFIXES
        entries = read_catalog(path) if is_table else find_entries([path], labels=options.labels)
        objects, known = not _any_raster(entries), None
    if options.aoi is not None:
        aoi = absolute(options.aoi)
        entries = [replace(entry, aoi=aoi) for entry in entries]
    labels, error = _classes(entries, objects, known, options)
    groups: dict[str, list[CatalogEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.split or 'all', []).append(entry)
    splits = tuple(
        SplitData(
            name,
            tuple(group),
            labels.classes if labels else None,
            SceneOptions(None, options.gsd),
            labels.options if labels else LabelOptions(),
            objects,
            options.chip_size,
        )
        for name, group in groups.items()
    )
    return DataSet(path, splits, error=error)


def _is_config(path: str) -> bool:
    """Whether a file is a config: STAC items and COCO are .json, YOLO is .yaml."""
    return path.endswith('.py') or (os.path.isfile(path) and '_dataloader' in _text(path))


def _text(path: str) -> str:
    return Path(path).read_text('utf-8', 'replace')


def _any_raster(entries: Sequence[CatalogEntry]) -> bool:
    labelled = [entry for entry in entries if entry.labels is not None]
    return bool(labelled) and is_label_raster(str(labelled[0].labels))


def _classes(
    entries: Sequence[CatalogEntry], objects: bool, known: ClassSet | None, options: DoctorOptions
) -> tuple[LabelClasses | None, GeoMMError | None]:
    """The classes, or one that stands for all and why they could not be found."""
    labelled = [entry for entry in entries if entry.labels is not None]
    if not labelled:
        return None, None
    if known is not None:
        return of_training_set(known, objects), None
    try:
        return find_classes(labelled, objects=objects, column=options.class_column), None
    except GeoMMError as error:
        plain = LabelOptions(point_size=1.0, line_width=1.0)
        return LabelClasses(ClassSet(('object',)), plain, {}), error


def _of_config(source: 'str | os.PathLike | Config') -> DataSet:
    from geo_mm.engine.config_data import described_datasets
    from geo_mm.engine.launch import load_config

    config = load_config(source)
    splits = []
    for name, chips in described_datasets(config):
        entries = read_catalog(chips.scenes, root=chips.data_root or '', split=chips.split)
        splits.append(
            SplitData(
                name,
                tuple(entries),
                chips.classes,
                chips.scene_options,
                chips.label_options,
                chips.objects,
                min(chips.chip_size),
            )
        )
    normalisation = config.get('model', {}).get('data_preprocessor') or {}
    mean, std = (normalisation.get(key) for key in ('mean', 'std'))
    return DataSet(
        str(config.filename or 'config'),
        tuple(splits),
        None if mean is None else tuple(map(float, mean)),
        None if std is None else tuple(map(float, std)),
    )


@dataclass
class ExaminedScene:
    """One scene and its labels, as far as they can be opened.

    Attributes:
        entry: What the catalog says.
        split: What it belongs to.
        whole: All of the file with all bands; None if it cannot be opened.
        labelled: As training opens it: its bands, GSD and part, with labels and AOI;
            without labels if these cannot be used; None if the image cannot.
        image_error: Why the image cannot be opened, at all or as asked.
        label_error: Why labels or AOI cannot be used.
    """

    entry: CatalogEntry
    split: SplitData
    whole: Scene | None = None
    labelled: LabelledScene | None = None
    image_error: GeoMMError | None = None
    label_error: GeoMMError | None = None

    @classmethod
    def open(cls, entry: CatalogEntry, split: SplitData) -> 'ExaminedScene':
        """Open what can be opened, quietly: checks say what is wrong."""
        # The files themselves are looked at, not what a table tells of them.
        entry = replace(entry, columns={})
        found = cls(entry, split)
        try:
            found.whole = Scene.open(entry.image, nodata=split.scene_options.nodata)
            found.labelled = _opened(replace(entry, labels=None, aoi=None), split)
        except GeoMMError as error:
            found.image_error = error
            return found
        try:
            found.labelled = _opened(entry, split)
        except GeoMMError as error:
            found.label_error = error
        return found

    @property
    def file(self) -> str:
        """The image, for messages."""
        image = self.entry.image
        first = image if isinstance(image, str) else _first(image)
        return os.path.basename(first)

    @property
    def name(self) -> str:
        return self.entry.name or Path(self.file).stem

    @property
    def scene(self) -> Scene | None:
        """The image as training opens it, else as it is."""
        return self.whole if self.labelled is None else self.labelled.scene

    @property
    def objects(self) -> SceneLabels | None:
        """Its labels, if they are objects."""
        labels = None if self.labelled is None else self.labelled.labels
        return labels if isinstance(labels, SceneLabels) else None

    @cached_property
    def _overview(self) -> tuple[np.ndarray, np.ndarray, Grid]:
        assert self.scene is not None
        return self.scene.read_overview(OVERVIEW)

    @cached_property
    def overview(self) -> tuple[np.ndarray, np.ndarray, Grid]:
        """Pixels ``(bands, h, w)``, validity ``(h, w)`` inside the AOI, and grid, coarsely."""
        data, valid, grid = self._overview
        if self.labelled is not None and self.labelled.aoi is not None:
            aoi = self.labelled.aoi
            scale = (grid.width / aoi.grid.width, grid.height / aoi.grid.height)
            valid = valid & _filled(aoi.geometries, grid, scale)
        return data, valid, grid

    @cached_property
    def features(self) -> gpd.GeoDataFrame | None:
        """The features of its label layer as they are stored; None if it has none."""
        labels = self.entry.labels
        if labels is None or read_image_labels(labels, self.entry.image) is not None:
            return None
        try:
            if is_label_raster(labels):
                return None
            options = self.split.label_options
            layer = self.entry.layer or options.layer
            stamp = os.stat(labels).st_mtime_ns if os.path.exists(labels) else 0
            return _features(labels, layer, options.where, stamp)
        except GeoMMError:
            return None

    @cached_property
    def filler(self) -> list[tuple[float, np.ndarray]]:
        """Values that seem to stand for no data, and the pixels of :attr:`overview` with them."""
        data, valid, _ = self.overview
        return undeclared_nodata(data, valid)

    @cached_property
    def usable(self) -> np.ndarray:
        """``(h, w)`` bool: valid pixels of the overview, without those of :attr:`filler`."""
        masks = [mask for _, mask in self.filler]
        return self.overview[1] & ~np.logical_or.reduce([np.zeros_like(self.overview[1]), *masks])

    @property
    def usable_anywhere(self) -> np.ndarray:
        """As :attr:`usable`, inside the AOI or not."""
        if self.labelled is None or self.labelled.aoi is None:
            return self.usable
        return self._overview[1]

    def boxes_in_file(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels of :attr:`scene` in those of :attr:`whole`."""
        if self.scene is None or self.whole is None:
            return boxes
        relative = ~self.whole.transform @ self.scene.transform
        x, y = relative @ (boxes[:, [0, 2]], boxes[:, [1, 3]])
        return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1)


def title(item: tuple) -> str:
    """The name of a scene, of its entry and split and what follows these."""
    return ExaminedScene(*item[:2]).name


def _first(image: Any) -> str:
    files = next(iter(image.values())) if isinstance(image, Mapping) else image
    return files if isinstance(files, str) else files[0]


def _opened(entry: CatalogEntry, split: SplitData) -> LabelledScene:
    names = split.classes.names if split.classes else ('object',)
    with _silence():
        return open_labelled(
            entry, names, split.scene_options, split.label_options, objects=split.objects
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No remarks on labels: checks are about to make them."""
    logger = logging.getLogger('geo_mm.labels')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


@functools.lru_cache(maxsize=_KEPT_LAYERS)
def _features(path: str, layer: str | None, where: str | None, stamp: int) -> gpd.GeoDataFrame:
    with _silence():
        return read_unrepaired(path, layer=layer, where=where)


def _filled(polygons: np.ndarray, grid: Grid, scale: tuple[float, float]) -> np.ndarray:
    if not len(polygons):
        return np.zeros((grid.height, grid.width), bool)
    return rasterize(
        polygons,
        out_shape=(grid.height, grid.width),
        transform=Affine.scale(1 / scale[0], 1 / scale[1]),
        dtype='uint8',
    ).astype(bool)
