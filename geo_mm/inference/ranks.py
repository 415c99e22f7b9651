"""Several processes that share the work of one prediction."""

import atexit
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from mmengine.dist import init_dist

from geo_mm.engine.launch import join_gloo, leave_gloo
from geo_mm.errors import ConfigError, GeoMMError

_PATIENCE = datetime.timedelta(days=30)
"""A rank may be done with its rows long before the others. One that dies is
not waited for: its launcher ends them all."""

T = TypeVar('T')


class StoppedError(GeoMMError):
    """Another process has failed, so going on would be for nothing."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Only small messages go to and fro, over gloo, on machines with GPUs too.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> 'Ranks':
        """Those that this process has joined, or itself alone."""
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return cls()
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def share(self, items: Sequence[T]) -> list[T]:
        """The part of ``items`` that this process works on: neighbours, and as many as others."""
        bounds = [len(items) * n // self.size for n in (self.rank, self.rank + 1)]
        return list(items[slice(*bounds)])

    def each(self, work: Callable[[], T]) -> T:
        """Does something in all processes; an error in one is raised in all.

        Only mistakes of the user's are passed on (:class:`GeoMMError`): another
        exception ends this process, and its launcher then ends the others.
        """
        result, error = None, None
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
        """Does something in the first process, and gives all its result."""
        result = [self.each(work if self.rank == 0 else lambda: None)]
        if self.size > 1:
            torch.distributed.broadcast_object_list(result, src=0)
        return result[0]

    def _gathered(self, error: GeoMMError | None) -> list[GeoMMError]:
        errors: list[Any] = [error]
        if self.size > 1:
            errors = [None] * self.size
            torch.distributed.all_gather_object(errors, error)
            if error is not None:
                errors[self.rank] = error  # with its cause, which does not travel
        return [item for item in errors if item is not None]


def join(launcher: str) -> Ranks:
    """Joins the processes that a launcher has started, if any.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.

    Raises:
        ConfigError: If SLURM is to start processes without GPUs, which
            MMEngine cannot connect.
    """
    if launcher == 'none':
        return Ranks()
    if torch.cuda.is_available():
        init_dist(launcher, backend='gloo', timeout=_PATIENCE.total_seconds())
        atexit.register(leave_gloo)
    elif launcher == 'pytorch':
        join_gloo(timeout=_PATIENCE)
    else:
        raise ConfigError(
            f'--launcher {launcher} without GPUs',
            'GPUs, or --launcher pytorch',
            'bash tools/dist_predict.sh predicts on CPUs',
        )
    return Ranks.current()
