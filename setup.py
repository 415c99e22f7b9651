"""Build geo_mm: metadata from requirements/, configs and tools inside the package.

What stands beside the package in the repository, ``configs/`` and ``tools/``,
travels in the package folder ``geo_mm/.mim``, where MMEngine and MIM look for
them (``geo_mm::...`` in ``_base_``, ``mim train geo_mm ...``):

* a wheel or ``pip install .`` gets copies, made in the build folder, so that
  the checkout stays clean;
* an editable install (``pip install -e .``) gets links to the originals. pip
  runs it as PEP 660's ``editable_wheel``, which calls ``build_py`` in editable
  mode. The usual OpenMMLab recipe looks for ``develop`` in ``sys.argv``
  instead and therefore never makes them.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')
# tools/dev is for work on geo_mm itself and needs the repository around it.
MIM_IGNORE = shutil.ignore_patterns('__pycache__', '*.pyc', 'dev', 'work_dirs')

# pip would build it in isolation, where torch is missing and its setup.py then
# silently leaves out the compiled operators. See requirements/mminstall.txt.
NOT_LEFT_TO_PIP = 'onedl-mmcv'


def read_requirements(name: str) -> list[str]:
    """Read ``requirements/<name>.txt`` without comments and blank lines."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text('utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


def read_version() -> str:
    """Read ``__version__`` without importing the package and its dependencies."""
    text = (ROOT / 'geo_mm' / '__init__.py').read_text('utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)[1]


def place(source: Path, target: Path, link: bool) -> None:
    """Put ``source`` at ``target``, replacing what stands there.

    Args:
        source: An existing file or folder.
        target: Where it is to appear; its parent is created.
        link: Make a relative symbolic link instead of a copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    if link:
        # Relative to the target's folder: the checkout may be moved.
        up = Path(*['..'] * len(target.parent.relative_to(ROOT).parts))
        target.symlink_to(up / source.relative_to(ROOT), target_is_directory=source.is_dir())
    elif source.is_file():
        shutil.copy(source, target)
    else:
        shutil.copytree(source, target, ignore=MIM_IGNORE)


class BuildWithMim(build_py):
    """``build_py`` that also brings ``geo_mm/.mim``."""

    def run(self) -> None:
        super().run()
        base = ROOT if self.editable_mode else Path(self.build_lib)
        for name in MIM_CONTENT:
            place(ROOT / name, base / 'geo_mm' / '.mim' / name, link=self.editable_mode)


mminstall = read_requirements('mminstall')
tests, docs, optional = (read_requirements(name) for name in ('tests', 'docs', 'optional'))

setup(
    name='geo_mm',
    version=read_version(),
    description='Deep learning on georeferenced imagery with MMDetection and MMSegmentation',
    long_description=(ROOT / 'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='remote sensing, GIS, object detection, instance segmentation, pixel classification',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: GIS',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    # What the OneDL libraries declare and test; geo_mm.env says the same.
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['geo_mm', 'geo_mm.*']),
    include_package_data=False,
    install_requires=read_requirements('runtime')
    + [line for line in mminstall if not line.startswith(NOT_LEFT_TO_PIP)],
    extras_require={
        'mminstall': mminstall,
        'tests': tests,
        'docs': docs,
        'optional': optional,
        'all': tests + docs + optional,
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
