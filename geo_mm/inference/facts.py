"""What determines a result, and what is known of how it came to be."""

import dataclasses
import datetime
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.fileio import get_local_path

import geo_mm
from geo_mm.errors import SceneError, SetupError
from geo_mm.formats.file_records import FileRecord, file_records
from geo_mm.formats.provenance import Provenance
from geo_mm.inference.limits import most_objects
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.options import WRITING, PredictOptions
from geo_mm.inference.sources import Area
from geo_mm.paths import absolute


def run_facts(
    models: Sequence[TrainedModel],
    hashes: Sequence[str],
    options: PredictOptions,
    area: Area,
    **more: object,
) -> dict:
    """Everything that determines the bytes of a result, as plain data.

    The device and the number of threads are in it, because sums in another
    order are not the same to the last bit.

    Args:
        models: The models.
        hashes: SHA-256 of their checkpoints.
        options: How to predict.
        area: What is predicted.
        **more: Other settings.
    """
    model, scene = models[0], area.native
    on_gpu = model.device.type == 'cuda'
    return {
        'geo_mm': geo_mm.__version__,
        'torch': torch.__version__,
        'device': torch.cuda.get_device_name(model.device) if on_gpu else model.device.type,
        'threads': None if on_gpu else torch.get_num_threads(),
        'checkpoints': list(hashes),
        'configs': [_config_sha256(m.config) for m in models],
        'input_spec': model.spec.to_dict(),
        'scene': [stamped(path) for path in scene.sources],
        'bands': scene.band_names,
        'objects_per_tile': most_objects(model.config),
        'pixels': [scene.width, scene.height, *tuple(scene.transform)[:6]],
        **dataclasses.asdict(options),
        **more,
    }


def what_rows_hold(facts: dict) -> dict:
    """The facts without those that concern the writing of files alone.

    They may change from an interrupted run to the one that finishes it.
    """
    return {key: value for key, value in facts.items() if key not in WRITING}


def run_notes() -> dict:
    """When and how a run was started.

    The time is that of ``SOURCE_DATE_EPOCH`` where it is set, as
    https://reproducible-builds.org/specs/source-date-epoch/ has it.
    """
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    utc = datetime.timezone.utc
    try:
        now = datetime.datetime.now(utc)
        now = now if epoch is None else datetime.datetime.fromtimestamp(int(epoch), utc)
    except (ValueError, OverflowError, OSError) as error:
        raise SetupError(
            f'the environment variable SOURCE_DATE_EPOCH is {epoch!r}',
            'seconds since 1970, such as 1700000000',
            'unset it, or set it to a time',
        ) from error
    return {'time': now.isoformat(timespec='seconds'), **how_called()}


def how_called() -> dict:
    """The command and the folder that it was given in.

    The launcher is left out, since the result does not depend on it.
    """
    words = iter(sys.argv)
    command = [word for word in words if word != '--launcher' or not next(words)]
    return {'command': command, 'folder': os.getcwd()}


def provenance(
    models: Sequence[TrainedModel], hashes: Sequence[str], facts: dict, notes: dict, area: Area
) -> Provenance:
    """What is written into every result."""
    names = [item.name for item in dataclasses.fields(PredictOptions)] + ['window', 'aoi']
    if models[0].spec.task == 'objects':
        names.append('objects_per_tile')
    return Provenance(
        checkpoints=tuple(
            FileRecord(absolute(model.checkpoint), sha256=digest)
            for model, digest in zip(models, hashes, strict=True)
        ),
        spec=models[0].spec,
        config=models[0].config_name,
        inputs=file_records(area.native.sources),
        options={name: facts[name] for name in names},
        command=tuple(notes['command']),
        folder=notes['folder'],
        started=notes['time'],
    )


def file_sha256(path: str) -> str:
    """SHA-256 of a file, which may be remote."""
    digest = hashlib.sha256()
    with get_local_path(path) as local, Path(local).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _config_sha256(config: Config) -> str:
    text = json.dumps(config.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_unchanged(facts: dict) -> None:
    """Makes sure that the files that were predicted are still those of the start.

    Raises:
        SceneError: If one was written to since: the rows may be of both versions.
    """
    for then in [*facts['scene'], *([facts['aoi']] if facts.get('aoi') else ())]:
        if stamped(then['path']) != then:
            raise SceneError(
                f'{then["path"]}: changed while it was predicted',
                'the same file from start to end',
                'predict it again with --restart when nothing writes to it any more',
            )


def stamped(path: str | os.PathLike) -> dict:
    """A file's path, size and time of change; of a URL the path alone."""
    path = os.fspath(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return {'path': path}
    return {'path': path, 'size': status.st_size, 'changed': status.st_mtime_ns}
