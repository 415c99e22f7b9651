"""Chips of scenes on a server that takes its time to answer."""

import http.server
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from geo_mm.datasets import RandomChipSampler
from tests.data.chips import build_dataset
from tests.data.rasters import noise, write_raster

DELAY = 0.05


class SlowFiles(http.server.SimpleHTTPRequestHandler):
    """Parts of files, each after a while; counts how many wait at a time."""

    protocol_version = 'HTTP/1.1'
    waiting = most = 0
    lock = threading.Lock()

    def do_GET(self):
        with self.lock:
            SlowFiles.waiting += 1
            SlowFiles.most = max(self.most, self.waiting)
        time.sleep(DELAY)
        with self.lock:
            SlowFiles.waiting -= 1
        path = Path(self.translate_path(self.path))
        content = path.read_bytes() if path.is_file() else None
        if content is None:
            return self.send_error(404)
        first, _, last = self.headers.get('Range', 'bytes=0-').removeprefix('bytes=').partition('-')
        end = min(int(last or len(content) - 1) + 1, len(content))
        self.send_response(206 if 'Range' in self.headers else 200)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Range', f'bytes {first}-{end - 1}/{len(content)}')
        self.send_header('Content-Length', str(end - int(first)))
        self.end_headers()
        self.wfile.write(content[int(first) : end])

    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    def handler(*args):
        return SlowFiles(*args, directory=str(folder))

    SlowFiles.most = 0
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('remote')
    tiles = dict(tiled=True, blockxsize=64, blockysize=64)
    write_raster(folder / 'a.tif', noise((3, 1024, 1024)), **tiles)
    return folder


def batches(scenes, workers=0):
    dataset = build_dataset('seg', scenes, chip_size=64, pipeline=[dict(type='geo_mm.LoadChip')])
    sampler = RandomChipSampler(dataset, seed=0, num_chips=32)
    loader = DataLoader(
        dataset,
        batch_size=16,
        sampler=sampler,
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context='fork' if workers else None,
    )
    return np.concatenate([batch['img'] for batch in loader])


def test_remote_chips_are_read_side_by_side_and_are_the_same(folder):
    here = batches([str(folder / 'a.tif')])
    with served(folder) as address:
        there = batches([f'{address}/a.tif'])
        assert SlowFiles.most >= 8
    np.testing.assert_array_equal(there, here)
