"""Checkpoint files and the weights in them: found, read, compared with a model.

What is refused here, whatever the config: a file that is missing, damaged, or
cannot be read without running what is in it (:func:`read_checkpoint_file`), and
weights that are not the model's (:func:`check_weights`). The config inside is the
subject of :mod:`geo_mm.engine.embedded_config`, the input specification and the
normalisation that of :class:`geo_mm.inference.model.TrainedModel`.

The file is looked at before PyTorch sees it, because :func:`torch.load` does
more than load: a TorchScript archive runs, a tar file is unpacked, links
included, and the checksums of a zip archive are not compared. What is left is
read with ``weights_only=True``.
"""

import contextlib
import io
import json
import os
import pickle
import re
import urllib.error
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

import mmengine
import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_torch_safe_globals
from safetensors import safe_open

from geo_mm.errors import ConfigError
from geo_mm.paths import is_missing

_SCHEMES = ('', 'http://', 'https://', 'torchvision://', 'open-mmlab://', 'openmmlab://')
_ZIP = b'PK\x03\x04'
_MOST_MEMBERS = 100_000
_ANNEALING = ('_annealing_cos', '_annealing_linear')
SAFETENSORS = '.safetensors'
WEIGHTS = ('.pth', SAFETENSORS)
"""Suffixes of files with weights that are read here."""

FACTS = 'geo_mm'
"""Key under which other formats than ``.pth`` hold what stands beside the weights: JSON."""

_FULL_FILE = 'a complete .pth file, as torch.save() or geo-mm train writes it'


def read_checkpoint_file(path: str | os.PathLike, *, legacy: bool = False) -> object:
    """What is in a checkpoint, on the CPU: tensors, plain data, MMEngine's log and schedule.

    Args:
        path: A local file.
        legacy: Also take the format of PyTorch before 1.6, which has no
            checksums, but in which many pretrained weights are published.

    Raises:
        ConfigError: If there is no such file, it is damaged or of another
            format, or cannot be read without running what is in it.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise ConfigError(
            f'{path}: no such checkpoint',
            'a .pth file written by geo-mm train',
            'look into work_dirs/; last_checkpoint there names the newest',
        )
    if path.suffix.lower() == SAFETENSORS:
        with _explained(path):
            return _read_safetensors(path)
    with _explained(path), path.open('rb') as file, torch.serialization.safe_globals(_allowed()):
        if file.read(len(_ZIP)) == _ZIP:
            _check_archive(file, path)
            file.seek(0)
            return torch.load(file, map_location='cpu', weights_only=True)
        if not legacy:
            raise ConfigError(f'{path}: not a readable checkpoint: no zip archive', _FULL_FILE)
        file.seek(0)
        # From memory: PyTorch unpacks a tar file only if it is one on disk.
        memory = io.BytesIO(file.read())
        return torch.load(memory, map_location='cpu', weights_only=True)


def _read_safetensors(path: Path) -> dict:
    """Tensors, and what :func:`geo_mm.deploy.weights.write_safetensors` has put beside them."""
    with safe_open(path, framework='pt') as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        beside = json.loads((file.metadata() or {}).get(FACTS, '{}'))
    if not isinstance(beside, dict):
        raise ConfigError(f'{path}: not a readable checkpoint: no object under {FACTS!r}')
    return {**beside, 'state_dict': weights}


def _check_archive(file: BinaryIO, path: Path) -> None:
    """Compares the checksums, and refuses what :func:`torch.save` does not write."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if any(Path(name).name == 'constants.pkl' for name in names):
            raise ConfigError(
                f'{path}: not a checkpoint of weights only: a TorchScript program',
                _FULL_FILE,
                'save the state_dict of its model with torch.save()',
            )
        unusual = (
            len(members) > _MOST_MEMBERS
            or len(set(names)) < len(names)
            or any(member.compress_type != zipfile.ZIP_STORED for member in members)
            or sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size
        )
        if unusual:
            raise ConfigError(
                f'{path}: not a readable checkpoint: a zip archive that torch.save() did not write',
                _FULL_FILE,
            )
        damaged = archive.testzip()
    if damaged is not None:
        raise ConfigError(
            f'{path}: not a readable checkpoint: {damaged} in it is damaged (checksum differs)',
            _FULL_FILE,
            'copy or download the file again',
        )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or hostile file causes into a :class:`ConfigError`."""
    try:
        yield
    except ConfigError:
        raise
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f'{path}: not a checkpoint of weights only: {_culprit(str(error))}',
            'a .pth file whose content torch.load(..., weights_only=True) takes',
            'if you trust it, read it with torch and save its state_dict alone',
        ) from error
    except Exception as error:  # there is nothing that a damaged file cannot raise
        raise ConfigError(
            f'{path}: not a readable checkpoint: {_first_line(error)}', _FULL_FILE
        ) from error


def _culprit(text: str) -> str:
    """What PyTorch's page of text is about."""
    name = re.search(r'GLOBAL (\S+)|but got <class (\S+)>', text)
    if name is not None:
        return f'it holds {name[1] or name[2]}'
    reason = re.search(r'WeightsUnpickler error:\s*(.+)', text)
    return reason[1] if reason is not None else _first_line(text)


