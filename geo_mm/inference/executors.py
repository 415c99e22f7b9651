"""Who does the work of a prediction: this process alone, or several together."""

import atexit
import datetime
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from geo_mm.errors import GeoMMError

_PATIENCE = datetime.timedelta(days=30)
"""A rank may be done with its rows long before the others. One that dies is
not waited for: its launcher ends them all."""

T = TypeVar('T')


class StoppedError(GeoMMError):
    """Another process has failed, so the work of this one is of no use."""


class Serial:
    """This process alone. Other executors share the work by the same methods.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, items: Sequence[T]) -> list[T]:
        """The part of ``items`` that this process works on: neighbours, and as many as others."""
        bounds = [len(items) * n // self.size for n in (self.rank, self.rank + 1)]
        return list(items[slice(*bounds)])

    def each(self, work: Callable[[], T]) -> T:
        """Does something in all processes; an error in one is raised in all."""
        return work()

    def first(self, work: Callable[[], T]) -> T:
        """Does something in the first process, and gives all its result."""
        return work()


class Ranks(Serial):
    """The processes of torchrun or SLURM, which :func:`join` has connected.

    All of them go through all scenes and share the rows of tiles of each. Only
    small messages go to and fro, over gloo, on machines with GPUs too.
    """

    def __init__(self) -> None:
        import torch

        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def each(self, work: Callable[[], T]) -> T:
        """As for :class:`Serial`.

        Only mistakes of the user's are passed on (:class:`GeoMMError`): another
        exception ends this process, and its launcher then ends the others.
        """
        error: GeoMMError | None = None
        try:
            result = work()
        except GeoMMError as found:
            error = found
        errors = self._gathered(error)
        # Who merely stopped because of another has nothing to say.
        errors.sort(key=lambda item: isinstance(item, StoppedError))
        if errors:
            raise errors[0]
        return result

    def first(self, work: Callable[[], T]) -> T:
        import torch

        result: list[Any] = [self.each(work if self.rank == 0 else lambda: None)]
        torch.distributed.broadcast_object_list(result, src=0)
        return result[0]

    def _gathered(self, error: GeoMMError | None) -> list[GeoMMError]:
        import torch

        errors: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(errors, error)
        if error is not None:
            errors[self.rank] = error  # with its cause, which does not travel
        return [item for item in errors if item is not None]


def current() -> Serial:
    """The processes that this one has joined, or itself alone."""
    torch = sys.modules.get('torch')  # without it none have been joined
    if (
        torch is None
        or not torch.distributed.is_available()
        or not torch.distributed.is_initialized()
    ):
        return Serial()
    return Ranks()


def join(launcher: str) -> Serial:
    """Joins the processes that a launcher has started, if any.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.

    Raises:
        ConfigError: If it is SLURM and has not started this process.
    """
    if launcher == 'none':
        return Serial()
    import torch
    from mmengine.dist import init_dist

    from geo_mm.engine.launch import join_gloo, leave_gloo, set_slurm_ranks

    if launcher == 'slurm':
        set_slurm_ranks()
    if torch.cuda.is_available():
        init_dist(launcher, backend='gloo', timeout=_PATIENCE.total_seconds())
        atexit.register(leave_gloo)
    else:
        join_gloo(timeout=_PATIENCE)
    return current()
