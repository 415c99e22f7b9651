"""Batches of chips in one tensor, which loader processes pass on without copying it again."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import get_worker_info

from geo_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def stack_chips(batch: Sequence[dict]) -> dict:
    """Collates packed chips of one size into one tensor per batch, in the worker.

    A tensor for each chip costs a file in shared memory each; those of classes of
    pixels are 8 times as large as they must be until the data preprocessor of geo_mm
    is reached. Chips of several sizes stay apart.

    Args:
        batch: ``inputs`` ``(bands, height, width)`` and ``data_samples`` of each chip.

    Returns:
        ``inputs`` ``(N, bands, height, width)``, and the samples. Classes of pixels are
        uint8 views of one tensor.
    """
    collated = pseudo_collate(batch)
    inputs = collated['inputs']
    if len({(image.shape, image.dtype) for image in inputs}) > 1:
        return collated
    maps = [sample.get('gt_sem_seg') for sample in collated.get('data_samples', ())]
    parts = [inputs]
    if maps and all(item is not None for item in maps):
        parts.append([item.data.to(torch.uint8) for item in maps])
    if get_worker_info() is not None:
        return _SharedBatch(collated, parts)
    return _joined(collated, [torch.stack(tuple(part)) for part in parts])


def _joined(collated: dict, stacked: Sequence[torch.Tensor]) -> dict:
    """The batch with its pixels, and with the classes of pixels of its samples if it has any."""
    collated['inputs'], *classes = stacked
    for maps in classes:
        for sample, data in zip(collated['data_samples'], maps, strict=True):
            sample.gt_sem_seg.data = data
    return collated


class _Layout(NamedTuple):
    """Where in a buffer a tensor is."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def of(self, buffer: torch.Tensor) -> torch.Tensor:
        size = torch.Size(self.shape).numel() * self.dtype.itemsize
        return buffer[self.start : self.start + size].view(self.dtype).view(self.shape)


class _SharedBatch(dict):
    """A batch of a loader process on its way to the main one, where it becomes a plain dict.

    Its tensors are in a buffer of shared memory, which the worker fills again when
    the main process has dropped them: to make such memory, and to touch its pages for
    the first time, takes longer than to fill it.

    Args:
        collated: The rest of the batch.
        parts: Tensors of one size and type, for each of those to stack.
    """

    def __init__(self, collated: dict, parts: Sequence[Sequence[torch.Tensor]]) -> None:
        super().__init__(collated)
        self._layouts, end = [], 0
        for part in parts:
            first = part[0]
            self._layouts.append(_Layout(end, first.dtype, (len(part), *first.shape)))
            end += len(part) * first.numel() * first.element_size()
        self._buffer = _free_buffer(end)
        for layout, part in zip(self._layouts, parts, strict=True):
            torch.stack(tuple(part), out=layout.of(self._buffer))
        self['inputs'] = None
        for sample in collated['data_samples'] if len(parts) > 1 else ():
            del sample.gt_sem_seg.data

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (dict(self), self._buffer, self._layouts)


def _received(collated: dict, buffer: torch.Tensor, layouts: Sequence[_Layout]) -> dict:
    """The batch in the process that asked for it."""
    array = buffer.numpy()
    # The tensors hold the array, and nothing else does.
    weakref.finalize(array, _release, buffer).atexit = False
    whole = torch.from_numpy(array)
    return _joined(collated, [layout.of(whole) for layout in layouts])


def _release(buffer: torch.Tensor) -> None:
    buffer[-1] = 0


_buffers: list[torch.Tensor] = []
"""Of this process, in shared memory. The last byte of each says if it is in use."""


def _free_buffer(size: int) -> torch.Tensor:
    """A buffer of at least so many bytes, from now on in use."""
    # Those that are too small will be so again.
    _buffers[:] = [own for own in _buffers if own[-1] or len(own) > size]
    found = next((own for own in _buffers if not own[-1]), None)
    if found is None:
        storage = torch.UntypedStorage._new_shared(size + 1, device='cpu')
        found = torch.empty(0, dtype=torch.uint8).set_(storage)
        _buffers.append(found)
    found[-1] = 1
    return found
