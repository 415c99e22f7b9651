"""A setting of pyogrio's GDAL, for the time of our own calls."""

import contextlib
import threading
from collections.abc import Iterator

import pyogrio

_OPTION = 'GDAL_PAM_ENABLED'
_lock = threading.Lock()
_calls = 0  # that run now, in any thread
_before: object = None  # the option before the first of them


@contextlib.contextmanager
def without_side_files() -> Iterator[None]:
    """Keep GDAL from leaving .aux.xml files beside GeoPackages that are merely read.

    The setting belongs to the whole process: what the user has set is put back
    when the last of our calls that run side by side has ended.
    """
    global _calls, _before
    with _lock:
        if not _calls:
            _before = pyogrio.get_gdal_config_option(_OPTION)
            pyogrio.set_gdal_config_options({_OPTION: False})
        _calls += 1
    try:
        yield
    finally:
        with _lock:
            _calls -= 1
            if not _calls:
                pyogrio.set_gdal_config_options({_OPTION: _before})
