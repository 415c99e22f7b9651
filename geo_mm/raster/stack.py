"""Which files make a scene: their roles, and the names of their bands.

The bands of a scene are named and chosen here. :mod:`geo_mm.raster.sources`
reads those of one file, :mod:`geo_mm.raster.resample` resamples them to the
scene's pixels.

A scene is one file, several co-registered files, or files with a role each,
such as ``{'before': 'a.tif', 'after': 'b.tif'}``. A role tells what a file is
of whatever it is called, so that a model trained on one pair of files can be
given another one.
"""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

from geo_mm.errors import SceneError
from geo_mm.raster.sources import NoData, Recorded, Source

FilePath = str | os.PathLike
Files = FilePath | Sequence[FilePath] | Mapping[str, FilePath | Sequence[FilePath]]
"""A file, several, or roles with a file or several neighbouring ones each."""

_ROLE = re.compile(r'\w[\w-]*')


class Part(NamedTuple):
    """Files that hold the same bands: one, or several beside each other.

    Attributes:
        role: Their role, '' where files have none.
        files: All bands of each.
    """

    role: str
    files: tuple[Source, ...]

    @property
    def first(self) -> Source:
        return self.files[0]


def parts_of(
    source: Files, nodata: NoData, recorded: Sequence[Recorded] | None = None
) -> list[Part]:
    """Look into all files of a scene.

    Args:
        source: The files.
        nodata: As for :meth:`geo_mm.raster.Scene.open`.
        recorded: As for :meth:`geo_mm.raster.Scene.open`.

    Raises:
        SceneError: If there is none, one cannot be opened, a role is not a
            word, or the files of a role do not hold the same bands.
    """
    known = None if recorded is None else iter(recorded)
    if isinstance(source, Mapping):
        parts = [
            Part(_role(role), _inspected(paths, nodata, role, known))
            for role, paths in source.items()
        ]
    else:
        # Each file is a part of its own: without roles there are no neighbours.
        parts = [Part('', (file,)) for file in _inspected(source, nodata, '', known)]
    if not parts:
        raise SceneError('a scene without files', 'at least one raster file')
    for part in parts:
        for file in part.files[1:]:
            _check_alike(part, file)
    return parts


def files_of_roles(texts: Iterable[str]) -> dict[str, list[str]]:
    """The files of one scene from texts like ``before=a.tif``, as on a command line.

    A role that occurs again gets a neighbouring file.

    Raises:
        SceneError: If a text is none of these.
    """
    files: dict[str, list[str]] = {}
    for text in texts:
        role, equals, path = text.partition('=')
        if not equals or not path or not _ROLE.fullmatch(role):
            raise SceneError(
                f'{text}: neither role nor file',
                'ROLE=FILE, such as before=town_2020.tif',
                'give one --image for each file of the scene',
            )
        files.setdefault(role, []).append(path)
    return files


def band_names(parts: Sequence[Part]) -> list[str]:
    """One name per band of the scene, in order.

    With roles ``role:name``, or ``role:B1`` and so on for bands without one.
    Without roles the bare name, or 'B' and the number in the scene; a name
    that occurs in several files is preceded by the file's number, ``2:red``.
    """
    return list(_band_names(tuple((part.role, part.first.names) for part in parts)))


@lru_cache(maxsize=256)
def _band_names(parts: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    """Those of parts by their roles and own names, which many scenes share."""
    names: list[str] = []
    owners: list[str] = []
    for number, (role, bands) in enumerate(parts, 1):
        start = 0 if role else len(names)
        for position, name in enumerate(_own_names(bands), 1):
            name = name or f'B{start + position}'
            names.append(f'{role}:{name}' if role else name)
            owners.append(str(number))
    for pattern in ('{owner}:{name}', '{name}:{number}'):
        seen = Counter(name.lower() for name in names)
        names = [
            pattern.format(owner=owner, name=name, number=number)
            if seen[name.lower()] > 1
            else name
            for number, (name, owner) in enumerate(zip(names, owners, strict=True), 1)
        ]
    return tuple(names)


def other_names(bands: Iterable[tuple[int, Source, int]]) -> dict[str, int]:
    """Further names by which a band may be asked for, in lower case.

    A bare name, and ``stem:name`` or ``folder/stem:name``, by which geo_mm 0.1
    told bands of several files apart. Names of more than one band are left out.

    Args:
        bands: Position in the scene, file and position in the file of each band.

    Returns:
        Name to position in the scene.
    """
    found: dict[str, set[int]] = {}
    for position, file, own in bands:
        name = file.names[own]
        if name:
            for text in (name, f'{file.stem}:{name}', f'{file.folder}/{file.stem}:{name}'):
                found.setdefault(text.lower(), set()).add(position)
    return {name: positions.pop() for name, positions in found.items() if len(positions) == 1}


def find_bands(
    bands: Sequence[int | str], names: Sequence[str], others: Mapping[str, int], where: str
) -> list[int]:
    """Positions, from 0, of the bands that a user asks for.

    Args:
        bands: Numbers from 1 or names, without regard to case.
        names: Names of the bands.
        others: Further names, see :func:`other_names`.
        where: The scene, for messages.

    Raises:
        SceneError: If there is no such band, or none is asked for.
    """
    if isinstance(bands, (str, Integral)):
        bands = [bands]
    known = {**others, **{name.lower(): position for position, name in enumerate(names)}}
    found = []
    for band in bands:
        if isinstance(band, Integral) and 1 <= band <= len(names):
            found.append(int(band) - 1)
        elif isinstance(band, str) and band.lower() in known:
            found.append(known[band.lower()])
        else:
            raise SceneError(
                f'{where}: no band {band!r}',
                f'1 to {len(names)}, or one of: {", ".join(names)}',
                'give band numbers (from 1) or these names',
            )
    if not found:
        raise SceneError(f'{where}: no bands chosen', f'some of: {", ".join(names)}')
    return found


def _role(role: object) -> str:
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise SceneError(
            f'the role {role!r} of files of a scene',
            'a word of letters, digits, _ and -, such as before, after, s1 or dem',
        )
    return role


def _inspected(
    paths: FilePath | Sequence[FilePath],
    nodata: NoData,
    role: str,
    recorded: Iterator[Recorded] | None,
) -> tuple[Source, ...]:
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if role and not paths:
        raise SceneError(f'role {role} without files', 'at least one raster file')
    known = itertools.repeat(None) if recorded is None else recorded
    # The paths first: of what is recorded none must be taken that has no path.
    return tuple(
        Source.inspect(path, nodata, role, found) for path, found in zip(paths, known, strict=False)
    )


def _own_names(names: Sequence[str]) -> list[str]:
    """Names of a file's bands; '' for a description that several bands share."""
    own = Counter(name.lower() for name in names)
    return [name if own[name.lower()] == 1 else '' for name in names]


def _check_alike(part: Part, file: Source) -> None:
    first, own = (tuple(map(str.lower, each.names)) for each in (part.first, file))
    if first == own and part.first.alpha == file.alpha:
        return
    raise SceneError(
        f'{file.label}: {len(file.indexes)} bands ({_listed(file)}), but {part.first.path} has '
        f'{len(part.first.indexes)} ({_listed(part.first)})',
        'the same bands in all files of a role',
        'give files with other bands a role of their own',
    )


def _listed(file: Source) -> str:
    return ', '.join(name or '(unnamed)' for name in file.names)
