"""Open datasets, kept for reuse and never shared between threads or processes.

A GDAL dataset must be used by one thread at a time and must not be carried
over a fork. Scenes therefore hold no handles: they ask here, and every thread
of every process gets its own, from a small cache.

A raw band of a VRT (``VRTRawRasterBand``) takes any file for pixels. A VRT of
unknown origin could put a private file into a result that is passed on, and
GDAL before 3.12 has no switch against it: :func:`check_vrt` is.
"""

import errno
import os
import re
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyogrio
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.session import DummySession

from geo_mm.errors import SceneError
from geo_mm.paths import reason
from geo_mm.stores import agree_on_endpoint, gdal_name

MAX_OPEN = 64
"""Datasets one thread keeps open."""

_CACHE = 256 << 20
"""Bytes of blocks that GDAL keeps while scenes are predicted."""

_REMOTE = re.compile(r'^(https?|ftp|s3|gs|az|adls|oss)://|^/vsi(curl|s3|gs|az|adls|oss|swift|hdfs)')
# Without these every open lists the remote folder and one hiccup of the
# network ends a run. EMPTY_DIR also means: no sidecar files are looked for.
_LISTING = 'GDAL_DISABLE_READDIR_ON_OPEN'
_REMOTE_OPTIONS = {
    _LISTING: 'EMPTY_DIR',
    'GDAL_HTTP_MAX_RETRY': '4',
    'GDAL_HTTP_RETRY_DELAY': '1',
    'GDAL_HTTP_MERGE_CONSECUTIVE_RANGES': 'YES',
    'VSI_CACHE': 'TRUE',
}


class _Cache(OrderedDict):
    """Datasets of one thread, least recently used first."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # for the WeakSet


_lock = threading.Lock()
_local = threading.local()
_caches: 'weakref.WeakSet[_Cache]' = weakref.WeakSet()
_held: list[_Cache] = []


def is_remote(path: str) -> bool:
    """Whether GDAL reaches ``path`` over a network."""
    return _REMOTE.match(path) is not None


def gdal_options(**options: Any) -> rasterio.Env:
    """Options of GDAL within a ``with``."""
    # If boto3 is installed and credentials are in the environment, rasterio would
    # make a session for each, which takes 25 ms. GDAL finds credentials by itself.
    return rasterio.Env(session=DummySession(), **options)


def environment(path: str) -> AbstractContextManager:
    """GDAL options for ``path``; what the user's environment sets is respected."""
    if not is_remote(path):
        return nullcontext()
    agree_on_endpoint()
    options = {key: value for key, value in _REMOTE_OPTIONS.items() if key not in os.environ}
    return gdal_options(**options)


@contextmanager
def pictures_allowed() -> Iterator[None]:
    """No warning about a raster without georeference, which is legitimate."""
    # The lock is for catch_warnings, which is not thread-safe.
    with _lock, warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield


def open_quietly(path: str, level: int = 0) -> rasterio.DatasetReader:
    """Open a dataset, or its ``level``-th overview (1 is the finest), uncached.

    Where the system's limit of open files is reached, those that this thread
    keeps open are closed first.

    Raises:
        rasterio.errors.RasterioIOError: If GDAL cannot open it.
    """
    try:
        return _opened(path, level)
    except RasterioIOError as error:
        if not is_limit_of_files(error) or not getattr(_local, 'cache', None):
            raise
        close_all()
        return _opened(path, level)


def is_raster(path: str | os.PathLike) -> bool:
    """Whether GDAL opens a file or folder as pixels; False of missing files and vector layers."""
    try:
        with open_quietly(os.fspath(path)) as dataset:
            return dataset.count > 0
    except RasterioIOError:
        return False


def bounded_cache() -> AbstractContextManager:
    """Keeps GDAL's cache of blocks small; by default it takes a twentieth of all memory.

    Rows of tiles are read from the top down, so that few blocks are read twice.
    """
    if 'GDAL_CACHEMAX' in os.environ:
        return nullcontext()
    return gdal_options(GDAL_CACHEMAX=_CACHE)


def is_limit_of_files(error: BaseException) -> bool:
    """Whether there are as many open files as the system allows."""
    return os.strerror(errno.EMFILE) in reason(error)


def _opened(path: str, level: int) -> rasterio.DatasetReader:
    options = {'overview_level': level - 1} if level else {}
    # GDAL's decoding threads do not exist in a forked child, which would wait
    # for them for ever. Callers read in parallel, so one is enough.
    with pictures_allowed(), environment(path), gdal_options(GDAL_NUM_THREADS='1'):
        return rasterio.open(gdal_name(path), **options)


def dataset(
    path: str,
    stamp: int = 0,
    level: int = 0,
    check: Callable[[rasterio.DatasetReader], None] | None = None,
) -> rasterio.DatasetReader:
    """This thread's handle of a dataset; do not close it or pass it on.

    Args:
        path: Anything GDAL opens.
        stamp: Tells versions of the file apart, e.g. its modification time.
        level: Overview to read, 0 for full resolution.
        check: Called with a dataset of full resolution that had to be opened; it
            may refuse it.

    Raises:
        rasterio.errors.RasterioIOError: If GDAL cannot open it.
    """
    cache = _cache()
    handle = cache.get((path, stamp, level))
    if handle is not None:
        cache.move_to_end((path, stamp, level))
        return handle
    if check is not None and level:
        dataset(path, stamp, 0, check)
    handle = open_quietly(path, level)
    if check is not None and not level:
        try:
            check(handle)
        except BaseException:
            handle.close()
            raise
    keep(handle, path, stamp, level)
    return handle


