"""Models of others for ArcGIS: described from their definition, or refused by one message."""

import json
import os
import pickle
import stat
import zipfile

import pytest
import torch
from affine import Affine

import geo_mm
from geo_mm.errors import ConfigError, GeoMMError
from geo_mm.inference import Predictor
from geo_mm.inference.arcgis_package import read_arcgis_model
from geo_mm.raster import Scene
from tests.data.rasters import TRANSFORM, noise, write_raster

COARSE = TRANSFORM @ Affine.scale(60)

EMD = {
    'Framework': 'arcgis.learn.models._inferencing',
    'ModelConfiguration': '_unet',
    'ModelType': 'ImageClassification',
    'InferenceFunction': '[Functions]System\\DeepLearning\\ArcGISImageClassifier.py',
    'ModelFile': '.\\m.pth',
    'ExtractBands': [0, 2],
    'ImageHeight': 256,
    'ImageWidth': 128,
    'Bands': ['Red', 'Green', 'NearInfrared'],
    'IsMultispectral': True,
    'MinCellSize': {'x': 1, 'y': 1, 'spatialReference': {'wkid': 102100, 'latestWkid': 3857}},
    'MaxCellSize': {'x': 2, 'y': 2, 'spatialReference': {'wkid': 102100, 'latestWkid': 3857}},
    'Classes': [
        {'Value': 3, 'Name': 'Water', 'Color': [0, 0, 255]},
        {'Value': None, 'Name': 'nothing'},
        {'Value': 7, 'Name': 'Forest', 'Color': [-1, -1, -1]},
    ],
    'NormalizationStats': {
        'band_min_values': [0, 1, 2],
        'band_max_values': [10, 11, 12],
        'band_mean_values': [5, 6, 7],
        'band_std_values': [1, 1, 'e.g. 1'],
    },
}


def package(path, files=None, emd=EMD):
    """A package; files are bytes by name, or by ZipInfo."""
    weights = path.with_suffix('.pth')
    torch.save({'model': {'weight': torch.zeros(2)}, 'opt': {'lr': 0.1}}, weights)
    content = {'m.emd': json.dumps(emd).encode(), 'm.pth': weights.read_bytes()}
    content |= {'ArcGISImageClassifier.py': b'raise SystemExit("run")'} | (files or {})
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def test_a_package_is_described(tmp_path):
    model = read_arcgis_model(package(tmp_path / 'a.dlpk'))
    assert model.classes.names == ('Water', 'Forest') and model.values == (3, 7)
    assert model.classes.colours[0] == (0, 0, 255)
    assert model.bands == ('Red', 'NearInfrared') and model.positions == (0, 2)
    assert model.chip_size == (256, 128) and model.cell_sizes == (1, 2)
    assert [band.name for band in model.statistics] == ['Red', 'Green', 'NearInfrared']
    assert (model.statistics[0].high, model.statistics[2].std) == (10, None)
    assert (model.weights, model.function) == ('m.pth', 'ArcGISImageClassifier.py')
    text = str(geo_mm.describe(tmp_path / 'a.dlpk'))
    assert 'needs 1 to 2 m, 2 bands Red, NearInfrared' in text
    assert '3 Water: #0000ff' in text and 'it is not run here' in text


def test_an_image_is_compared(tmp_path):
    names = ('red', 'green', 'blue')
    path = write_raster(
        tmp_path / 'scene.tif', noise((3, 9, 9)), transform=COARSE, descriptions=names
    )
    found = geo_mm.describe(package(tmp_path / 'a.dlpk'), path)
    assert found.image[0] == (
        'needs 1 to 2 m, 2 bands Red, NearInfrared; this has 30 m, 3 bands red, green, blue, '
        'uint8: it does not fit'
    )
    assert 'missing by name: NearInfrared' in '\n'.join(found.image) and len(found.misfits) == 2


def test_bands_without_names_go_by_position(tmp_path):
    write_raster(tmp_path / 'two.tif', noise((2, 9, 9)))
    model = read_arcgis_model(package(tmp_path / 'a.dlpk'))
    assert [str(error) for error in model.misfits(Scene.open(tmp_path / 'two.tif'))] == [
        f'{tmp_path / "two.tif"} has 2 bands\n  expected: 3 or more'
    ]


class Evil:
    def __reduce__(self):
        return os.system, ('touch /tmp/geo_mm_was_run',)


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


