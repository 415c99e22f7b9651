"""Low-rank adaptation: transformers learn by small additions to weights that stay as they are.

Hu et al. 2021, arXiv:2106.09685. A layer's weights ``W`` become ``W + alpha / rank * B A``
with ``A`` ``(rank, inputs)`` random and ``B`` ``(outputs, rank)`` zero: at the start nothing
changes. The package peft does the same, and imports transformers for it.
"""

import math
import re

from torch import Tensor, nn
from torch.nn.utils import parametrize

from geo_mm.errors import ConfigError

TARGETS = r'attn\.(q|k|v|kv|qkv|q_proj|k_proj|v_proj|proj)'
"""Linear layers of attention, by the end of their names in timm."""

_ORIGINAL = 'parametrizations.weight.original'


class LowRank(nn.Module):
    """What is added to a matrix of weights.

    Args:
        weight: The matrix ``(outputs, inputs)``.
        rank: Of the addition.
        alpha: Its scale, times the rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.lora_a = nn.Parameter(weight.new_empty(rank, inputs))
        self.lora_b = nn.Parameter(weight.new_zeros(outputs, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * self.lora_b @ self.lora_a


def add_lora(
    network: nn.Module, rank: int, alpha: float | None = None, targets: str = TARGETS
) -> None:
    """Freezes a network, and lets layers of it learn by additions of low rank, in place.

    Args:
        network: Such as a vision transformer.
        rank: Of the additions; 4 to 16 are usual.
        alpha: Scale of the additions, times ``rank``; ``rank`` by default.
        targets: Regular expression for the end of the names of linear layers.

    Raises:
        ConfigError: If the network has no such layers, or the rank is not positive.
    """
    found = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and re.search(rf'(^|\.)({targets})$', name)
    ]
    if not found or rank < 1:
        raise ConfigError(
            f'LoRA of rank {rank} in {type(network).__name__}: {len(found)} layers are named '
            f'like {targets}',
            'a transformer, and a rank of at least 1',
            'name its linear layers with targets, or take geo_mm.TransferHook',
        )
    network.requires_grad_(False)
    for module in found:
        # A parametrisation, since some networks read module.weight without calling the module.
        addition = LowRank(module.weight, rank, rank if alpha is None else alpha)
        parametrize.register_parametrization(module, 'weight', addition)


def lora_name(name: str, own: dict[str, Tensor]) -> str:
    """The name of a weight, in a network that may have additions to it."""
    owner, _, last = name.rpartition('.')
    original = f'{owner}.{_ORIGINAL}'
    return original if last == 'weight' and original in own else name


def merge_lora(model: nn.Module) -> int:
    """Adds what was learnt to the weights, in place, as prediction and export need it.

    Returns:
        The number of layers that had additions.
    """
    merged = 0
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and _has_addition(module):
            # A new layer: to take a parametrisation off changes copies of the layer as well.
            plain = nn.Linear(module.in_features, module.out_features, device='meta')
            plain.weight = nn.Parameter(module.weight.detach())
            plain.bias = module.bias
            model.set_submodule(name, plain.train(module.training))
            merged += 1
    return merged


def _has_addition(module: nn.Module) -> bool:
    if not parametrize.is_parametrized(module, 'weight'):
        return False
    return any(isinstance(part, LowRank) for part in module.parametrizations['weight'])  # type: ignore[index]
