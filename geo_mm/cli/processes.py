"""torchrun, which prints an error of several processes once, and last.

``python -m geo_mm.cli.processes`` takes the arguments of
``python -m torch.distributed.run``. That prints twenty lines about the process
that failed below the message of each process. Here the processes leave their
message in the file that torchrun gives them, and it is printed when all have
ended.
"""

import logging
import sys
from collections.abc import Sequence

from geo_mm.errors import collect_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Start processes and wait for them.

    Returns:
        0, or the exit status of the first process that failed.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    collect_errors()
    # It warns of processes that it ends because another has failed.
    for name in ('torch.distributed.elastic', 'torch.distributed.run'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        torchrun(list(sys.argv[1:] if argv is None else argv))
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        left = [failure.error_file_data for failure in failures]
        for message in dict.fromkeys(data['message'] for data in left if data.get('geo_mm')):
            print(f'error: {message}', file=sys.stderr)
        # torchrun ends the others with a signal, and sometimes notes that first.
        own = [failure.exitcode for failure in failures if failure.exitcode > 0]
        return own[0] if own else failures[0].exitcode
    return 0


if __name__ == '__main__':
    sys.exit(main())
