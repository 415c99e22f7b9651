"""Datasets of chips of scenes, for objects and for classes of pixels."""

import contextlib
import difflib
import hashlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet.datasets import BaseDetDataset
from mmengine.fileio import list_from_file
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset

from geo_mm.catalog import (
    LabelledScene,
    SceneOptions,
    TurnedScene,
    open_labelled,
    read_catalog,
)
from geo_mm.classes import IGNORE, ClassSet
from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.datasets.jitter import jitter_variants
from geo_mm.datasets.opening import announced, without_collecting
from geo_mm.errors import ConfigError
from geo_mm.labels import LabelOptions
from geo_mm.raster import Grid, Scene, Window, handles
from geo_mm.raster.sources import NoData
from geo_mm.registry import DATASETS

logger = logging.getLogger(__name__)

# Arguments of the libraries' datasets that have no meaning for chips.
_NOT_FOR_CHIPS = {
    'ann_file': "name labels in `scenes`: [dict(image=..., labels=...)], or a catalog's column",
    'data_prefix': 'paths in `scenes` start from data_root',
    'filter_cfg': "use the sampler's positive_share to see fewer empty chips, and min_valid",
    'indices': 'chips are picked by the sampler: set its num_chips',
    'serialize_data': 'leave it out: chips are computed, there is no list of them',
    'reduce_zero_label': 'map the value 0 to None in label_cfg.class_map',
}


if TYPE_CHECKING:  # what the mixin stands beside
    from mmengine.dataset import BaseDataset as _Base
else:
    _Base = object


