"""One sound data set, and the same with one fault each."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from mmengine.config import Config
from scipy import ndimage

from tests.data.labels import box, write_labels
from tests.data.rasters import write_raster

SIDE, PITCH = 320, 40
BANDS = ('red', 'green', 'blue', 'nir')
COLOURS = ('red', 'green', 'blue', 'undefined')
FAR = Affine(0.5, 0, 500_400, 0, -0.5, 4_000_000)  # 240 m east of the scene at TRANSFORM

Source = tuple[object, dict]
FAULTS: dict[str, tuple[str, Callable[[Path], Source]]] = {}
"""Name of a fault to the check that sees it, and what makes the data set in a folder."""


def fault(check: str):
    """Enters the data set of a function as one with a fault."""

    def enter(make: Callable[[Path], Source]):
        FAULTS[make.__name__] = (check, make)
        return make

    return enter


def houses() -> list[shapely.Polygon]:
    """Sixty-four of them, at places that are not quite regular."""
    rng = np.random.default_rng(1)
    corners = [(x, y) for y in range(8, SIDE - 30, PITCH) for x in range(8, SIDE - 30, PITCH)]
    jitter = rng.integers(-5, 6, (len(corners), 2))
    return [
        box(x + dx, y + dy, x + dx + 15, y + dy + 19)
        for (x, y), (dx, dy) in zip(corners, jitter, strict=True)
    ]


def pixels(seed: int = 0) -> np.ndarray:
    """``(4, SIDE, SIDE)`` uint8: grass and roofs."""
    rng = np.random.default_rng(seed)
    ground = ndimage.gaussian_filter(rng.normal(0, 1, (4, SIDE, SIDE)), (0, 1, 1))
    image = 90 + 30 * ground + np.array([0, 12, -10, 40])[:, None, None]
    for shape in houses():
        left, top, right, bottom = map(int, shape.bounds)
        roof = rng.uniform(150, 220) + rng.normal(0, 8, (4, bottom - top, right - left))
        image[:, top:bottom, left:right] = roof
    return image.clip(1, 254).astype('uint8')


def image(folder: Path, data: np.ndarray | None = None, name: str = 'town.tif', **how) -> str:
    data = pixels() if data is None else data
    how = {'colorinterp': COLOURS[: len(data)], 'descriptions': BANDS[: len(data)], **how}
    return str(write_raster(folder / name, data, **how))


def labels(folder: Path, shapes=None, classes=None, name: str = 'houses.gpkg', **how) -> str:
    return str(write_labels(folder / name, shapes or houses(), classes, **how))


def layer(folder: Path, shapes=None, classes=None, **how) -> Source:
    """The sound image with these labels."""
    return image(folder), {'labels': labels(folder, shapes, classes, **how)}


def config(folder: Path, scenes: dict, **changes) -> Config:
    """A config of which no more is read than datasets and normalisation.

    Args:
        folder: Where relative paths start.
        scenes: Scenes of each split.
        changes: Of the datasets; ``mean`` and ``std`` of the normalisation.
    """
    normal = {
        key: changes.pop(key, value) for key, value in (('mean', [115] * 4), ('std', [45] * 4))
    }
    dataset = {
        'type': 'geo_mm.GeoDetDataset',
        'data_root': str(folder),
        'metainfo': {'classes': ('house',)},
        'chip_size': 64,
        'pipeline': [],
        **changes,
    }
    loaders = {
        f'{split}_dataloader': {'dataset': {**dataset, 'scenes': found}}
        for split, found in scenes.items()
    }
    return Config({'default_scope': 'mmdet', 'model': {'data_preprocessor': normal}, **loaders})


def sound(folder: Path) -> Source:
    return layer(folder, to_crs='EPSG:4326')


def sound_config(folder: Path) -> Source:
    """Two scenes far from one another, one to learn from and one to score on."""
    image(folder)
    image(folder, pixels(1), 'east.tif', transform=FAR)
    labels(folder)
    labels(folder, name='east.gpkg', transform=FAR)
    scenes = {
        'train': {'image': 'town.tif', 'labels': 'houses.gpkg'},
        'val': {'image': 'east.tif', 'labels': 'east.gpkg'},
    }
    return config(folder, scenes, bands=BANDS), {}


def sound_raster(folder: Path) -> Source:
    """Classes of pixels."""
    return image(folder), {'labels': label_raster(folder)}


def label_raster(folder: Path, value: int = 1, at: slice = slice(0, 0)) -> str:
    classes = np.zeros((SIDE, SIDE), 'uint8')
    for shape in houses():
        left, top, right, bottom = map(int, shape.bounds)
        classes[top:bottom, left:right] = 1
    classes[at, at] = value
    return str(write_raster(folder / 'classes.tif', classes))


SOUND = (sound, sound_config, sound_raster)


@fault('unreadable-image')
def truncated_file(folder):
    path = Path(image(folder))
    path.write_bytes(path.read_bytes()[:200])
    return str(path), {}


@fault('unreadable-image')
def file_cut_short(folder):
    """Its header is whole, and half of its pixels."""
    path = Path(image(folder))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return str(path), {'labels': labels(folder)}


@fault('empty-layer')
def layer_without_features(folder):
    empty = write_labels(folder / 'houses.gpkg', [box(0, 0, 1, 1)])
    gpd.read_file(empty).iloc[:0].to_file(empty, driver='GPKG')
    return image(folder), {'labels': str(empty)}


@fault('missing-bands')
def unknown_band(folder):
    sound(folder)
    scenes = {'train': {'image': 'town.tif', 'labels': 'houses.gpkg'}}
    return config(folder, scenes, bands=('red', 'swir')), {}


@fault('no-crs')
def image_without_crs(folder):
    return image(folder, crs=None), {'labels': labels(folder)}


@fault('implausible-crs')
def image_with_exchanged_axes(folder):
    # Latitude 3.6 and longitude 105 exchanged: there is no latitude of 105 degrees.
    return image(folder, crs='EPSG:4326', transform=Affine(1e-5, 0, 3.6, 0, -1e-5, 105.2)), {}


@fault('implausible-crs')
def degrees_called_metres(folder):
    return image(folder, transform=Affine(1e-5, 0, 105.2, 0, -1e-5, 3.6)), {}


@fault('no-valid-pixel')
def only_nodata(folder):
    return image(folder, np.zeros((4, SIDE, SIDE), 'uint8'), nodata=0), {}


def with_patch(folder: Path, value: int, where: tuple) -> Source:
    data = pixels()
    data[(slice(None), *where)] = value
    return image(folder, data), {}


@fault('undeclared-nodata')
def black_collar(folder):
    return with_patch(folder, 0, (slice(None), slice(0, 30)))


@fault('undeclared-nodata')
def white_hole(folder):
    return with_patch(folder, 255, (slice(100, 150), slice(100, 150)))


@fault('undeclared-nodata')
def collar_of_another_value(folder):
    return with_patch(folder, 77, (slice(0, 40), slice(None)))


@fault('data-as-alpha')
def near_infrared_as_alpha(folder):
    return image(folder, colorinterp=('red', 'green', 'blue', 'alpha')), {}


@fault('constant-band')
def lost_band(folder):
    data = pixels()
    data[3] = 7
    return image(folder, data), {}


@fault('repeated-band')
def band_written_twice(folder):
    data = pixels()
    data[2] = data[1]
    return image(folder, data), {}


@fault('saturated-band')
def overexposed(folder):
    data = pixels()
    data[0] = np.minimum(data[0].astype(int) * 2, 255)
    return image(folder, data), {}


@fault('too-coarse')
def coarser_than_asked(folder):
    source, options = sound(folder)
    return source, {**options, 'gsd': 0.25}


@fault('labels-without-crs')
def layer_without_crs(folder):
    return layer(folder, crs=None)


@fault('axes-exchanged')
def latitude_before_longitude(folder):
    path = labels(folder, to_crs='EPSG:4326')
    frame = gpd.read_file(path)
    frame.geometry = shapely.transform(frame.geometry.to_numpy(), lambda xy: xy[:, ::-1])
    frame.to_file(path)
    return image(folder), {'labels': path}


@fault('labels-elsewhere')
def labels_of_another_place(folder):
    return layer(folder, transform=Affine(0.5, 0, 520_000, 0, -0.5, 4_000_000))


@fault('class-without-mapping')
def value_of_no_class(folder):
    sound(folder)
    labels(folder, classes=['house'] * 60 + ['shed'] * 4, name='kinds.gpkg')
    scenes = {'train': {'image': 'town.tif', 'labels': 'kinds.gpkg'}}
    return config(folder, scenes, label_cfg={'class_column': 'class'}), {}


@fault('class-without-mapping')
def pixel_value_of_no_class(folder):
    image(folder)
    label_raster(folder, value=9, at=slice(0, 20))
    scenes = {'train': {'image': 'town.tif', 'labels': 'classes.tif'}}
    metainfo = {'classes': ('ground', 'house')}
    return config(folder, scenes, type='geo_mm.GeoSegDataset', metainfo=metainfo), {}


@fault('no-class-column')
def column_of_another_name(folder):
    sound(folder)
    scenes = {'train': {'image': 'town.tif', 'labels': 'houses.gpkg'}}
    return config(folder, scenes, label_cfg={'class_column': 'kind'}), {}


@fault('unusable-labels')
def damaged_layer(folder):
    path = Path(folder / 'houses.gpkg')
    path.write_text('not a database')
    return image(folder), {'labels': str(path)}


@fault('no-geometry')
def features_without_geometry(folder):
    return layer(folder, [*houses(), None, shapely.Polygon()])


@fault('invalid-geometry')
def bow_ties(folder):
    ties = [
        shapely.Polygon([(x, 5), (x + 10, 25), (x + 10, 5), (x, 25)]) for x in (33, 73, 113, 153)
    ]
    return layer(folder, [*houses(), *ties])


@fault('tiny-object')
def slivers(folder):
    return layer(folder, [*houses(), *(box(x, 36, x + 1, 37) for x in range(20, 80, 10))])


@fault('duplicate-object')
def objects_drawn_twice(folder):
    return layer(folder, [*houses(), *houses()[10:20]])


@fault('labels-on-nodata')
def labels_off_the_image(folder):
    data = pixels()
    data[:, :, 160:] = 0
    return image(folder, data, nodata=0), {'labels': labels(folder)}


@fault('shifted-labels')
def labels_moved(folder):
    moved = [shapely.affinity.translate(shape, 9, -6) for shape in houses()]
    return layer(folder, moved)


@fault('unlabelled-objects')
def half_labelled(folder):
    data = np.tile(pixels(), (1, 2, 2))
    shapes = [
        shapely.affinity.translate(shape, x, y)
        for shape in houses()
        for x, y in ((0, 0), (0, SIDE), (SIDE, 0))
    ]
    return image(folder, data), {'labels': labels(folder, shapes)}


def pair(folder: Path, data: np.ndarray | None = None, **how) -> Source:
    """A folder of two scenes, the second made as told."""
    image(folder, pixels(1), 'west.tif')
    image(folder, data, 'east.tif', **{'transform': FAR, **how})
    return str(folder), {}


@fault('different-bands')
def bands_in_another_order(folder):
    names = ('blue', 'green', 'red', 'nir')
    return pair(folder, colorinterp=('blue', 'green', 'red', 'undefined'), descriptions=names)


@fault('different-types')
def eight_and_sixteen_bit(folder):
    return pair(folder, pixels().astype('uint16') * 40)


@fault('different-gsd')
def scenes_of_two_resolutions(folder):
    return pair(folder, transform=FAR @ Affine.scale(3))


@fault('no-labels')
def scene_without_labels(folder):
    image(folder)
    image(folder, pixels(1), 'east.tif', transform=FAR)
    labels(folder)
    scenes = {'train': [{'image': 'town.tif', 'labels': 'houses.gpkg'}, {'image': 'east.tif'}]}
    return config(folder, scenes), {}


@fault('normalisation')
def means_of_three_bands(folder):
    sound_config(folder)
    scenes = {'train': {'image': 'town.tif', 'labels': 'houses.gpkg'}}
    return config(folder, scenes, mean=[115] * 3, std=[45] * 3), {}


@fault('normalisation')
def means_between_0_and_1(folder):
    sound_config(folder)
    scenes = {'train': {'image': 'town.tif', 'labels': 'houses.gpkg'}}
    return config(folder, scenes, mean=[0.45] * 4, std=[0.22] * 4), {}


@fault('few-samples')
def four_of_a_class(folder):
    sound(folder)
    labels(folder, classes=['house'] * 60 + ['shed'] * 4, name='kinds.gpkg')
    scenes = {'train': {'image': 'town.tif', 'labels': 'kinds.gpkg'}}
    options = {
        'label_cfg': {'class_column': 'class'},
        'metainfo': {'classes': ('house', 'shed')},
    }
    return config(folder, scenes, **options), {}


@fault('class-not-scored')
def class_only_in_training(folder):
    sound_config(folder)
    labels(folder, classes=['house'] * 40 + ['shed'] * 24, name='kinds.gpkg')
    labels(folder, classes=['house'] * 64, name='east_kinds.gpkg', transform=FAR)
    scenes = {
        'train': {'image': 'town.tif', 'labels': 'kinds.gpkg'},
        'val': {'image': 'east.tif', 'labels': 'east_kinds.gpkg'},
    }
    options = {
        'label_cfg': {'class_column': 'class'},
        'metainfo': {'classes': ('house', 'shed')},
    }
    return config(folder, scenes, **options), {}


@fault('larger-than-chip')
def chips_too_small(folder):
    source, options = sound(folder)
    return source, {**options, 'chip_size': 16}


@fault('chips-without-labels')
def one_corner_with_objects(folder):
    # Grass, but for houses in the first chip of a hundred.
    rng = np.random.default_rng(0)
    data = rng.integers(60, 120, (4, SIDE, SIDE)).astype('uint8')
    data[:, :32, :32] = pixels()[:, :32, :32]
    shapes = [box(x, y, x + 5, y + 5) for x in (2, 12, 22) for y in (2, 12, 22)]
    source = image(folder, data), {'labels': labels(folder, shapes), 'chip_size': 32}
    return source


@fault('repeated-scene')
def scene_listed_twice(folder):
    sound(folder)
    scene = {'image': 'town.tif', 'labels': 'houses.gpkg'}
    return config(folder, {'train': [scene, scene]}), {}


@fault('split-leak')
def scored_on_what_was_learnt(folder):
    sound(folder)
    scene = {'image': 'town.tif', 'labels': 'houses.gpkg'}
    return config(folder, {'train': scene, 'val': scene}), {}


@fault('splits-near')
def halves_that_touch(folder):
    sound(folder)
    scene = {'image': 'town.tif', 'labels': 'houses.gpkg'}
    left, right = {**scene, 'area': (0, 0, 0.5, 1)}, {**scene, 'area': (0.55, 0, 1, 1)}
    return config(folder, {'train': left, 'val': right}), {}
