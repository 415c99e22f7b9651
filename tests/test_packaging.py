"""The wheel, the source distribution and the editable install, built from a copy."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import geo_mm

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    'setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'CHANGELOG.md',
    'model-index.yml',
)  # fmt: skip
FOLDERS = ('geo_mm', 'configs', 'tools', 'requirements')
JUNK = shutil.ignore_patterns('__pycache__', '*.pyc', '.mim', 'work_dirs')


def files_below(folder: Path) -> set[str]:
    """Paths of the files below a folder, relative to it, with forward slashes."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files}


def call_backend(hook: str, tree: Path, out: Path) -> Path:
    """Call a PEP 517 or PEP 660 hook of setuptools, as pip does, and return what it built."""
    out.mkdir(parents=True, exist_ok=True)
    code = f'from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """A copy of what a build needs, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp('tree')
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=JUNK)
    return copy


@pytest.fixture(scope='module')
def wheel(tree, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built by pip."""
    out = tmp_path_factory.mktemp('wheel')
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation']
    done = subprocess.run(
        [*command, '-w', str(out), str(tree)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob('*.whl')
    return zipfile.ZipFile(path)


@pytest.fixture(scope='module')
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_has_one_top_level_package(wheel):
    top = {name.split('/')[0] for name in wheel.namelist()}
    assert top == {'geo_mm', f'geo_mm-{geo_mm.__version__}.dist-info'}


def test_the_wheel_has_every_file_of_the_package(wheel, tree):
    # Also catches a package without __init__.py and a data file that setup.py forgets.
    packed = {
        name.removeprefix('geo_mm/')
        for name in wheel.namelist()
        if name.startswith('geo_mm/') and not name.startswith('geo_mm/.mim/')
    }
    assert packed == {name for name in files_below(tree / 'geo_mm') if not name.startswith('.mim/')}


@pytest.mark.parametrize('folder', ['configs', 'tools'])
def test_the_wheel_carries_configs_and_tools(wheel, tree, folder):
    prefix = f'geo_mm/.mim/{folder}/'
    packed = {n.removeprefix(prefix) for n in wheel.namelist() if n.startswith(prefix)}
    wanted = {name for name in files_below(tree / folder) if not name.startswith('dev/')}
    assert wanted
    assert packed == wanted


def test_the_metadata_names_version_licence_and_pythons(metadata, wheel):
    assert metadata['Name'] == 'geo_mm'
    assert metadata['Version'] == geo_mm.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Requires-Python'] == '>=3.10'
    own, leaflet = 'dist-info/licenses/LICENSE', 'geo_mm/viewer/static/leaflet/LICENSE'
    assert leaflet in wheel.namelist()
    (name,) = (name for name in wheel.namelist() if name.endswith(own))
    assert wheel.read(name).startswith((ROOT / 'LICENSE').read_bytes())


def test_pip_is_never_asked_to_build_mmcv(metadata):
    lines = [Requirement(line) for line in metadata.get_all('Requires-Dist')]
    (mmcv,) = (line for line in lines if line.name == 'onedl-mmcv')
    assert str(mmcv.marker) == 'extra == "mminstall"'
    plain = {line.name for line in lines if line.marker is None}
    assert {'onedl-mmengine', 'onedl-mmdetection', 'onedl-mmsegmentation', 'torch'} <= plain


def test_the_source_distribution_builds_the_same_wheel(wheel, tree, tmp_path):
    sdist = call_backend('build_sdist', tree, tmp_path / 'sdist')
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / 'unpacked', filter='data')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    rebuilt = zipfile.ZipFile(call_backend('build_wheel', unpacked, tmp_path / 'wheel'))
    assert sorted(rebuilt.namelist()) == sorted(wheel.namelist())


def test_an_editable_install_links_configs_and_tools(tree, tmp_path):
    call_backend('build_editable', tree, tmp_path)
    for folder in ('configs', 'tools'):
        link = tree / 'geo_mm' / '.mim' / folder
        assert link.is_symlink()
        # Relative, so that a checkout can be moved.
        assert link.readlink() == Path('../..') / folder
        assert files_below(link) == files_below(tree / folder)


def test_the_tested_set_is_one_that_the_metadata_allow(metadata):
    tested = {}
    for line in (ROOT / 'requirements' / 'constraints.txt').read_text().splitlines():
        if line.split('#')[0].strip():
            pin = Requirement(line.split('#')[0].strip())
            (tested[pin.name],) = (one.version for one in pin.specifier)
    for line in metadata.get_all('Requires-Dist'):
        wanted = Requirement(line)
        if wanted.name in tested:
            assert wanted.specifier.contains(tested[wanted.name]), line
    assert {'onedl-mmcv', 'onedl-mmengine', 'numpy', 'rasterio'} <= tested.keys()


def test_the_wheel_has_the_command_and_says_that_it_is_typed(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    assert 'geo-mm = geo_mm.cli:main' in wheel.read(name).decode()
    assert 'geo_mm/py.typed' in wheel.namelist()


def test_pre_commit_runs_the_ruff_of_the_test_requirements():
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    (hook,) = re.findall(r'ruff-pre-commit\n\s+rev: v(\S+)', hooks)
    assert f'"ruff=={hook}"' in (ROOT / 'pyproject.toml').read_text()
