import shutil
import subprocess
import sys
import threading
from pathlib import Path

import rasterio
from rasterio._env import get_gdal_config

from geo_mm.raster import handles
from tests.data.rasters import noise, write_raster


def test_a_handle_is_reused_in_its_thread_only(tmp_path):
    path = str(write_raster(tmp_path / 'a.tif', noise((1, 5, 5))))
    found = []
    first = handles.dataset(path)
    thread = threading.Thread(target=lambda: found.append(handles.dataset(path)))
    thread.start()
    thread.join()
    assert handles.dataset(path) is first
    assert found[0] is not first


def test_the_least_recently_used_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, 'MAX_OPEN', 2)
    handles.close_all()
    paths = [str(write_raster(tmp_path / f'{i}.tif', noise((1, 5, 5)))) for i in range(3)]
    first, second = map(handles.dataset, paths[:2])
    assert handles.dataset(paths[0]) is first
    handles.dataset(paths[2])
    assert second.closed and not first.closed


def test_a_new_stamp_opens_anew(tmp_path):
    path = str(write_raster(tmp_path / 'a.tif', noise((1, 5, 5))))
    assert handles.dataset(path, 1) is not handles.dataset(path, 2)


def test_only_remote_paths_get_network_options(monkeypatch):
    option = 'GDAL_DISABLE_READDIR_ON_OPEN'
    monkeypatch.delenv(option, raising=False)
    for path in ('s3://b/k.tif', 'https://x/y.tif', '/vsicurl/https://x/y.tif', '/vsis3/b/k'):
        with handles.environment(path):
            assert rasterio.env.getenv()[option] == 'EMPTY_DIR'
    for path in ('/data/https.tif', '/vsizip/a.zip/b.tif', 's3/b.tif'):
        assert not handles.is_remote(path)
    monkeypatch.setenv(option, 'FALSE')
    with handles.environment('s3://b/k.tif'):
        assert option not in rasterio.env.getenv()


def test_more_scenes_than_the_system_lets_open(tmp_path):
    first = write_raster(tmp_path / '0.tif', noise((1, 8, 8)))
    paths = [first, *(Path(shutil.copy(first, tmp_path / f'{n}.tif')) for n in range(1, 60))]
    code = f"""
import resource
from geo_mm.raster import Scene
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
print(sum(int(Scene.open(path).read()[0].sum()) for path in {[str(path) for path in paths]}))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 60 * int(noise((1, 8, 8)).sum())


def test_the_cache_of_blocks_is_bounded_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv('GDAL_CACHEMAX', raising=False)
    with handles.bounded_cache():
        assert get_gdal_config('GDAL_CACHEMAX') == 256 << 20
    monkeypatch.setenv('GDAL_CACHEMAX', '64')
    before = get_gdal_config('GDAL_CACHEMAX')
    with handles.bounded_cache():
        assert get_gdal_config('GDAL_CACHEMAX') == before