def _allowed() -> list:
    """What a checkpoint of MMEngine's runner holds beside tensors: log and schedule.

    MMEngine allows ``getattr`` for them, with which a file could reach
    anything; needed are a few methods of two classes.
    """
    harmless = [item for item in get_torch_safe_globals() if item is not getattr]
    numbers = {type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['Float']}
    logs = [OneCycleParamScheduler, (_known_method, 'builtins.getattr')]
    return [*harmless, *numbers, type(np.dtype(bool)), *logs]


def _known_method(owner: object, name: str) -> object:
    """Stands in for ``getattr`` while unpickling."""
    known = {HistoryBuffer: ('min', 'max', 'mean', 'current'), OneCycleParamScheduler: _ANNEALING}
    if not isinstance(owner, type) or name not in known.get(owner, ()):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner}, {name!r})')
    return getattr(owner, name)


def _first_line(error: Exception | str) -> str:
    return str(error).strip().partition('\n')[0] or type(error).__name__


Shape = tuple[int, ...] | None
"""Of a tensor; None if there is no such tensor."""


def load_weights(checkpoint: str | os.PathLike, prefix: str = '') -> dict[str, torch.Tensor]:
    """Reads a checkpoint's weights on the CPU, without running what is in it.

    Args:
        checkpoint: A local file, ``https://...``, ``torchvision://NAME`` or
            ``open-mmlab://NAME``. Downloads are kept in torch's cache
            (``TORCH_HOME``), and of the last two their hash is checked.
        prefix: Takes only the weights whose name starts with it, and takes it
            off: ``'backbone.'`` for a detector's backbone.

    Raises:
        ConfigError: If there is no such checkpoint, it cannot be read that
            safely, or it holds no weights of that prefix.
    """
    name = os.fspath(checkpoint)
    return _named_weights(read_checkpoint_file(local_copy(name), legacy=True), name, prefix)


def mismatches(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor]
) -> dict[str, tuple[Shape, Shape]]:
    """Weights that a model and a checkpoint do not have in common.

    Args:
        model: May be wrapped for distributed training, as may the model that
            was saved.
        weights: A ``state_dict``.

    Returns:
        Name to the shapes in the model and in the checkpoint; those of the
        model come first, in its order.
    """
    own = {key: tuple(v.shape) for key, v in getattr(model, 'module', model).state_dict().items()}
    given = {key.removeprefix('module.'): tuple(v.shape) for key, v in weights.items()}
    return {
        key: (own.get(key), given.get(key))
        for key in dict.fromkeys([*own, *given])
        if own.get(key) != given.get(key)
    }


def local_copy(checkpoint: str) -> Path:
    """The file of a checkpoint, downloaded if need be; rank 0 does it first.

    Args:
        checkpoint: As for :func:`load_weights`.

    Raises:
        ConfigError: If there are no weights of this name, or they cannot be
            downloaded.
    """
    scheme, found, name = checkpoint.partition('://')
    if not found:
        return Path(checkpoint)
    if scheme in ('http', 'https'):
        return _downloaded(checkpoint, check_hash=False)
    known = _known_names(scheme, checkpoint)
    if name not in known:
        close = [key for key in known if name.lower() in key.lower()]
        raise ConfigError(
            f'{checkpoint}: there are no weights of this name',
            f'one of {", ".join(sorted(close or known)[:8])}, ...',
        )
    return _downloaded(known[name], check_hash=True)


def _known_names(scheme: str, checkpoint: str) -> dict[str, str]:
    """Names to web addresses. torchvision need not be installed."""
    if scheme == 'torchvision':
        return mmengine.load(Path(mmengine.__file__).parent / 'hub' / 'torchvision_0.12.json')
    if scheme in ('open-mmlab', 'openmmlab'):
        return get_external_models()
    raise ConfigError(
        f'{checkpoint}: weights cannot be read from {scheme}://',
        'a local .pth file, https://..., torchvision://NAME or open-mmlab://NAME',
    )


