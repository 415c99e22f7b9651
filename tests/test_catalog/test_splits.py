import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine

from geo_mm.catalog import (
    CatalogEntry,
    SplitOptions,
    read_aoi,
    read_catalog,
    split_entries,
    write_catalog,
)
from geo_mm.errors import CatalogError
from geo_mm.raster import Scene
from tests.data.labels import box, write_labels
from tests.data.rasters import TRANSFORM, UTM_17N, write_raster


def write_scene(path, x=0, y=0, side=100, crs=UTM_17N, **options):
    """A scene of 0.5 m pixels whose corner is so many metres to the east and south."""
    transform = Affine.translation(x, -y) @ TRANSFORM
    return str(write_raster(path, np.ones((1, side, side), 'uint8'), crs, transform, **options))


def in_metres(split):
    """Ground of each split, in UTM."""
    frame = gpd.GeoDataFrame(
        {'split': [entry.split for entry in split.entries]}, geometry=list(split.outlines), crs=4326
    )
    return frame.to_crs(UTM_17N).dissolve('split').geometry


def distances(split):
    ground = in_metres(split)
    return [ground[a].distance(ground[b]) for a in ground.index for b in ground.index if a < b]


@pytest.fixture
def large(tmp_path):
    """One scene of 200 m."""
    return [CatalogEntry(write_scene(tmp_path / 'large.tif', side=400), name='large')]


@pytest.fixture
def many(tmp_path):
    """Twelve scenes of 50 m, 100 m apart."""
    return [
        CatalogEntry(
            write_scene(tmp_path / f'{n}.tif', x=150 * (n % 4), y=150 * (n // 4)), name=str(n)
        )
        for n in range(12)
    ]


def test_blocks_of_one_scene_are_a_buffer_apart(large):
    split = split_entries(large, SplitOptions(block_size=40, buffer=8))
    assert split.names == ('train', 'val', 'test') and split.units == 25
    assert {entry.split for entry in split.entries} == {'train', 'val', 'test'}
    assert len(split.entries) == 3 and {entry.image for entry in split.entries} == {large[0].image}
    assert min(distances(split)) == pytest.approx(8, abs=0.05)
    assert sum(split.areas) + split.left_out == pytest.approx(200**2, rel=1e-3)
    # Train gives way: test has its whole blocks.
    assert split.areas[2] / 40**2 == pytest.approx(round(split.areas[2] / 40**2), abs=0.01)


def test_the_buffer_is_the_diagonal_of_a_chip_by_default(large):
    split = split_entries(large, SplitOptions(chip_size=20, gsd=0.5))
    assert split.buffer == pytest.approx(10 * 2**0.5)
    assert min(distances(split)) > 0.999 * split.buffer
    assert split.block_size == pytest.approx(3 * split.buffer)


def test_a_seed_gives_one_split(large):
    splits = [
        split_entries(large, SplitOptions(block_size=40, buffer=5, seed=s)) for s in (1, 1, 2)
    ]
    assert splits[0].entries == splits[1].entries != splits[2].entries


def test_folds_share_the_buffer(large):
    split = split_entries(large, SplitOptions(block_size=50, buffer=6, folds=4))
    assert split.names == ('fold_1', 'fold_2', 'fold_3', 'fold_4')
    assert min(distances(split)) == pytest.approx(6.1, abs=0.1)
    assert max(split.areas) / min(split.areas) < 1.3


def test_scenes_stay_whole(many):
    split = split_entries(many, SplitOptions(by='scene', fractions=(0.5, 0.25, 0.25)))
    assert [entry.aoi for entry in split.entries] == [None] * 12
    counts = [sum(e.split == name for e in split.entries) for name in split.names]
    assert counts == [6, 3, 3]


def test_scenes_of_a_group_and_overlapping_ones_stay_together(tmp_path, many):
    copy = CatalogEntry(write_scene(tmp_path / 'copy.tif', x=10, crs='EPSG:32617'), name='copy')
    entries = [*many[:6], copy, *(CatalogEntry(e.image, name=e.name, group='a') for e in many[6:9])]
    for seed in range(5):
        split = split_entries(entries, SplitOptions(by='scene', seed=seed))
        of = {entry.name: entry.split for entry in split.entries}
        assert of['copy'] == of['0'] and of['6'] == of['7'] == of['8']


def test_neighbours_of_another_split_lose_a_margin(tmp_path):
    entries = [
        CatalogEntry(write_scene(tmp_path / f'{n}.tif', x=50 * n), name=str(n)) for n in range(3)
    ]
    split = split_entries(entries, SplitOptions(by='scene', buffer=5))
    assert min(distances(split)) == pytest.approx(5.1, abs=0.1)
    by_split = {entry.split: entry for entry in split.entries}
    assert by_split['train'].aoi and not by_split['test'].aoi
    assert split.areas[2] == pytest.approx(2500, rel=1e-3)


def test_the_same_ground_in_all_splits_is_an_error_unless_it_is_allowed(tmp_path):
    image = write_scene(tmp_path / 'a.tif')
    entries = [CatalogEntry(image, name=str(n), columns={'date': f'202{n}'}) for n in range(3)]
    with pytest.raises(CatalogError, match='nothing is left of train, val with a buffer'):
        split_entries(entries, SplitOptions(by='date'))
    split = split_entries(entries, SplitOptions(by='date', allow_overlap=True))
    assert [entry.split for entry in split.entries] == ['train', 'val', 'test']


def test_dates_are_divided_in_their_order(many):
    entries = [
        CatalogEntry(e.image, name=e.name, columns={'date': f'2020-{12 - n:02}-01'})
        for n, e in enumerate(many)
    ]
    split = split_entries(entries, SplitOptions(by='date', fractions=(0.5, 0.25, 0.25)))
    assert [e.split for e in split.entries] == ['test'] * 3 + ['val'] * 3 + ['train'] * 6


def test_values_of_a_column_are_units_or_name_the_split(many):
    cities = [
        CatalogEntry(e.image, name=e.name, columns={'city': 'abcd'[n % 4]})
        for n, e in enumerate(many)
    ]
    split = split_entries(cities, SplitOptions(by='column', column='city'))
    assert len({(e.columns['city'], e.split) for e in split.entries}) == 4
    named = [
        CatalogEntry(e.image, columns={'use': ('train', 'val')[n % 2]}) for n, e in enumerate(many)
    ]
    split = split_entries(named, SplitOptions(by='column', column='use', fractions=(1, 1)))
    assert [e.split for e in split.entries] == ['train', 'val'] * 6
    with pytest.raises(CatalogError, match="nothing in the column 'country'"):
        split_entries(cities, SplitOptions(by='column', column='country'))


def test_clusters_are_compact(many):
    split = split_entries(many, SplitOptions(by='cluster', clusters=3, buffer=0))
    assert split.units == 3
    assert {entry.split for entry in split.entries} == {'train', 'val', 'test'}


def test_polygons_name_their_splits(tmp_path, large):
    parts = write_labels(
        tmp_path / 'parts.gpkg',
        [box(0, 0, 200, 400), box(200, 0, 400, 400)],
        ['train', 'val'],
        to_crs='EPSG:4326',
    )
    options = SplitOptions(by='aoi', aoi=str(parts), column='class', fractions=(1, 1), buffer=10)
    split = split_entries(large, options)
    assert split.areas == pytest.approx((90 * 200, 100 * 200), rel=3e-3)


def test_stratified_blocks_have_every_class(tmp_path, large):
    rng = np.random.default_rng(0)
    corners = rng.uniform(5, 390, (60, 2))
    rare = np.arange(60) < 6
    labels = write_labels(
        tmp_path / 'l.gpkg',
        [box(x, y, x + 2, y + 2) for x, y in corners],
        ['rare' if r else 'common' for r in rare],
    )
    entries = [CatalogEntry(large[0].image, str(labels))]
    options = {'block_size': 25, 'buffer': 0, 'fractions': (0.5, 0.25, 0.25), 'seed': 3}

    def rare_in_train(**more):
        split = split_entries(entries, SplitOptions(**options, **more))
        shapes = gpd.read_file(labels).to_crs(UTM_17N)
        inside = shapes.geometry.centroid.within(in_metres(split)['train'])
        return int((inside & (shapes['class'] == 'rare')).sum())

    assert rare_in_train(stratify=True, class_column='class') == 3


def test_only_valid_pixels_count(tmp_path):
    mask = np.zeros((400, 400), bool)
    mask[:, :200] = True
    image = write_raster(tmp_path / 'a.tif', np.ones((1, 400, 400), 'uint8'), mask=mask)
    split = split_entries([CatalogEntry(str(image))], SplitOptions(block_size=40, buffer=0))
    assert sum(split.areas) == pytest.approx(100 * 200, rel=0.02)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'block_size': 150}, 'only 1 unit to divide by block'),
        ({'block_size': 70, 'buffer': 300}, 'nothing is left of train, val .*buffer of 300 m'),
        ({'fractions': (1,)}, 'two or three'),
        ({'folds': 1}, 'at least 2'),
        ({'buffer': -1}, '0 or more'),
        ({'by': 'aoi'}, 'without aoi'),
    ],
)
def test_what_cannot_be_met(large, options, message):
    with pytest.raises(CatalogError, match=f'(?s){message}'):
        split_entries(large, SplitOptions(**options))


