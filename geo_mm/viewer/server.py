"""The page of the viewer and what it asks for, served on this machine alone."""

import contextlib
import http.server
import json
import os
import threading
import urllib.parse
from functools import lru_cache
from importlib import resources

from geo_mm.errors import GeoMMError
from geo_mm.formats import html_page
from geo_mm.raster.handles import bounded_cache
from geo_mm.viewer.layers import ClassTiles, Filter, ImageTiles, ObjectShapes, ShownScene
from geo_mm.viewer.options import ViewOptions

_HOST = '127.0.0.1'
_TYPES = {
    'html': 'text/html; charset=utf-8',
    'js': 'text/javascript; charset=utf-8',
    'css': 'text/css; charset=utf-8',
    'json': 'application/json',
    'png': 'image/png',
}
# Nothing is loaded from elsewhere, whatever a name of a class or file may hold.
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
_KEPT = 1024  # tiles


class Viewer:
    """Serves the page of a scene until it is closed; a notebook shows the page.

    Args:
        shown: What is shown.
        port: Of this machine; 0 takes any that is free.

    Raises:
        GeoMMError: If the port is taken.
    """

    def __init__(self, shown: ShownScene, port: int = 0) -> None:
        self.shown = shown
        try:
            self._server = _Server(shown, port)
        except OSError as error:
            raise GeoMMError(f'port {port}: {error.strerror}', 'a free port, or 0') from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f'http://{_HOST}:{self._server.server_address[1]}/'

    def wait(self) -> None:
        """Serves until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            while self._thread.is_alive():
                self._thread.join(1)
        self.close()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> 'Viewer':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        title = html_page.text(self.shown.scene.name)
        style = 'width:100%;height:600px;border:1px solid #c8d0d7'
        return f'<iframe src="{self.url}" title="{title}" style="{style}"></iframe>'


def view(
    scene: str | os.PathLike,
    result: str | os.PathLike | None = None,
    truth: str | os.PathLike | None = None,
    **options: object,
) -> Viewer:
    """Shows a scene with its result and ground truth as a map in the browser.

    Args:
        scene: The image.
        result: What was predicted: a class raster or a layer.
        truth: Ground truth, likewise.
        **options: Fields of :class:`ViewOptions`.

    Returns:
        The page: a notebook shows it, and ``url`` is its address.

    Raises:
        SceneError: If the image cannot be opened.
        LabelError: If result or truth cannot be placed on it.
    """
    chosen = ViewOptions(**options)  # type: ignore[arg-type]
    return Viewer(ShownScene(scene, result, truth, chosen), chosen.port)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shown: ShownScene, port: int) -> None:
        super().__init__((_HOST, port), _Handler)
        self.shown = shown
        self.info = json.dumps(shown.info())
        self.tile = lru_cache(_KEPT)(self._tile)

    def _tile(self, name: str, level: int, x: int, y: int, shown: Filter) -> bytes:
        layer = self.shown.layers[name]
        assert isinstance(layer, ImageTiles | ClassTiles)
        return layer.tile(level, x, y, shown)


_MOST_LEVELS, _FAR = 32, 1 << 31  # no scene has more


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'  # a browser keeps its connections, whose threads keep files open
    server: _Server

    def handle(self) -> None:
        with bounded_cache():
            super().handle()

    def do_GET(self) -> None:
        # Pages of other sites must not read scenes through a name that leads here.
        if self.headers.get('Host', '').rpartition(':')[0] not in (_HOST, 'localhost'):
            return self._send(403, b'not here', 'html')
        try:
            found = self._answer(urllib.parse.urlsplit(self.path))
        except GeoMMError as error:
            return self._send(500, str(error).encode(), 'html')
        except (ValueError, KeyError, LookupError):
            found = None
        if found is None:
            return self._send(404, b'no such thing', 'html')
        return self._send(200, *found)

    def _answer(self, url: urllib.parse.SplitResult) -> tuple[bytes, str] | None:
        """Content and its kind."""
        query = dict(urllib.parse.parse_qsl(url.query))
        shown = Filter(
            float(query.get('least', 0)),
            frozenset(int(number) for number in query.get('hidden', '').split(',') if number),
        )
        match url.path.strip('/').split('/'):
            case ['view.json']:
                return self.server.info.encode(), 'json'
            case ['tiles', name, z, x, y]:
                level, col, row = -int(z), int(x), int(y.removesuffix('.png'))
                if not (0 <= level <= _MOST_LEVELS and 0 <= min(col, row) <= max(col, row) < _FAR):
                    return None
                tile = self.server.tile(name, level, col, row, shown)
                return tile, 'png'
            case ['objects', name]:
                layer = self.server.shown.layers[name]
                if not isinstance(layer, ObjectShapes):
                    return None
                left, top, right, bottom = map(float, query['box'].split(','))
                box, pixel = (left, top, right, bottom), float(query['pixel'])
                return layer.within(box, pixel, shown).encode(), 'json'
            case [('viewer.js' | 'viewer.css') as name]:
                return _static(name), name.rpartition('.')[2]
            case ['leaflet', ('leaflet.js' | 'leaflet.css') as name]:
                return _static(f'leaflet/{name}'), name.rpartition('.')[2]
            case ['']:
                return _static('index.html'), 'html'
        return None

    def _send(self, status: int, content: bytes, kind: str) -> None:
        with contextlib.suppress(ConnectionError):  # the browser has moved on
            self.send_response(status)
            self.send_header('Content-Type', _TYPES[kind])
            self.send_header('Content-Length', str(len(content)))
            self.send_header('Content-Security-Policy', _POLICY)
            self.send_header('Cross-Origin-Resource-Policy', 'same-origin')
            # Another scene may be served at this address next time.
            self.send_header('Cache-Control', 'no-store')
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@lru_cache
def _static(name: str) -> bytes:
    return resources.files('geo_mm.viewer').joinpath('static', name).read_bytes()
