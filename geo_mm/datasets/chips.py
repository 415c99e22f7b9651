"""What the datasets for objects and for pixels have in common: chips of scenes."""

import difflib
import inspect
from collections.abc import Mapping, Sequence, Sized
from typing import Protocol

from geo_mm.catalog import (
    LabelledScene,
    LabelOptions,
    SceneOptions,
    open_labelled,
    read_catalog,
)
from geo_mm.datasets.chip_space import ChipSpace
from geo_mm.errors import ConfigError


class ChipDataset:
    """Mixin for :class:`mmengine.dataset.BaseDataset`: items are chips of scenes.

    ``dataset[i]`` cuts chip ``i`` of the dataset's :class:`ChipSpace`, without
    any state, in whatever process it is asked.

    Args:
        scenes: Catalog file, or entries, see
            :func:`geo_mm.catalog.read_catalog`.
        split: Split of the catalog to use; None takes all.
        bands: Bands by name or 1-based number; None takes all.
        gsd: Ground sampling distance in metres that chips are read at; None
            reads every scene at its own.
        nodata: Value of pixels without data; ``'auto'`` takes what the files
            declare, None takes none.
        chip_size: Side of a chip in pixels, or ``(height, width)``.
        stride: Step between chips, in pixels: 1 for random sampling, the
            chip's size to see each pixel once.
        fill: Value given to invalid pixels, one or one per band. The mean that
            the model's preprocessor subtracts makes them 0 there.
        label_cfg: How labels become classes: the fields of
            :class:`geo_mm.catalog.LabelOptions`.
        **kwargs: Of the library's dataset: ``metainfo`` with ``classes`` and
            ``palette``, ``data_root``, ``pipeline``, ``test_mode``.
    """

    def __init__(
        self,
        scenes: str | Mapping | Sequence = (),
        split: str | None = None,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        nodata: float | str | None = 'auto',
        chip_size: int | Sequence[int] = 256,
        stride: int = 1,
        fill: float | Sequence[float] = 0.0,
        label_cfg: Mapping | None = None,
        **kwargs,
    ) -> None:
        self.scenes = scenes
        self.split = split
        self.scene_options = SceneOptions(bands, gsd, nodata)
        self.label_options = LabelOptions.from_cfg(label_cfg)
        self.chip_size = (chip_size, chip_size) if isinstance(chip_size, int) else tuple(chip_size)
        self.stride = stride
        self.fill = fill
        if len(self.chip_size) != 2 or min(*self.chip_size, stride) < 1:
            raise ConfigError(
                f'chip_size={chip_size}, stride={stride}', 'positive numbers of pixels'
            )
        if kwargs.get('indices') is not None:
            raise ConfigError(
                'indices is not supported: chips are picked by the sampler',
                fix="set the sampler's num_chips",
            )
        _check_arguments(type(self), kwargs)
        # Chips are computed, so there is no list of them to serialise.
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self) -> list:
        classes = self._metainfo.get('classes')
        if not classes:
            raise ConfigError(
                f'{type(self).__name__} without classes',
                "metainfo=dict(classes=('building', ...))",
            )
        self._check_classes(classes)
        entries = read_catalog(self.scenes, root=self.data_root or '', split=self.split)
        self.labelled: list[LabelledScene] = [
            open_labelled(entry, classes, self.scene_options, self.label_options)
            for entry in entries
        ]
        self._check_bands()
        self._crs = [item.scene.crs.to_wkt() if item.scene.crs else None for item in self.labelled]
        sizes = [(item.scene.width, item.scene.height) for item in self.labelled]
        self.chip_space = ChipSpace(sizes, self.chip_size, self.stride)
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

    def __len__(self) -> int:
        self.full_init()
        return len(self.chip_space)

    def get_data_info(self, idx: int) -> dict:
        """Where chip ``idx`` is: its scene, window, CRS and transform."""
        self.full_init()
        index = idx + len(self) if idx < 0 else idx
        number, window = self.chip_space.locate(index)
        labelled = self.labelled[number]
        scene = labelled.scene
        return {
            'labelled_scene': labelled,
            'window': window,
            'fill': self.fill,
            'scene_id': scene.name,
            'crs': self._crs[number],
            'transform': tuple(scene.grid.window_transform(window))[:6],
            'img_path': scene.sources[0],
            'img_id': index,
            'sample_idx': index,
        }

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        raise NotImplementedError('a chip dataset has no subset: use a sampler with num_chips')


def _check_arguments(dataset: type, kwargs: Mapping) -> None:
    """Raises ConfigError for a keyword that no class of the dataset takes."""
    known = {
        name
        for cls in dataset.__mro__
        if '__init__' in vars(cls)
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
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


class _Wrapper(Protocol):
    """ConcatDataset has ``datasets``; Repeat and MultiImageMix have ``dataset``."""

    datasets: Sequence[Sized]
    dataset: Sized


def chip_datasets(dataset: 'Sized | _Wrapper') -> list[tuple[int, ChipDataset]]:
    """The chip datasets inside wrappers, each with the index of its first chip.

    Raises:
        ConfigError: If there is a dataset that does not hold chips.
    """
    if isinstance(dataset, ChipDataset):
        dataset.full_init()
        return [(0, dataset)]
    if hasattr(dataset, 'datasets'):
        found, start = [], 0
        for part in dataset.datasets:
            found += [(start + offset, chips) for offset, chips in chip_datasets(part)]
            start += len(part)
        return found
    if hasattr(dataset, 'dataset'):
        return chip_datasets(dataset.dataset)
    raise ConfigError(
        f'chip samplers need a geo_mm dataset, got {type(dataset).__name__}',
        'geo_mm.GeoDetDataset or geo_mm.GeoSegDataset, possibly in wrappers',
        'use the sampler DefaultSampler or InfiniteSampler with this dataset',
    )
