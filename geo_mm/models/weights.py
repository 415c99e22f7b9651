"""Pretrained weights: download, selection and comparison with a model."""

import os
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import mmengine
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.runner.checkpoint import get_external_models

from geo_mm.errors import ConfigError
from geo_mm.models.checkpoint_file import read_checkpoint_file

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
        data = data.get('state_dict', data)
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
