"""Bands by name, number and sensor."""

import pytest

from geo_mm.errors import ConfigError
from geo_mm.models.spectral import Band, band, resolve_bands


@pytest.mark.parametrize(
    ('name', 'sensor', 'expected'),
    [
        ('R', None, 'red'),
        ('B04', None, 'red'),
        ('B4', None, 'red'),
        ('s2:B4', None, 'red'),
        ('before:red', None, 'red'),
        ('SR_B4', 'LANDSAT_8', 'red'),
        ('SR_B4', 'Landsat 7', 'nir'),
        ('B8a', None, 'nir08'),
        ('B5', 'Sentinel-2-L2A', 'rededge071'),
        ('landsat8:B5', None, 'nir08'),
        ('l5:B5', 'sentinel-2', 'swir16'),
        ('Red Edge 1', None, 'rededge071'),
        ('VV', None, 'vv'),
        ('B12', None, 'swir22'),
        ('A00', None, 'a00'),
        ('B64', None, 'b64'),
    ],
)
def test_names(name, sensor, expected):
    assert band(name, sensor).name == expected


def test_wavelengths_are_the_sensors():
    assert band('red') == Band('red', 0.6646, 0.031)
    assert band('red', 'landsat8') == band('B4', 'landsat8') == Band('red', 0.6546, 0.037)
    assert band('VV').wavelength is None


def test_a_number_of_an_unknown_sensor_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)'B5'.*rededge071 of sentinel2, nir08.*s2:B5"):
        band('B5')


def test_other_bands_tell_the_sensor():
    assert [each.name for each in resolve_bands(['B4', 'B5', 'B8A'])][1] == 'rededge071'
    assert [each.name for each in resolve_bands(['B04', 'B5'])][1] == 'rededge071'


@pytest.mark.parametrize(
    ('name', 'wavelength', 'expected'),
    [('B5', 0.704, 'rededge071'), ('B5', 0.865, 'nir08'), ('B5', 1.65, 'swir16'), ('B5', 5, 'b5')],
)
def test_the_wavelength_of_the_scene_tells_the_band(name, wavelength, expected):
    (found,) = resolve_bands([name], wavelengths=[wavelength])
    assert (found.name, found.wavelength) == (expected, wavelength)


def test_bands_of_ones_own():
    given = dict(name='chlorophyll', wavelength=0.68, bandwidth=0.01)
    assert resolve_bands([given]) == (Band('chlorophyll', 0.68, 0.01),)


@pytest.mark.parametrize(
    'bands',
    ['red', [4, 3, 2], [{'wavelength': 0.68}], [{'name': 'x', 'wavelenght': 0.68}], [{'name': 4}]],
)
def test_what_is_no_list_of_bands_is_refused(bands):
    with pytest.raises(ConfigError, match=r'(?s)is no band.*a list of names'):
        resolve_bands(bands)


def test_bands_without_a_name_are_not_those_of_a_sensor():
    with pytest.raises(ConfigError, match='bands without a name'):
        resolve_bands(['B1', 'B2', 'B3'])
    assert resolve_bands(['s2:B1', 's2:B2'])[1].name == 'blue'
