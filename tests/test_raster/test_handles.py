"""Handles per thread and process; VRT files: bands of several types, and what they may show."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio._env import get_gdal_config

from geo_mm.errors import SceneError
from geo_mm.raster import Scene, handles
from geo_mm.raster.handles import without_side_files
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


PLACE = '<GeoTransform>500000, 0.5, 0, 4000000, 0, -0.5</GeoTransform>'


def simple(number, dtype, source, more=''):
    return (
        f'<VRTRasterBand dataType="{dtype}" band="{number}">{more}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        '</SimpleSource></VRTRasterBand>'
    )


def raw(source, kind='subClass="VRTRawRasterBand"', more=''):
    return (
        f'<VRTRasterBand dataType="Byte" band="1" {kind}>{more}'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><ImageOffset>0</ImageOffset>'
        '<PixelOffset>1</PixelOffset><LineOffset>8</LineOffset></VRTRasterBand>'
    )


def write_vrt(path, *bands, size=8):
    path.write_text(
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">{PLACE}{"".join(bands)}'
        '</VRTDataset>'
    )
    return path


def test_bands_of_several_types(tmp_path):
    small, large = noise((1, 8, 8)), noise((1, 8, 8), 'float32') + np.float32(0.25)
    write_raster(tmp_path / 'a.tif', small)
    write_raster(tmp_path / 'b.tif', large)
    vrt = write_vrt(tmp_path / 's.vrt', simple(1, 'Byte', 'a.tif'), simple(2, 'Float32', 'b.tif'))
    scene = Scene.open(vrt)
    data, valid = scene.read()
    np.testing.assert_array_equal(data, np.concatenate([small, large]))
    assert data.dtype == scene.dtype == np.float32
    assert valid.all()


def test_an_alpha_band_of_another_type(tmp_path):
    values = noise((1, 8, 8), 'int16')
    write_raster(tmp_path / 'a.tif', values)
    write_raster(tmp_path / 'alpha.tif', np.where(values[0] > 5000, 255, 0).astype('uint8'))
    alpha = '<ColorInterp>Alpha</ColorInterp>'
    vrt = write_vrt(
        tmp_path / 's.vrt', simple(1, 'Int16', 'a.tif'), simple(2, 'Byte', 'alpha.tif', alpha)
    )
    data, valid = Scene.open(vrt).read()
    np.testing.assert_array_equal(valid, values[0] > 5000)
    np.testing.assert_array_equal(data, np.where(valid, values, 0))
    assert data.dtype == np.int16


RAW = {
    'plainly': lambda secret: raw(secret),
    'as an element': lambda secret: raw(secret, '', '<subClass>VRTRawRasterBand</subClass>'),
    'in lower case': lambda secret: raw(secret, 'subclass="vrtrawrasterband"'),
    'escaped': lambda secret: raw(secret, 'subClass="VRT&#82;awRasterBand"'),
}


@pytest.mark.parametrize('band', RAW.values(), ids=RAW)
@pytest.mark.parametrize('nested', ['no', 'file', 'another suffix', 'in place'])
def test_the_bytes_of_other_files_are_no_pixels(tmp_path, band, nested):
    (tmp_path / 'secret').write_bytes(b'secret: ' * 8)
    (tmp_path / 'in').mkdir()
    vrt = write_vrt(tmp_path / 'in' / 'raw.vrt', band(tmp_path / 'secret'))
    if nested == 'file':
        vrt = write_vrt(tmp_path / 's.vrt', simple(1, 'Byte', 'in/raw.vrt'))
    elif nested == 'another suffix':
        vrt.rename(tmp_path / 'in' / 'raw.tif')
        vrt = write_vrt(tmp_path / 's.vrt', simple(1, 'Byte', 'in/raw.tif'))
    elif nested == 'in place':
        text = vrt.read_text().replace('<', '&lt;')
        outer = simple(1, 'Byte', text).replace('relativeToVRT="1"', 'relativeToVRT="0"')
        vrt = write_vrt(tmp_path / 's.vrt', outer)
    with pytest.raises(SceneError, match=r'raw bands'):
        Scene.open(vrt)


def test_a_vrt_of_itself_ends(tmp_path):
    vrt = write_vrt(tmp_path / 's.vrt', simple(1, 'Byte', 's.vrt'))
    Scene.open(vrt)


def test_python_in_a_vrt_is_not_run(tmp_path):
    band = (
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">'
        '<PixelFunctionType>f</PixelFunctionType>'
        '<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA[\n'
        f'def f(*args, **kwargs):\n    open("{tmp_path / "ran"}", "w")\n'
        ']]></PixelFunctionCode></VRTRasterBand>'
    )
    with pytest.raises(SceneError, match='cannot read the window'):
        Scene.open(write_vrt(tmp_path / 's.vrt', band)).read()
    assert not (tmp_path / 'ran').exists()


OPTION = 'GDAL_PAM_ENABLED'


def test_the_users_value_is_put_back():
    pyogrio.set_gdal_config_options({OPTION: True})
    try:
        with without_side_files():
            assert pyogrio.get_gdal_config_option(OPTION) is False
        assert pyogrio.get_gdal_config_option(OPTION) is True
    finally:
        pyogrio.set_gdal_config_options({OPTION: None})


def test_calls_that_overlap_leave_nothing_behind():
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_side_files():
            inside.set()
            leave.wait()

    before = pyogrio.get_gdal_config_option(OPTION)
    thread = threading.Thread(target=other)
    with without_side_files():
        thread.start()
        inside.wait()
    assert pyogrio.get_gdal_config_option(OPTION) is False
    leave.set()
    thread.join()
    assert pyogrio.get_gdal_config_option(OPTION) == before


def test_an_import_changes_neither_gdal_nor_warnings():
    code = (
        'import warnings, rasterio, torch, mmdet.apis, mmseg.apis\n'
        'before = list(warnings.filters)\n'
        'import geo_mm.labels, geo_mm.formats, geo_mm.engine.launch, geo_mm.inference.predictor\n'
        'import pyogrio, sys\n'
        'ours = [one for one in warnings.filters if one not in before]\n'
        'print(pyogrio.get_gdal_config_option("GDAL_PAM_ENABLED"), ours)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == 'None []', done.stdout + done.stderr
