"""A stand-in for :mod:`pickle` that rebuilds tensors and plain data, and runs nothing else.

A pickle may name any function to call while it is read, so a checkpoint from a
stranger can do anything. PyTorch's ``weights_only=True`` refuses MMEngine's
checkpoints altogether, since log buffers and schedulers lie beside the weights.
Here such objects become empty place holders.

Example:
    >>> torch.load(path, pickle_module=plain_pickle, weights_only=False)
"""

import pickle
from collections import OrderedDict
from typing import Any, BinaryIO

import torch
from torch import _utils

__all__ = ['Unpickler', 'load']

_REBUILT = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch', 'Size'): torch.Size,
    ('torch', 'device'): torch.device,
    ('torch._utils', '_rebuild_tensor_v2'): _utils._rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): _utils._rebuild_parameter,
}


class _PlaceHolder(dict):
    """Takes whatever a pickle does to an object."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()

    def __call__(self, *args, **kwargs) -> '_PlaceHolder':
        return _PlaceHolder()

    def __setstate__(self, state: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass


class Unpickler(pickle.Unpickler):
    """Knows tensors, plain data, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _REBUILT.get((module, name), _PlaceHolder)


def load(file: BinaryIO, **kwargs) -> Any:
    """As :func:`pickle.load`."""
    return Unpickler(file, **kwargs).load()
