"""What this environment has, what it lacks, and what to do about it.

``geo-mm env`` prints the versions of what geo_mm needs, the devices and a
verdict; its exit status is 0 only if nothing is wrong. Commands call
:func:`require` first: it looks at installed metadata alone, imports nothing
heavy, and so turns a failing import deep inside a library into one message.

Nothing here imports torch, mmcv or a GIS library at module level, because the
whole point is to work when they are missing or broken.
"""

import contextlib
import importlib
import importlib.metadata as metadata
import io
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geo_mm import __version__
from geo_mm.errors import SetupError

PYTHON_MIN = (3, 10)
INSTALL_GUIDE = 'docs/en/install.md'

# Import name -> the distribution geo_mm is made for.
ONEDL = {
    'mmcv': 'onedl-mmcv',
    'mmengine': 'onedl-mmengine',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
}
# Import name -> other distributions that write into the same folder.
UPSTREAM = {
    'mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite'),
    'mmengine': ('mmengine', 'mmengine-lite'),
    'mmdet': ('mmdet',),
    'mmseg': ('mmsegmentation',),
}
# These share the folder cv2, harmlessly as long as their versions are equal.
OPENCV = (
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
)
# What fails with these is no problem of its own.
STANDS_ON = {
    'onedl-mmcv': ('torch',),
    'onedl-mmdetection': ('torch', 'onedl-mmcv'),
    'onedl-mmsegmentation': ('torch', 'onedl-mmcv'),
}
BUILD_MMCV = (
    'python -m pip install -r requirements/build.txt && CFLAGS=-g0 CXXFLAGS=-g0 '
    'python -m pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall {pin!r}'
)


@dataclass(frozen=True)
class Problem:
    """One thing that keeps geo_mm from working.

    Attributes:
        found: What is there.
        expected: What should be there.
        fix: The command or step that solves it.
    """

    found: str
    expected: str
    fix: str

    def error(self) -> SetupError:
        """Return the problem as the exception that tools raise."""
        return SetupError(self.found, self.expected, self.fix)


class Installed:
    """The distributions on a search path, by normalised name.

    Args:
        path: Folders to search instead of ``sys.path``.
    """

    def __init__(self, path: Sequence[str] | None = None) -> None:
        self._path = None if path is None else list(path)

    def version(self, name: str) -> str | None:
        """Return the version of the distribution ``name``, or None if it is not installed."""
        return self._find(name)[1]

    def requires(self, name: str) -> list[str]:
        """Return the requirement lines of the distribution ``name``, empty if it has none."""
        found, _ = self._find(name)
        return [] if found is None else found.requires or []

    def _find(self, name: str) -> tuple[metadata.Distribution | None, str | None]:
        path = sys.path if self._path is None else self._path
        for found in metadata.distributions(name=name, path=path):
            # geo_mm.egg-info in a checkout is left by any build: it installs nothing.
            if name == 'geo-mm' and found.read_text('INSTALLER') is None:
                continue
            # found.version would parse the long description too: ten times slower.
            text = found.read_text('METADATA') or found.read_text('PKG-INFO') or ''
            # A dist-info folder whose removal was cut short has none.
            if version := re.search(r'^Version: *(\S+)', text, re.MULTILINE):
                return found, version[1]
        return None, None


def check(path: Sequence[str] | None = None, imports: bool = True) -> list[Problem]:
    """Find everything that is wrong with the environment.

    Args:
        path: Folders in which to look for installed distributions instead of
            ``sys.path``. Given, nothing is imported.
        imports: Also import the compiled libraries and make each do a little
            work. Takes seconds; without it only metadata is read.

    Returns:
        The problems, the one to solve first in front.
    """
    installed = Installed(path)
    problems = [
        *_check_python(sys.version_info[:2]),
        *_check_foreign(installed),
        *_check_requirements(installed),
        *_check_opencv(installed),
    ]
    if imports and path is None:
        problems += _check_imports(installed)
    return problems


def require() -> None:
    """Raise for the first problem that metadata shows; milliseconds when there is none.

    Raises:
        SetupError: If a needed distribution is missing or of another version,
            or if an upstream mm* library stands beside its OneDL fork.
    """
    problems = check(imports=False)
    if problems:
        raise problems[0].error()


def _check_python(version: tuple[int, int]) -> Iterator[Problem]:
    if version < PYTHON_MIN:
        yield Problem(
            f'Python {_dotted(version)} at {sys.executable}',
            f'Python {_dotted(PYTHON_MIN)} or newer',
            'make the environment again with such a one, e.g. python3.11 -m venv .venv',
        )


