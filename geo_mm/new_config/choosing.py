"""Choosing every setting of a config by looking at scenes and labels.

What needs the model itself, anchors and memory, is measured on a first version of
the config, which at the same time shows that it trains.
"""

import functools
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config

from geo_mm.catalog import CatalogEntry, SceneOptions, read_catalog, read_training_set
from geo_mm.catalog.inventory import find_entries
from geo_mm.catalog.label_classes import (
    LabelClasses,
    find_classes,
    of_training_set,
    spread,
)
from geo_mm.catalog.profile import (
    CatalogProfile,
    common_bands,
    find_collar,
    ground_and_objects,
    profile_catalog,
)
from geo_mm.datasets import ClassFrequencies
from geo_mm.engine.config_data import (
    chip_memory,
    fit_config_anchors,
    free_memory,
    head_with_anchors,
    train_frequencies,
)
from geo_mm.engine.launch import load_config
from geo_mm.errors import CatalogError, ConfigError
from geo_mm.new_config.dividing import FEW, GIVEN, Dividing, is_split
from geo_mm.new_config.plan import ConfigPlan, NewOptions, Progress, ignored, merged
from geo_mm.new_config.python_text import Code
from geo_mm.new_config.recipes import Size, recipe
from geo_mm.new_config.start_weights import with_weights
from geo_mm.new_config.writing import config_text, write_config

_CHIP = {'small': 256, 'full': 512}  # pixels, where the ground suffices
_OBJECT = {'small': 32, 'full': 64}  # pixels that the median object is to be wide
_SMALLEST = 8  # pixels that nearly all objects are to be wide
_CUT = 6  # chips along a scene that is cut, so that the gap leaves most of it
_PASSES = 50  # over the ground, where that takes longer than the shortest run
_SHORTEST, _LONGEST = 2000, 20000  # iterations
_RARE = 0.05  # share of pixels below which a class is given more weight
_HEAVIEST = 10.0  # weight; more makes training unsteady


def new_config(
    model: str, options: NewOptions, path: str | os.PathLike, tell: Progress = ignored
) -> ConfigPlan:
    """Look at data and write a config for it that trains at once.

    Args:
        model: One of :data:`geo_mm.new_config.recipes.RECIPES`.
        options: The data, and what is not to be found out.
        path: The config to write. A table of scenes may be written beside it.
        tell: Is told what is being looked at.

    Returns:
        What was chosen.

    Raises:
        ConfigError: If there is no such model, or it cannot learn from these labels.
        CatalogError: If data are missing.
        OutputError: If the config cannot be written.
    """
    plan = make_plan(model, options, tell)
    write_config(plan, path)
    load_config(path)
    return plan


def make_plan(model: str, options: NewOptions, tell: Progress = ignored) -> ConfigPlan:
    """Choose the settings of a config, see :func:`new_config`."""
    known = recipe(model)
    size: Size = options.size or ('full' if torch.cuda.is_available() else 'small')
    objects = known.kind != 'seg'
    tell('scenes and labels')
    entries, labels = _read(options, objects, known.kind)
    bands = common_bands(entries)
    collar = find_collar(entries, bands.bands)
    nodata: float | str = 'auto' if collar is None else collar
    scene_options = SceneOptions(bands.bands, None, 'auto' if collar is None else collar)
    tell('statistics')
    look = functools.partial(
        profile_catalog, objects=objects, progress=_counted(tell, 'statistics')
    )
    whole = look(entries, labels, scene_options)
    _check_any_objects(entries, whole)
    gsd, why_gsd = _choose_gsd(whole, size)
    chip_size, why_chip = _choose_chip_size(entries, whole, gsd, size)
    if options.chip_size is not None:
        chip_size, why_chip = options.chip_size, 'pixels; given'
    dividing = Dividing(options, scene_options, gsd, tell)
    entries, why_split, fitting = dividing.of(entries, whole, chip_size)
    if fitting < chip_size and options.chip_size is None:
        chip_size, why_chip = fitting, 'pixels; more would leave too little to train'
    train = [entry for entry in entries if entry.split in ('train', None)]
    tell('the training part')
    profile = look(train, labels, scene_options)
    tell('the other parts')
    parts = _Parts.of(entries, labels, scene_options, objects, (whole, profile))
    factor = 1.0 if gsd is None or whole.gsd is None else whole.gsd / gsd
    told = parts.text((factor / chip_size) ** 2, options.val_split_pct)
    why = {
        **labels.notes,
        'bands': bands.note,
        'gsd': why_gsd,
        'chip_size': why_chip,
        'scenes': why_split + told,
        'nodata': '' if collar is None else 'undeclared: patches of this value in all bands',
        'mean': f'of {profile.statistics.count / 1e6:.2g} million valid pixels to train with',
    }
    plan = ConfigPlan(
        recipe=known,
        size=size,
        labels=labels,
        bands=bands,
        nodata=nodata,
        entries=tuple(entries),
        table=(options.catalog or options.stac) if why_split == GIVEN else None,
        profile=profile,
        gsd=gsd,
        chip_size=chip_size,
        batch_size=2,
        iterations=_SHORTEST,
        model={},
        class_weight=(),
        load_from=None,
        why=why,
        seed=options.seed,
    )
    return _with_length(_measured(with_weights(plan, options.weights), options.batch_size, tell))


