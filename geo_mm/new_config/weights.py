"""Choosing among published weights, and the lines of a config that start from them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geo_mm.errors import ConfigError
from geo_mm.models.pretrained import PretrainedSet, pretrained_sets
from geo_mm.new_config.python_text import Code, assignment, comment, literal
from geo_mm.options import option

_ANY = 'any'  # sensor of weights that are for all of them


@dataclass(frozen=True)
class WeightsOptions:
    """What published weights are wanted for."""

    bands: Sequence[str] | None = option(
        None, 'bands of the images: those with most of them come first', metavar='BAND'
    )
    sensor: str | None = option(
        None, 'weights of its images only, such as sentinel-2, landsat-8, aerial, photographs'
    )
    backbone: str | None = option(
        None, 'weights for such a backbone only, such as resnet50 or vit_small'
    )
    licence: str | None = option(None, 'weights under such a licence only, such as CC-BY or MIT')
    all: bool = option(False, 'list those, too, that no backbone here takes')


def find_weights(options: WeightsOptions) -> list[PretrainedSet]:
    """Published weights that are wanted, those with most of the bands and fewest others first.

    Raises:
        ConfigError: If the sensor is not one of theirs, or a band could be different ones.
    """

    sensors = sorted({each.sensor for each in pretrained_sets()})
    if not any(_within(options.sensor, sensor) for sensor in sensors):
        raise ConfigError(
            f'no published weights of a sensor {options.sensor!r}', f'one of {", ".join(sensors)}'
        )

    def wanted(each: PretrainedSet) -> bool:
        return (
            (each.loads or options.all)
            and (each.sensor == _ANY or _within(options.sensor, each.sensor))
            and _within(options.backbone, each.arch)
            and _within(options.licence, each.licence)
        )

    found = [each for each in pretrained_sets() if wanted(each)]
    if options.bands:
        count = {s.name: len(s.matches(options.bands, options.sensor)) for s in found}
        found.sort(key=lambda each: (-count[each.name], len(each.bands)))
        # Those for any bands have none of their own.
        found = [each for each in found if count[each.name] or not each.bands]
    return found


def _within(part: str | None, text: str) -> bool:
    return part is None or _plain(part) in _plain(text)


def _plain(text: str) -> str:
    return ''.join(letter for letter in text.lower() if letter.isalnum())


def weights_rows(
    sets: Iterable[PretrainedSet], options: WeightsOptions = WeightsOptions()
) -> list[dict[str, Any]]:
    """What there is to say of each set, as plain data.

    Args:
        sets: From :func:`find_weights`.
        options: With the bands, to say which of them each set has.
    """
    rows = []
    for each in sets:
        row = asdict(each) | {'file': str(each.path()), 'here': each.path().exists()}
        if options.bands:
            row['matches'] = each.matches(options.bands, options.sensor)
        rows.append(row)
    return rows


def about_weights(chosen: PretrainedSet) -> list[tuple[str, str]]:
    """All about a set: labels and texts."""
    digest = chosen.sha256 or (f'{chosen.sha256_prefix}...' if chosen.sha256_prefix else '')
    size = '' if chosen.megabytes is None else f', about {chosen.megabytes:.0f} MB'
    here = '' if chosen.path().exists() else ' (not downloaded yet)'
    return [
        ('trained with', f'{chosen.dataset}, {chosen.method}'),
        ('sensor', chosen.sensor),
        ('bands', ', '.join(chosen.bands) or 'any'),
        ('GSD', f'{chosen.gsd:g} m' if chosen.gsd else chosen.gsd_note or 'not stated'),
        ('values', chosen.values),
        ('architecture', chosen.arch + ('' if chosen.loads else f'; not taken here: {chosen.why}')),
        ('licence', ' '.join(filter(None, (chosen.licence, chosen.licence_url)))),
        ('cite', chosen.citation),
        ('source', chosen.source),
        ('from', f'{chosen.url}{size}'),
        ('sha256', digest or 'not published'),
        ('file', f'{chosen.path()}{here}'),
    ]


def weights_config(
    chosen: PretrainedSet, bands: Sequence[str] | None = None, sensor: str | None = None
) -> str:
    """Lines of a config whose backbone starts from a set.

    Args:
        chosen: The set.
        bands: Those of the images, in their order; the set's own if None.
        sensor: Whose bands they are.
    """
    ours = tuple(bands or chosen.bands)
    mean, std = chosen.statistics(bands, sensor)
    model: dict[str, Any] = {
        'data_preprocessor': {'mean': Code('mean'), 'std': Code('std')},
        'backbone': {
            **chosen.backbone,
            'in_channels': Code('len(bands)'),
            'init_cfg': {
                'type': 'geo_mm.AdaptedPretrained',
                'checkpoint': chosen.name,
                'bands': Code('bands'),
            },
        },
    }
    lines = [assignment('bands', ours, '' if bands else 'name those of your images')]
    if any(map(math.isfinite, mean)):
        lines += [
            comment(f'Of {chosen.values}.{_units(chosen)}'),
            assignment('mean', _known(mean)),
            assignment('std', _known(std)),
        ]
        if not all(map(math.isfinite, mean)):
            lines.append(comment('`...`: not known to the weights; see geo-mm statistics.'))
    else:
        lines.append(comment('How values were normalised is not stated: mean and std of yours.'))
        del model['data_preprocessor']
    return ''.join(lines) + f'model = {literal(model, 0, 8)}\n'


def published_statistics(
    chosen: PretrainedSet, bands: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that a set wants, if images have such values.

    They have if the mean of each band is less than three published standard deviations
    from the published mean, and its own deviation more than a hundredth of that.

    Args:
        chosen: The set.
        bands: Those of the images.
        mean: Of the images, per band; taken for bands that the weights lack.
        std: Of the images, per band.
    """
    wanted = list(zip(*chosen.statistics(bands), strict=True))
    own = list(zip(mean, std, strict=True))
    known = [(a, b) for a, b in zip(wanted, own, strict=True) if math.isfinite(a[0])]
    fit = [abs(m - wanted_m) < 3 * s and own_s > s / 100 for (wanted_m, s), (m, own_s) in known]
    if not known or not all(fit):
        return None
    both = [a if math.isfinite(a[0]) else b for a, b in zip(wanted, own, strict=True)]
    return [float(m) for m, _ in both], [float(s) for _, s in both]