class ChipDataset(_Base):
    """Mixin for :class:`mmengine.dataset.BaseDataset`: items are chips of scenes.

    ``dataset[i]`` cuts chip ``i`` of the dataset's :class:`ChipSpace`, without
    any state, in whatever process it is asked.

    Args:
        scenes: Catalog file, or entries, see
            :func:`geo_mm.catalog.read_catalog`.
        split: Split, or splits, of the catalog to use; None takes all.
        bands: Bands by name or 1-based number; None takes all.
        gsd: Ground sampling distance in metres that chips are read at; None
            reads every scene at its own.
        nodata: Value of pixels without data; ``'auto'`` takes what the files
            declare, None takes none.
        chip_size: Side of a chip in pixels, or ``(height, width)``.
        stride: Step between chips, in pixels. None takes 1, for random sampling;
            with ``test_mode`` the chip's (shorter) side, so that square chips
            hold each pixel once.
        fill: Value given to invalid pixels, one or one per band. The mean that
            the model's preprocessor subtracts makes them 0 there.
        gsd_jitter: Factors ``(low, high)`` of the GSD between which that of each
            chip is drawn: it is read at that GSD and covers as much more or less
            ground. For training only.
        rotation: Degrees up to which chips are turned on the ground, either way; the
            corners are read from the scene, too. For training only.
        label_cfg: How labels become classes: the fields of
            :class:`geo_mm.labels.LabelOptions`.
        metainfo: ``classes``, and ``palette`` with a colour (r, g, b) for each
            if they shall not be our own.
        **kwargs: Of the library's dataset: ``data_root``, ``pipeline``, ``test_mode``.
    """

    objects = False
    """Whether single objects are needed from the labels, not only classes of pixels."""

    library: str
    """Where names in the pipeline are looked up outside a Runner."""

    # Of mmengine's BaseDataset, beside which the mixin stands.
    _metainfo: dict
    data_root: str
    full_init: Callable[[], None]

    def __init__(  # noqa: PLR0913 - config keys
        self,
        scenes: str | Mapping | Sequence = (),
        split: str | Sequence[str] | None = None,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        nodata: NoData = 'auto',
        chip_size: int | Sequence[int] = 256,
        stride: int | None = None,
        fill: float | Sequence[float] = 0.0,
        gsd_jitter: Sequence[float] | None = None,
        rotation: float = 0.0,
        label_cfg: Mapping | None = None,
        metainfo: Mapping | None = None,
        **kwargs,
    ) -> None:
        self.scenes = scenes
        self.split = split
        self.scene_options = SceneOptions(bands, gsd, nodata)
        self.label_options = LabelOptions.from_cfg(label_cfg)
        sides = (chip_size, chip_size) if isinstance(chip_size, int) else tuple(chip_size)
        if len(sides) != 2:
            raise ConfigError(
                f'chip_size={chip_size}', 'positive numbers of pixels: a side, or (height, width)'
            )
        self.chip_size: tuple[int, int] = sides
        if stride is None:
            stride = min(self.chip_size) if kwargs.get('test_mode') else 1
        self.stride = stride
        self.fill = fill
        if min(*self.chip_size, stride) < 1:
            raise ConfigError(
                f'chip_size={chip_size}, stride={stride}', 'positive numbers of pixels'
            )
        self._ahead: dict[int, Future] = {}
        self._places: dict[int, _Place] = {}
        self._jitter = jitter_variants(gsd_jitter, rotation)
        if self._jitter is not None and kwargs.get('test_mode'):
            raise ConfigError(
                f'gsd_jitter={gsd_jitter}, rotation={rotation} in a dataset of test_mode',
                'chips as they are, to score and predict',
                'leave them out in val_dataloader and test_dataloader',
            )
        _check_arguments(type(self), kwargs)
        with _scope_if_none(self.library):
            super().__init__(**{**kwargs, 'serialize_data': False, 'metainfo': _coloured(metainfo)})

    @property
    def classes(self) -> ClassSet:
        """Names and colours of the classes, and their background."""
        return ClassSet.from_metainfo(self._metainfo, self._background())

    def _background(self) -> str | None:
        """The class of pixels that no object covers."""
        return None

    def load_data_list(self) -> list:
        classes = self.classes.names
        if not classes:
            raise ConfigError(
                f'{type(self).__name__} without classes',
                "metainfo=dict(classes=('building', ...))",
                'set it in each of train_dataloader, val_dataloader and test_dataloader, '
                'and check how these are spelt',
            )
        self._check_classes(classes)
        entries = read_catalog(self.scenes, root=self.data_root or '', split=self.split)
        with without_collecting():
            self.labelled: list[LabelledScene] = [
                open_labelled(
                    entry, classes, self.scene_options, self.label_options, objects=self.objects
                )
                for entry in announced(entries, 'opened')
            ]
            # Where the others wait until they are read, mistakes that all share show now.
            first = next((item for item in self.labelled if item.has_labels), self.labelled[0])
            _ = first.labels, first.aoi
        self._check_bands()
        # By identity: to hash or write a CRS takes long, and scenes of a table share theirs.
        all_crs = {id(item.scene.crs): item.scene.crs for item in self.labelled}
        texts = {key: crs and crs.wkt for key, crs in all_crs.items()}
        self._crs = [texts[id(item.scene.crs)] for item in self.labelled]
        sizes = [(item.scene.width, item.scene.height) for item in self.labelled]
        self._remote = any(
            handles.is_remote(path) for item in self.labelled for path in item.scene.sources
        )
        variants = 1 if self._jitter is None else len(self._jitter)
        self.chip_space = ChipSpace(sizes, self.chip_size, self.stride, variants)
        return []

    def _check_classes(self, classes: Sequence[str]) -> None:
        """Raises ConfigError where classes and label options disagree."""

    def _check_bands(self) -> None:
        first = self.labelled[0].scene
        for item in self.labelled[1:]:
            if item.scene.count != first.count:
                raise ConfigError(
                    f'{item.scene.name} has {item.scene.count} bands '
                    f'({", ".join(item.scene.band_names)}), '
                    f'{first.name} has {first.count} ({", ".join(first.band_names)})',
                    'the same bands in every scene of a dataset',
                    'choose the common ones with bands=(...)',
                )
            if self.scene_options.bands is None:
                _check_order(first, item.scene)

    def __len__(self) -> int:
        self.full_init()
        return len(self.chip_space)

    def get_data_info(self, idx: int) -> dict:
        """Where chip ``idx`` is: its scene, window, CRS and transform."""
        self.full_init()
        index = idx + len(self) if idx < 0 else idx
        number, window = self.chip_space.locate(index)
        labelled: LabelledScene | TurnedScene = self.labelled[number]
        if self._jitter is not None and (variant := self.chip_space.variant(index)):
            labelled = self.labelled[number].turned(window, *self._jitter[variant])
            scene, place = labelled.scene, _Place(labelled.scene, labelled.grid)
        else:
            scene = labelled.scene
            place = self._places.get(number) or _Place(scene, scene.grid)
            self._places[number] = place
        ahead = {'pixels': self._ahead.pop(idx)} if idx in self._ahead else {}
        return {
            **ahead,
            'labelled_scene': labelled,
            'window': window,
            'fill': self.fill,
            'scene_id': scene.name,
            'scene_size': (scene.width, scene.height),
            'crs': self._crs[number],
            'transform': place.transform(window),
            'img_path': scene.sources[0],
            'img_id': place.number(window),
            'sample_idx': index,
        }

    def prepare_data(self, idx: int) -> dict | None:
        """A chip after the pipeline.

        Raises:
            ConfigError: If a transform has added or dropped bands, as those of
                colour do that are made for three.
        """
        data = super().prepare_data(idx)
        inputs = data.get('inputs') if isinstance(data, dict) else None
        bands = self.labelled[0].scene.count
        if inputs is not None and len(inputs) != bands:
            steps = [type(step).__name__ for step in self.pipeline.transforms]
            raise ConfigError(
                f'chips of {bands} bands have {len(inputs)} after {" > ".join(steps)}',
                'transforms that keep all bands',
                'geo_mm.RandomRadiometry takes the place of PhotoMetricDistortion and its like',
            )
        return data

    def __getitems__(self, indices: Sequence[int]) -> list:
        """The chips of a batch, as loaders ask for them.

        Those of remote scenes are read side by side: each waits for answers, and for
        most of the time for nothing else.
        """
        self.full_init()
        if self._remote:
            places = [self.get_data_info(index) for index in indices]
            for info in places:
                _ = info['labelled_scene'].aoi  # opened here: threads would each do it
            pool = _pool(os.getpid())
            self._ahead = {
                index: pool.submit(info['labelled_scene'].read, info['window'])
                for index, info in zip(indices, places, strict=True)
            }
        return [self[index] for index in indices]

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        raise NotImplementedError('a chip dataset has no subset: use a sampler with num_chips')


