"""Checks of all scenes together: bands, normalisation, classes, chips, splits."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely

from geo_mm.catalog.audit import Audit, audit_splits
from geo_mm.data_checks.examined import DataSet
from geo_mm.data_checks.findings import Finding, Places
from geo_mm.data_checks.summary import SceneSummary, counts_of
from geo_mm.errors import listed

_TIMES_GSD = 1.5  # that the coarsest file is coarser than the finest
_OFF = 2.0  # standard deviations by which a mean may be wrong
_SPREAD = 4.0  # times by which a standard deviation may be wrong
_FEW, _SCARCE = 10, 50  # objects of a class to learn from
_EMPTY = 0.9  # share of chips without a label
_SHIFT = 0.2  # of the shares of classes between splits, as in the audit
# Chosen after a look at kampala_a, 13 % of whose objects are longer than 256 pixels.
_LARGE = 0.25  # share of objects larger than a chip


def bands_of_scenes(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Scenes whose bands differ in number, names or type."""
    found = []
    kinds = Counter(scene.bands for scene in scenes)
    if len(kinds) > 1:
        usual, other = kinds.most_common()[0][0], kinds.most_common()[-1][0]
        first = next(scene for scene in scenes if scene.bands == other)
        mixed = sorted(usual) == sorted(other)
        found.append(
            Finding(
                'different-bands',
                'error' if mixed or len(usual) != len(other) else 'warning',
                f'{first.file}, bands {", ".join(other)}',
                f'{kinds[usual]} of {len(scenes)} scenes have {", ".join(usual)}'
                + (': the same bands in another order' if mixed else ''),
                'bands are given to the model by position: one is taken for another',
                'choose bands that all have by name, with bands=(...) in the datasets',
            )
        )
    types = Counter(scene.dtype for scene in scenes)
    if len(types) > 1:
        usual_type, rare = types.most_common()[0][0], types.most_common()[-1][0]
        first = next(scene for scene in scenes if scene.dtype == rare)
        found.append(
            Finding(
                'different-types',
                'warning',
                first.file,
                f'pixels are {rare}, those of {types[usual_type]} other scenes {usual_type}',
                'numbers of different types mostly have different units, such as grey values '
                'and reflectance, and one normalisation cannot serve both',
                'convert the scenes to the same units and type, e.g. with: rio convert',
            )
        )
    return found