REFUSED = {
    'outside': ({'../evil.py': b''}, 'a path outside the package'),
    'outside on Windows': ({'..\\evil.py': b''}, 'a path outside the package'),
    'absolute': ({'/etc/evil': b''}, 'a path outside the package'),
    'drive': ({'C:\\evil.py': b''}, 'a path outside the package'),
    'link': ({link('weights'): b'/etc/passwd'}, 'a symbolic link'),
    'bomb': ({'zeros.bin': bytes(1 << 25)}, 'bytes out of'),
    'bomb of weights': ({'zeros.pth': b'abcdefgh' * 3 + bytes(17 << 20)}, 'bytes out of'),
    'two definitions': ({'b/n.emd': b'{}'}, '2 model definitions (m.emd, b/n.emd)'),
    'no definition': ({'m.emd': None}, 'no .emd'),
    'no weights': ({'m.pth': None}, 'without the weights that its .emd names, m.pth'),
    'pickle': ({'m.pth': pickle.dumps(Evil(), 2)}, 'not a checkpoint of weights only'),
    'another pickle': ({'extra.pkl': pickle.dumps(Evil(), 2)}, 'not a checkpoint of weights only'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_unsafe_packages_are_refused(tmp_path, case):
    files, message = REFUSED[case]
    with pytest.raises(GeoMMError) as refused:
        geo_mm.describe(package(tmp_path / 'a.dlpk', files))
    assert message in refused.value.found
    assert refused.value.found.startswith(f'{tmp_path / "a.dlpk"}: refused: ')
    assert not os.path.exists('/tmp/geo_mm_was_run')


def test_a_damaged_member_is_refused(tmp_path):
    path = package(tmp_path / 'a.dlpk', {'m.emd': json.dumps(EMD).encode()})
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo('m.emd').header_offset + 30 + len('m.emd')
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b'\xff' * 8
    path.write_bytes(content)
    with pytest.raises(GeoMMError, match='not readable as a zip file'):
        geo_mm.describe(path)


def test_predict_says_what_a_model_of_others_is(tmp_path):
    path = package(tmp_path / 'a.dlpk')
    with pytest.raises(ConfigError, match='weights of a network that is not known') as refused:
        Predictor(path)
    assert 'ArcGIS' in refused.value.fix


def test_a_gigabyte_of_zeros_is_refused_without_reading_it(tmp_path):
    path = package(tmp_path / 'a.dlpk')
    with (
        zipfile.ZipFile(path, 'a', zipfile.ZIP_DEFLATED) as archive,
        archive.open('zeros', 'w', force_zip64=True) as file,
    ):
        for _ in range(64):
            file.write(bytes(1 << 24))
    with pytest.raises(GeoMMError, match=r"'zeros', 1,073,741,824 bytes out of 1,0\d\d,\d\d\d"):
        geo_mm.describe(path)


@pytest.mark.parametrize('content', [b'', b'7z\xbc\xaf\x27\x1c', b'PK\x03\x04 cut short'])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / 'a.dlpk').write_bytes(content)
    with pytest.raises(GeoMMError, match='refused: not readable as a zip file'):
        geo_mm.describe(tmp_path / 'a.dlpk')


@pytest.mark.parametrize('content', [b'[1]', b'{', b'[' * 100_000, b'\xff\xfe{', b'{"Classes": 3}'])
def test_what_is_no_definition_is_refused(tmp_path, content):
    (tmp_path / 'a.emd').write_bytes(content)
    with pytest.raises(GeoMMError, match=r'a\.emd: (not a model|says no)'):
        geo_mm.describe(tmp_path / 'a.emd')


def test_real_definitions(data_root):
    said = {}
    for folder in ('esri_emd_samples', 'arcgis_meta_classified_tiles'):
        for path in sorted((data_root / folder).iterdir()):
            try:
                said[path.name] = str(geo_mm.describe(path))
            except GeoMMError as error:
                said[path.name] = f'refused: {error.found}'
                assert str(path) in error.found
    refused = {name for name, text in said.items() if text.startswith('refused')}
    exports = {'esri_accumulated_stats.json', 'esri_model_definition.emd', 'map.txt', 'stats.txt'}
    assert refused == {'SOURCE.txt', *exports} and len(said) == 17
    assert all('training data' in said[name] for name in exports)
    assert 'made with arcgis.learn 1.8.4, unet, resnet34' in said['30e.emd']
    assert 'needs 0.239 m, 3 bands, numbers 1, 2, 3' in said['GroundingDINO.emd']
    assert '5 Impervious Surface: #ececec' in said['tensorflow_deeplab_landclassification.emd']
