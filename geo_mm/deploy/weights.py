"""A model's weights without pickle, with all that stands in its checkpoint beside them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.logging import HistoryBuffer
from safetensors.torch import save

from geo_mm.inference.model import TrainedModel, read_trained
from geo_mm.inputspec import is_name, is_number
from geo_mm.models.checkpoints import FACTS, SAFETENSORS
from geo_mm.paths import atomic_write, reported

_KEPT = ('experiment_name', 'epoch', 'iter', 'time', 'seed', 'mmengine_version')
_TIMES = ('time', 'data_time')


def write_safetensors(model: TrainedModel, path: Path, options: object = None) -> Path:
    """Write ``<path>.safetensors``, which ``geo-mm predict``, ``test`` and ``describe`` take.

    Args:
        model: The trained model.
        path: Of the file, without suffix.
        options: None of them matters here.

    Returns:
        The file.

    Raises:
        OutputError: If it cannot be written.
    """
    target = path.with_name(path.name + SAFETENSORS)
    data = read_trained(model.checkpoint)
    # Of their own memory, as the format asks for; those of the model in use are fused.
    weights = {name: value.clone().contiguous() for name, value in data['state_dict'].items()}
    facts = {FACTS: json.dumps(facts_of(model, data)), 'format': 'pt'}
    with reported(target), atomic_write(target) as partial:
        partial.write_bytes(save(weights, facts))  # save_file's own would be for us alone
    return target


def facts_of(model: TrainedModel, data: Mapping) -> dict:
    """What stands in a checkpoint beside the weights, as plain data.

    Args:
        model: The trained model.
        data: Its checkpoint, as :func:`read_checkpoint` gives it.

    Returns:
        ``input_spec``, ``meta`` with the config, ``about`` (architecture and what
        training started from), ``pretrained`` (the same in full) and ``metrics``.
    """
    meta = data.get('meta') or {}
    return {
        'input_spec': model.spec.to_dict(),
        'meta': {
            **{key: meta[key] for key in _KEPT if isinstance(meta.get(key), str | int)},
            'cfg': model.given_config.pretty_text,
        },
        'about': model.about(),
        'pretrained': model.started_from,
        'metrics': metrics_of(data),
    }


def metrics_of(data: Mapping) -> dict[str, float]:
    """The newest validation scores in a checkpoint, by their names in the log.

    Those in a file that was converted before are taken as they are.
    """
    given = data.get('metrics')
    newest = given.items() if isinstance(given, Mapping) else _newest(data.get('message_hub'))
    return {name: float(value) for name, value in newest if is_name(name) and is_number(value)}


def _newest(message_hub: object) -> Iterator[tuple[str, float]]:
    """The last value of each score in MMEngine's log, which in a file may be anything."""
    scalars = message_hub.get('log_scalars') if isinstance(message_hub, Mapping) else None
    for name, history in scalars.items() if isinstance(scalars, Mapping) else ():
        kind, _, metric = str(name).partition('/')
        if kind != 'val' or metric in _TIMES or not isinstance(history, HistoryBuffer):
            continue
        if len(history.data[0]):
            yield metric, float(history.current())
