"""torchrun or srun, and below what they print each error of the processes once.

``python -m geo_mm.cli.processes`` takes the arguments of
``python -m torch.distributed.run``, or ``srun`` and its arguments. Both print
lines of their own about a process that failed. Here the processes leave their
messages in a folder, and they are printed when all have ended.
"""

import logging
import signal
import subprocess
import sys
from collections.abc import Sequence

from geo_mm.errors import SetupError, collected_errors, report_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Start processes and wait for them.

    Returns:
        0, or the exit status of the first process that failed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['srun']:
        # Machines of a cluster share the current folder, but not that for temporary files.
        with report_errors(), collected_errors(parent='.'):
            return _srun(words)
    with collected_errors():
        return _torchrun(words)


def _srun(words: list[str]) -> int:
    try:
        process = subprocess.Popen(words)
    except FileNotFoundError:
        raise SetupError(
            'there is no command srun', 'SLURM', 'tools/dist_*.sh start processes without it'
        ) from None
    # It stops what it has started. Ctrl-C in a terminal reaches it, too.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _torchrun(words: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    # It warns of processes that it ends because another has failed.
    for name in ('torch.distributed.elastic', 'torch.distributed.run'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        torchrun(words)
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        # torchrun ends the others with a signal, and sometimes notes that first.
        own = [failure.exitcode for failure in failures if failure.exitcode > 0]
        return own[0] if own else failures[0].exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