def _units(chosen: PretrainedSet) -> str:
    if chosen.scale in (None, 255):
        return ''
    return f' If reflectance 1 is X in yours, multiply both by X / {chosen.scale:g}.'


def _known(values: Sequence[float]) -> list[Any]:
    return [value if math.isfinite(value) else Code('...') for value in values]


def weights_markdown() -> str:
    """The table of the documentation: which weights for which imagery."""
    groups: dict[tuple, list[PretrainedSet]] = {}
    for each in pretrained_sets():
        key = (each.sensor, each.gsd, each.gsd_note, each.bands, each.dataset, each.licence)
        groups.setdefault((each.loads, each.why, *key), []).append(each)
    order = list(dict.fromkeys(each.sensor for each in pretrained_sets()))
    lines = [
        '| sensor | GSD | bands | trained with | licence | names |',
        '|---|---|---|---|---|---|',
    ]
    other = []
    for sets in sorted(groups.values(), key=lambda sets: order.index(sets[0].sensor)):
        first = sets[0]
        names = ', '.join(f'`{each.name}`' for each in sets)
        if not first.loads:
            other.append(
                f'- {first.dataset}, {first.sensor} ({first.licence}): {names}: {first.why}'
            )
            continue
        gsd = f'{first.gsd:g} m' if first.gsd else first.gsd_note
        licence = first.licence.partition(' (')[0]
        if first.licence_url:
            licence = f'[{licence}]({first.licence_url})'
        bands = f'{len(first.bands)}: {", ".join(first.bands)}' if first.bands else 'any'
        lines.append(
            f'| {first.sensor} | {gsd} | {bands} | {first.dataset} | {licence} | {names} |'
        )
    return '\n'.join([*lines, '', 'Published, but no backbone here takes them:', '', *other])
