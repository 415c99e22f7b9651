"""What files were when they were used: size and hash, or what a server calls a version."""

import datetime
import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

from geo_mm.paths import absolute
from geo_mm.raster.handles import is_remote, open_quietly

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


def file_sha256(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _iso(time: float) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    return moment.isoformat(timespec='seconds')