def _downloaded(url: str, check_hash: bool) -> Path:
    """The file in torch's cache, where torch.hub puts it, too."""
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    path = folder / Path(urlparse(url).path).name
    rank, ranks = get_dist_info()
    try:
        if rank > 0:
            barrier()
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            found = torch.hub.HASH_REGEX.search(path.name) if check_hash else None
            prefix = found[1] if found else None
            torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
    except (OSError, RuntimeError, ValueError, urllib.error.URLError) as error:
        raise ConfigError(
            f'{url}: cannot be downloaded: {error}',
            'a .pth file at this address',
            f'download it yourself, to {path}',
        ) from error
    finally:
        # Also if it failed: the others would wait for ever.
        if rank == 0 and ranks > 1:
            barrier()
    return path


def _named_weights(data: object, checkpoint: str, prefix: str) -> dict[str, torch.Tensor]:
    if isinstance(data, dict):
        # Of MMEngine and PyTorch Lightning, of DINO, of MAE.
        holders = [data.get(key) for key in ('state_dict', 'teacher', 'model')]
        data = next((held for held in holders if isinstance(held, dict)), data)
    if not isinstance(data, dict):
        raise ConfigError(f'{checkpoint}: holds a {type(data).__name__}', 'named weights')
    weights = {
        str(key).removeprefix('module.'): value
        for key, value in data.items()
        if isinstance(value, torch.Tensor)
    }
    chosen = {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }
    if not chosen:
        starts = sorted({key.partition('.')[0] + '.' for key in weights})
        raise ConfigError(
            f'{checkpoint}: no weights of the prefix {prefix!r}',
            f'one of {", ".join(starts[:8])}' if starts else 'named weights',
        )
    return chosen


def existing_checkpoint(path: str) -> str:
    """The path of a checkpoint, which may be remote.

    Raises:
        ConfigError: If it is a local path and there is no such file.
    """
    if is_missing(path):
        raise ConfigError(
            f'{path}: no such checkpoint',
            'a .pth file written by geo-mm train',
            'look into work_dirs/; last_checkpoint there names the newest',
        )
    return path


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Weights, which are tensors on the CPU, and what was saved beside them, plain data.

    Raises:
        ConfigError: If it is missing, not readable without running what is in
            it (:mod:`geo_mm.models.checkpoints`), or without weights.
    """
    data = read_checkpoint_file(local_copy(os.fspath(path)))
    weights = data.get('state_dict') if isinstance(data, dict) else None
    named = isinstance(weights, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    )
    if not (isinstance(data, dict) and named):
        raise ConfigError(f'{path}: no weights in it', 'a checkpoint written by geo-mm train')
    if not isinstance(data.get('meta') or {}, Mapping):
        raise ConfigError(
            f'{path}: meta is a {type(data["meta"]).__name__}',
            'a checkpoint written by geo-mm train',
        )
    return data


def use_safe_loading() -> None:
    """Makes MMEngine read checkpoints as this package does and not otherwise.

    For ``load_from``, resuming, testing and ``init_cfg``. Its own loader warns
    at length about what it saved itself, and then runs whatever is in the file.
    """
    CheckpointLoader.register_scheme(_SCHEMES, _load_from_geo_mm, force=True)


def _load_from_geo_mm(filename: str, map_location: object = None) -> object:
    """A loader as MMEngine calls it; loading into a model moves weights to its device."""
    data = read_checkpoint_file(local_copy(filename), legacy=True)
    # Resuming would run a config of this key, which MMEngine itself never writes.
    if isinstance(data, dict) and isinstance(data.get('meta'), dict):
        data['meta'].pop('config', None)
    return data


def check_weights(
    model: torch.nn.Module, checkpoint: str | os.PathLike, data: Mapping | None = None
) -> None:
    """Makes sure that a checkpoint's weights are a model's: all of them, of its shapes.

    MMEngine itself loads what fits and merely logs the rest.

    Args:
        model: May be wrapped for distributed training.
        checkpoint: Its file.
        data: What :func:`read_checkpoint` gave, if it was read already.

    Raises:
        ConfigError: If anything is missing, too much or of another shape.
    """
    differing = mismatches(model, (data or read_checkpoint(checkpoint))['state_dict'])
    if not differing:
        return
    key, (own, given) = next(iter(differing.items()))
    raise ConfigError(
        f'{checkpoint} does not fit the model of this config: {len(differing)} weights differ; '
        f'the first: {key} is {"missing" if given is None else given} instead of '
        f'{"absent" if own is None else own}',
        'the config that it was trained with',
        'a copy of that config is next to the checkpoint',
    )
