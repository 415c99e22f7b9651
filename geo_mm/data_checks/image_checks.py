"""Checks of one scene's pixels and georeference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from geo_mm.catalog.profile import data_tagged_as_alpha
from geo_mm.data_checks.examined import ExaminedScene
from geo_mm.data_checks.findings import Finding, Places
from geo_mm.errors import GeoMMError
from geo_mm.raster.projection import proj_crs

# Chosen after a look at banepa_a and kampala_a, where roofs of up to 0.6 % of the
# pixels are as bright as can be stored.
_SATURATED = 0.05  # share of a band's pixels
_LEVELS = 16  # different values of a band that holds more than classes
_FINER = 1.1  # as many times as coarse as the asked GSD is coarser
_FINEST, _COARSEST = 1e-3, 2e4  # metres per pixel of a plausible image


def unreadable(scene: ExaminedScene) -> list[Finding]:
    """Images that cannot be opened, or not as the config asks."""
    error = scene.image_error
    if error is None or _asked_bands(scene) or _asked_gsd_without_crs(scene):
        return []
    return [
        Finding(
            'unreadable-image',
            'error',
            scene.file,
            error.found,
            'training stops when it opens this scene',
            error.fix or (f'needed is {error.expected}' if error.expected else 'replace the file'),
        )
    ]


def _asked_bands(scene: ExaminedScene) -> list[str]:
    """Asked bands that the scene does not have."""
    asked = scene.split.scene_options.bands
    if asked is None or scene.whole is None:
        return []
    return scene.whole.missing([band for band in asked if isinstance(band, str)])


def _asked_gsd_without_crs(scene: ExaminedScene) -> bool:
    asked = scene.split.scene_options.gsd
    return asked is not None and scene.whole is not None and scene.whole.gsd is None


def missing_bands(scene: ExaminedScene) -> list[Finding]:
    """Bands that are asked for by name, and that a scene does not have."""
    missing = _asked_bands(scene)
    if not missing or scene.image_error is None or scene.whole is None:
        return []
    return [
        Finding(
            'missing-bands',
            'error',
            f'{scene.file}, bands {", ".join(missing)}',
            f'the scene has {", ".join(scene.whole.band_names)}',
            'training stops when it opens this scene',
            'correct the names in bands=(...), or describe the bands in the file '
            '(QGIS and GDAL call that the description of a band)',
        )
    ]


def crs(scene: ExaminedScene) -> list[Finding]:
    """Scenes without a CRS, or with one that they cannot have."""
    whole = scene.whole
    if whole is None:
        return []
    if whole.crs is None:
        features = scene.features
        wanted = _asked_gsd_without_crs(scene) or (features is not None and features.crs)
        return [
            Finding(
                'no-crs',
                'error' if wanted else 'note',
                scene.file,
                'the image has no coordinate reference system',
                'labels with a CRS cannot be placed on it, and a GSD in metres has no meaning'
                if wanted
                else 'sizes in metres, the map of results and the audit of splits need one',
                'georeference it, e.g. with: rio edit-info --crs EPSG:32645 FILE, or in QGIS '
                'with Layer > Set CRS and Export',
            )
        ]
    bounds, gsd = whole.grid.lonlat_bounds, whole.gsd
    if bounds is not None and gsd is not None and _FINEST < max(gsd) < _COARSEST:
        return []
    area = proj_crs(whole.crs).area_of_use
    numbers = ', '.join(f'{value:.6g}' for value in whole.grid.bounds)
    text = f'its bounds are {numbers} in {proj_crs(whole.crs).name}'
    if gsd is not None:
        text += f', which makes a pixel {max(gsd):.3g} m wide'
    return [
        Finding(
            'implausible-crs',
            'error',
            scene.file,
            text if area is None else f'{text}; that CRS is for {area.name}',
            'labels, GSD and sizes of objects are all wrong',
            'give it the CRS that its coordinates are in; if longitude and latitude are '
            'exchanged, make the geotransform anew',
        )
    ]


def no_data(scene: ExaminedScene) -> list[Finding]:
    """Scenes, or areas of interest, in which no pixel is valid."""
    if scene.labelled is None or scene.overview[1].any():
        return []
    where = 'inside the area of interest' if scene.labelled.aoi is not None else 'at all'
    return [
        Finding(
            'no-valid-pixel',
            'error',
            scene.file,
            f'there is no valid pixel {where}',
            'no chip can be cut from it',
            'check what the file declares as nodata, its mask, and the area of interest; or '
            'take the scene out of the catalog',
        )
    ]


def undeclared_nodata(scene: ExaminedScene) -> list[Finding]:
    """Collars and holes of one value that no nodata value and no mask declare."""
    if scene.labelled is None:
        return []
    found = []
    for value, mask in scene.filler:
        share = mask.mean()
        found.append(
            Finding(
                'undeclared-nodata',
                'warning',
                scene.file,
                f'{share:.1%} of the pixels are in patches where all bands are {value:g}: '
                'a collar or hole that is not declared as nodata',
                'the model learns that the hole is background, and the statistics of the bands '
                'are wrong',
                f'set nodata={value:g} in the datasets of the config, or in the file with: '
                f'rio edit-info --nodata {value:g} FILE',
                _places(scene, mask),
            )
        )
    return found


def _places(scene: ExaminedScene, mask: np.ndarray, most: int = 8) -> Places:
    """Boxes around the largest patches of a mask of the overview."""
    numbers, count = ndimage.label(mask)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    slices = ndimage.find_objects(numbers)
    boxes = [
        (slices[i][1].start, slices[i][0].start, slices[i][1].stop, slices[i][0].stop)
        for i in np.argsort(-sizes, kind='stable')[:most]
    ]
    assert scene.scene is not None and scene.whole is not None
    grid = scene.overview[2]
    scale = np.array([scene.scene.width / grid.width, scene.scene.height / grid.height] * 2)
    return Places.of(scene.name, scene.boxes_in_file(np.array(boxes) * scale), scene.whole.grid)


def data_as_alpha(scene: ExaminedScene) -> list[Finding]:
    """Bands that are tagged as transparency but hold data, such as near infrared."""
    if scene.whole is None or len(scene.whole.sources) > 1:
        return []
    try:
        number = data_tagged_as_alpha(scene.whole)
    except GeoMMError:
        return []
    asked = [str(band).lower() for band in scene.split.scene_options.bands or ()]
    if number is None or str(number) in asked or 'alpha' in asked:
        return []
    what = 'near infrared' if number == 4 else 'data'
    return [
        Finding(
            'data-as-alpha',
            'warning',
            f'{scene.file}, band {number}',
            f'band {number} is tagged as alpha (transparency), but its values vary as those '
            f'of {what} do',
            'the band is not given to the model, and pixels where it is 0 are taken for no data',
            f'name it in the config as data, bands=(1, 2, 3, {number}), or mend the file: '
            f'rio edit-info --colorinterp {number}=undefined FILE',
        )
    ]


class _Band(NamedTuple):
    name: str
    values: np.ndarray


def _bands(scene: ExaminedScene) -> Sequence[_Band]:
    """The usable pixels of each band; none if there are hardly any."""
    if scene.labelled is None or scene.usable.sum() < 64:
        return []
    data = scene.overview[0][:, scene.usable]
    assert scene.scene is not None
    return [_Band(*pair) for pair in zip(scene.scene.band_names, data, strict=True)]


def constant_bands(scene: ExaminedScene) -> list[Finding]:
    """Bands that have one value only."""
    constant = [band for band in _bands(scene) if band.values.min() == band.values.max()]
    if not constant:
        return []
    return [
        Finding(
            'constant-band',
            'warning',
            f'{scene.file}, band {", ".join(band.name for band in constant)}',
            f'all valid pixels are {", ".join(f"{band.values[0]:g}" for band in constant)}',
            'there is nothing to learn from it, and a standard deviation of 0 cannot be divided by',
            'leave the band out with bands=(...), or replace the file if its data were lost',
        )
    ]


def repeated_bands(scene: ExaminedScene) -> list[Finding]:
    """Bands that are copies of one another, of a scene that is not grey all over."""
    bands = _bands(scene)
    pairs = [
        f'{first.name} and {second.name}'
        for i, first in enumerate(bands)
        for second in bands[i + 1 :]
        if first.values.min() < first.values.max() and np.array_equal(first.values, second.values)
    ]
    if not pairs:
        return []
    return [
        Finding(
            'repeated-band',
            'warning',
            f'{scene.file}, bands {", ".join(pairs)}',
            'the bands are equal in every pixel',
            'a band may have been written twice in place of another; it costs and teaches nothing',
            'write the file anew from its sources, or leave one out with bands=(...)',
        )
    ]


def saturated_bands(scene: ExaminedScene) -> list[Finding]:
    """Bands with many pixels at the highest value."""
    found = []
    for band in _bands(scene):
        top = band.values.max()
        share = float((band.values == top).mean())
        if share < _SATURATED or len(np.unique(band.values)) <= _LEVELS:
            continue
        found.append(
            Finding(
                'saturated-band',
                'warning',
                f'{scene.file}, band {band.name}',
                f'{share:.0%} of its pixels have the highest value, {top:g}',
                'bright surfaces look all alike, and what was stretched for the eye differs '
                'from scene to scene',
                'export the image anew without stretching or clipping it, in 16 bit where '
                'the sensor has more than 8',
            )
        )
    return found


def too_coarse(scene: ExaminedScene) -> list[Finding]:
    """Scenes that are coarser than what is asked for."""
    asked = scene.split.scene_options.gsd
    if asked is None or scene.whole is None:
        return []
    if scene.whole.gsd is None or max(scene.whole.gsd) <= asked * _FINER:
        return []
    own = max(scene.whole.gsd)
    return [
        Finding(
            'too-coarse',
            'warning',
            scene.file,
            f'its pixels are {own:.3g} m, the config asks for {asked:.3g} m',
            'the pixels are interpolated: blurred in a way that finer scenes are not',
            f'train at gsd={own:.2g} or coarser, or take the scene out',
        )
    ]


IMAGE_CHECKS = (
    unreadable,
    missing_bands,
    crs,
    no_data,
    undeclared_nodata,
    data_as_alpha,
    constant_bands,
    repeated_bands,
    saturated_bands,
    too_coarse,
)
