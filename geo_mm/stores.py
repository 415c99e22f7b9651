"""Folders and files of object stores, such as ``s3://bucket/folder``.

GDAL reads them under names that are paths (``/vsis3/bucket/folder``), and under those
they go through geo_mm as other paths do. What GDAL does not do, fsspec does: lists,
small texts, and files that go up or come down.
"""

import contextlib
import getpass
import glob
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from geo_mm.errors import OutputError, SetupError
from geo_mm.paths import absolute, file_name, is_local, reason

_GDAL = {'s3': 'vsis3', 'gs': 'vsigs', 'az': 'vsiaz'}
"""What GDAL calls what fsspec calls so."""

_FSSPEC = {gdal: scheme for scheme, gdal in _GDAL.items()}
_PACKAGES = {'s3': 's3fs', 'gs': 'gcsfs', 'az': 'adlfs'}

_CONNECTIONS = 64
"""Requests at a time; each mostly waits for the answer."""

# pathlib makes one of two slashes.
_URL = re.compile(rf'({"|".join(_GDAL)}):/+(.*)', re.DOTALL)
_PATH = re.compile(rf'/({"|".join(_FSSPEC)})/+(.*)', re.DOTALL)


def gdal_name(name: str | os.PathLike) -> str:
    """The name under which GDAL knows a file or folder; those that are not in a store stay."""
    text = os.fspath(name)
    if (match := _URL.match(text)) is None:
        return text
    return f'/{_GDAL[match[1]]}/{match[2].rstrip("/")}'


def url(name: str | os.PathLike) -> str:
    """The name under which people know a file or folder; those that are not in a store stay."""
    text = os.fspath(name)
    if (match := _PATH.match(text)) is None:
        return text
    return f'{_FSSPEC[match[1]]}://{match[2]}'


def in_store(name: str | os.PathLike) -> bool:
    """Whether a file or folder is in an object store that can be written to."""
    return _PATH.match(gdal_name(name)) is not None


def folder_path(name: str | os.PathLike) -> Path:
    """A folder as a path: that of this machine, or ``/vsis3/...`` for one in a store."""
    return Path(gdal_name(name))


def workplace(folder: Path, chosen: str | None = None) -> Path:
    """The local folder in which files for a folder grow: itself, if it is local.

    For one in a store the default is in the system's folder for temporary files, which
    ``TMPDIR`` chooses, and the same for each run of a user.

    Args:
        folder: For the files, as of :func:`folder_path`.
        chosen: What the user wants instead.
    """
    if not in_store(folder):
        return folder
    if chosen:
        return Path(absolute(chosen))
    home = Path(tempfile.gettempdir()) / f'geo_mm-{getpass.getuser()}'
    home.mkdir(mode=0o700, exist_ok=True)
    return home / file_name(url(folder))


def agree_on_endpoint() -> None:
    """Lets GDAL and fsspec speak with the same server, whichever of them it was named to.

    AWS's own programs and fsspec take ``AWS_ENDPOINT_URL``, or ``AWS_ENDPOINT_URL_S3``;
    GDAL ``AWS_S3_ENDPOINT``, without ``http://``, beside ``AWS_HTTPS`` and
    ``AWS_VIRTUAL_HOSTING``. What is set stays.
    """
    known = os.environ
    address = known.get('AWS_ENDPOINT_URL_S3') or known.get('AWS_ENDPOINT_URL')
    if address and 'AWS_S3_ENDPOINT' not in known:
        scheme, _, host = address.rpartition('://')
        known['AWS_S3_ENDPOINT'] = host.rstrip('/')
        known.setdefault('AWS_HTTPS', 'NO' if scheme == 'http' else 'YES')
        # Servers of one's own are seldom reached under a name for each bucket.
        known.setdefault('AWS_VIRTUAL_HOSTING', 'FALSE')
    elif not address and (own := known.get('AWS_S3_ENDPOINT')):
        secure = known.get('AWS_HTTPS', 'YES').upper() in ('YES', 'TRUE', 'ON', '1')
        known['AWS_ENDPOINT_URL_S3'] = own if '://' in own else f'http{"s" * secure}://{own}'


def is_pattern(name: str) -> bool:
    """Whether a name stands for all files that match it, such as ``images/*.tif``.

    They may be in a store. A local file whose own name looks like a pattern is a file.
    """
    if not glob.has_magic(name):
        return False
    return in_store(name) or (is_local(name) and not os.path.exists(name))