def _coloured(metainfo: Mapping | None) -> dict:
    """The metainfo with a palette; MMSegmentation would draw one at random."""
    metainfo = dict(metainfo or {})
    classes = metainfo.get('classes')
    if isinstance(classes, str) and Path(classes).is_file():
        metainfo['classes'] = list_from_file(classes)
    return {**metainfo, **ClassSet.from_metainfo(metainfo).to_metainfo()} if classes else metainfo


@contextlib.contextmanager
def _scope_if_none(library: str) -> Iterator[None]:
    """Names of a library without its prefix where no config has said whose they are."""
    scope = DefaultScope.get_current_instance()
    if scope is None or scope.scope_name == 'mmengine':
        with DefaultScope.overwrite_default_scope(library):
            yield
    else:
        yield


_READERS = 16  # threads of a process that read remote scenes


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process, each of which keeps its open files; a fork has none of them."""
    return ThreadPoolExecutor(_READERS, 'reading chips')


class _Place:
    """Where chips of a scene are, told as fast as they are read.

    Args:
        scene: The scene.
        grid: Where its pixels are, which may be turned.
    """

    def __init__(self, scene: Scene, grid: Grid) -> None:
        self._transform = tuple(grid.transform)[:6]
        self._text = f'{scene.sources} {tuple(grid.transform)} '

    def transform(self, window: Window) -> tuple[float, ...]:
        """As :meth:`geo_mm.raster.Grid.window_transform`, six numbers."""
        a, b, c, d, e, f = self._transform
        col, row = window.col_off, window.row_off
        return a, b, a * col + b * row + c, d, e, d * col + e * row + f

    def number(self, window: Window) -> int:
        """A number for a chip by its position: metrics identify images by it,
        also those of several concatenated datasets."""
        place = f'{self._text}{tuple(window)}'
        return int.from_bytes(hashlib.blake2b(place.encode(), digest_size=6).digest(), 'big')


def _check_order(first: Scene, other: Scene) -> None:
    """Raises ConfigError if two scenes hold the same bands in another order."""
    if first.band_names == other.band_names:
        return
    ours, theirs = (tuple(map(str.lower, scene.band_names)) for scene in (first, other))
    if ours == theirs:
        return
    if sorted(ours) == sorted(theirs):
        raise ConfigError(
            f'{other.sources[0]} has the bands {", ".join(other.band_names)}, '
            f'{first.sources[0]} has {", ".join(first.band_names)}',
            'the same order of bands in every scene of a dataset',
            f'set bands={first.band_names}: each file is then read by name',
        )
    logger.warning(
        '%s: bands %s are taken as %s of %s',
        other.sources[0],
        ', '.join(other.band_names),
        ', '.join(first.band_names),
        first.sources[0],
    )


def _check_arguments(dataset: type, kwargs: Mapping) -> None:
    """Raises ConfigError for a keyword that no class of the dataset takes."""
    for name in kwargs:
        if name in _NOT_FOR_CHIPS and kwargs[name]:
            raise ConfigError(
                f'{dataset.__name__} does not support {name}', fix=_NOT_FOR_CHIPS[name]
            )
    known = {
        name
        for cls in dataset.__mro__
        if '__init__' in vars(cls)
        for name, parameter in inspect.signature(vars(cls)['__init__']).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    } - {'self'}
    for name in kwargs:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f'{dataset.__name__} has no argument {name!r}',
                f'one of {", ".join(sorted(known))}',
                f'did you mean {close[0]!r}?' if close else '',
            )


@DATASETS.register_module()
class GeoSegDataset(ChipDataset, BaseSegDataset):
    """Classes of pixels in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. Labels are
    vector layers, burnt in the order of the classes (later ones on top), or
    label rasters. ``label_cfg.background`` names the class of pixels that no
    feature covers.
    """

    library = 'mmseg'

    def _check_classes(self, classes: Sequence[str]) -> None:
        if len(classes) > IGNORE:
            raise ConfigError(f'{len(classes)} classes', f'at most {IGNORE}')

    def _background(self) -> str | None:
        # The default is no class where all labels are rasters.
        background = self.label_options.background
        return background if background in self._metainfo['classes'] else None


@DATASETS.register_module()
class GeoDetDataset(ChipDataset, BaseDetDataset):
    """Objects in chips of georeferenced scenes.

    Takes the arguments of :class:`geo_mm.datasets.ChipDataset`. All classes in
    ``metainfo`` are kinds of objects; there is no background class.
    """

    library = 'mmdet'

    objects = True

    def _check_classes(self, classes: Sequence[str]) -> None:
        background = self.label_options.background
        if background in classes:
            raise ConfigError(
                f'GeoDetDataset with a background class {background!r}',
                'classes of objects only',
                'remove it from metainfo.classes, and from num_classes of the model',
            )

    def get_cat_ids(self, idx: int) -> Sequence[int]:
        """Classes of the objects in a chip, for ClassBalancedDataset."""
        info = self.get_data_info(idx)
        labels = info['labelled_scene'].labels_near(info['window'])
        found = [] if labels is None else labels.objects(info['window']).labels
        return [int(label) for label in found if label >= 0]
