"""One trained model in several formats."""

import importlib
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.config import Config

from geo_mm.deploy.options import FORMATS, ModelExportOptions
from geo_mm.inference.model import TrainedModel
from geo_mm.paths import make_folder


def export_model(
    checkpoint: str | PathLike,
    folder: str | PathLike,
    *,
    config: Config | None = None,
    options: ModelExportOptions | None = None,
    trust_checkpoint: bool = False,
    **changes: Any,
) -> list[Path]:
    """Writes a trained model in the formats of other programs.

    Args:
        checkpoint: ``.pth`` file that training wrote.
        folder: Where to; made if missing.
        config: What replaces the config in the checkpoint.
        options: In which formats, and how.
        trust_checkpoint: As for :class:`geo_mm.inference.TrainedModel`.
        **changes: Fields of :class:`ModelExportOptions`, changed in ``options``.

    Returns:
        What was written, a file or folder of each format.

    Raises:
        ConfigError: As for :class:`geo_mm.inference.TrainedModel`, or if the model
            cannot be written in a format.
        SpecError: If the checkpoint holds no input specification.
        OutputError: If a file cannot be written.
    """
    options = replace(options or ModelExportOptions(), **changes)
    model = TrainedModel(
        checkpoint, config, 'cpu', tile=options.tile, trust_checkpoint=trust_checkpoint
    )
    path = make_folder(folder) / (options.name or Path(checkpoint).stem)
    written = []
    for name in options.formats:
        module, _, function = FORMATS[name].writer.partition(':')
        write = getattr(importlib.import_module(f'geo_mm.deploy.{module}'), function)
        written.append(write(model, path, options))
    return written
