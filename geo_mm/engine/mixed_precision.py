"""Mixed precision where mmengine has none: bfloat16, on CPUs too."""

import contextlib
from collections.abc import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import autocast
from torch import nn

from geo_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Computes losses in bfloat16 where torch deems it safe; weights stay float32.

    bfloat16 has the range of float32, so unlike float16 it needs no scaling of
    the loss. mmengine's ``AmpOptimWrapper`` refuses to run on a CPU.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
