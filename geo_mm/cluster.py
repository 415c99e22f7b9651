"""Functions called in this process, in threads or on the workers of a Dask cluster.

Workers and their scheduler may come and go. What is lost with them is submitted
again, so a function must be safe to repeat.
"""

import contextlib
import itertools
import logging
import math
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from geo_mm.errors import ConfigError, GeoMMError, SetupError

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

_AHEAD = 4
"""Tasks per worker that the scheduler holds. It takes no more memory for longer lists."""

_LEAST_AHEAD = 64
_RETRIES = 2
_NEWS = 2.0
"""Seconds between looks at which workers there are."""

_KEEP_FREED_MEMORY = {'distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_': None}
"""Dask's setting has each large array's pages given back and cleared again: seven times as
many page faults where pixels are read."""

_PATIENCE = 60.0
"""Seconds in which a scheduler that was lost may come back."""


@dataclass(frozen=True, eq=False)
class Task:
    """A call of a function.

    Attributes:
        name: What the dashboard shows.
        work: A function that workers can import.
        args: Its arguments.
        about: What the caller wants to know when it is done.
    """

    name: str
    work: Callable
    args: tuple = ()
    about: Any = None


class WorkerError(GeoMMError):
    """A task ended by something else than a mistake of the user's."""


class _LostError(Exception):
    """There is no scheduler any more, or it is another one."""


