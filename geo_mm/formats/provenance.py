"""How a result came to be, and what its files were, as plain data that travels with it."""

import contextlib
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pyogrio
import rasterio
from pyogrio.errors import DataLayerError, DataSourceError, FieldError
from rasterio.errors import RasterioError

import geo_mm
from geo_mm.errors import OutputError, SpecError
from geo_mm.inputspec import InputSpec
from geo_mm.paths import absolute, file_sha256, reason
from geo_mm.raster.handles import is_remote, open_quietly, without_side_files

logger = logging.getLogger(__name__)

MAX_HASHED = 1 << 30
"""Bytes of the largest file that is hashed; larger ones are told by size and time."""


@dataclass(frozen=True)
class FileRecord:
    """What a file was when it was used.

    Attributes:
        path: Absolute path or URL.
        size: Bytes, if known.
        sha256: Of the content, for local files of up to :data:`MAX_HASHED` bytes.
        modified: Time of last change (ISO 8601, UTC), for larger ones.
        etag: What the server calls this version of a URL.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    modified: str | None = None
    etag: str | None = None

    @classmethod
    def of(cls, path: str | os.PathLike) -> 'FileRecord':
        """Describe a file or URL.

        A URL whose server does not answer, or names no version, is recorded by
        its address alone, with a warning.

        Raises:
            OSError: If a local file cannot be read.
        """
        path = absolute(path)
        if path.startswith(('http://', 'https://', '/vsicurl/')):
            return cls._of_url(path)
        if is_remote(path) or not os.path.isfile(path):
            # Object stores, archives (/vsizip/) and subdatasets have no one file.
            return cls(path)
        status = os.stat(path)
        if status.st_size > MAX_HASHED:
            return cls(path, status.st_size, modified=_iso(status.st_mtime))
        return cls(path, status.st_size, sha256=file_sha256(path))

    @classmethod
    def _of_url(cls, path: str) -> 'FileRecord':
        request = urllib.request.Request(path.removeprefix('/vsicurl/'), method='HEAD')
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                headers = answer.headers
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            logger.warning('%s: recorded without its version: %s', path, error)
            return cls(path)
        if headers['ETag'] is None:
            logger.warning('%s: the server names no version (ETag) of it', path)
        length = headers['Content-Length']
        return cls(path, None if length is None else int(length), etag=headers['ETag'])


def file_records(paths: Iterable[str | os.PathLike]) -> tuple[FileRecord, ...]:
    """Describe the files of scenes, those that a VRT is made of included."""
    found: dict[str, None] = {}
    for path in paths:
        path = absolute(path)
        found[path] = None
        if path.lower().endswith('.vrt'):
            with open_quietly(path) as dataset:
                found.update(dict.fromkeys(map(absolute, dataset.files)))
    return tuple(FileRecord.of(path) for path in found)


def _iso(time: float) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    return moment.isoformat(timespec='seconds')


KEY = 'GEO_MM_PROVENANCE'
"""Name of the metadata item that holds it, in all file formats."""

_READING = (RasterioError, DataLayerError, DataSourceError, FieldError)

_DISTRIBUTIONS = (
    'torch',
    'onnxruntime',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'numpy',
    'rasterio',
    'shapely',
)


@dataclass(frozen=True)
class Provenance:
    """How a result came to be: all that is needed to make it again.

    Attributes:
        checkpoints: The model's weights, or those of all models of an ensemble.
        spec: The input specification of the model.
        config: Path of the config.
        inputs: The files of the scene.
        options: How it was predicted, by name; plain data.
        command: Command line, from the script on; empty if none.
        folder: Working directory that it was given in.
        started: When (ISO 8601, UTC).
        versions: Version of each library.
        model: What is known of the model, or the first of an ensemble: ``architecture``
            (name), ``parameters`` (their number), ``masks`` (whether objects
            have outlines), ``pretrained`` (what training started from, or None), and
            its ``pretrained_licence`` and ``pretrained_citation``.
    """

    checkpoints: tuple[FileRecord, ...]
    spec: InputSpec
    config: str
    inputs: tuple[FileRecord, ...]
    options: Mapping
    command: tuple[str, ...]
    folder: str
    started: str
    versions: Mapping[str, str] = field(default_factory=lambda: library_versions())
    model: Mapping = field(default_factory=dict)

    @property
    def rerun(self) -> str:
        """The shell command that makes the result again; '' if none is known."""
        if not self.command:
            return ''
        words = (['python'] if self.command[0].endswith('.py') else []) + list(self.command)
        return f'cd {shlex.quote(self.folder)} && {shlex.join(words)}'

    @property
    def time(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.started)

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self) | {'spec': self.spec.to_dict()}))

    def to_json(self) -> str:
        """One line, the same for the same content."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, data: Mapping) -> 'Provenance':
        """Rebuild one; unknown fields are left out.

        Raises:
            KeyError: If a field is missing.
        """
        known = {item.name: data[item.name] for item in fields(cls) if item.name != 'model'}
        known['model'] = data.get('model', {})
        for name in ('checkpoints', 'inputs'):
            known[name] = tuple(FileRecord(**record) for record in known[name])
        known['command'] = tuple(known['command'])
        known['spec'] = InputSpec.from_dict(known['spec'])
        made = cls(**known)
        made._check_types()
        return made

    def _check_types(self) -> None:
        """Raises TypeError or ValueError, for data out of a file."""
        records = (*self.checkpoints, *self.inputs)
        texts = (self.config, self.folder, *self.command, *(record.path for record in records))
        mappings = (self.options, self.versions)
        if not all(isinstance(item, str) for item in texts) or not all(
            isinstance(item, Mapping) for item in mappings
        ):
            raise TypeError('a field of another type')
        if not self.inputs or self.time.tzinfo is None:
            raise ValueError('no input, or a time without its zone')

    def tags(self) -> dict[str, str]:
        """Tags for a GeoTIFF: this, and what any TIFF reader understands of it."""
        return {
            KEY: self.to_json(),
            'TIFFTAG_SOFTWARE': f'geo_mm {self.versions.get("geo_mm", "")}'.strip(),
            'TIFFTAG_DATETIME': f'{self.time:%Y:%m:%d %H:%M:%S}',
        }

    def metadata(self) -> dict[str, str]:
        """Metadata for a vector file."""
        return {KEY: self.to_json()}