def matching(pattern: str) -> list[str]:
    """The files that match a pattern, sorted; those in a store as :func:`url` names them.

    Raises:
        OutputError: If the store cannot be read.
    """
    if not in_store(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    path = gdal_name(pattern)
    start = path[: path.index(path.lstrip('/').partition('/')[2])]
    with _files(path, 'read') as (files, key):
        return sorted(url(f'{start}{found}') for found in files.glob(key))


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file, in a store or not.

    Raises:
        FileNotFoundError: If there is none.
        OutputError: If the store cannot be read.
    """
    if not in_store(path):
        return Path(path).read_bytes()
    with _files(gdal_name(path), 'read') as (files, key):
        return files.cat_file(key)


def read_text(path: str | os.PathLike) -> str:
    """The content of a text file, as :func:`read_bytes`."""
    return read_bytes(path).decode()


def listed(folder: Path, prefix: str = '') -> list[Path]:
    """The files in a folder whose names begin so; none if there is no such folder.

    Raises:
        OutputError: If the store cannot be read.
    """
    if not in_store(folder):
        return sorted(path for path in folder.glob(f'{prefix}*') if path.is_file())
    return [folder / name for name in sorted(_found(folder, prefix))]


def upload(paths: Iterable[Path], folder: Path) -> None:
    """Copies local files into a folder of a store, where each appears when it is complete.

    Raises:
        OutputError: If that is not possible.
    """
    own = list(map(str, paths))
    with _files(folder, 'written') as (files, key):
        files.put(own, [f'{key}/{Path(path).name}' for path in own])


def write_empty(path: Path) -> None:
    """Makes an empty file in a store.

    Raises:
        OutputError: If that is not possible.
    """
    with _files(path, 'written') as (files, key):
        files.pipe_file(key, b'')


def remove(paths: Iterable[Path]) -> None:
    """Removes files of a store, if they are there.

    Raises:
        OutputError: If that is not possible.
    """
    for path in paths:
        with _files(path, 'written') as (files, key), contextlib.suppress(FileNotFoundError):
            files.rm_file(key)


def download(folder: Path, suffix: str, into: Path) -> None:
    """Copies the files of a folder with a suffix, and the times when they were written.

    Args:
        folder: In a store.
        suffix: Of their names.
        into: A local folder, which must exist.

    Raises:
        OutputError: If the store cannot be read.
    """
    found = {name: item for name, item in _found(folder).items() if name.endswith(suffix)}
    if not found:
        return
    with _files(folder, 'read') as (files, key):
        # Some may have been removed since they were listed.
        contents = files.cat([f'{key}/{name}' for name in found], on_error='omit')
    for path, content in contents.items():
        copy = into / path.rpartition('/')[2]
        copy.write_bytes(content)
        written = found[copy.name].get('LastModified')
        if written is not None:
            os.utime(copy, (written.timestamp(), written.timestamp()))


def _found(folder: Path, prefix: str = '') -> Mapping[str, Mapping]:
    """What a store says of the files in a folder, by name."""
    with _files(folder, 'read') as (files, key):
        where: dict[str, Any] = {'prefix': prefix} if prefix else {'maxdepth': 1}
        try:
            found = files.find(key, detail=True, **where)
        except FileNotFoundError:
            return {}
        names = {path.removeprefix(f'{key}/'): item for path, item in found.items()}
        return {name: item for name, item in names.items() if name and '/' not in name}


@contextlib.contextmanager
def _files(path: str | os.PathLike, verb: str) -> Iterator[tuple[Any, str]]:
    """The file system of a store, and what it calls a file or folder.

    Raises:
        FileNotFoundError: If there is no such file, or bucket.
        OutputError: If something else is wrong.
        SetupError: If what speaks with it is not installed.
    """
    match = _PATH.match(os.fspath(path))
    if match is None:
        raise ValueError(f'{path} is in no object store')
    scheme, key = _FSSPEC[match[1]], match[2]
    try:
        yield _file_system(scheme), key
    except FileNotFoundError as error:
        if verb == 'read':
            raise
        raise _trouble(path, verb, error) from error
    except ImportError as error:
        package = _PACKAGES[scheme]
        raise SetupError(
            f'{url(path)}: {package} is not installed',
            f'{package}, which writes to {scheme}://',
            "pip install 'geo_mm[s3]'" if scheme == 's3' else f'pip install {package}',
        ) from error
    except Exception as error:  # each library has its own
        raise _trouble(path, verb, error) from error


def _file_system(scheme: str) -> Any:
    import fsspec

    agree_on_endpoint()
    options: dict[str, Any] = {'use_listings_cache': False}  # others write there, too
    if scheme == 's3':
        options['endpoint_url'] = os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get(
            'AWS_ENDPOINT_URL'
        )
        options['config_kwargs'] = {'max_pool_connections': _CONNECTIONS}
        if os.environ.get('AWS_NO_SIGN_REQUEST', '').upper() in ('YES', 'TRUE'):  # as for GDAL
            options['anon'] = True
    return fsspec.filesystem(scheme, **options)


def _trouble(path: str | os.PathLike, verb: str, error: Exception) -> OutputError:
    return OutputError(
        f'{url(path)}: cannot be {verb}: {reason(error)}',
        'a bucket that exists, and the right to read and write there',
        'check the name, the network and the credentials (AWS_ACCESS_KEY_ID and '
        'AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL of a server that is not '
        "Amazon's)",
    )
