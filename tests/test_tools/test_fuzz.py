"""tools/dev/fuzz.py, with fewer cases than when it is run by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_damaged_files_end_in_errors_of_ours():
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'dev' / 'fuzz.py', '--cases', '40', '--seed', '7'],
        env={'PYTHONPATH': str(ROOT), 'PATH': '', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        errors='replace',
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    everything = done.stdout.splitlines()[-1].split()
    assert everything[0] == 'all'
    assert sum(map(int, everything[1:])) == 24 * 40
