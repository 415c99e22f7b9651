"""geo_mm.env against real dist-info folders, made in tmp_path."""

import subprocess
import sys
from pathlib import Path

import pytest

from geo_mm import env

REQUIREMENTS = (
    'torch>=2.4',
    'numpy>=2',
    'onedl-mmengine==0.10.12',
    'onedl-mmdetection<3.6,>=3.5.1',
    'onedl-mmsegmentation==1.4.2',
    'onedl-mmcv<2.4,>=2.3.6; extra == "mminstall"',
    'pytest>=8; extra == "tests"',
)
COMPLETE = {
    'packaging': '26.3',
    'torch': '2.13.0+cpu',
    'numpy': '2.2.6',
    'onedl_mmengine': '0.10.12',
    'onedl_mmdetection': '3.5.1',
    'onedl_mmsegmentation': '1.4.2',
    'onedl_mmcv': '2.3.6',
    'opencv_python': '4.12.0.88',
    'opencv_python_headless': '4.12.0.88',
}


def install(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """Write the metadata that pip leaves for an installed distribution."""
    info = folder / f'{name}-{version}.dist-info'
    info.mkdir()
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    lines += [f'Requires-Dist: {line}' for line in requires]
    (info / 'METADATA').write_text('\n'.join(lines) + '\n')
    (info / 'INSTALLER').write_text('pip\n')


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An environment that has all that geo_mm needs."""
    install(tmp_path, 'geo_mm', '0.1.0', REQUIREMENTS)
    for name, version in COMPLETE.items():
        install(tmp_path, name, version)
    return tmp_path


def remove(site: Path, name: str) -> None:
    (info,) = site.glob(f'{name}-[0-9]*.dist-info')
    for file in info.iterdir():
        file.unlink()
    info.rmdir()


def test_a_complete_environment_has_no_problem(site):
    assert env.check(path=[str(site)]) == []


def test_missing_mmcv_says_how_to_build_it(site):
    remove(site, 'onedl_mmcv')
    (problem,) = env.check(path=[str(site)])
    assert problem.found == 'onedl-mmcv is not installed'
    assert problem.expected == 'onedl-mmcv<2.4,>=2.3.6'
    assert '--no-build-isolation' in problem.fix
    assert problem.fix.split('  (')[0].endswith("'onedl-mmcv<2.4,>=2.3.6'")


def test_another_version_is_a_problem(site):
    remove(site, 'onedl_mmdetection')
    install(site, 'onedl_mmdetection', '3.4.0')
    (problem,) = env.check(path=[str(site)])
    assert problem == env.Problem(
        'onedl-mmdetection 3.4.0',
        'onedl-mmdetection<3.6,>=3.5.1',
        "python -m pip install 'onedl-mmdetection<3.6,>=3.5.1'",
    )


def test_a_local_torch_build_satisfies_its_floor(site):
    remove(site, 'torch')
    install(site, 'torch', '2.4.0+cu124')
    assert env.check(path=[str(site)]) == []


@pytest.mark.parametrize(
    ('upstream', 'ours'),
    [
        ('mmcv', 'onedl-mmcv'),
        ('mmcv_full', 'onedl-mmcv'),
        ('mmengine', 'onedl-mmengine'),
        ('mmdet', 'onedl-mmdetection'),
        ('mmsegmentation', 'onedl-mmsegmentation'),
    ],
)
def test_upstream_beside_its_fork_must_go_with_it(site, upstream, ours):
    install(site, upstream, '1.2.2')
    (problem,) = env.check(path=[str(site)])
    name = upstream.replace('_', '-')
    assert problem.found.startswith(f'{name} 1.2.2 is installed beside {ours} ')
    # Both share files, so both are removed and ours is installed again.
    assert problem.fix.startswith(f'python -m pip uninstall -y {name} {ours} && ')
    assert f'{ours}=={COMPLETE[ours.replace("-", "_")]}' in problem.fix


def test_upstream_instead_of_its_fork_gives_both_steps_in_order(site):
    remove(site, 'onedl_mmsegmentation')
    install(site, 'mmsegmentation', '1.2.2')
    foreign, missing = env.check(path=[str(site)])
    assert foreign.fix == 'python -m pip uninstall -y mmsegmentation'
    assert missing.fix == "python -m pip install 'onedl-mmsegmentation==1.4.2'"


def test_opencv_distributions_of_two_versions_are_a_problem(site):
    remove(site, 'opencv_python')
    install(site, 'opencv_python', '4.11.0.86')
    (problem,) = env.check(path=[str(site)])
    assert problem.found == (
        'opencv-python 4.11.0.86, opencv-python-headless 4.12.0.88, all in the folder cv2'
    )


def test_an_empty_environment_says_to_install_geo_mm(tmp_path):
    (problem,) = env.check(path=[str(tmp_path)])
    assert problem.found == 'geo_mm itself is not installed in this environment'


def test_the_egg_info_of_a_checkout_does_not_count_as_installed(tmp_path):
    info = tmp_path / 'geo_mm.egg-info'
    info.mkdir()
    (info / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: geo_mm\nVersion: 0.1.0\n')
    (problem,) = env.check(path=[str(tmp_path)])
    assert problem.found == 'geo_mm itself is not installed in this environment'


def test_what_an_interrupted_removal_left_does_not_count_as_installed(site):
    (info,) = site.glob('onedl_mmcv-*.dist-info')
    (info / 'METADATA').unlink()
    (problem,) = env.check(path=[str(site)])
    assert problem.found == 'onedl-mmcv is not installed'


def test_an_unsupported_python_is_a_problem():
    (problem,) = env._check_python((3, 9))
    assert problem.found.startswith('Python 3.9 at ')
    assert list(env._check_python((3, 10))) == []


def run_isolated(code: str, *paths: Path) -> subprocess.CompletedProcess:
    """Run code in a Python that sees only the standard library and ``paths``."""
    setup = f'import sys; sys.path[:0] = {[str(path) for path in paths]!r}; '
    command = [sys.executable, '-S', '-E', '-c', setup + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def package(tmp_path_factory) -> Path:
    """A folder with geo_mm and nothing else to import."""
    folder = tmp_path_factory.mktemp('package')
    (folder / 'geo_mm').symlink_to(Path(env.__file__).parent)
    return folder


def test_require_raises_the_first_problem_without_torch_or_mm(site, package):
    remove(site, 'onedl_mmcv')
    # packaging is real: it is what reads the requirements.
    import packaging

    (package / 'packaging').symlink_to(Path(packaging.__file__).parent)
    done = run_isolated('from geo_mm import env; env.require()', package, site)
    assert 'SetupError: onedl-mmcv is not installed' in done.stderr


def test_require_imports_nothing_heavy(package, site):
    done = run_isolated(
        'from geo_mm import env; env.check(imports=False); '
        "heavy = {'torch', 'numpy', 'mmcv', 'mmengine', 'rasterio', 'rich'}; "
        'print(sorted(heavy & sys.modules.keys()))',
        package,
        site,
    )
    assert done.stdout.strip() == '[]', done.stderr


def test_the_report_works_when_nothing_is_installed(package):
    done = run_isolated('from geo_mm import env; sys.exit(env.report())', package)
    assert done.returncode == 1, done.stderr
    assert '\nverdict: 1 problem' in done.stdout
    assert 'geo_mm itself is not installed' in done.stdout


def test_a_broken_library_is_named_once(site, package):
    import packaging

    (package / 'packaging').symlink_to(Path(packaging.__file__).parent)
    # torch is there; mmcv's compiled part does not fit it, so mmdet fails too.
    (site / 'torch.py').write_text(
        'class T(list):\n'
        '    __matmul__ = __getitem__ = lambda self, other: self\n'
        '    sum = lambda self: self\n'
        '    item = lambda self: 0\n'
        'ones = tensor = lambda *a, **k: T()\n'
        'class cuda: is_available = staticmethod(lambda: False)\n'
    )
    (site / 'mmcv').mkdir()
    (site / 'mmcv' / '__init__.py').write_text('')
    (site / 'mmcv' / 'ops.py').write_text("raise ImportError('_ext.so: undefined symbol: _ZN5')\n")
    (site / 'cv2.py').write_text('')
    code = 'from geo_mm import env; print(*(p.found for p in env.check()), sep="\\n")'
    done = run_isolated(code, package, site)
    assert done.stdout.splitlines() == [
        'onedl-mmcv 2.3.6 is installed but fails: ImportError: _ext.so: undefined symbol: _ZN5'
    ], done.stderr


def test_this_environment_is_right():
    done = subprocess.run(
        [sys.executable, '-m', 'geo_mm.env'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith('verdict: OK')
    assert 'operators compiled for CUDA' in done.stdout
