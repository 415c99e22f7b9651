"""Predictions in processes of their own, which may be killed or share the work.

The processes are forked from one that has imported everything, so they start at once.
"""

import asyncio
import hashlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['tests.data.processes', 'tests.data.models', 'distributed'])


def start(target, *args, **kwargs):
    """A process that runs a function of this module."""
    process = _CONTEXT.Process(target=target, args=args, kwargs=kwargs, daemon=True)
    process.start()
    return process


def predict(
    checkpoint: Path,
    scene: Path,
    out: Path,
    options: dict,
    log: Path | None = None,
    die_at: int | None = None,
) -> None:
    """Predicts a scene.

    Args:
        checkpoint: The model.
        scene: The scene.
        out: Folder for the results.
        options: Fields of PredictOptions.
        log: File to which each tile that goes through the network adds a byte.
        die_at: Kills itself as it is about to rename its so-many-th file, which
            is when something becomes visible.
    """
    import torch

    # Registers the toy models; a fork server that loaders of an earlier test
    # started has not loaded them.
    import tests.data.models  # noqa: F401
    from geo_mm.inference import Predictor

    torch.set_num_threads(1)
    os.environ['SOURCE_DATE_EPOCH'] = '1700000000'
    predictor = Predictor(checkpoint, device='cpu', **options)
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def count(_, __, samples) -> None:
            os.write(file, b'.' * len(samples))

        predictor.models[0].model.register_forward_hook(count)
    if die_at is not None:
        replace, calls = os.replace, iter(range(1, die_at))

        def deadly(*args):
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*args)

        os.replace = deadly
    predictor.predict(scene, out)


def predict_as_rank(rank: int, size: int, port: int, kwargs: dict, broken: int | None) -> None:
    """One of several processes that predict a scene together.

    Args:
        rank: Which.
        size: Of how many.
        port: Where they meet.
        kwargs: Of :func:`predict`.
        broken: The rank that cannot read the scene.
    """
    from geo_mm.errors import SceneError, report_errors
    from geo_mm.inference import executors
    from geo_mm.raster import Scene

    address = {'RANK': rank, 'WORLD_SIZE': size, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
    os.environ |= {key: str(value) for key, value in address.items()}
    executors.join('pytorch')
    if rank == broken:

        def unreadable(self, window=None, **options):
            raise SceneError(f'{self.name}: cannot be read by rank {rank}')

        Scene.read = unreadable
    with report_errors():
        predict(**kwargs)


def dask_scheduler(port: int) -> None:
    """A scheduler, until it is ended."""
    from distributed import Scheduler

    _serve(lambda: Scheduler(host='127.0.0.1', port=port, dashboard=False))


def dask_worker(address: str) -> None:
    """A worker, until it or its scheduler is ended."""
    from distributed import Worker

    import tests.data.models  # noqa: F401

    os.environ['SOURCE_DATE_EPOCH'] = '1700000000'
    _serve(lambda: Worker(address, nthreads=1, dashboard=False))


def _serve(make) -> None:
    async def run() -> None:
        async with make() as server:
            await server.finished()

    logging.disable()
    asyncio.run(run())


def command(words: list[str], said: Path) -> None:
    """A geo-mm command, whose messages go to a file."""
    from geo_mm.cli import main

    sys.stdout = sys.stderr = said.open('w')
    sys.exit(main(words))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def predict_together(size: int, broken: int | None = None, **kwargs) -> list[int]:
    """Predicts with so many processes; gives their exit codes."""
    port = free_port()
    ranks = [start(predict_as_rank, rank, size, port, kwargs, broken) for rank in range(size)]
    for process in ranks:
        process.join(timeout=120)
    return [process.exitcode for process in ranks]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder; not of those in folders in it."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
