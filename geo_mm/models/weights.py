"""Pretrained weights: where they lie, and reading nothing but tensors from there."""

import os
import pickle
import re
from pathlib import Path

import mmengine
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import get_external_models, get_torch_safe_globals

from geo_mm.errors import ConfigError

_ANNEALING = ('_annealing_cos', '_annealing_linear')


def load_weights(checkpoint: str | os.PathLike, prefix: str = '') -> dict[str, torch.Tensor]:
    """Reads a checkpoint's weights on the CPU, without running what is in it.

    Everything is read with ``weights_only=True``: MMEngine's own loader reads
    the rest without that safety, which lets a file from the web run code.

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
    data = read_safely(os.fspath(checkpoint))
    return _named_weights(data, os.fspath(checkpoint), prefix)


def read_safely(checkpoint: str) -> object:
    """What is in a checkpoint, on the CPU: tensors, plain data, MMEngine's log and schedule.

    Args:
        checkpoint: As for :func:`load_weights`.

    Raises:
        ConfigError: If there is no such checkpoint, or it cannot be read
            without running what is in it.
    """
    try:
        with torch.serialization.safe_globals(_allowed()):
            return _read(checkpoint)
    except pickle.UnpicklingError as error:
        culprit = re.search(r'GLOBAL (\S+)', str(error))
        raise ConfigError(
            f'{checkpoint}: not a checkpoint of weights only: '
            + (f'it holds {culprit[1]}' if culprit else _first_line(error)),
            'a .pth file whose content torch.load(..., weights_only=True) takes',
            'if you trust it, read it with torch and save its state_dict alone',
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(
            f'{checkpoint}: cannot be read: {_first_line(error)}',
            'a local .pth file, https://..., torchvision://NAME or open-mmlab://NAME',
        ) from error


def _allowed() -> list:
    """What a checkpoint of MMEngine's runner holds beside tensors: log and schedule.

    MMEngine allows ``getattr`` for them, with which a file could reach
    anything; needed are a few methods of two classes.
    """
    harmless = [item for item in get_torch_safe_globals() if item is not getattr]
    return [*harmless, OneCycleParamScheduler, (_known_method, 'builtins.getattr')]


def _known_method(owner: object, name: str) -> object:
    """Stands in for ``getattr`` while unpickling."""
    known = {HistoryBuffer: ('min', 'max', 'mean', 'current'), OneCycleParamScheduler: _ANNEALING}
    if not isinstance(owner, type) or name not in known.get(owner, ()):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner}, {name!r})')
    return getattr(owner, name)


def _read(checkpoint: str) -> object:
    scheme, found, name = checkpoint.partition('://')
    if not found:
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise ConfigError(f'{checkpoint}: no such checkpoint', 'a .pth file')
        return torch.load(path, map_location='cpu', weights_only=True)
    if scheme in ('http', 'https'):
        return _download(checkpoint, check_hash=False)
    known = _known_names(scheme, checkpoint)
    if name not in known:
        close = [key for key in known if name.lower() in key.lower()]
        raise ConfigError(
            f'{checkpoint}: there are no weights of this name',
            f'one of {", ".join(sorted(close or known)[:8])}, ...',
        )
    return _download(known[name], check_hash=True)


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


def _download(url: str, check_hash: bool) -> object:
    """Loads from the web, or from torch's cache; rank 0 fills the cache first."""
    rank, ranks = get_dist_info()
    try:
        if rank > 0:
            barrier()
        return torch.hub.load_state_dict_from_url(
            url, map_location='cpu', progress=False, check_hash=check_hash, weights_only=True
        )
    finally:
        # Also if it failed: the others would wait for ever.
        if rank == 0 and ranks > 1:
            barrier()


def _named_weights(data: object, checkpoint: str, prefix: str) -> dict[str, torch.Tensor]:
    if isinstance(data, dict):
        data = data.get('state_dict', data)
    if not isinstance(data, dict):
        raise ConfigError(f'{checkpoint}: holds a {type(data).__name__}', 'named weights')
    weights = {
        key.removeprefix('module.'): value
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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition('\n')[0]