def library_versions() -> dict[str, str]:
    """Versions of what a result depends on; libraries not installed are left out."""
    versions = {
        'geo_mm': geo_mm.__version__,
        'python': platform.python_version(),
        'gdal': rasterio.__gdal_version__,
    }
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_record(path: str | os.PathLike, provenance: Provenance, **more: object) -> Path:
    """Write ``<stem>.json`` beside a result.

    Args:
        path: A result; the suffix becomes ``.json``.
        provenance: How it came to be.
        **more: What else to record, such as counts; plain data.

    Returns:
        The path of the record.
    """
    path = Path(path).with_suffix('.json')
    path.write_text(json.dumps({**more, 'provenance': provenance.to_dict()}, indent=2) + '\n')
    return path


def read_provenance(path: str | os.PathLike) -> Provenance:
    """Read how a result came to be, from the file itself or the record beside it.

    All formats that geo_mm writes hold it themselves; the record
    ``<stem>.json`` is read where that was lost, as in a converted file.

    Args:
        path: A result of geo_mm, or its record.

    Raises:
        OutputError: If there is no such file, or it does not say.
    """
    path = Path(path)
    if not path.is_file():
        raise OutputError(f'{path}: no such file', 'a result of geo-mm predict')
    with readable(path):
        text = _held(path)
    text = text or _recorded(path.with_suffix('.json'))
    if text is None:
        raise OutputError(
            f'{path}: does not say how it was made',
            'a result of geo-mm predict, with its .json file beside it',
        )
    try:
        return Provenance.from_dict(json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError, SpecError) as error:
        raise OutputError(
            f'{path}: what it says of how it was made cannot be understood: {error!r}',
            f'a result of geo_mm {geo_mm.__version__} or a version like it',
        ) from error


def has_provenance(path: str | os.PathLike) -> bool:
    """Whether a file, or a record beside it, says how it came to be.

    Raises:
        OutputError: If it cannot be read.
    """
    path = Path(path)
    with readable(path):
        return bool(_held(path) or _recorded(path.with_suffix('.json')))


@contextlib.contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
    """Turns trouble with reading a result into one message.

    Raises:
        OutputError: In place of the errors of the libraries that read it.
    """
    try:
        yield
    except (*_READING, OSError, ValueError, KeyError, RecursionError) as error:
        raise OutputError(
            f'{os.fspath(path)}: cannot be read: {reason(error)}',
            'a complete result of geo-mm predict',
            'predict it again',
        ) from error


@without_side_files()
def _held(path: Path) -> str | None:
    """What the file itself holds."""
    suffix = path.suffix.lower()
    if suffix in ('.tif', '.tiff'):
        with open_quietly(str(path)) as dataset:
            return dataset.tags().get(KEY)
    if suffix in ('.gpkg', '.fgb'):
        info = pyogrio.read_info(path, layer=0)  # after it: styles
        held = {**(info['dataset_metadata'] or {}), **(info['layer_metadata'] or {})}
        return held.get(KEY)
    if suffix in ('.geojson', '.json'):
        return _in_geojson(path)
    if suffix == '.parquet':
        from pyarrow import parquet

        # Where pandas and geopandas keep DataFrame.attrs.
        attributes = (parquet.read_metadata(path).metadata or {}).get(b'PANDAS_ATTRS', b'{}')
        attributes = json.loads(attributes)
        return attributes.get(KEY) if isinstance(attributes, dict) else None
    return None


def _in_geojson(path: Path) -> str | None:
    """The item in the description of a feature collection, which stands before the features."""
    with path.open(encoding='utf-8') as file:
        head = file.read(1 << 20).partition('"features"')[0]
    _, found, rest = head.partition('"description": ')
    try:
        return json.loads(json.JSONDecoder().raw_decode(rest)[0]).get(KEY) if found else None
    except (ValueError, AttributeError):
        return None


def _recorded(path: Path) -> str | None:
    """What the record says."""
    try:
        return json.dumps(json.loads(path.read_text())['provenance'])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
