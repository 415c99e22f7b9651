"""Pretrained weights that are published: which there are, and how they come here.

``pretrained.toml`` beside this module lists them, and where its facts are from.
"""

import difflib
import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from geo_mm.errors import ConfigError
from geo_mm.models.spectral import resolve_bands
from geo_mm.paths import file_sha256

if TYPE_CHECKING:
    from geo_mm.models.downloading import Download

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = 'GEO_MM_WEIGHTS'
"""Environment variable with the folder of downloaded weights."""

_PLAIN_NAMES = ('model.safetensors', 'weights.pth')
"""Names of files that do not say what is in them."""


@dataclass(frozen=True)
class PretrainedSet:
    """A set of weights, with what must be known to use it.

    The network sees ``(x - mean) / std`` of the values ``x``.

    Attributes:
        name: How it is called here.
        dataset: The images that it was trained with.
        method: How it was trained.
        arch: Architecture, by the name it has in timm.
        backbone: The backbone that takes it, as in a config, without bands.
        url: Where the file is.
        sha256: Checksum of the file; empty if it is not published.
        sha256_prefix: Its first digits, where only they are published.
        parameters: Of the backbone, about; None where unknown.
        sensor: What took the images.
        bands: Common names of the bands, in the order of the weights.
        gsd: Metres per pixel; None if not stated.
        gsd_note: In words, where it is not one number.
        values: What the values are.
        scale: Value of reflectance 1 or of the brightest colour; None if there is none.
        mean: Of the values, per band; empty if not stated.
        std: Of the values, per band; empty if not stated.
        licence: As published, an SPDX identifier where there is one.
        licence_url: Its text, where it is a licence of its own.
        citation: What to cite.
        source: Who published it.
        loads: Whether a backbone here takes it.
        why: If not, why not.
    """

    name: str
    dataset: str
    method: str
    arch: str
    url: str
    bands: tuple[str, ...]
    sensor: str
    licence: str
    citation: str
    source: str
    values: str
    backbone: Mapping[str, Any]
    sha256: str = ''
    sha256_prefix: str = ''
    parameters: int | None = None
    gsd: float | None = None
    gsd_note: str = ''
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    licence_url: str = ''
    loads: bool = True
    why: str = ''

    @property
    def file_name(self) -> str:
        """Name of the file among downloaded weights: that of PyTorch Hub."""
        name = Path(urlparse(self.url).path).name
        return name if name not in _PLAIN_NAMES else f'{self.name}{Path(name).suffix}'

    @property
    def megabytes(self) -> float | None:
        """About the size of the file: four bytes per parameter."""
        return None if self.parameters is None else self.parameters * 4 / 1e6

    def path(self, folder: str | os.PathLike | None = None) -> Path:
        """Where the file is, once it has been downloaded."""
        return Path(weights_folder() if folder is None else folder) / self.file_name

    def statistics(
        self, bands: Sequence[str] | None = None, sensor: str | None = None
    ) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of bands, those of the weights if None.

        A band that the weights do not have gets NaN.
        """
        both = dict(zip(self.bands, zip(self.mean, self.std, strict=True), strict=False))
        names = self.bands if bands is None else [b.name for b in resolve_bands(bands, sensor)]
        found = [both.get(name, (math.nan, math.nan)) for name in names]
        return [mean for mean, _ in found], [std for _, std in found]

    def matches(self, bands: Sequence[str], sensor: str | None = None) -> tuple[str, ...]:
        """Which of the bands are among those of the weights, by their common names."""
        named = zip(bands, resolve_bands(bands, sensor), strict=True)
        return tuple(given for given, band in named if band.name in self.bands)

    def provenance(self, path: str | os.PathLike | None = None) -> dict[str, str]:
        """What a checkpoint that started from the weights says of them.

        Args:
            path: The file, for its checksum; None takes what is published of it.
        """
        facts = {
            'name': self.name,
            'dataset': self.dataset,
            'url': self.url,
            'sha256': file_sha256(path) if path else self.sha256 or self.sha256_prefix,
            'licence': self.licence,
            'licence_url': self.licence_url,
            'citation': self.citation,
            'source': self.source,
        }
        return {key: value for key, value in facts.items() if value}


@functools.cache
def pretrained_sets() -> tuple[PretrainedSet, ...]:
    """All sets, in the order of the file."""
    with Path(__file__).with_suffix('.toml').open('rb') as file:
        data = tomllib.load(file)
    known = {field.name for field in fields(PretrainedSet)}
    found = []
    for group in data['group']:
        shared = {key: value for key, value in group.items() if key != 'set'}
        for own in group['set']:
            timm = {'type': 'geo_mm.TimmBackbone', 'name': own['arch']}
            arch = data['architecture'].get(own['arch'], {})
            facts = {'backbone': timm, **arch, **shared, **own}
            if unknown := facts.keys() - known:
                raise ValueError(f'pretrained.toml: {own["name"]}: {unknown}')
            found.append(PretrainedSet(**facts | _per_band(facts)))
    return tuple(found)


def _per_band(facts: Mapping[str, Any]) -> dict[str, tuple]:
    """Bands, mean and std as tuples of the same length."""
    bands = tuple(facts['bands'])
    given = {key: facts[key] for key in ('mean', 'std') if key in facts}
    spread = {
        key: tuple(value) if isinstance(value, list) else (value,) * len(bands)
        for key, value in given.items()
    }
    return {'bands': bands, **spread}


def pretrained_set(name: str) -> PretrainedSet:
    """The set of a name.

    Raises:
        ConfigError: If there is none.
    """
    by_name = {each.name: each for each in pretrained_sets()}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
        raise ConfigError(
            f'no pretrained weights are called {name!r}',
            f'a name such as {", ".join(close)}' if close else 'a name that geo-mm weights lists',
            'geo-mm weights lists all',
        )
    return by_name[name]


def weights_folder() -> Path:
    """Where downloaded weights are: in GEO_MM_WEIGHTS, or where PyTorch Hub has its own."""
    if folder := os.environ.get(FOLDER):
        return Path(folder).expanduser()
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    torch = os.environ.get('TORCH_HOME', os.path.join(cache, 'torch'))
    return Path(torch, 'hub', 'checkpoints').expanduser()


def fetch_weights(name: str | PretrainedSet, *, folder: str | os.PathLike | None = None) -> Path:
    """The file of a set, downloaded if it is not there.

    Args:
        name: Of the set, or the set itself.
        folder: Where files are kept; that of :func:`weights_folder` if None.

    Returns:
        The file. Its checksum is that of the set, as far as one is published.

    Raises:
        ConfigError: If there is no such set, or the file that is there is another one.
        OutputError: If it cannot be downloaded or written.
    """
    from geo_mm.models.downloading import Download

    chosen = pretrained_set(name) if isinstance(name, str) else name
    path = chosen.path(folder)
    digest = chosen.sha256 or chosen.sha256_prefix
    if not path.exists():
        url = chosen.url
        if mirror := os.environ.get('HF_ENDPOINT'):  # as huggingface_hub has it
            for site in ('https://hf.co', 'https://huggingface.co'):
                url = url.replace(f'{site}/', f'{mirror.rstrip("/")}/')
        _run(Download(url, path, digest))
    elif digest and not (found := file_sha256(path)).startswith(digest):
        raise ConfigError(
            f'{path}: not the file of {chosen.name}: its sha256 is {found}',
            f'a sha256 of {digest}{"..." if len(digest) < 64 else ""}',
            'delete it, and it is downloaded again',
        )
    return path


def _run(download: 'Download') -> None:
    """Download with a bar on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(download.path.name, total=None)
        download.run(lambda done, total: bar.update(task, completed=done, total=total))
