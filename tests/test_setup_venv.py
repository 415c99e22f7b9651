"""What `make` does before the real work: find Python, check the machine, set up .venv."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The files that `make` reads, in a folder without a .venv."""
    for name in ('Makefile', 'setup.py', 'pyproject.toml'):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    shutil.copytree(ROOT / 'tools' / 'dev', tmp_path / 'tools' / 'dev')
    return tmp_path


@pytest.fixture
def setup_venv(checkout, monkeypatch):
    """The set-up script as a module, at work in the checkout."""
    path = checkout / 'tools' / 'dev' / 'setup_venv.py'
    spec = importlib.util.spec_from_file_location('setup_venv', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: list, **environment: str) -> subprocess.CompletedProcess:
    env = {key: value for key, value in os.environ.items() if not key.startswith('MAKE')}
    return subprocess.run(
        [str(part) for part in command],
        env={**env, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)


def make_ready(checkout: Path, place: Path) -> None:
    """Make a .venv that looks finished and was set up at `place`."""
    fake_program(checkout / '.venv' / 'bin' / 'python', 'exit 0')
    (checkout / '.venv' / '.ready').write_text(f'{place}\n')


@pytest.mark.parametrize('target', ['demo', 'test'])
def test_make_sets_up_first_in_a_fresh_checkout(checkout, target):
    planned = run(['make', '-n', '-C', checkout, target]).stdout
    assert planned.index('setup_venv.sh') < planned.index('.venv/bin/python')


@pytest.mark.parametrize('target', ['demo', 'test'])
def test_make_starts_the_real_work_at_once_when_the_venv_is_ready(checkout, target):
    make_ready(checkout, checkout)
    planned = run(['make', '-n', '-C', checkout, target]).stdout
    assert 'setup_venv' not in planned
    assert '.venv/bin/python' in planned


def test_make_sets_up_again_when_a_requirement_changes(checkout):
    make_ready(checkout, checkout)
    later = (checkout / '.venv' / '.ready').stat().st_mtime + 10
    os.utime(checkout / 'requirements' / 'constraints.txt', (later, later))
    assert 'setup_venv.sh' in run(['make', '-n', '-C', checkout, 'test']).stdout


def test_make_sets_up_again_when_the_checkout_was_moved(checkout):
    make_ready(checkout, checkout / 'elsewhere')
    assert 'setup_venv.sh' in run(['make', '-n', '-C', checkout, 'test']).stdout


def test_an_unsupported_python_is_told_in_one_message(checkout, tmp_path):
    old = tmp_path / 'bin' / 'python3'
    fake_program(old, '[ "$1" = -V ] && echo "Python 3.8.10" || exit 1')
    done = run([checkout / 'tools' / 'dev' / 'setup_venv.sh'], PYTHON=str(old))
    assert done.returncode == 1
    assert f'no usable Python found: {old} is Python 3.8.10;' in done.stderr
    assert 'expected: Python 3.10' in done.stderr
    assert not (checkout / '.venv').exists()


def test_a_shim_with_nothing_behind_it_is_passed_over(checkout, tmp_path):
    fake_program(tmp_path / 'bin' / 'python3.11', 'exit 127')
    fake_program(tmp_path / 'bin' / 'python3.12', f'exec {sys.executable} "$@"')
    # Stopped by the compiler check, which only a running Python reaches.
    done = run(
        [checkout / 'tools' / 'dev' / 'setup_venv.sh'],
        PATH=f'{tmp_path}/bin:/usr/bin:/bin',
        PYTHON='',
        CXX='/no/such/compiler',
    )
    assert done.stderr.startswith('error: this machine lacks')


def test_a_missing_compiler_is_told_before_anything_is_made(checkout):
    script = checkout / 'tools' / 'dev' / 'setup_venv.py'
    done = run([sys.executable, script], CXX='/no/such/compiler')
    assert done.returncode == 1
    assert done.stderr.startswith(
        'error: this machine lacks\n  - a C++17 compiler (/no/such/compiler'
    )
    assert 'apt-get install g++' in done.stderr
    assert not (checkout / '.venv').exists()


def test_a_failing_step_shows_the_end_of_its_log(setup_venv, capsys):
    code = 'print(*range(100), sep="\\n"); raise SystemExit(3)'
    with pytest.raises(SystemExit, match='1'):
        setup_venv.run([sys.executable, '-c', code], 'step one')
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith('error: step one: failed after 0:0')
    assert lines[1:-1] == [str(number) for number in range(60, 100)]
    assert lines[-1] == f'whole log: {setup_venv.VENV}/logs/step.log'


def test_what_an_interrupted_pip_left_is_installed_again(setup_venv):
    site = setup_venv.VENV / 'lib' / 'python3.11' / 'site-packages'
    for name, files in {'whole-1.0': ['METADATA', 'INSTALLER'], 'half-1.0': ['METADATA']}.items():
        (site / f'{name}.dist-info').mkdir(parents=True)
        for file in files:
            (site / f'{name}.dist-info' / file).write_text('')
    setup_venv.remove_half_installed()
    assert [path.name for path in site.iterdir()] == ['whole-1.0.dist-info']


def test_an_interrupted_setup_is_not_ready(setup_venv, monkeypatch):
    make_ready(setup_venv.ROOT, setup_venv.ROOT)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_venv, 'make_venv', interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup_venv.main()
    assert not setup_venv.STAMP.exists()


def test_an_interruption_stops_the_compilers_too(setup_venv, monkeypatch, tmp_path):
    # A shell that waits for its child, as pip waits for ninja; the child would write later.
    late = tmp_path / 'late'
    command = ['sh', '-c', f'(sleep 3; touch {late}) & wait']

    def interrupt(*_, **__) -> None:
        time.sleep(0.3)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, 'wait', interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup_venv.run(command, 'step')
    time.sleep(3)
    assert not late.exists()
