"""Build geo_mm with its configs and tools inside the package; pyproject.toml has the rest.

What stands beside the package in the repository, ``configs/`` and ``tools/``,
travels in the package folder ``geo_mm/.mim``, where MMEngine and MIM look for
them (``mim train geo_mm ...``; ``geo-mm train geo_mm::...`` looks there, too):

* a wheel or ``pip install .`` gets copies, made in the build folder, so that
  the checkout stays clean;
* an editable install (``pip install -e .``) gets links to the originals. pip
  runs it as PEP 660's ``editable_wheel``, which calls ``build_py`` in editable
  mode. The usual OpenMMLab recipe looks for ``develop`` in ``sys.argv``
  instead and therefore never makes them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')
# tools/dev is for work on geo_mm itself and needs the repository around it.
MIM_IGNORE = shutil.ignore_patterns('__pycache__', '*.pyc', 'dev', 'work_dirs')


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


setup(cmdclass={'build_py': BuildWithMim})