def _check_foreign(installed: Installed) -> Iterator[Problem]:
    for module, names in UPSTREAM.items():
        ours = ONEDL[module]
        versions = {name: installed.version(name) for name in names}
        foreign = {name: version for name, version in versions.items() if version}
        if not foreign:
            continue
        listed = ', '.join(f'{name} {version}' for name, version in foreign.items())
        expected = f'{ours} alone: the upstream library does not work with this torch and numpy'
        remove = f'python -m pip uninstall -y {" ".join(foreign)}'
        own = installed.version(ours)
        if own is None:
            yield Problem(f'{listed} is installed', expected, remove)
        else:
            # Removing either takes files of the other along, so both must go.
            yield Problem(
                f'{listed} is installed beside {ours} {own}, in the same folder {module}',
                expected,
                f'{remove} {ours} && {_again(ours, own)}',
            )


def _check_requirements(installed: Installed) -> Iterator[Problem]:
    if installed.version('geo-mm') is None:
        yield Problem(
            'geo_mm itself is not installed in this environment',
            'an installed geo_mm, so that its requirements are known and configs can import it',
            'python -m pip install -e . in the repository (or: make venv)',
        )
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Problem(
            'the distribution packaging is missing',
            'packaging>=24.2',
            'python -m pip install packaging',
        )
        return
    for line in installed.requires('geo-mm'):
        requirement = Requirement(line)
        marker = requirement.marker
        # Besides what pip installed for us: mmcv, which it must not (setup.py).
        if marker and not marker.evaluate({'extra': 'mminstall'}):
            continue
        yield from _check_requirement(requirement.name, str(requirement.specifier), installed)


def _check_requirement(name: str, specifier: str, installed: Installed) -> Iterator[Problem]:
    from packaging.specifiers import SpecifierSet

    version = installed.version(name)
    if version is not None and SpecifierSet(specifier).contains(version, prereleases=True):
        return
    wanted = f'{name}{specifier}'
    fix = f"python -m pip install '{wanted}'"
    if name == 'onedl-mmcv':
        fix = f'{BUILD_MMCV.format(pin=wanted)}  ({INSTALL_GUIDE})'
    found = f'{name} is not installed' if version is None else f'{name} {version}'
    yield Problem(found, wanted, fix)


def _check_opencv(installed: Installed) -> Iterator[Problem]:
    versions = {name: installed.version(name) for name in OPENCV}
    present = {name: version for name, version in versions.items() if version}
    if len(set(present.values())) > 1:
        listed = ', '.join(f'{name} {version}' for name, version in present.items())
        yield Problem(
            f'{listed}, all in the folder cv2',
            'one version of all OpenCV distributions',
            'python -m pip install --force-reinstall --no-deps '
            "'opencv-python<4.13' 'opencv-python-headless<4.13'",
        )


def _check_imports(installed: Installed) -> Iterator[Problem]:
    """Import each compiled library that is installed and let it do a little work."""
    probes: dict[str, Callable[[], object]] = {
        'torch': _probe_torch,
        'onedl-mmcv': _probe_mmcv,
        'onedl-mmdetection': lambda: _import('mmdet.apis'),
        'onedl-mmsegmentation': lambda: _import('mmseg.apis'),
        'opencv-python-headless': lambda: _import('cv2'),
        'rasterio': lambda: _import('rasterio.crs').CRS.from_epsg(32617),
        'pyproj': lambda: _import('pyproj').CRS.from_epsg(32617),
        'pyogrio': lambda: _import('pyogrio'),
        'shapely': lambda: _import('shapely'),
    }
    failed = set()
    for name, probe in probes.items():
        version = installed.version(name)
        if version is None:
            failed.add(name)  # _check_requirements has told
        if version is None or failed.intersection(STANDS_ON.get(name, ())):
            continue
        try:
            probe()
        except Exception as error:
            failed.add(name)
            message = (str(error).strip().splitlines() or [''])[0]
            yield Problem(
                f'{name} {version} is installed but fails: {type(error).__name__}: {message}',
                f'a working {name}',
                _repair(name, version),
            )


