"""The files that names and patterns in a catalog stand for."""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from geo_mm.errors import CatalogError
from geo_mm.formats.training import Reference
from geo_mm.paths import absolute, is_missing
from geo_mm.stores import is_pattern, matching, url

_WILDCARD = re.compile(r'(\*\*/?|\*|\?|\[[^\]]+\])')

Image = str | tuple[str, ...] | dict[str, tuple[str, ...]]
"""A file, co-registered files, or roles with a file or neighbouring files each."""


class Match(NamedTuple):
    """A file that a name or pattern stands for.

    Attributes:
        pattern: The name or pattern.
        path: The file, absolute.
        texts: What each wildcard stands for.
    """

    pattern: str
    path: str
    texts: tuple[str, ...] = ()

    def fill(self, text: str, where: str) -> str:
        """``text`` with ``{stem}`` and wildcards replaced.

        Raises:
            CatalogError: If it has another number of wildcards than the pattern.
        """
        text = text.replace('{stem}', Path(self.path).stem)
        if '*' not in text:
            return text
        parts = _WILDCARD.split(text)
        if len(parts) // 2 != len(self.texts):
            raise CatalogError(
                f'{where}: {len(parts) // 2} wildcards in {text}, '
                f'{len(self.texts)} in {self.pattern or self.path}',
                'as many, in the same order, since they stand for the same text',
            )
        parts[1::2] = self.texts
        return ''.join(parts)


def image_files(image: Any, root: Path, where: str) -> list[tuple[Image, Match]]:
    """The scenes that ``image`` stands for, several if it holds a pattern.

    Args:
        image: A path or pattern, several, or a mapping from roles to such.
        root: Folder that relative ones start from.
        where: For messages.

    Returns:
        The files of each scene, and what labels and other files of it are named after.

    Raises:
        CatalogError: If there is no such file, or it is none of these.
    """
    if isinstance(image, str):
        return [(match.path, match) for match in _matches(image, root, where)]
    if not isinstance(image, Mapping | Sequence):
        raise CatalogError(f'{where}: image={image!r}', 'a path, or several')
    if not isinstance(image, Mapping):
        files = _files(image, root, where)
        return [(files, Match('', files[0]))] if files else []
    leads = [role for role, files in image.items() if isinstance(files, str) and is_pattern(files)]
    if not leads:
        scene = {
            role: _files(files, root, f'{where}: role {role}') for role, files in image.items()
        }
        return [(scene, Match('', files[0])) for files in list(scene.values())[:1] if files]
    scenes: list[tuple[Image, Match]] = []
    for match in _matches(image[leads[0]], root, f'{where}: role {leads[0]}'):
        scene = {leads[0]: (match.path,)}
        for role, files in image.items():
            place = f'{where}: role {role}'
            names = [files] if isinstance(files, str) else files
            if role != leads[0]:
                scene[role] = _files([match.fill(name, place) for name in names], root, place)
        scenes.append(({role: scene[role] for role in image}, match))
    return scenes


def _files(names: str | Sequence[str], root: Path, where: str) -> tuple[str, ...]:
    """Files of one scene; patterns stand for all files that they match."""
    names = [names] if isinstance(names, str) else names
    return tuple(match.path for name in names for match in _matches(str(name), root, where))


def _matches(pattern: str, root: Path, where: str) -> list[Match]:
    if not is_pattern(pattern):
        return [Match(pattern, existing_file(pattern, root, where))]
    # The brackets in the name of a folder above are no wildcards.
    full = url(absolute(pattern, glob.escape(os.path.abspath(root))))
    # Sorted, so that the chips do not depend on the file system's order.
    found = matching(full)
    if not found:
        raise CatalogError(
            f'{where}: no file matches {absolute(pattern, root)}',
            fix='correct the pattern; relative ones start from data_root',
        )
    parts = _WILDCARD.split(full)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = map(_wildcard_regex, parts[1::2])
    try:
        regex, count = re.compile(''.join(parts)), len(_WILDCARD.findall(pattern))
    except re.error:  # as in [b-a]
        return [Match(pattern, path) for path in found]
    texts = [match.groups()[-count:] if (match := regex.fullmatch(path)) else () for path in found]
    return [Match(pattern, path, own) for path, own in zip(found, texts, strict=True)]


def _wildcard_regex(wildcard: str) -> str:
    if wildcard.startswith('['):
        inside = wildcard[1:].replace('[', r'\[')
        return f'([^{inside[1:]})' if inside[0] == '!' else f'([{inside})'
    return {'**/': '((?:[^/]+/)*)', '**': '(.*)', '*': '([^/]*)', '?': '([^/])'}[wildcard]


def existing_file(path: str, root: Path, where: str) -> str:
    """A file's path, absolute; or an image's labels in a training set, as they are named.

    Raises:
        CatalogError: If there is no such file.
    """
    if in_training_set := Reference.parse(path, root):
        return str(in_training_set)
    path = url(absolute(path, root))
    if is_missing(path):
        raise CatalogError(
            f'{where}: no such file: {path}',
            fix='correct the path; relative paths start from '
            f'{root.absolute() if str(root) else Path.cwd()}',
        )
    return path