class Cluster:
    """Workers, by way of their scheduler.

    Args:
        connect: Gives a client of the scheduler, again if that was lost.
        name: Of the work, for the dashboard.
    """

    def __init__(self, connect: Callable[[], 'Client'], name: str) -> None:
        self._connect, self._name = connect, name
        self._client = connect()
        self._asked = -math.inf
        self._resources: list[Mapping[str, float]] = []

    def call(self, name: str, work: Callable, *args: Any) -> Any:
        """Calls one function on a worker, and gives its result.

        Raises:
            GeoMMError: As the function, or if the worker dies again and again.
            SetupError: If the scheduler is lost, and does not come back.
        """
        ((_, result),) = self.results([Task(name, work, args)])
        if isinstance(result, GeoMMError):
            raise result
        return result

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Any], Iterable[Task]]) -> None:
        """Has all tasks done, in any order, and no more than some of them submitted at a time.

        Args:
            tasks: What to do; they are asked for as others are done.
            done: Called with each task and its result, or the :class:`GeoMMError`
                that it ended with; gives further tasks, which come first.

        Raises:
            SetupError: If the scheduler is lost, and does not come back.
        """
        first: deque[Task] = deque()
        for task, result in self._done(first, iter(tasks)):
            first.extendleft(reversed(list(done(task, result))))

    def results(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Each task with its result or :class:`GeoMMError`, as :meth:`run` has them done.

        Raises:
            SetupError: If the scheduler is lost, and does not come back.
        """
        return self._done(deque(), iter(tasks))

    def _done(self, first: deque[Task], rest: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        while True:
            at_work: dict[Any, Task] = {}
            try:
                yield from self._run(first, rest, at_work)
                return
            except _LostError:
                first.extendleft(reversed(at_work.values()))
            self._reconnect()

    def _run(
        self, first: deque[Task], rest: Iterator[Task], at_work: dict[Any, Task]
    ) -> Iterator[tuple[Task, Any]]:
        from distributed import as_completed

        running = as_completed(loop=self._client.loop)
        name, numbers = f'{self._name}-{uuid.uuid4().hex[:8]}', itertools.count()

        def submit() -> None:
            most = self._ahead()
            found: dict[Any, Task] = {}
            # Many together: to submit one takes as long as to submit dozens.
            while 2 * len(at_work) <= most and len(at_work) + len(found) < most:
                task = first.popleft() if first else next(rest, None)
                if task is None:
                    break
                found[name, next(numbers), task.name] = task
            at_work.update(found)  # also if they cannot be submitted
            running.update(self._submitted(found))

        submit()
        while at_work:
            # Together: to ask for each result takes longer than a task.
            batch = running.next_batch()
            for future, result in zip(batch, self._results(batch), strict=True):
                yield at_work.pop(future.key), result
            submit()

    def _submitted(self, tasks: Mapping[tuple, Task]) -> list['Future']:
        # Where workers say how many GPUs they have, a task takes one.
        has_gpus = any('GPU' in resources for resources in self._workers())
        resources = {'GPU': 1} if has_gpus else None
        futures = []
        for work, group in itertools.groupby(tasks, key=lambda key: tasks[key].work):
            keys = list(group)
            arguments = zip(*(tasks[key].args for key in keys), strict=True)
            with _losses():
                futures += self._client.map(
                    work, *arguments, key=keys, pure=False, retries=_RETRIES, resources=resources
                )
        return futures

    def _results(self, futures: list['Future']) -> list[Any]:
        if any(future.status in ('cancelled', 'lost') for future in futures):
            raise _LostError
        with _losses():
            finished = {future.key: future for future in futures if future.status == 'finished'}
            results = self._client.gather(finished)
            return [
                results[future.key] if future.key in results else _failure(future.exception())
                for future in futures
            ]

    def _ahead(self) -> int:
        return max(_LEAST_AHEAD, _AHEAD * len(self._workers()))

    def _workers(self) -> list[Mapping[str, float]]:
        """The resources of each worker, as of a moment ago: to ask takes longer than a task."""
        if time.monotonic() - self._asked > _NEWS:
            with _losses():
                info = self._client.scheduler_info(n_workers=-1)
            workers = info.get('workers', {}).values()
            if not workers and self._asked == -math.inf:
                logger.warning('the cluster has no workers yet; they are waited for')
            self._resources = [worker.get('resources', {}) for worker in workers]
            self._asked = time.monotonic()
        return self._resources

    def _reconnect(self) -> None:
        logger.warning('the scheduler was lost; for %.0f s it may come back', _PATIENCE)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, SetupError, TimeoutError):
                self._client.close(timeout=1)
                self._client = self._connect()
                self._asked = -math.inf
                return
            time.sleep(1)
        raise SetupError(
            f'the scheduler was lost, and is not back after {_PATIENCE:.0f} s',
            'a scheduler that stays',
            'repeat the command when there is one: what is finished is kept',
        )


def _failure(error: BaseException) -> WorkerError:
    if isinstance(error, WorkerError):
        return error
    return WorkerError(
        f'the worker failed: {type(error).__name__}: {error}',
        'workers with enough memory, and the versions of this machine',
        'look at the log of the worker',
    )


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """What calls of a client raise when the scheduler goes."""
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, CancelledError, TimeoutError, ClosedClientError) as error:
        raise _LostError from error


def is_wanted() -> Callable[[], bool]:
    """What tells whether the result of the task that this thread does is still wanted.

    It is not if the client has gone or the worker is about to end.
    """
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    key = worker.get_current_task()
    running = (Status.running, Status.paused)

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return worker.status in running and task is not None and task.state != 'cancelled'

    return wanted


@contextlib.contextmanager
def cluster_of(
    where: str, name: str, processes: Callable[[], tuple[int, bool]] | None = None
) -> Iterator[Cluster]:
    """Connects to a cluster, or starts one on this machine that ends with it.

    Args:
        where: ``'local'``, ``'local:N'`` for N processes, or the address of a scheduler.
        name: Of the work, for the dashboard.
        processes: For ``'local'``: how many, and whether each has a GPU; by default one
            for each core, without.

    Raises:
        SetupError: If Dask is not installed, or no scheduler answers.
        ConfigError: If ``where`` says something else.
    """
    try:
        import dask
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster
        from distributed.utils import silence_logging_cmgr
    except ImportError as error:
        raise SetupError(
            'Dask is not installed', 'distributed', "pip install 'geo_mm[dask]'"
        ) from error
    kind, _, number = where.partition(':')
    is_local = kind == 'local' and (not number or (number.isdecimal() and int(number) > 0))
    if not is_local and '://' not in where:
        raise ConfigError(
            f'the Dask cluster {where!r}',
            "the address of its scheduler, such as tcp://node1:8786, or 'local', or 'local:4' "
            'for four processes',
        )
    with contextlib.ExitStack() as stack:
        scheduler: Any = where
        if is_local:
            count, gpus = processes() if processes else (CPU_COUNT, False)
            with _interrupts_held(), dask.config.set(_KEEP_FREED_MEMORY):
                scheduler = stack.enter_context(
                    LocalCluster(
                        n_workers=int(number or count),
                        threads_per_worker=1,
                        processes=True,
                        resources={'GPU': 1} if gpus else None,
                        dashboard_address=None,
                        # It serves HTTP without a dashboard, too, by default at port 8787.
                        scheduler_kwargs={'dashboard_address': '127.0.0.1:0'},
                        silence_logs=logging.CRITICAL,
                    )
                )
        # A loss is told in our words.
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))

        def connect() -> 'Client':
            try:
                client = Client(scheduler, set_as_default=False)
            except OSError as error:
                raise SetupError(
                    f'{where}: no Dask scheduler answers: {error}',
                    "the address of a scheduler, such as tcp://node1:8786, or 'local'",
                    'start one with `dask scheduler`, or see docs/en/scale.md',
                ) from error
            # Before a local cluster, whose end would be a loss to it.
            stack.callback(_closed, client)
            return client

        yield Cluster(connect, name)


@contextlib.contextmanager
def mapping(
    cluster: str | None = None, name: str = '', threads: int = 1
) -> Iterator[Callable[..., Iterator]]:
    """Where functions are called for each of many items: here, or on a cluster.

    Args:
        cluster: As for :func:`cluster_of`; None: this process.
        name: Of the work, for the dashboard of a cluster.
        threads: Of this process.

    Yields:
        A function ``mapped(work, items, label=str)`` that gives the results in the
        order of the items, as :func:`map`. A :class:`GeoMMError` is raised when its turn
        comes, so the first one of the list is told, wherever the work is done. On a
        cluster ``work`` must be safe to repeat, and it and the items are pickled;
        ``label`` gives the name of an item.

    Raises:
        SetupError: If Dask is not installed, or no scheduler answers or stays.
    """
    if cluster is not None:
        with cluster_of(cluster, name) as workers:

            def on_cluster(work: Callable, items: Iterable, label: Callable = str) -> Iterator:
                tasks = (
                    Task(label(item), _attempt, (work, item), number)
                    for number, item in enumerate(items)
                )
                return _in_order(workers.results(tasks))

            yield on_cluster
    elif threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            try:
                yield lambda work, items, label=str: pool.map(work, items)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    else:
        yield lambda work, items, label=str: map(work, items)


def _in_order(results: Iterable[tuple[Task, Any]]) -> Iterator:
    found: dict[int, Any] = {}
    following = 0
    for task, result in results:
        found[task.about] = result
        while following in found:
            result = found.pop(following)
            following += 1
            if isinstance(result, GeoMMError):
                raise result
            yield result


def _attempt(work: Callable, item: Any) -> Any:
    """Mistakes of the user's are results: they would be the same again."""
    try:
        return work(item)
    except GeoMMError as error:
        return error


def _closed(client: 'Client') -> None:
    """Ends a client, which has the scheduler forget its tasks."""
    with contextlib.suppress(OSError, TimeoutError):
        client.close(timeout=5)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keeps Ctrl-C, which the terminal sends to all processes, from those that start within it.

    Threads and processes inherit what is blocked, and so do those that they start later.
    """
    resource_tracker.ensure_running()  # which unblocks it as it starts, before Python 3.12
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