def keep(handle: rasterio.DatasetReader, path: str, stamp: int, level: int = 0) -> None:
    """Gives an open dataset to this thread's handles, which close it in time."""
    cache = _cache()
    before = cache.pop((path, stamp, level), None)
    if before is not None:
        before.close()
    cache[path, stamp, level] = handle
    if len(cache) > MAX_OPEN:
        cache.popitem(last=False)[1].close()


def _cache() -> _Cache:
    """The handles of the calling thread."""
    cache = getattr(_local, 'cache', None)
    if cache is None:
        cache = _local.cache = _Cache()
        with _lock:
            _caches.add(cache)
    return cache


def close_all() -> None:
    """Close the handles of the calling thread."""
    cache = getattr(_local, 'cache', {})
    while cache:
        cache.popitem()[1].close()


def _before_fork() -> None:
    _lock.acquire()
    _held.extend(_caches)


def _after_fork_in_parent() -> None:
    _held.clear()
    _lock.release()


def _after_fork_in_child() -> None:
    # The parent's handles stay in _held for good: closing them here could
    # wait for a GDAL lock whose owner does not exist in this process.
    global _lock, _local
    _lock = threading.Lock()
    _local = threading.local()
    _caches.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


_SOURCES = ('sourcefilename', 'sourcedataset')
_START = b'<VRTDataset'


def check_vrt(path: str, dataset: rasterio.DatasetReader) -> None:
    """Refuses a VRT with raw bands, also in VRT files on this machine that it is made of.

    Raises:
        SceneError: If there are any, or the XML cannot be read.
    """
    text = ''.join(dataset.tags(ns='xml:VRT').values()) or Path(path).read_text(errors='replace')
    for name, tree in _trees(path, text):
        values = (value for item in tree.iter() for value in (*item.attrib.values(), item.text))
        if any((value or '').strip().lower() == 'vrtrawrasterband' for value in values):
            raise SceneError(
                f'{name}: a VRT with raw bands, which can show any file of this machine as pixels',
                'a VRT whose sources are rasters',
                f'if you trust it, make a copy: gdal_translate {Path(path).name} copy.tif',
            )


def _trees(path: str, text: str) -> Iterator[tuple[str, ElementTree.Element]]:
    """A VRT and those below it, with their names."""
    pending, seen = [(path, text)], {path}
    while pending:
        name, text = pending.pop()
        try:
            tree = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise SceneError(f'{name}: a VRT whose XML is damaged: {error}', 'valid XML') from error
        yield name, tree
        for source in _sources(tree, os.path.dirname(name)):
            inner = _vrt_text(source)
            if inner is not None and source not in seen:
                seen.add(source)
                pending.append((source, inner))


def _sources(tree: ElementTree.Element, folder: str) -> Iterator[str]:
    for item in tree.iter():
        if item.tag.lower() in _SOURCES and item.text:
            relative = any(k.lower() == 'relativetovrt' and v == '1' for k, v in item.items())
            yield os.path.join(folder, item.text) if relative else item.text


def _vrt_text(source: str) -> str | None:
    """The XML of a source that is itself a VRT, in a file or in place."""
    if source.lstrip().encode(errors='replace').startswith(_START):
        return source
    try:
        with open(source, 'rb') as file:
            head = file.read(1024)
            return (head + file.read()).decode(errors='replace') if _START in head else None
    except (OSError, ValueError):  # GDAL says what is wrong with it
        return None


def layer_source(path: str | os.PathLike) -> str:
    """The name under which pyogrio opens a layer, on a server or not."""
    text = os.fspath(path)
    if is_remote(text):
        agree_on_endpoint()
        if _LISTING not in os.environ:
            # Else each open lists the remote folder, and later ones believe that list.
            # With TRUE, files beside a local one are still found, one by one.
            pyogrio.set_gdal_config_options({_LISTING: 'TRUE'})
    return gdal_name(text)


_SIDE_FILES = 'GDAL_PAM_ENABLED'
_setting_lock = threading.Lock()
_side_file_calls = 0  # of without_side_files that run now, in any thread
_side_files_before: object = None  # the option before the first of them


@contextmanager
def without_side_files() -> Iterator[None]:
    """Keep GDAL from leaving .aux.xml files beside GeoPackages that are merely read.

    The setting belongs to the whole process: what the user has set is put back
    when the last of our calls that run side by side has ended.
    """
    global _side_file_calls, _side_files_before
    with _setting_lock:
        if not _side_file_calls:
            _side_files_before = pyogrio.get_gdal_config_option(_SIDE_FILES)
            pyogrio.set_gdal_config_options({_SIDE_FILES: False})
        _side_file_calls += 1
    try:
        yield
    finally:
        with _setting_lock:
            _side_file_calls -= 1
            if not _side_file_calls:
                pyogrio.set_gdal_config_options({_SIDE_FILES: _side_files_before})
