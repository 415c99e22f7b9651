"""Layers: lower packages import neither higher ones nor torch."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Packages of geo_mm that a package may import, by layer.
_BASE = {
    'errors',
    'cluster',
    'env',
    'options',
    'paths',
    'stores',
    'classes',
    'geometry',
    'work_dirs',
}
_GROUND = {'raster', 'labels', 'vectorize', 'detections', *_BASE}
_FIRST = {'catalog', 'formats', 'synthetic', 'inputspec', *_GROUND}
_SECOND = {'datasets', 'models', 'engine', 'evaluation', 'registry', *_FIRST}
_THIRD = {'inference', 'deploy', 'visualization', *_SECOND}
MAY_IMPORT = {
    'errors.py': set(),
    'cluster.py': {'errors'},
    'options.py': {'errors'},
    'paths.py': {'errors'},
    'stores.py': {'errors', 'paths'},
    'classes.py': {'errors'},
    'geometry.py': set(),
    'work_dirs.py': {'errors'},
    'raster': {'raster', *_BASE},
    'labels': {'labels', 'raster', *_BASE},
    'vectorize': {'vectorize', 'raster', *_BASE},
    'detections': {'detections', 'raster', *_BASE},
    'catalog': _FIRST,
    'formats': _FIRST,
    'synthetic': _FIRST,
    'chip_export': {'chip_export', *_FIRST},
    'inputspec.py': _FIRST,
    'datasets': _SECOND,
    'models': _SECOND,
    'engine': _SECOND,
    'evaluation': _SECOND,
    'new_config': {'new_config', *_SECOND},
    'data_checks': {'data_checks', *_SECOND},
    'inference': _THIRD,
    'deploy': _THIRD,
    'visualization': {'data_checks', *_THIRD},
    'learn': {'learn', 'new_config', 'data_checks', *_THIRD},
    'viewer': {'viewer', 'evaluation', *_FIRST},
    'mosaics': {'mosaics', *_FIRST},
}


def imported_packages(path: Path) -> set[str]:
    """Packages of geo_mm named in the imports of one file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return {name.split('.')[1] for name in names if name.startswith('geo_mm.')}


@pytest.mark.parametrize('package', MAY_IMPORT)
def test_packages_import_only_packages_below(package):
    path = ROOT / 'geo_mm' / package
    assert path.exists(), f'there is no geo_mm/{package}'
    for file in [path] if path.suffix else sorted(path.rglob('*.py')):
        above = imported_packages(file) - MAY_IMPORT[package] - {'__version__', 'lazy_names'}
        assert not above, f'{file} imports {above}'


def test_no_circular_imports():
    packages = {
        package: set().union(
            *(imported_packages(file) for file in (ROOT / 'geo_mm' / package).rglob('*.py'))
        )
        - {package}
        for package in MAY_IMPORT
        if not package.endswith('.py')
    }
    graphlib.TopologicalSorter(packages).prepare()  # raises CycleError


def test_the_lower_floors_work_without_torch():
    code = (
        'import sys, geo_mm.raster, geo_mm.labels, geo_mm.vectorize, geo_mm.detections\n'
        'import geo_mm.catalog, geo_mm.formats, geo_mm.synthetic, geo_mm.inputspec, geo_mm.env\n'
        'heavy = {"torch", "mmengine", "mmcv", "mmdet", "mmseg", "cv2"} & set(sys.modules)\n'
        'sys.exit(f"imported: {heavy}" if heavy else 0)'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_leans_on_osgeo():
    for file in sorted((ROOT / 'geo_mm').rglob('*.py')):
        assert 'osgeo' not in file.read_text() or file.name == 'env.py', file
