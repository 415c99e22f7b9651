"""What a model started from: logged before training, and kept with its checkpoints."""

import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.runner import Runner

DIFFERENT = 3.0
"""Ratio from which our mean or deviation of a band is not that of the pretrained weights."""


def records_of(model: torch.nn.Module) -> list[dict]:
    """What :class:`geo_mm.models.adapted_pretrained.AdaptedPretrained` did in a model."""
    found = (getattr(module, 'pretrained_record', None) for module in model.modules())
    return [record for record in found if record is not None]


def tell(runner: Runner, records: Sequence[Mapping]) -> None:
    """Logs where filters come from, and warns where values are scaled in another way."""
    preprocessor = getattr(runner.model, 'module', runner.model).data_preprocessor
    for record in records:
        if 'stem' in record:
            runner.logger.info(
                f'Pretrained weights {record["checkpoint"]}: {record["matched"]}\n{record["stem"]}'
            )
        mean, std = (getattr(preprocessor, key).flatten().tolist() for key in ('mean', 'std'))
        if differing := other_statistics(record, mean, std):
            runner.logger.warning(differing)


def other_statistics(record: Mapping, mean: Sequence[float], std: Sequence[float]) -> str:
    """Says where ours differ from those that the weights were trained with; '' if nowhere.

    Reflectances from 0 to 1 are compared with theirs of another scale, such as 10000.

    Args:
        record: Of the weights; without their statistics nothing differs.
        mean: Ours, per band.
        std: Ours, per band.
    """
    theirs = record.get('statistics') or []
    if len(theirs) != len(mean):
        return ''
    both = [
        (name, own, tuple(other))
        for name, own, other in zip(
            record['bands'], zip(mean, std, strict=True), theirs, strict=True
        )
        if other is not None
    ]
    unit = _unit([(own[1], other[1]) for _, own, other in both], record.get('scale'))
    lines = [
        f'  {name:<12} mean {other[0] * unit:.4g}, std {other[1] * unit:.4g}; '
        f'here mean {own[0]:.4g}, std {own[1]:.4g}'
        for name, own, other in both
        if _differ(own, (other[0] * unit, other[1] * unit))
    ]
    if not lines:
        return ''
    return (
        f'Pretrained weights {record["checkpoint"]} were trained with other values than '
        'data_preprocessor makes, which may cost as much as wrong filters:\n'
        + '\n'.join(lines)
        + '\n  To take theirs, set mean and std of model.data_preprocessor to them.'
    )


def _unit(stds: Sequence[tuple[float, float]], scale: float | None) -> float:
    """What theirs are multiplied by: 1 / scale where our values seem to be from 0 to 1."""
    if not scale or not stds:
        return 1.0
    ratio = math.exp(sum(math.log(own / other) for own, other in stds) / len(stds))
    return 1.0 if abs(math.log(ratio)) <= abs(math.log(ratio * scale)) else 1 / scale


def _differ(own: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a mean and deviation differ by more than :data:`DIFFERENT`.

    Means by less than a deviation are alike, also where one of them is near 0.
    """
    spread = max(own[1], other[1])
    far = abs(own[0] - other[0]) > spread
    unlike = min(own[0], other[0]) <= 0 or max(own[0], other[0]) > DIFFERENT * min(own[0], other[0])
    return spread > DIFFERENT * min(own[1], other[1]) or (far and unlike)
