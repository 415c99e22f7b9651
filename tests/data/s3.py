"""An S3 server, spoken to over HTTP.

It is another process: GDAL may hold Python's lock while it waits for an answer.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fsspec

from geo_mm.stores import folder_path

# It ends with this process, however that does.
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer

logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer('127.0.0.1', port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
_USER = {
    'AWS_ACCESS_KEY_ID': 'someone',
    'AWS_SECRET_ACCESS_KEY': 'secret',
    'AWS_DEFAULT_REGION': 'us-east-1',
}
_ENDPOINTS = ('AWS_ENDPOINT_URL', 'AWS_S3_ENDPOINT', 'AWS_HTTPS', 'AWS_VIRTUAL_HOSTING')


@cache
def _address() -> str:
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, '-c', _SERVER], **pipes)
    atexit.register(process.kill)
    host, port = process.stdout.readline().split()
    return f'http://{host}:{port}'


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Names the server in the environment, as a user does; yields its address."""
    address = _address()
    before = {name: os.environ.pop(name, None) for name in (*_USER, *_ENDPOINTS)}
    os.environ |= {**_USER, 'AWS_ENDPOINT_URL': address}
    try:
        yield address
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def bucket() -> Path:
    """A new bucket, as a folder."""
    name = f'town-{uuid.uuid4().hex[:8]}'
    fsspec.filesystem('s3').mkdir(name)
    return folder_path(f's3://{name}')
