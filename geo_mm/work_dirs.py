"""Work dirs: the folders in which trainings leave their checkpoints."""

import os
from pathlib import Path

from geo_mm.errors import ConfigError

_LAST = 'last_checkpoint'


def best_checkpoint(work_dir: str | os.PathLike) -> Path:
    """The best checkpoint of a training by validation, else the last.

    Args:
        work_dir: Where it was trained.

    Raises:
        ConfigError: If there is none.
    """
    folder = Path(work_dir)
    found = sorted(folder.glob('best_*.pth'), key=os.path.getmtime)
    last = folder / _LAST
    if not found and last.is_file():
        named = Path(last.read_text(encoding='utf-8', errors='replace').strip())
        # A work dir may have been moved since.
        found = [path for path in (named, folder / named.name) if path.is_file()][:1]
    if not found:
        raise ConfigError(f'{folder}: no checkpoint', 'the work dir of a training')
    return found[-1]


def model_file(path: str | os.PathLike) -> str:
    """The path of a model, which for the work dir of a training is its best checkpoint."""
    folder = Path(path)
    # Of what is no folder, a name that is no path of this system included, nothing is asked.
    trained = folder.is_dir() and ((folder / _LAST).is_file() or any(folder.glob('best_*.pth')))
    return str(best_checkpoint(folder)) if trained else os.fspath(path)