def test_pictures_without_crs_are_split_by_scene_only(tmp_path):
    entries = [
        CatalogEntry(str(write_raster(tmp_path / f'{n}.tif', np.ones((8, 8), 'uint8'), None, None)))
        for n in range(4)
    ]
    split = split_entries(entries, SplitOptions(by='scene', fractions=(0.5, 0.5)))
    assert sorted(e.split for e in split.entries) == ['train', 'train', 'val', 'val']
    with pytest.raises(CatalogError, match=r'(?s)no CRS.*split by scene'):
        split_entries(entries, SplitOptions(by='block'))


@pytest.mark.parametrize('suffix', ['gpkg', 'geojson', 'csv'])
def test_a_catalog_of_splits_is_read_again(tmp_path, large, suffix):
    split = split_entries(large, SplitOptions(block_size=40, buffer=8))
    path = write_catalog(split.entries, split.outlines, tmp_path / f'catalog.{suffix}')
    again = read_catalog(path)
    assert [(e.image, e.split, e.name) for e in again] == [
        (e.image, e.split, 'large') for e in split.entries
    ]
    scene = Scene.open(again[0].image)
    for entry, outline in zip(again, split.outlines, strict=True):
        aoi = read_aoi(entry.aoi, scene, scene)
        expected = gpd.GeoSeries([outline], crs=4326).to_crs(UTM_17N).area[0] * 4
        assert shapely.area(aoi.geometries).sum() == pytest.approx(expected, rel=1e-3)
    if suffix != 'csv':
        assert gpd.read_file(path, layer='catalog')['image'].tolist() == ['large.tif'] * 3


def test_files_and_roles_survive_in_a_table(tmp_path):
    images = [write_scene(tmp_path / f'{name}.tif') for name in 'abc']
    entries = read_catalog([{'image': {'s2': images[:2], 's1': images[2]}, 'area': (0, 0, 0.5, 1)}])
    path = write_catalog(entries, [None], tmp_path / 'catalog.gpkg')
    assert read_catalog(path) == entries
