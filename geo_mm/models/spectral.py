"""Bands by their common names: which sensor's numbers mean which part of the spectrum.

Names are those of the STAC extension EO 2.0 (``red``, ``rededge071``, ``nir08``,
``swir16``), and polarisations. Wavelengths are those that the operators publish:
Sentinel-2A's MSI (ESA, S2-SRF 3.0), and for Landsat 8's OLI and TIRS (USGS).

Numbers without a sensor are read as far as today's sensors agree: ``B4`` is red
for Sentinel-2 and Landsat 8 and 9. ``B5`` is not the same, and an error, unless
other bands of the list tell the sensor (``B8A``, ``B12``, ``B05`` are names of
Sentinel-2 alone), or the name does: ``s2:B5``, ``landsat8:B5``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from geo_mm.errors import ConfigError


@dataclass(frozen=True)
class Band:
    """A part of the spectrum.

    Attributes:
        name: Common name; of a band that is not known here its own, in lower case.
        wavelength: Centre in micrometres; None where there is none, as of radar.
        bandwidth: Full width in micrometres; None where unknown.
    """

    name: str
    wavelength: float | None = None
    bandwidth: float | None = None

    @property
    def known(self) -> bool:
        """Whether it is one of the common names, or has a wavelength."""
        return self.wavelength is not None or self.name in _COMMON

    def holds(self, wavelength: float) -> bool:
        """Whether a wavelength is within half a bandwidth of the centre."""
        if self.wavelength is None or self.bandwidth is None:
            return False
        return abs(self.wavelength - wavelength) <= self.bandwidth / 2


BandLike = str | Band | Mapping
"""A name, a band, or what :class:`Band` takes, for bands of no common name."""

_COMMON = {
    each.name: each
    for each in (
        Band('coastal', 0.4427, 0.021),
        Band('blue', 0.4924, 0.066),
        Band('green', 0.5598, 0.036),
        Band('yellow', 0.605, 0.04),
        Band('red', 0.6646, 0.031),
        Band('rededge071', 0.7041, 0.015),
        Band('rededge075', 0.7405, 0.015),
        Band('rededge078', 0.7828, 0.02),
        Band('nir', 0.8328, 0.106),
        Band('nir08', 0.8647, 0.021),
        Band('nir09', 0.9451, 0.02),
        Band('cirrus', 1.3735, 0.031),
        Band('swir16', 1.6137, 0.091),
        Band('swir22', 2.2024, 0.175),
        Band('pan', 0.59, 0.18),
        Band('lwir', 11.45, 2.1),
        Band('lwir11', 10.895, 0.59),
        Band('lwir12', 12.005, 1.01),
        *map(Band, ('vv', 'vh', 'hh', 'hv', 'elevation')),
    )
}

_WORDS = {
    'r': 'red',
    'g': 'green',
    'b': 'blue',
    'n': 'nir',
    'aerosol': 'coastal',
    'coastalblue': 'coastal',
    'coastalaerosol': 'coastal',
    'ultrablue': 'coastal',
    'rededge': 'rededge071',
    'rededge1': 'rededge071',
    'rededge2': 'rededge075',
    'rededge3': 'rededge078',
    're1': 'rededge071',
    're2': 'rededge075',
    're3': 'rededge078',
    'nearinfrared': 'nir',
    'nir1': 'nir',
    'narrownir': 'nir08',
    'nirnarrow': 'nir08',
    'watervapor': 'nir09',
    'watervapour': 'nir09',
    'swir1': 'swir16',
    'swir2': 'swir22',
    'panchromatic': 'pan',
    'thermal': 'lwir',
    'tir': 'lwir',
    'tirs1': 'lwir11',
    'tirs2': 'lwir12',
    'dem': 'elevation',
    'dsm': 'elevation',
}

_SENTINEL_2 = {
    '1': 'coastal',
    '2': 'blue',
    '3': 'green',
    '4': 'red',
    '5': 'rededge071',
    '6': 'rededge075',
    '7': 'rededge078',
    '8': 'nir',
    '8a': 'nir08',
    '9': 'nir09',
    '10': 'cirrus',
    '11': 'swir16',
    '12': 'swir22',
}
_LANDSAT_8 = {
    '1': _COMMON['coastal'],
    '2': Band('blue', 0.482, 0.06),
    '3': Band('green', 0.5614, 0.057),
    '4': Band('red', 0.6546, 0.037),
    '5': Band('nir08', 0.8647, 0.028),
    '6': Band('swir16', 1.6089, 0.085),
    '7': Band('swir22', 2.2007, 0.187),
    '8': Band('pan', 0.5896, 0.172),
    '9': Band('cirrus', 1.3734, 0.02),
    '10': _COMMON['lwir11'],
    '11': _COMMON['lwir12'],
}
_LANDSAT_TM = {
    '1': Band('blue', 0.485, 0.07),
    '2': Band('green', 0.56, 0.08),
    '3': Band('red', 0.66, 0.06),
    '4': Band('nir', 0.835, 0.13),
    '5': Band('swir16', 1.65, 0.2),
    '6': Band('lwir', 11.45, 2.1),
    '7': Band('swir22', 2.22, 0.27),
    '8': Band('pan', 0.71, 0.38),
}
_NUMBERS: dict[str, dict[str, Band]] = {
    'sentinel2': {number: _COMMON[name] for number, name in _SENTINEL_2.items()},
    'landsat8': _LANDSAT_8,
    'landsat7': _LANDSAT_TM,
}
_SENSORS = {
    'sentinel2': re.compile(r's2\w*|sentinel2\w*|msi'),
    'landsat8': re.compile(r'l[89]|lc0[89]|landsat[89]\w*|oli\w*'),
    'landsat7': re.compile(r'l[457]|l[et]0[457]|landsat[457]\w*|e?tm'),
}
# Numbers that mean the same, or practically do: nobody stacks Landsat's panchromatic
# band, of half the pixel size, with the others.
_AGREED = ('1', '2', '3', '4', '8')
_NUMBER = re.compile(r'(?:sr)?b(?:and)?(0?)(\d{1,2}a?)')


def band(name: str, sensor: str | None = None) -> Band:
    """A band by its name.

    Args:
        name: Common name, in any case, a usual synonym (``R``, ``B04``,
            ``SR_B4``, ``B8A``, ``swir1``, ``VV``), or a name with a role or
            sensor before it: ``s2:B4``.
        sensor: Whose numbers are meant: ``'sentinel-2'``, ``'landsat8'``,
            ``'landsat7'`` and the like. A sensor in the name goes first.

    Returns:
        The band. One that is not known here has its name, and no wavelength.

    Raises:
        ConfigError: If the number means different bands, and no sensor is given.
    """
    role, _, own = name.rpartition(':')
    sensor = _sensor(role) or _sensor(sensor)
    word = re.sub(r'[\s_.-]', '', own.lower())
    if found := _NUMBER.fullmatch(word):
        return _numbered(name, found[1], found[2], sensor)
    word = _WORDS.get(word, word)
    if sensor and word in _COMMON:
        word_of = {each.name: each for each in _NUMBERS[sensor].values()}
        return word_of.get(word, _COMMON[word])
    return _COMMON.get(word, Band(own.strip().lower()))


def _numbered(name: str, zero: str, number: str, sensor: str | None) -> Band:
    only_sentinel = zero or number in ('8a', '12')
    if sensor is None and (only_sentinel or number in _AGREED):
        sensor = 'sentinel2'
    if sensor is None and number in _SENTINEL_2:
        found = {key: bands[number].name for key, bands in _NUMBERS.items() if number in bands}
        raise ConfigError(
            f'band {name!r} of an unknown sensor: '
            + ', '.join(f'{what} of {which}' for which, what in found.items()),
            'the sensor, or a name that means the same for all',
            f'write s2:{name} or landsat8:{name}, or {" or ".join(dict.fromkeys(found.values()))}',
        )
    known = _NUMBERS[sensor] if sensor else {}
    # Further numbers are bands of other instruments, or merely of a file.
    return known.get(number, Band(name.rpartition(':')[2].strip().lower()))


def _sensor(name: str | None) -> str | None:
    """The sensor that a role or product is named after; Landsat 4 to 7 have the same numbers."""
    word = re.sub(r'[\W_]', '', (name or '').lower())
    return next((sensor for sensor, names in _SENSORS.items() if names.fullmatch(word)), None)


def resolve_bands(
    bands: Sequence[BandLike],
    sensor: str | None = None,
    wavelengths: Sequence[float | None] | None = None,
) -> tuple[Band, ...]:
    """The bands of an image, whose names together may tell the sensor.

    Args:
        bands: Names, bands, or mappings with a band's ``name``, ``wavelength``
            and ``bandwidth``.
        sensor: As for :func:`band`.
        wavelengths: Centre of each band in micrometres, None where unknown. A
            number that is ambiguous means the band that holds it.

    Raises:
        ConfigError: If they are no list of bands, if a number means different bands,
            and neither the sensor nor another band tells which, or if all are B1,
            B2, ..., which is what :class:`geo_mm.Scene` calls bands without a name.
    """
    _check_bands(bands)
    names = [
        each['name'] if isinstance(each, Mapping) else each
        for each in bands
        if not isinstance(each, Band)
    ]
    from geo_mm.inputspec import unnamed  # brings GDAL, which listing weights can do without

    if not (sensor or wavelengths) and names and unnamed(tuple(names)):
        raise ConfigError(
            f'bands {", ".join(names)}, which is what bands without a name are called',
            'names of bands, such as red, green, blue, nir',
            'name them by what they show, or by their sensor: s2:B1, landsat8:B1, ...',
        )
    if sensor is None and any(_of_sentinel_2(name) for name in names):
        sensor = 'sentinel-2'
    centres = wavelengths or [None] * len(bands)
    return tuple(_resolved(b, sensor, w) for b, w in zip(bands, centres, strict=True))


def _check_bands(bands: Sequence[BandLike]) -> None:
    keys = {field.name for field in fields(Band)}
    for each in [bands] if isinstance(bands, str) else bands:
        if isinstance(each, Mapping):
            fine = isinstance(each.get('name'), str) and each.keys() <= keys
        else:
            fine = isinstance(each, str | Band) and each is not bands
        if not fine:
            raise ConfigError(
                f'bands={bands!r}: {each!r} is no band',
                f'a list of names, or of mappings with {", ".join(sorted(keys))}',
            )


def _of_sentinel_2(name: str) -> bool:
    found = _NUMBER.fullmatch(re.sub(r'[\s_-]', '', name.rpartition(':')[2].lower()))
    return found is not None and bool(found[1] or found[2] in ('8a', '12'))


def _resolved(given: BandLike, sensor: str | None, wavelength: float | None) -> Band:
    if isinstance(given, Band):
        return given
    if isinstance(given, Mapping):
        known = band(given['name'], sensor)
        return replace(known, **{key: given[key] for key in given if key != 'name'})
    if wavelength is None:
        return band(given, sensor)
    return _at(given, sensor, wavelength)


def _at(name: str, sensor: str | None, wavelength: float) -> Band:
    """The band of this name at a wavelength that its file tells."""
    sensors = [sensor] if sensor or _sensor(name.rpartition(':')[0]) else [*_NUMBERS, None]
    for each in sensors:
        try:
            found = band(name, each)
        except ConfigError:
            continue
        if found.wavelength is None or found.holds(wavelength):
            return replace(found, wavelength=wavelength)
    return Band(name.rpartition(':')[2].strip().lower(), wavelength)
