"""Reads checkpoint files of unknown origin: tensors and plain data, never programs.

The file is looked at before PyTorch sees it, because :func:`torch.load` does
more than load: a TorchScript archive runs, a tar file is unpacked, links
included, and the checksums of a zip archive are not compared. What is left is
read with ``weights_only=True``.
"""

import contextlib
import io
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import get_torch_safe_globals

from geo_mm.errors import ConfigError

_ZIP = b'PK\x03\x04'
_MOST_MEMBERS = 100_000
_ANNEALING = ('_annealing_cos', '_annealing_linear')
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