def _probe_torch() -> None:
    torch = _import('torch')
    (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()


def _probe_mmcv() -> None:
    """Run one compiled operator on every kind of device that torch can use.

    Raises:
        ImportError: If the operators are missing (mmcv built without torch) or
            do not fit this torch.
        RuntimeError: If they were built without CUDA although torch has it.
    """
    torch = _import('torch')
    ops = _import('mmcv.ops')
    devices = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    for device in devices:
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9]], device=device)
        scores = torch.tensor([0.9, 0.8], device=device)
        _, keep = ops.nms(boxes, scores, 0.5)
        if keep.tolist() != [0]:
            raise RuntimeError(f'mmcv.ops.nms on {device} kept {keep.tolist()} instead of [0]')


def _import(name: str) -> Any:
    """Import a module without its greetings: some libraries print or warn on import."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        return importlib.import_module(name)


def _repair(name: str, version: str) -> str:
    """Say how to repair a distribution that is installed but does not work."""
    if name == 'torch':
        return 'install torch again, for this machine: https://pytorch.org'
    if name == 'onedl-mmcv':
        return (
            f'{_again(name, version)}  (mmcv must be built after, and against, the installed '
            f'torch; {INSTALL_GUIDE})'
        )
    if name == 'opencv-python-headless':
        return (
            f'{_again(name, version)}  (it needs no libGL), or: apt-get install libgl1 libglib2.0-0'
        )
    if name in ('rasterio', 'pyproj'):
        # QGIS, ArcGIS and conda set these; the wheels bring their own database.
        names = [key for key in ('PROJ_DATA', 'PROJ_LIB', 'GDAL_DATA') if os.environ.get(key)]
        if names:
            return f'unset {" ".join(names)}  (set in your shell, for another GDAL or PROJ)'
    return _again(name, version)


def _again(name: str, version: str) -> str:
    """Return the command that installs ``name`` once more."""
    if name == 'onedl-mmcv':
        return BUILD_MMCV.format(pin=f'{name}=={version}')
    return f'python -m pip install --force-reinstall --no-deps {name}=={version}'


def _dotted(version: tuple[int, ...]) -> str:
    return '.'.join(str(part) for part in version)


def table() -> list[tuple[str, str, str]]:
    """Name, version and a note of each thing, without failing on what is missing."""
    installed = Installed()
    rows = [
        ('Python', platform.python_version(), sys.executable),
        ('platform', platform.platform(), f'{os.cpu_count()} CPU cores'),
        ('geo_mm', __version__, str(Path(__file__).parent)),
    ]
    notes: dict[str, Callable[[], str]] = {
        'torch': _torch_note,
        'onedl-mmcv': _mmcv_note,
        'onedl-mmengine': str,
        'onedl-mmdetection': str,
        'onedl-mmsegmentation': str,
        'rasterio': lambda: f'GDAL {_import("rasterio").__gdal_version__}',
        'pyogrio': lambda: f'GDAL {_import("pyogrio").__gdal_version_string__}',
        'shapely': lambda: f'GEOS {_import("shapely").geos_version_string}',
        'pyproj': lambda: f'PROJ {_import("pyproj").proj_version_str}',
        'numpy': str,
        'opencv-python': str,
        'opencv-python-headless': str,
    }
    return rows + [(name, installed.version(name) or '-', _try(n)) for name, n in notes.items()]


def _try(note: Callable[[], str]) -> str:
    """Return the note, or nothing: what fails is a :class:`Problem`, told once, below."""
    try:
        return note()
    except Exception:
        return ''


def _torch_note() -> str:
    torch = _import('torch')
    devices = [f'cpu ({torch.get_num_threads()} threads)']
    devices += [
        f'cuda:{i} {torch.cuda.get_device_name(i)}' for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append('mps')
    build = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'built without CUDA'
    return f'{build}; devices: {", ".join(devices)}'


def _mmcv_note() -> str:
    return f'operators compiled for CUDA: {_import("mmcv.ops").get_compiling_cuda_version()}'


def report() -> int:
    """Print the table and the verdict.

    Returns:
        0 if nothing is wrong, 1 otherwise.
    """
    rows = table()
    for name, version, note in rows:
        print(f'{name:<22} {version:<14}  {note}'.rstrip())
    problems = check()
    if not problems:
        print('\nverdict: OK')
        return 0
    print(
        f'\nverdict: {len(problems)} problem{"s" * (len(problems) > 1)}, in the order to solve them'
    )
    for number, problem in enumerate(problems, 1):
        print(f'\n{number}. {problem.error()}')
    return 1


if __name__ == '__main__':
    sys.exit(report())
