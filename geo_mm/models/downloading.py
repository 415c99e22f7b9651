"""Files from the internet: a download that goes on where it was stopped.

The file grows under a name of its own, which stays when the connection breaks or the
program is stopped, and gets its name when its checksum is right. Of several processes
that want it one downloads, and the others wait.

Libraries do less: :func:`torch.hub.download_url_to_file` and pooch begin anew each
time, and huggingface_hub resumes what is on that site.
"""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from geo_mm import __version__
from geo_mm.errors import OutputError
from geo_mm.paths import discard, file_sha256, make_folder, reason, reported

_BLOCK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
_WAITS = (0, 1, 2, 4, 8)  # seconds between attempts that bring nothing

Progress = Callable[[int, int | None], None]
"""Is told how many bytes there are, and of how many, if the server says so."""


@dataclass(frozen=True)
class Download:
    """A file of the internet and its place on this machine.

    Attributes:
        url: Where it is.
        path: Where it goes.
        sha256: Its checksum, or the first digits; empty if it is not known. Without
            one a download is not resumed: the file may be another one by now.
    """

    url: str
    path: Path
    sha256: str = ''

    @property
    def partial(self) -> Path:
        """What has come so far."""
        return self.path.with_name(f'{self.path.name}.partial')

    def run(self, progress: Progress = lambda done, total: None) -> None:
        """Download the file, unless another process has done so meanwhile.

        Raises:
            OutputError: If the server does not give the file, or another one, or it
                cannot be written.
        """
        fix = 'free some space, or set GEO_MM_WEIGHTS to another folder'
        with reported(self.path, fix=fix):
            make_folder(self.path.parent)
            with FileLock(self.path.with_name(f'.{self.path.name}.lock')):
                if not self.path.exists():
                    self._bring(progress)

    def _bring(self, progress: Progress) -> None:
        if not self.sha256:
            discard(self.partial)
        resumed = self._size() > 0
        self._receive(progress)
        found = file_sha256(self.partial)
        if not found.startswith(self.sha256) and resumed:
            # What was there may have been the beginning of something else.
            discard(self.partial)
            self._receive(progress)
            found = file_sha256(self.partial)
        if not found.startswith(self.sha256):
            discard(self.partial)
            raise OutputError(
                f'{self.url}: not the published file: its sha256 is {found}',
                f'a sha256 of {self.sha256}{"..." if len(self.sha256) < 64 else ""}',
                'look whether a proxy or a login page answers in place of the server',
            )
        os.replace(self.partial, self.path)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _receive(self, progress: Progress) -> None:
        """Extend the partial file until it is complete."""
        waits = iter(_WAITS)
        while True:
            before = self._size()
            trouble = self._attempt(before, progress)
            if not trouble:
                return
            if self._size() > before:
                waits = iter(_WAITS)
            wait = next(waits, None)
            if wait is None or not self._size():
                raise self._failed(trouble)
            time.sleep(wait)

    def _attempt(self, start: int, progress: Progress) -> str:
        """One request from a byte on; what ended it too early, if anything did."""
        request = urllib.request.Request(self.url, headers={'User-Agent': f'geo_mm/{__version__}'})
        if start:
            request.add_header('Range', f'bytes={start}-')
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return ''  # there is no more of it; the checksum tells whether it is right
            # In our words: the server's own could hold anything.
            answer = f'the server answers {error.code} {http.client.responses.get(error.code, "")}'
            if error.code >= 500 or error.code == http.client.TOO_MANY_REQUESTS:
                return answer
            raise self._failed(answer) from error
        except (OSError, http.client.HTTPException) as error:
            return _words(error)
        with response:
            if response.status != http.client.PARTIAL_CONTENT:
                start = 0  # it gives the whole file, whatever is asked for
            total = None if response.length is None else start + response.length
            with self.partial.open('ab' if start else 'wb') as file:
                return _copy(response, file, total, progress)

    def _failed(self, trouble: str) -> OutputError:
        more = f'; the {self._size():,} bytes so far are kept' if self._size() else ''
        return OutputError(
            f'{self.url}: cannot be downloaded: {trouble}{more}',
            f'the file {self.path}',
            'run it again to go on; or download the file elsewhere and put it there',
        )


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, total: int | None, progress: Progress
) -> str:
    """Append what comes; what ended it too early, if anything did."""
    while True:
        progress(file.tell(), total)
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            return _words(error)
        if not block:
            short = total is not None and file.tell() < total
            return 'the connection was closed' if short else ''
        file.write(block)


def _words(error: BaseException) -> str:
    """What an error of the network is about."""
    cause = getattr(error, 'reason', error)
    return reason(cause) if isinstance(cause, BaseException) and str(cause) else repr(cause)
