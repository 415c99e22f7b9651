"""A local HTTP server that misbehaves as it is told."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves one file under every name but ``/missing``.

    Attributes:
        content: The file.
        most: Bytes after which a connection is closed, whatever was promised.
        ranges: Whether a part can be asked for.
        asked: The first byte of each request, in order.
        length: What is said of the length of a body; None for the truth.
        gate: Bodies are sent once it is set.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.content = content
        self.most = len(content)
        self.ranges = True
        self.length: str | None = None
        self.asked: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        start = int(asked[1]) if asked else 0
        self.server.asked.append(start)
        if self.path == '/missing':
            return self.send_error(404)
        if not self.server.ranges:
            asked, start = None, 0
        if asked and start >= len(self.server.content):
            return self.send_error(416)
        body = self.server.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header('Content-Length', self.server.length or str(len(body)))
        self.end_headers()
        self.server.gate.wait(10)
        self.wfile.write(body[: self.server.most])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """The server, running."""
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
