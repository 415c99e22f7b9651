"""What every test file shares: thread counts, hypothesis settings, real data."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# Before anything imports torch or numpy: xdist processes that each start a
# thread per core slow each other down. Inherited by the tools that tests run.
_workers = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_threads = str(max(1, (os.cpu_count() or 1) // _workers))
for _name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'GDAL_NUM_THREADS'):
    os.environ.setdefault(_name, _threads)
# Nothing in a test may open a window.
os.environ.setdefault('MPLBACKEND', 'Agg')

# Background jobs of a shell begin with Ctrl-C ignored, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline measures the machine, not the code; in CI the same examples each time.
hypothesis.settings.register_profile(
    'geo_mm', deadline=None, derandomize=bool(os.environ.get('CI')), database=None
)
hypothesis.settings.load_profile('geo_mm')

DATA_VARIABLE = 'GEO_MM_DATA_ROOT'


def pytest_report_header() -> str:
    return f'{DATA_VARIABLE}: {os.environ.get(DATA_VARIABLE) or "not set, real-data tests skip"}'


@pytest.fixture(scope='session')
def data_root() -> Path:
    """The folder of real imagery named by GEO_MM_DATA_ROOT; skips if it is unset."""
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        pytest.skip(f'{DATA_VARIABLE} is not set: no real data on this machine')
    root = Path(value)
    if not root.is_dir():
        # Set on purpose, so skipping would hide a mistake.
        pytest.fail(f'{DATA_VARIABLE}={value} is not a folder')
    return root.resolve()
