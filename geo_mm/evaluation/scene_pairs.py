"""Which prediction belongs to which truth."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from geo_mm.errors import CatalogError


def pair_scenes(predictions: str, truths: str) -> list[tuple[str, str, str]]:
    """Pair files by their names without suffix.

    Args:
        predictions: A file, or a pattern such as ``out/*.tif``.
        truths: The same.

    Returns:
        Name, prediction and truth of each scene, by name. One file of each
        belongs together whatever the names.

    Raises:
        CatalogError: If a pattern matches nothing, or files are left over.
    """
    preds, trues = _files(predictions), _files(truths)
    if len(preds) == len(trues) == 1:
        return [(_stem(preds[0]), preds[0], trues[0])]
    by_name = [_by_stem(paths) for paths in (preds, trues)]
    left = sorted(by_name[0].keys() ^ by_name[1].keys())
    if left:
        sides = (
            [name for name in left if name in by_name[0]],
            [name for name in left if name in by_name[1]],
        )
        raise CatalogError(
            f'predictions without a truth: {_listed(sides[0])}; '
            f'truths without a prediction: {_listed(sides[1])}',
            'files of the same name (without suffix) in both',
            'name the files alike, or narrow the patterns',
        )
    return [(name, by_name[0][name], by_name[1][name]) for name in sorted(by_name[0])]


def _files(pattern: str) -> list[str]:
    # A file whose name looks like a pattern is still a file.
    if os.path.exists(pattern) or pattern.startswith('/vsi') or '://' in pattern:
        return [pattern]
    if not glob.has_magic(pattern):
        raise CatalogError(
            f'{pattern}: no such file ({Path(pattern).absolute()})', 'an existing file or a pattern'
        )
    found = sorted(path for path in glob.glob(pattern) if not path.endswith('.aux.xml'))
    if not found:
        raise CatalogError(f'{pattern}: no file matches', 'the files of at least one scene')
    return found


def _by_stem(paths: Sequence[str]) -> dict[str, str]:
    stems: dict[str, str] = {}
    for path in paths:
        name = _stem(path)
        if name in stems:
            raise CatalogError(
                f'{stems[name]} and {path} are both called {name}', 'one file for each scene'
            )
        stems[name] = path
    return stems


def _stem(path: str) -> str:
    return Path(path.rstrip('/')).stem


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - 8} more' if len(names) > 8 else ''
    return ', '.join(names[:8]) + more or 'none'
