"""Faster training and prediction with equal results: memory, its layout, precision, norms."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

import torch
from mmcv.cnn import ConvModule
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner, autocast
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval

from geo_mm.registry import HOOKS, OPTIM_WRAPPERS


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


def use_channels_last(model: torch.nn.Module) -> bool:
    """Converts a model's weights to channels last; activations follow.

    Models with operations of ``mmcv.ops``, such as the RoIAlign of Faster
    R-CNN, stay as they are: these read memory as if channels came first, and
    would silently compute with the wrong pixels (onedl-mmcv 2.3).

    Returns:
        Whether it was converted.
    """
    if any(type(module).__module__.startswith('mmcv.ops') for module in model.modules()):
        return False
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out
    return True


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Converts the model's weights to channels last, where it may.

    Results are the same. Training a U-Net takes 0.6 of the time on a CPU,
    and mixed precision on a GPU needs no layout changes for its tensor cores.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        use_channels_last(runner.model)

    def before_test(self, runner: Runner) -> None:
        use_channels_last(runner.model)


def keep_freed_memory() -> bool:
    """Lets the C library reuse freed activations instead of giving them back to the kernel.

    glibc returns blocks of more than 32 MiB at once, and the kernel fills their
    pages with zeros when they are asked for again, which is once per layer and
    batch. A U-Net on a CPU predicts in 0.75 of the time without that
    (tools/benchmarks/predict.py overhead). Holds for the whole process; blocks
    from 1 GiB on are still returned.

    Returns:
        Whether it took effect: False where the C library is none of GNU's.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    trim_threshold, mmap_threshold = -1, -3  # names of mallopt(3), from malloc.h
    options = (trim_threshold, mmap_threshold)
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(option, 1 << 30) for option in options])


def fold_batch_norms(model: torch.nn.Module) -> int:
    """Folds the batch norm of every ConvModule into its convolution.

    With fixed statistics a batch norm is a factor and an offset per channel,
    which the weights can hold as well. That spares a pass over the
    activations; results are the same but for rounding. A U-Net on a CPU
    predicts in 0.8 to 0.9 of the time (tools/benchmarks/predict.py overhead).

    ``mmcv.cnn.fuse_conv_bn`` pairs children by their order alone and changes
    the convolution itself, which is wrong where heads share one, each with
    norms of its own; where it would also be right, as in the blocks of a
    ResNet, nothing is folded here.

    Args:
        model: In evaluation mode, with its weights; changed in place. It
            cannot be trained any more.

    Returns:
        How many were folded.
    """
    folded = 0
    for module in model.modules():
        if isinstance(module, ConvModule) and _foldable(module):
            # A copy: heads that share a convolution have norms of their own.
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            setattr(module, module.norm_name, torch.nn.Identity())
            folded += 1
    return folded


def _foldable(module: ConvModule) -> bool:
    return (
        isinstance(module.norm, _BatchNorm)
        and module.norm.track_running_stats
        # Not its children, such as those that standardise their weights.
        and type(module.conv) is torch.nn.Conv2d
        and not module.with_spectral_norm
        and module.order.index('norm') == module.order.index('conv') + 1
    )
