"""Data to train with: looked at, split and drawn."""

import copy
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from PIL import Image

from geo_mm.catalog import is_training_set, read_training_set
from geo_mm.catalog.patterns import is_pattern
from geo_mm.data_checks.statistics import data_statistics
from geo_mm.engine import load_config, notebook
from geo_mm.engine.config_data import audited_scenes
from geo_mm.errors import CatalogError
from geo_mm.formats import html_page
from geo_mm.labels.opening import is_label_raster
from geo_mm.labels.reading import read_layer
from geo_mm.new_config.choosing import labelled_entries, new_config
from geo_mm.new_config.plan import ConfigPlan, NewOptions
from geo_mm.new_config.recipes import Size
from geo_mm.options import made
from geo_mm.paths import absolute, is_missing
from geo_mm.visualization.audit_map import split_map
from geo_mm.visualization.chips import browse_chips
from geo_mm.visualization.data_page import draw_statistics
from geo_mm.visualization.figures import rendered

_ALGORITHMS = {'boxes': 'faster-rcnn', 'instances': 'mask-rcnn', 'pixels': 'unet'}
"""What shows labels of a kind as they are."""


def prepare_data(
    source: str | os.PathLike | Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    *,
    work_dir: str | os.PathLike | None = None,
    transforms: Sequence[Mapping[str, Any]] = (),
    **options: Any,
) -> 'TrainingData':
    """Names the data that models are trained with.

    They are looked at when a model or a picture needs it: bands, statistics,
    classes, sizes of objects. They are split geographically, with a gap of a chip's
    diagonal between train, val and test, unless a catalog says which scene belongs
    to which.

    Args:
        source: Images, or patterns, with ``labels``; a catalog table; or a training
            set of another program: a folder that ArcGIS Pro exported, a COCO
            ``.json``, a folder of Pascal VOC, KITTI, YOLO, or images and masks.
        labels: Vector layer or label raster of the images; ``{stem}`` stands for
            the name of the image.
        work_dir: Folder for configs and checkpoints; None takes a folder in
            ``work_dirs`` that is called as the data.
        transforms: Further steps of the pipeline of training, as in configs, such as
            ``dict(type='geo_mm.RandomBrightness')``; they come before the last.
        **options: Fields of :class:`geo_mm.new_config.plan.NewOptions`, such as
            ``val_split_pct``, ``class_mapping``, ``chip_size``, ``batch_size`` and ``seed``.

    Raises:
        CatalogError: If there are no such data.
    """
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not paths:
        raise CatalogError('no data', 'images, a table or a training set')
    first = os.fspath(paths[0])
    if labels is not None:
        given: dict[str, Any] = {'images': tuple(map(os.fspath, paths)), 'labels': str(labels)}
    elif len(paths) > 1:
        raise CatalogError(f'{len(paths)} paths without labels', 'images and their labels')
    elif is_training_set(first):
        given = {'coco': first}
    else:
        given = {'catalog': first}
    _check_there([*paths, *([] if labels is None else [labels])])
    stem = Path(first).stem if not any(sign in first for sign in '*?[') else 'images'
    folder = Path('work_dirs', stem) if work_dir is None else Path(work_dir)
    return TrainingData(made(NewOptions, {**given, **options}), folder, tuple(transforms))


def _check_there(paths: Sequence[str | os.PathLike]) -> None:
    """Names a file that is missing at once; what patterns stand for is found later."""
    for path in paths:
        name = os.fspath(path)
        if not is_pattern(name) and '{' not in name and is_missing(full := absolute(name)):
            raise CatalogError(f'{name}: no such file or folder ({full})', 'data to train with')


