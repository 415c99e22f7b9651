"""Set up .venv for geo_mm: torch, mmcv built from source, everything else, geo_mm itself.

Called by ``make`` through setup_venv.sh; needs nothing but the standard library.
Every step is quick when its result is already there, so an interrupted run is
simply started again; only a finished and verified environment gets the stamp
``.venv/.ready``.

GEO_MM_TORCH chooses another torch ('torch==2.12.0'); pip's own variables
(PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) choose where from. CUDA_VISIBLE_DEVICES=
(empty) makes a CPU-only mmcv on a machine with a GPU.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / '.ready'
CONSTRAINTS = 'requirements/constraints.txt'
# The torch everything was tested with. pyproject.toml allows others.
TORCH = os.environ.get('GEO_MM_TORCH', 'torch==2.13.0')
FREE_GB = 6  # .venv takes 2.3 GB with a CPU torch, about 7 GB with CUDA; plus downloads
GB_PER_COMPILER = 2  # one mmcv source takes up to 1.5 GB to compile

MMCV_WORKS = """
import sys
from importlib.metadata import version
assert version(sys.argv[1]) == sys.argv[2]
import torch
from mmcv.ops import nms
for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
    nms(torch.tensor([[0., 0., 4., 4.]], device=device), torch.ones(1, device=device), 0.5)
"""


def main() -> None:
    check_machine()
    VENV.mkdir(exist_ok=True)
    with (VENV / '.lock').open('w') as lock:
        # `make demo` and `make test` may be started side by side.
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = time.monotonic()
        STAMP.unlink(missing_ok=True)
        make_venv()
        remove_half_installed()
        pip('build tools and torch', 'install', '-r', 'requirements/build.txt', TORCH)
        geo_mm = ('--no-build-isolation', '-c', CONSTRAINTS, '-e', '.[tests,lint,docs]', TORCH)
        pip('libraries and geo_mm', 'install', *geo_mm)
        # Alone: torchvision, of which geo_mm.TimmBackbone needs nothing, would have to fit torch
        # to the build, and PyPI has none for a torch without CUDA.
        pip('timm', 'install', '--no-deps', '-c', CONSTRAINTS, 'timm')
        install_mmcv()
        repair_opencv()
        verify()
        # The place is part of the stamp: a moved or copied .venv is not ready.
        STAMP.write_text(f'{ROOT}\n')
        say(f'ready in {clock(time.monotonic() - start)}: {VENV}')


def check_machine() -> None:
    """Leave with one message that lists all that this machine lacks."""
    lacks = []
    compiler = os.environ.get('CXX', 'c++' if shutil.which('c++') else 'g++')
    if shutil.which(compiler.split()[0]) is None:
        lacks.append(
            f'a C++17 compiler ({compiler} is not on the PATH), needed to build mmcv\n'
            '    Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; '
            'macOS: xcode-select --install'
        )
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        lacks.append(
            f'the headers of {sys.executable} (Python.h), which mmcv is compiled against\n'
            f'    Debian, Ubuntu: apt-get install python3.{sys.version_info[1]}-dev'
        )
    if subprocess.run([sys.executable, '-c', 'import venv, ensurepip']).returncode:
        lacks.append(
            f'the module venv of {sys.executable}\n'
            f'    Debian, Ubuntu: apt-get install python3.{sys.version_info[1]}-venv'
        )
    free = shutil.disk_usage(ROOT).free / 1e9
    if not PYTHON.exists() and free < FREE_GB:
        lacks.append(f'disk space: {free:.1f} GB free at {ROOT}, {FREE_GB} GB needed')
    if lacks:
        fail('this machine lacks', *[f'  - {lack}' for lack in lacks])


def make_venv() -> None:
    """Make .venv, or complete a half-made one; never replace somebody's."""
    if PYTHON.exists() and quietly(PYTHON, '-c', 'import pip') == 0:
        return
    # Interrupted, or its Python is gone: the folder is of no use to anyone.
    shutil.rmtree(VENV / 'bin', ignore_errors=True)
    say(f'making {VENV} with Python {sys.version.split()[0]} ({sys.executable})')
    run([sys.executable, '-m', 'venv', str(VENV)], 'environment')


def remove_half_installed() -> None:
    """Remove what an interrupted pip left: it would take that for installed.

    pip writes the file INSTALLER after the files of the distribution itself.
    """
    for info in VENV.glob('lib/python*/site-packages/*.dist-info'):
        if not (info / 'INSTALLER').exists():
            say(f'{info.name} is incomplete, it will be installed again')
            shutil.rmtree(info)


