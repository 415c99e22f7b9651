"""VRT files: bands of several types, and what a VRT may show."""

import numpy as np
import pytest

from geo_mm.errors import SceneError
from geo_mm.raster import Scene
from tests.data.rasters import noise, write_raster

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