def _counted(tell: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(f'{what}: {done / total:.0%}')


class _Parts(NamedTuple):
    """Valid pixels and objects of each split, and of all scenes before they were divided;
    estimated if not all scenes were opened."""

    found: dict[str, tuple[float, int]]
    whole: tuple[float, int]
    estimated: bool

    @classmethod
    def of(
        cls,
        entries: Sequence[CatalogEntry],
        labels: LabelClasses,
        scene_options: SceneOptions,
        objects: bool,
        profiles: tuple[CatalogProfile, CatalogProfile],
    ) -> '_Parts':
        """Those of entries, of which all and those to train with were looked at before."""
        whole, train = ((p.pixels, _objects(p)) for p in profiles)
        places = {
            split: [entry for entry in entries if entry.split == split] for split in ('val', 'test')
        }
        if _same_places(places['val'], places['test']):
            del places['test']
        found = {
            split: ground_and_objects(own, labels, scene_options, objects=objects)
            for split, own in places.items()
            if own
        }
        some = profiles[0].opened < profiles[0].scenes
        return cls({'train': train, **found}, whole, some)

    def text(self, chips_per_pixel: float, asked: float | None) -> str:
        """For the reason of the split."""
        if len(self.found) == 1:
            return ''
        some = [
            f'{split} {max(round(pixels * chips_per_pixel), 1)} chips of ground'
            + (f' with {objects} objects' if self.whole[1] else '')
            for split, (pixels, objects) in self.found.items()
        ]
        pixels, objects = (sum(values) for values in zip(*self.found.values(), strict=True))
        lost = round((self.whole[0] - pixels) * chips_per_pixel)
        if lost > 0:
            some.append(
                f'left out between them {lost} chips of ground'
                + (f' with {max(self.whole[1] - objects, 0)} objects' if self.whole[1] else '')
            )
        text = f'; {"about: " if self.estimated else ""}{", ".join(some)}'
        if asked is None:
            return text
        share = self.found['val'][0] / pixels
        return f'{text}; val is {share:.0%} of what is used, where {asked:.0%} were asked for: ' + (
            'scenes, and blocks with gaps between them, stay whole'
        )


def _objects(profile: CatalogProfile) -> int:
    """Number of objects of all scenes, of which some were opened."""
    return round(sum(profile.counts.values()) * profile.scenes / profile.opened)


def _same_places(some: Sequence[CatalogEntry], others: Sequence[CatalogEntry]) -> bool:
    return [replace(entry, split=None) for entry in some] == [
        replace(entry, split=None) for entry in others
    ]


def _check_any_objects(entries: Sequence[CatalogEntry], whole: CatalogProfile) -> None:
    if whole.opened == whole.scenes and whole.counts and not any(whole.counts.values()):
        raise CatalogError(
            f'{entries[0].labels}: no labelled object on any of the {whole.scenes} scenes',
            'labels to learn from',
            'check that the layer has features, and that it is the one of these images',
        )


def labelled_entries(options: NewOptions) -> list[CatalogEntry]:
    """The scenes with labels, of images, a catalog or STAC items.

    Raises:
        CatalogError: If there are none, or files are missing.
    """
    if options.catalog or options.stac:
        found = (
            read_catalog(options.catalog)
            if options.catalog
            else find_entries([str(options.stac)], labels=options.labels)
        )
        entries = [entry for entry in found if entry.labels is not None]
        if not entries:
            raise CatalogError(
                f'{options.catalog or options.stac}: no scene has labels',
                'scenes with labels' + (', or --labels' if options.stac else ''),
                'in a STAC item, labels are an asset with the role `labels`'
                if options.stac
                else 'fill the column `labels`',
            )
        return entries
    if not options.labels:
        raise CatalogError('--images without --labels', 'labels to learn from')
    row = {'labels': options.labels, 'aoi': options.aoi}
    given_rows = [{'image': image, **row} for image in options.images]
    return read_catalog([{k: v for k, v in r.items() if v} for r in given_rows])


def _read(options: NewOptions, objects: bool, kind: str) -> tuple[list[CatalogEntry], LabelClasses]:
    """The scenes, and the classes of their labels."""
    foreign = options.arcgis or options.coco
    given = [bool(options.images), bool(options.catalog), bool(options.stac), bool(foreign)]
    if sum(given) != 1:
        raise CatalogError(
            'no data' if not any(given) else 'several sources of data',
            'one of --images with --labels, --catalog, --stac, --arcgis and --coco',
        )
    if foreign:
        data = read_training_set(foreign)
        if kind != 'det' and data.kind == 'boxes':
            raise ConfigError(
                f'{foreign}: objects are boxes, without outlines',
                'a model of boxes, such as faster-rcnn',
            )
        entries = [entry for entry in data.entries if entry.labels is not None]
        if data.classes is None:
            return entries, find_classes(entries, objects=objects, mapping=options.class_mapping)
        return entries, of_training_set(
            data.classes, objects, options.class_mapping, data.class_values
        )
    entries = labelled_entries(options)
    classes = find_classes(
        entries,
        objects=objects,
        column=options.class_column,
        name=options.class_name,
        mapping=options.class_mapping,
    )
    return entries, classes


def _choose_gsd(profile: CatalogProfile, size: Size) -> tuple[float | None, str]:
    """Metres per pixel, from the sizes of objects."""
    if profile.gsd is None:
        return None, 'the images are not georeferenced'
    native = f'{profile.gsd:.3g}'
    wanted, kept = 0.0, ''
    if len(profile.sides):
        median, low = np.percentile(profile.sides, (50, 5)) * profile.gsd
        wanted = min(median / _OBJECT[size], low / _SMALLEST)
        kept = f', which make the median object {median / profile.gsd:.0f} pixels wide'
    if wanted <= profile.gsd * 1.25:
        gsd = None if profile.same_gsd else profile.gsd
        return gsd, f'metres per pixel; {"as" if gsd is None else "median of"} the files have: ' + (
            f'{native}{kept}'
        )
    gsd = float(f'{wanted:.2g}')
    why = f'metres per pixel: the median object is {median / gsd:.0f} pixels wide'
    return gsd, f'{why} ({median / profile.gsd:.0f} at the {native} of the files)'


def _choose_chip_size(
    entries: Sequence[CatalogEntry], profile: CatalogProfile, gsd: float | None, size: Size
) -> tuple[int, str]:
    """Side of a chip in pixels, from the ground that there is."""
    factor = 1.0 if gsd is None or profile.gsd is None else profile.gsd / gsd
    chip, why = _CHIP[size], 'pixels'
    room = profile.shortest * factor
    if not is_split(entries) and len(entries) < FEW:
        # The gap between the parts is the diagonal of a chip.
        room = min(room, room * profile.longest / profile.shortest / _CUT)
    if room < chip:
        chip, why = max(int(room // 32) * 32, 64), 'pixels; more would leave too little to train'
    if gsd is not None or profile.gsd is not None:
        why += f'; {chip * (gsd or profile.gsd or 0):.3g} m on the ground'
    return chip, why


def _measured(plan: ConfigPlan, batch_size: int | None, tell: Progress) -> ConfigPlan:
    """The plan with anchors, frequencies and batch size, from a first version of its config."""
    train = [entry for entry in plan.entries if entry.split in ('train', None)]
    some = replace(
        plan, entries=tuple(replace(entry, split=None) for entry in spread(train, 32)), table=None
    )
    tell('sizes and frequencies')
    plan = _with_frequencies(plan, _draft(some))
    if head_with_anchors(_draft(some).model) is not None:
        report = fit_config_anchors(_draft(some), chips=200)
        model = merged(plan.model, {report.head: {'anchor_generator': report.settings}})
        shares = [
            (grid.iou(report.objects.boxes, report.objects.extents).max(axis=1) >= report.good_iou)
            for grid in (report.before, report.after)
        ]
        before, after = (f'{share.mean():.0%}' for share in shares)
        why = (
            f'anchors fitted to {len(report.objects.boxes)} objects on {report.objects.chips} '
            f'chips: one reaches IoU {report.good_iou:g} for {after} of them, before for {before}'
        )
        plan = replace(plan, model=model, why=plan.because(anchors=why))
        some = replace(some, model=model)
    if batch_size is not None:
        return replace(plan, batch_size=batch_size, why=plan.because(batch_size='given'))
    tell('memory')
    return _with_batch_size(plan, chip_memory(_draft(some)))


def _draft(plan: ConfigPlan) -> Config:
    """The config of a plan, read as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'draft.py'
        path.write_text(config_text(plan, path, inline=True), encoding='utf-8')
        return load_config(path)


def _with_frequencies(plan: ConfigPlan, draft: Config) -> ConfigPlan:
    """Counts of classes, and weights where one is rare."""
    if plan.recipe.kind != 'seg':
        counts = ', '.join(f'{count}' for count in plan.profile.counts.values())
        why = f'{counts} objects to train with'
        rare = [name for name, count in plan.profile.counts.items() if count < 20]
        if rare:
            why += f'; few of {", ".join(rare)}'
        return replace(plan, why=plan.because(classes=_joined(why, plan.why.get('classes'))))
    found = train_frequencies(draft)
    assert isinstance(found, ClassFrequencies)  # that is what it gives for pixels
    share = found.pixels / max(found.pixels.sum(), 1)
    listed = ', '.join(f'{value:.3g}' for value in 100 * share)
    reasons = plan.because(
        classes=_joined(f'{listed} % of the pixels to train with', plan.why.get('classes'))
    )
    occurs = share > 0
    if share[occurs].min() >= _RARE:
        return replace(plan, why=reasons)
    weights = tuple(float(f'{min(weight, _HEAVIEST):.2g}') for weight in found.weights())
    loss = {'loss_decode': {'class_weight': Code('class_weight')}}
    heads = {head: loss for head in ('decode_head', 'auxiliary_head') if draft.model.get(head)}
    reasons = {
        **reasons,
        'class_weight': 'in the loss: median frequency over the frequency of each class',
    }
    model = merged(plan.model, heads)
    return replace(plan, model=model, class_weight=weights, why=reasons)


def _with_batch_size(plan: ConfigPlan, memory: tuple[float, float]) -> ConfigPlan:
    """As many pixels as the learning rate is for, if the memory suffices."""
    chips, whole = memory
    free, device = free_memory()
    usual = 4 if plan.recipe.kind != 'seg' and plan.size == 'small' else 8
    wanted = max(round(usual * (_CHIP[plan.size] / plan.chip_size) ** 2), 1)
    # Half of it: the loaders, the workspace of convolutions and other programs want some.
    fitting = int((free / 2 - whole) / (2 * chips))
    batch_size = max(min(wanted, 32, fitting), 2)  # batch norm needs two
    gigabytes = (batch_size * 2 * chips + whole) / 1e9
    why = f'per {device}: takes about {gigabytes:.2g} of {free / 1e9:.2g} GB'
    return replace(plan, batch_size=batch_size, why=plan.because(batch_size=why))


def _with_length(plan: ConfigPlan) -> ConfigPlan:
    """Iterations from the amount of ground."""
    factor = 1.0 if plan.gsd is None or plan.profile.gsd is None else plan.profile.gsd / plan.gsd
    chips = max(plan.profile.pixels * factor**2 / plan.chip_size**2, 1)
    wanted = _PASSES * chips / plan.batch_size
    iterations = int(np.clip(math.ceil(wanted / 500) * 500, _SHORTEST, _LONGEST))
    passes = iterations * plan.batch_size / chips
    why = f'each of {chips:.0f} chips of ground is seen about {float(f"{passes:.2g}"):.0f} times'
    return replace(plan, iterations=iterations, why=plan.because(max_iters=why))


def _joined(*texts: str | None) -> str:
    return '; '.join(text for text in texts if text)