def install_mmcv() -> None:
    """Build mmcv against the installed torch, unless a working one is there."""
    (pin,) = re.findall(r'^onedl-mmcv==\S+', (ROOT / CONSTRAINTS).read_text('utf-8'), re.M)
    if mmcv_works(pin):
        say('mmcv: already there, with working operators')
        return
    # No debug symbols: half the build time, and a wheel of 2 instead of 33 MB.
    environment = {'CFLAGS': '-g0', 'CXXFLAGS': '-g0', **os.environ}
    environment['MAX_JOBS'] = str(compiler_jobs())
    check_nvcc()
    # --no-deps: they are installed, and within our limits.
    command = ['install', '-v', '--no-build-isolation', '--no-deps', '--force-reinstall', pin]
    pip('mmcv (compiling takes 4 to 20 minutes)', *command, env=environment)
    if mmcv_works(pin):
        return
    # pip's cache does not know which torch, or whether any, a wheel was built
    # against. Its exit status says only whether it had one.
    say('mmcv from the pip cache does not fit this torch; removing it and building anew')
    quietly(PYTHON, '-m', 'pip', 'cache', 'remove', 'onedl_mmcv')
    pip('mmcv (compiling takes 4 to 20 minutes)', *command, env=environment)


def mmcv_works(pin: str) -> bool:
    """Tell whether the pinned mmcv is installed and its operators run on every device."""
    return quietly(PYTHON, '-c', MMCV_WORKS, *pin.split('==')) == 0


def compiler_jobs() -> int:
    """Return how many compilers may run at once without exhausting the memory."""
    if 'MAX_JOBS' in os.environ:
        return int(os.environ['MAX_JOBS'])
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return max(1, min(cores, int(memory / GB_PER_COMPILER)))


def check_nvcc() -> None:
    """Leave if torch sees a GPU but mmcv cannot be built for it."""
    ask = 'import torch; print(torch.version.cuda if torch.cuda.is_available() else "")'
    cuda = subprocess.run([PYTHON, '-c', ask], capture_output=True, text=True).stdout.strip()
    if cuda and not shutil.which('nvcc') and 'CUDA_HOME' not in os.environ:
        fail(
            f'torch uses a GPU (CUDA {cuda}), but there is no CUDA compiler, nvcc, to build mmcv',
            f'  expected: the CUDA toolkit {cuda} with nvcc on the PATH, or CUDA_HOME',
            '  to do: install it; or run on the CPU: CUDA_VISIBLE_DEVICES= make ...;',
            '         or use a torch with prebuilt mmcv wheels: docs/en/install.md',
        )


def repair_opencv() -> None:
    """Let the headless OpenCV win if the other one lacks the machine's libGL."""
    if quietly(PYTHON, '-c', 'import cv2'):
        headless = ('-c', CONSTRAINTS, 'opencv-python-headless')
        pip('OpenCV without libGL', 'install', '--no-deps', '--force-reinstall', *headless)


def verify() -> None:
    """Leave unless the finished environment works."""
    done = subprocess.run([PYTHON, '-m', 'geo_mm.env'], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        fail('the environment was set up, but is not right:', done.stdout, done.stderr)


def quietly(*command: object) -> int:
    """Run a command and return its exit status alone."""
    return subprocess.run([str(part) for part in command], capture_output=True).returncode


def pip(what: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run pip in .venv from the repository, with progress."""
    run([str(PYTHON), '-m', 'pip', '--disable-pip-version-check', *arguments], what, env)


def run(command: list[str], what: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in a log and its progress on the screen.

    Leaves with the end of the log if the command fails.
    """
    log = VENV / 'logs' / f'{what.split()[0].lower()}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open('w') as output:
        # A session of its own, so that an interruption reaches its compilers, too.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                    break
                say(f'{what}: {clock(time.monotonic() - start)} {progress(log)}')
        except BaseException:
            # As Ctrl-C does, so that pip removes its temporary folders; then
            # whatever of its compilers is left.
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        tail = log.read_text(errors='replace').splitlines()[-40:]
        fail(f'{what}: failed after {clock(time.monotonic() - start)}', *tail, f'whole log: {log}')
    say(f'{what}: done in {clock(time.monotonic() - start)}')


def progress(log: Path) -> str:
    """Return the n-th of N files that ninja compiles, or the last thing that pip said."""
    with log.open('rb') as file:
        file.seek(max(0, log.stat().st_size - 200_000))
        text = file.read().decode(errors='replace')
    if counts := re.findall(r'^\s*\[(\d+)/(\d+)\]', text, re.MULTILINE):
        done, total = counts[-1]
        return f'compiled {done} of {total} files'
    said = re.findall(
        r'^\s*((?:Collecting|Downloading|Building|Installing|Using cached) .*)', text, re.MULTILINE
    )
    return said[-1][:70] if said else ''


def clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def say(line: str) -> None:
    print(f'[setup] {line}', flush=True)


def fail(*lines: str) -> None:
    print('\n'.join([f'error: {lines[0]}', *lines[1:]]), file=sys.stderr)
    raise SystemExit(1)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        print('\ninterrupted; repeat the command to resume', file=sys.stderr)
        raise SystemExit(130) from None