def resolutions(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Files of different GSD that are all read at their own."""
    if any(split.scene_options.gsd for split in data.splits):
        return []
    known = [scene for scene in scenes if scene.gsd is not None]
    if not known:
        return []
    finest = min(known, key=lambda scene: scene.gsd or 0)
    coarsest = max(known, key=lambda scene: scene.gsd or 0)
    assert finest.gsd is not None and coarsest.gsd is not None
    if coarsest.gsd <= _TIMES_GSD * finest.gsd:
        return []
    return [
        Finding(
            'different-gsd',
            'warning',
            f'{coarsest.file} and {finest.file}',
            f'pixels are {coarsest.gsd:.3g} m and {finest.gsd:.3g} m, and no gsd is set',
            'an object is as many pixels wide as the file happens to be fine',
            f'set gsd={coarsest.gsd:.2g} in all datasets, or train on scenes of one resolution',
        )
    ]


def normalisation(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Mean and standard deviation of the config against those of the pixels."""
    learnt = [scene for scene in scenes if scene.split in ('train', 'all')]
    if data.mean is None or data.std is None or not learnt:
        return []
    where = f'{data.source}, data_preprocessor'
    fix = 'take what geo-mm statistics prints for this config'
    bands = learnt[0].bands
    if len(data.mean) != len(bands):
        return [
            Finding(
                'normalisation',
                'error',
                where,
                f'{len(data.mean)} means for {len(bands)} bands ({", ".join(bands)})',
                'training stops at the first chip',
                fix,
            )
        ]
    samples = [scene.sample for scene in learnt if len(scene.bands) == len(bands)]
    pixels = np.concatenate(samples, axis=1).astype(np.float64)
    if not pixels.shape[1]:
        return []
    found = []
    mean, std = pixels.mean(axis=1), pixels.std(axis=1)
    for i, name in enumerate(bands):
        off = abs(mean[i] - data.mean[i]) / data.std[i]
        times = data.std[i] / std[i] if std[i] else 1.0
        if off <= _OFF and 1 / _SPREAD <= times <= _SPREAD:
            continue
        found.append(
            f'{name}: {data.mean[i]:.4g} and {data.std[i]:.4g}, of the pixels '
            f'{mean[i]:.4g} and {std[i]:.4g}'
        )
    if not found:
        return []
    return [
        Finding(
            'normalisation',
            'warning',
            where,
            f'mean and standard deviation do not fit the pixels ({learnt[0].dtype}): '
            f'{listed(found, 4)}',
            'the network gets numbers far from those that its weights are made for, and '
            'learns slowly or not at all',
            fix,
        )
    ]


def classes(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Classes with too few samples to learn from or to score."""
    found = []
    totals = {split.name: counts_of(scenes, split.name) for split in data.splits}
    for split in data.splits:
        counts = totals[split.name]
        if not any(counts.values()) or not _is_complete(split, scenes):
            continue
        if not split.is_learnt:
            learnt = totals.get('train', {})
            absent = [name for name in counts if learnt.get(name) and not counts[name]]
            if absent:
                found.append(_absent(split.name, absent, data.source))
            continue
        for severity, names in (
            ('warning', [name for name, n in counts.items() if n < _FEW]),
            ('note', [name for name, n in counts.items() if _FEW <= n < _SCARCE]),
        ):
            if not names:
                continue
            unit = 'objects' if any(len(s.numbers) for s in scenes) else 'sampled pixels'
            found.append(
                Finding(
                    'few-samples',
                    severity,  # type: ignore[arg-type]
                    f'{data.source}, classes of {split.name}',
                    f'{unit}: ' + ', '.join(f'{name} {counts[name]}' for name in names),
                    'a class is hardly learnt from so few, and its score says little',
                    'label more, join it with another class in label_cfg.class_map, or leave '
                    'it out',
                )
            )
    return found


def _is_complete(split, scenes: Sequence[SceneSummary]) -> bool:
    """Whether all scenes of the split were looked at."""
    return sum(scene.split == split.name for scene in scenes) >= len(split.entries)


def _absent(split: str, names: list[str], source: str) -> Finding:
    return Finding(
        'class-not-scored',
        'warning',
        f'{source}, classes of {split}',
        f'no sample of {", ".join(names)}, which train has',
        'the model is not scored on it',
        'divide anew with geo-mm split, which balances classes',
    )


def sizes(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Objects that are larger than a chip."""
    found = []
    for split in data.splits:
        own = [scene.pixels for scene in scenes if scene.split == split.name]
        longest = np.concatenate([np.empty((0, 2)), *own]).max(axis=1, initial=0)
        share = float((longest > split.chip_size).mean()) if len(longest) else 0.0
        if share > _LARGE and split.objects:
            found.append(
                Finding(
                    'larger-than-chip',
                    'warning',
                    f'{data.source}, {split.name}',
                    f'{share:.0%} of the objects are longer than a chip of {split.chip_size} '
                    f'pixels (median {np.median(longest):.0f})',
                    'they are never seen whole, only in pieces',
                    'train at a coarser gsd, or with a larger chip_size',
                )
            )
    return found


def empty_chips(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Sets in which most chips hold no label."""
    found = []
    for split in data.splits:
        own = [scene for scene in scenes if scene.split == split.name]
        chips, labelled = (
            sum(getattr(scene, name) for scene in own) for name in ('chips', 'with_labels')
        )
        if not chips or not labelled or labelled == chips:
            continue
        share = 1 - labelled / chips
        found.append(
            Finding(
                'chips-without-labels',
                'warning' if share > _EMPTY and split.is_learnt else 'note',
                f'{data.source}, {split.name}',
                f'{share:.0%} of {chips} chips of {split.chip_size} pixels hold no label',
                'most iterations teach nothing but background'
                if share > _EMPTY
                else 'background must be learnt too, but seldom so much of it',
                'set positive_share in the sampler, or restrict scenes with an area of interest',
            )
        )
    return found


def repeated_scenes(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Scenes that a split has twice."""
    times = Counter(scene.key for scene in scenes)
    twice = [key for key, count in times.items() if count > 1]
    if not twice:
        return []
    first = next(scene for scene in scenes if scene.key == twice[0])
    return [
        Finding(
            'repeated-scene',
            'warning',
            f'{first.file}, {first.split}',
            f'{len(twice)} scenes are in a split more than once',
            'they count twice in training and in scores',
            'take the copies out of the catalog',
        )
    ]


def splits(data: DataSet, scenes: Sequence[SceneSummary]) -> list[Finding]:
    """Ground that is learnt from and scored on, or too near, and classes that differ."""
    names = dict.fromkeys(scene.split for scene in scenes)
    if len(names) < 2:
        return []
    grouped = {name: [scene.audited for scene in scenes if scene.split == name] for name in names}
    chip = max(
        (
            split.chip_size * (split.scene_options.gsd or scene.gsd or 0)
            for split in data.splits
            for scene in scenes
            if scene.split == split.name
        ),
        default=0.0,
    )
    return _of_audit(data.source, audit_splits(grouped, chip))


def _of_audit(source: str, audit: Audit) -> list[Finding]:
    found = []
    for pair in audit.pairs:
        where = f'{source}, {pair.first} and {pair.second}'
        if pair.overlaps:
            worst = pair.overlaps[0]
            unit = 'pixels' if worst.outline is None else 'm2'
            places = None
            if worst.outline is not None:
                bounds = tuple(shapely.bounds(worst.outline).tolist())
                places = Places(worst.first, np.empty((0, 4)), bounds)
            found.append(
                Finding(
                    'split-leak',
                    'error' if pair.leaks else 'warning',
                    where,
                    f'they share {pair.shared:,.0f} {unit}, most of all {worst.first} and '
                    f'{worst.second}',
                    'the model is scored on what it has learnt by heart: scores are too good'
                    if pair.leaks
                    else 'choosing a model by val then chooses by test, too',
                    'divide anew with geo-mm split, which leaves a buffer; geo-mm audit draws '
                    'what is shared',
                    places,
                )
            )
        elif pair.first == 'train' and pair.distance is not None:
            diagonal = audit.chip * 2**0.5
            if pair.distance < 0.99 * diagonal:
                found.append(
                    Finding(
                        'splits-near',
                        'warning',
                        where,
                        f'they come as near as {pair.distance:.1f} m; the diagonal of a chip is '
                        f'{diagonal:.1f} m',
                        'neighbouring ground looks alike: scores are better than far away',
                        'divide anew with geo-mm split, which leaves a buffer of that size',
                    )
                )
        if pair.shift is not None and pair.shift > _SHIFT:
            found.append(
                Finding(
                    'class-shift',
                    'note',
                    where,
                    f'the shares of their classes differ by {pair.shift:.0%}',
                    'scores are those of another mixture of classes than was learnt',
                    'divide anew with geo-mm split, which balances classes',
                )
            )
    return found


SET_CHECKS = (
    bands_of_scenes,
    resolutions,
    normalisation,
    classes,
    sizes,
    empty_chips,
    repeated_scenes,
    splits,
)
