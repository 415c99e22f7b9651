"""A headless Chromium, driven by its DevTools protocol."""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from typing import Any

import pytest


def chromium() -> str | None:
    """The browser of this machine, if it has one."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """A page in a window of a width; what it says on the console and loads is kept."""

    def __init__(self, url: str, width: int, height: int = 800) -> None:
        websocket = pytest.importorskip('websocket')
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                *(str(chromium()), '--headless=new', '--no-sandbox', '--disable-gpu'),
                *('--remote-debugging-port=0', '--remote-allow-origins=*'),
                *(f'--user-data-dir={self._folder.name}', 'about:blank'),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if 'DevTools listening' in line)
        host = urllib.parse.urlsplit(line.split()[-1]).netloc
        with urllib.request.urlopen(f'http://{host}/json') as answer:
            pages = [each for each in json.load(answer) if each['type'] == 'page']
        self._socket = websocket.create_connection(pages[0]['webSocketDebuggerUrl'], timeout=60)
        self._numbers = itertools.count(1)
        self._events: list[dict] = []
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.call(f'{domain}.enable')
        size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 600}
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Page.navigate', url=url)

    def call(self, method: str, **values: Any) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': values}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get('id') == number:
                return message['result']
            self._events.append(message)

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.call(
            'Runtime.evaluate', expression=expression, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.1)

    def problems(self) -> list[dict]:
        """Errors and warnings on the console, and what could not be loaded."""
        return [
            event
            for event in self._events
            if event['method'] in ('Runtime.exceptionThrown', 'Log.entryAdded')
            or (
                event['method'] == 'Runtime.consoleAPICalled'
                and event['params']['type'] in ('error', 'warning')
            )
        ]

    def hosts(self) -> set[str]:
        """Where something was asked for."""
        urls = (
            urllib.parse.urlsplit(event['params']['request']['url'])
            for event in self._events
            if event['method'] == 'Network.requestWillBeSent'
        )
        return {url.netloc for url in urls if url.scheme not in ('data', 'blob', 'about')}

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()
