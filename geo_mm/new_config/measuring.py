"""What only the model itself tells: memory that its training takes."""

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from geo_mm.engine.config_data import build_loader
from geo_mm.engine.launch import build_model
from geo_mm.errors import ConfigError


def chip_memory(config: Config) -> tuple[float, float]:
    """Memory that one iteration takes, measured on a batch of two chips.

    Returns:
        Bytes for each chip, of what is kept for the backward pass; and bytes
        for the model, its gradients and the moments of AdamW.

    Raises:
        ConfigError: If the loss of the batch is not finite.
    """
    config.train_dataloader.batch_size = 2
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model: Any = build_model(config)
        model.train()
        batch = next(iter(build_loader(config)))
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            data = model.data_preprocessor(batch, True)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
    if not torch.isfinite(loss):
        raise ConfigError(
            f'the loss of two training chips is {loss.item()}',
            'a finite number',
            'look at them with geo-mm browse',
        )
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return sum(kept.values()) / 2, 4.0 * parameters


def free_memory() -> tuple[float, str]:
    """Bytes that are free on the device that trains, and what that is."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]), 'GPU'
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        free = next(line for line in lines if line.startswith('MemAvailable'))
        return 1024.0 * int(free.split()[1]), 'CPU'
    except (OSError, StopIteration):  # not Linux
        return float(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')) / 2, 'CPU'