@dataclass(frozen=True, repr=False)
class TrainingData:
    """Data to train with; made by :func:`prepare_data`.

    Attributes:
        options: Where they are, and what is not to be found out.
        work_dir: Folder for the configs written for them.
        transforms: Further steps of the pipeline of training.
    """

    options: NewOptions
    work_dir: Path
    transforms: tuple[Mapping[str, Any], ...] = ()
    _written: dict[Path, tuple[NewOptions, ConfigPlan, Config]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def config(
        self, algorithm: str, *, size: Size | None = None, weights: str | os.PathLike | None = None
    ) -> Config:
        """Writes a config for an algorithm and reads it; data are looked at once for each.

        Args:
            algorithm: As for ``geo-mm new``: ``'mask-rcnn'``, ``'unet'``, ...
            size: ``'small'`` or ``'full'``; None takes full where there is a GPU.
            weights: Checkpoint to start from: of geo_mm, or of a backbone.

        Returns:
            The config; ``filename`` is the file it was written to.

        Raises:
            ConfigError: If there is no such algorithm, or it cannot learn from these labels.
            CatalogError: If data are missing.
        """
        path = self.work_dir / f'{algorithm}.py'
        options = replace(
            self.options,
            size=size or self.options.size,
            weights=None if weights is None else os.fspath(weights),
        )
        known = self._written.get(path)
        if known is None or known[0] != options:  # else it was looked at already
            with notebook.status() as tell:
                plan = new_config(algorithm, options, path, lambda what: tell(f'looking at {what}'))
            # Kept, since others may write a config for other options into the same file.
            known = options, plan, load_config(path)
        self._written.pop(path, None)
        self._written[path] = known  # the last one
        return self._with_transforms(known[2])

    def _with_transforms(self, config: Config) -> Config:
        """A copy of a config, with the further steps of training."""
        config = copy.deepcopy(config)
        if self.transforms:
            dataset = config.train_dataloader.dataset
            *steps, pack = dataset.pipeline
            dataset.pipeline = [*steps, *map(dict, self.transforms), pack]
        return config

    @cached_property
    def kind(self) -> str:
        """What is labelled: ``'boxes'``, ``'instances'`` (outlines) or ``'pixels'``."""
        foreign = self.options.arcgis or self.options.coco
        if foreign:
            return read_training_set(foreign).kind
        labels = labelled_entries(self.options)[0].labels
        assert labels is not None  # of labelled ones
        if is_label_raster(labels):
            return 'pixels'
        polygons = read_layer(labels).geom_type == 'Polygon'
        return 'instances' if polygons.any() else 'boxes'

    @property
    def _own(self) -> Config:
        """A config for a model that takes the labels as they are."""
        algorithm = _ALGORITHMS[self.kind]
        path = self.work_dir / f'{algorithm}.py'
        if path not in self._written:
            before = dict(self._written)
            self.config(algorithm)
            for each in before:  # the last one stays the last
                self._written[each] = self._written.pop(each)
        return self._with_transforms(self._written[path][2])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self._own.train_dataloader.dataset.metainfo.classes)

    @property
    def reasons(self) -> dict[str, str]:
        """What was chosen for these data, and why, by the name of the setting."""
        return dict(self._written[Path(self._own.filename)][1].why)

    def show_batch(self, number: int = 9, split: str = 'train', columns: int = 3) -> Image.Image:
        """Draws chips with their labels and valid areas, in the order of training.

        Labels are drawn as the model that was made last takes them, as boxes, outlines or
        pixels; before there is one, as they are.

        Args:
            number: How many.
            split: ``'train'``, ``'val'`` or ``'test'``.
            columns: Chips per row.
        """
        shown = [config for *_, config in self._written.values()][-1:]
        config = self._with_transforms(shown[0]) if shown else self._own
        return browse_chips(config, split, number, columns)

    def plot_statistics(self) -> Image.Image:
        """Draws values of bands, labels of classes in each split, and sizes of objects.

        They are of the whole scenes, so it takes as long as reading these; the numbers
        are what ``geo-mm statistics`` writes.
        """
        return draw_statistics(data_statistics(self._own, progress=_scenes_shown))

    def map(self) -> Image.Image:
        """Draws where the ground of train, val and test is, in longitude and latitude.

        Raises:
            CatalogError: If no image is georeferenced.
        """
        splits, _ = audited_scenes(self._own)
        if not any(scene.ground.outline for scenes in splits.values() for scene in scenes):
            raise CatalogError('a map of images without a CRS', 'georeferenced images')
        return rendered(split_map(splits))

    def _facts(self) -> tuple[str, dict[str, str]]:
        """A title, and what the data are, by name."""
        own = self._own
        rows = {'classes': ', '.join(self.classes)}
        for key, reason in self.reasons.items():
            value = own.get(key)
            if key == 'classes':
                rows['labels'] = reason
            elif isinstance(value, int | float) or key in ('bands', 'mean'):
                values = value if isinstance(value, list | tuple) else [value]
                rows[key] = ', '.join([*map(str, values), *filter(None, [reason])])
            else:
                rows[key] = reason
        return f'Training data, {self.kind}', {key: value for key, value in rows.items() if value}

    def __repr__(self) -> str:
        options = self.options
        source = options.catalog or options.stac or options.arcgis or options.coco
        return f'<{type(self).__name__}, {source or ", ".join(map(str, options.images))}>'

    def __str__(self) -> str:
        return text_pairs(*self._facts())

    def _repr_html_(self) -> str:
        return html_page.pairs(*self._facts())


def _scenes_shown(scenes: Sequence[Any]) -> Iterator[Any]:
    return notebook.track(scenes, 'statistics of scenes')


def text_pairs(title: str, rows: Mapping[str, str]) -> str:
    """Names and values below a title, for a terminal."""
    width = max(map(len, rows)) + 4
    lines = [
        textwrap.fill(f'  {name:{width - 2}}{value}', 100, subsequent_indent=' ' * width)
        for name, value in rows.items()
    ]
    return '\n'.join([title, *lines])
